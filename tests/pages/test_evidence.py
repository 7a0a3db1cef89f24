"""The Evidence page without a browser: its views, its jobs, and what is said of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from engine import (
    adversarial,
    agreement,
    checkpoints,
    data,
    deconv,
    evidence,
    invariance,
    lesions,
    occlusion,
    pictures,
    probes,
    sanity,
    tape,
    weights,
)
from engine.accuracy.figures import accuracy
from engine.data import CIFAR10_CLASSES
from engine.occlusion import Occlusion
from engine.sanity import Check
from engine.settings import ROOT
from engine.views import View
from pages.common.charts import OKABE_ITO
from pages.evidence import charts, drawings, jobs, linear_probes, methods, sanity_check
from pages.evidence import invariance as page_invariance
from pages.evidence import lesions as lesion_view
from pages.evidence.adversarial import formula
from pages.evidence.jobs import (
    EPSILONS,
    FILLS,
    AttackSettings,
    OcclusionSettings,
    SanitySettings,
    attacks_of,
    occlusion_of,
    sanity_of,
)
from tests.apps import assert_no_error, assert_pictures_have_words, open_page
from tests.oracles import fingerprint

PAGE = "evidence/page.py"
FIRST = int((data.bundled("test").labels == 8).nonzero()[0][0])
VIEW = View(weights.find("lenet"), "pool3", "test", FIRST, 32)
LINK = {"checkpoint": "lenet", "class": "ship"}


def image() -> torch.Tensor:
    card = checkpoints.load("lenet").card
    return data.prepare(data.bundled("test").images[FIRST : FIRST + 1], 32, card.mean, card.std)


def strongest() -> int:
    return deconv.strongest_channels(tape.features(checkpoints.load("lenet").model, image(), "pool3"), 1)[0]


def settings(**changes: object) -> OcclusionSettings:
    return OcclusionSettings(
        **{"view": VIEW, "patch": 8, "stride": 2, "fill": "mean colour", "channel": strongest(), **changes}
    )


def infos(app: AppTest) -> list[str]:
    return [info.value for info in app.info]


def test_occlusion_begins_by_itself_and_says_what_the_engine_measures() -> None:
    before = fingerprint(checkpoints.load("lenet").model)
    app = open_page(PAGE, **LINK)
    assert_no_error(app)
    assert not app.warning
    job = occlusion_of(settings())
    job.wait(60)
    assert job.complete
    app.run()
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert len(app.get("image")) == 5
    model = checkpoints.load("lenet").model
    expected = occlusion.occlude(model, image(), patch=8, stride=2, unit_map=("pool3", strongest()))
    assert torch.allclose(job.found.logits, expected.logits, atol=1e-4)
    assert torch.allclose(job.found.activity, expected.activity, rtol=1e-4)
    own = int(model(image())[0].argmax())
    turned = int((job.found.predicted() != own).sum())
    assert infos(app)[0].endswith(f"{turned} of 256 squares change the predicted class.")
    lowest = float(job.found.probability(own).min())
    assert f"leave between {lowest:.2f} (rows" in infos(app)[0]
    assert fingerprint(model) == before


def test_the_squares_fill_size_and_class_come_from_the_link() -> None:
    app = open_page(PAGE, **LINK, square="16", stride="4", fill="white", logit="dog")
    assert_no_error(app)
    assert not app.warning
    job = occlusion_of(settings(patch=16, stride=4, fill="white"))
    job.wait(60)
    card, model = checkpoints.load("lenet").card, checkpoints.load("lenet").model
    white = ((1 - np.array(card.mean)) / np.array(card.std)).tolist()
    expected = occlusion.occlude(model, image(), patch=16, stride=4, fill=white)
    assert torch.allclose(job.found.logits, expected.logits, atol=1e-4)
    app.run()
    assert infos(app)[0].startswith("Of the whole image p(dog) is ")
    assert app.get("button_group")


def test_two_classes_stand_side_by_side() -> None:
    app = open_page(PAGE, **LINK, logit="ship", beside="airplane")
    job = occlusion_of(settings())
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert not app.warning
    assert_pictures_have_words(app)
    assert len(app.get("image")) == 6
    (legend,) = (each.proto.body for each in app.get("html") if "Most probable" in each.proto.body)
    seen = sorted({int(label) for label in job.found.predicted().flatten()})
    assert all(f"■</span> {CIFAR10_CLASSES[label]}</span>" in legend for label in seen)
    assert sum(colour in legend for colour in OKABE_ITO) == min(len(seen), len(OKABE_ITO))
    assert any("mean over the squares that hide a pixel: bright 1, dark 0" in each.value for each in app.caption)
    assert any("its sum, mean over the squares" in each.value for each in app.caption)
    ship, airplane = job.found.probability(8), job.found.probability(0)
    said = infos(app)[0]
    assert f"with hidden squares {float(ship.min()):.2f} to {float(ship.max()):.2f}; p(airplane) is" in said
    assert f"{float(airplane.min()):.2f} to {float(airplane.max()):.2f}. Rank correlation" in said
    assert f"maps: {agreement.rank_correlation(ship, airplane):.2f} (" in said
    same = open_page(PAGE, **LINK, logit="ship", beside="ship")
    assert_no_error(same)
    assert len(same.get("image")) == 5


def test_methods_stand_side_by_side_with_their_agreement_in_words() -> None:
    app = open_page(PAGE, **LINK, view="methods")
    job = occlusion_of(settings())
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert len(app.get("image")) == 6
    model = checkpoints.load("lenet").model
    label = int(model(image())[0].argmax())
    drop = model(image()).softmax(1)[0, label] - job.found.over_pixels(job.found.probability(label))
    heats = {
        "occlusion": drop,
        "Grad-CAM of pool3": evidence.enlarged(evidence.grad_cam(model, image(), "pool3", label), 32, 32),
        **evidence.heats_of_class(model, image(), label),
    }
    assert infos(app) == [agreement.in_words(heats)]
    assert not any("hardly say where" in caption.value for caption in app.caption)
    pictures = open_page(PAGE, checkpoint="resnet18", view="methods", drawn="picture", logit="cat")
    assert_no_error(pictures)
    said = [caption.value for caption in pictures.caption]
    assert "**class activation map**" in said
    assert "The class activation map has only 2 x 2 places: it can hardly say where." in said


def test_methods_stand_side_by_side_on_two_images() -> None:
    link = {**LINK, "view": "methods", "compare": "images", "class2": "ship", "number2": "0"}
    app = open_page(PAGE, **link, number="3")
    assert not app.warning
    for job in jobs._occlusions().all():
        job.wait(60)
    app.run()
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert len(app.get("image")) == 6
    (said,) = infos(app)
    first, second = said.split("\n\n")
    assert first.startswith("On test image ")
    assert second.startswith(f"On test image {FIRST}: ")
    alone = open_page(PAGE, **LINK, view="methods")
    assert infos(alone) == [second.removeprefix(f"On test image {FIRST}: ")]
    assert any(caption.value.endswith(f"**ship** (test image {FIRST}), by:") for caption in app.caption)


def test_the_table_of_methods_is_symmetric() -> None:
    heats = {name: torch.rand(32, 32, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate("abc")}
    values = methods.table(heats)[list("abc")].to_numpy()
    assert np.allclose(values, values.T)
    assert np.allclose(np.diag(values), 1)


def test_the_sanity_check_shows_every_method_and_stage() -> None:
    app = open_page(PAGE, **LINK, view="sanity check")
    model = checkpoints.load("lenet").model
    label = int(model(image())[0].argmax())
    job = sanity_of(SanitySettings(VIEW, label, 0))
    job.wait(60)
    assert job.complete
    app.run()
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert len(app.get("image")) == 1 + 5
    steps = list(sanity.cascade(model, lambda some: evidence.heats_of_class(some, image(), label)))
    for rule in evidence.RULES:
        found = [check.correlation for check in job.checks[rule]]
        assert found == pytest.approx([step[rule].correlation for step in steps], abs=1e-3)
    assert infos(app)[0].startswith("With everything from conv1 up random, ")
    rows = charts.correlation_rows(job.checks)
    assert len(rows) == 4 * 6
    assert charts.correlation_chart(rows).to_dict()["encoding"]


def test_every_class_and_layer_is_named_below_a_narrow_chart() -> None:
    classes = [f"class {number}" for number in range(10)]
    recalls = pd.DataFrame({"class": classes, "network": charts.WHOLE, "recognised": 0.5})
    correlations = pd.DataFrame({"method": "a", "random from": classes, "rank correlation": 0.5})
    for chart in (charts.recall_chart(recalls, classes), charts.correlation_chart(correlations)):
        assert chart.to_dict()["encoding"]["x"]["axis"]["labelOverlap"] is False


def test_words_of_the_sanity_check_follow_the_figures() -> None:
    def steps(rho: float) -> list[Check]:
        return [Check("trained", torch.zeros(1, 1), 1.0), Check("conv1", torch.zeros(1, 1), rho)]

    words = sanity_check.cascade_in_words({"a": steps(0.8), "b": steps(0.1)})
    assert "the maps of a (0.80) are still much the same" in words
    assert "the maps of b (0.10) have nothing left" in words
    assert "every map keeps some" in sanity_check.cascade_in_words({"a": steps(0.4)})
    assert "only the trained network" in sanity_check.cascade_in_words({"a": steps(1)[:1]})


def test_drawings_show_what_is_unknown_in_grey_and_classes_in_their_colours() -> None:
    white = np.full((4, 4, 3), 255, np.uint8)
    shares = np.array([[0.0, 1.0], [np.nan, 0.5]]).repeat(2, 0).repeat(2, 1)
    drawn = pictures.over_image(shares, white)
    assert tuple(drawn[3, 0]) == (128, 128, 128)
    assert tuple(drawn[0, 0]) == (0x44, 0x01, 0x54)
    assert pictures.over_image(shares, white * 0)[0, 3].sum() < drawn[0, 3].sum()
    assert pictures.stretched(torch.tensor([[2.0, 4.0]])).tolist() == [[0, 1]]
    assert not pictures.stretched(torch.ones(2, 2)).any()
    logits = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [float("nan")] * 2]])
    found = Occlusion(logits, occlusion.squares(4, 4, 2, 2), None, 3, (4, 4))
    colours = drawings.answers(found, (1, 0), white)
    assert tuple(colours[0, 3]) == tuple(drawings.COLOURS[0])
    assert tuple(colours[0, 0]) == tuple(colours[3, 1]) == tuple(drawings.COLOURS[1])
    assert tuple(colours[3, 3]) == (128, 128, 128)
    one_hidden = torch.zeros(4, 4, 2).index_put((torch.tensor(1), torch.tensor(1), torch.tensor(1)), torch.tensor(9.0))
    overlapping = Occlusion(one_hidden, occlusion.squares(8, 8, 4, 2), None, 16, (8, 8))
    at = (drawings.answers(overlapping, (0, 1), np.full((8, 8, 3), 255, np.uint8)) == drawings.COLOURS[1]).all(axis=2)
    assert np.argwhere(at).tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]  # rows and columns 2 to 5 are hidden
    assert list(FILLS) == ["mean colour", "black", "grey", "white"]


def test_an_adversarial_image_is_the_engines_and_its_answer_is_said() -> None:
    link = {**LINK, "view": "adversarial", "epsilon": "8"}
    app = open_page(PAGE, **link, attack="10 steps (PGD)", toward="cat", transfer="true")
    assert_no_error(app)
    assert not app.warning
    assert_pictures_have_words(app)
    assert len(app.get("image")) == 6
    trained = checkpoints.load("lenet")
    scale = {"mean": trained.card.mean, "std": trained.card.std}
    changed = adversarial.perturb(trained.model, image(), 8, epsilon=8 / 255, steps=10, target=3, **scale)
    probabilities = trained.model(changed).softmax(1)[0]
    predicted = int(probabilities.argmax())
    said = infos(app)[0]
    assert said.startswith("No pixel changes by more than 8 of 255. The answer turns from ")
    assert said.endswith(f"to {data.bundled('test').classes[predicted]} ({float(probabilities.max()):.2f}).")
    assert r"x_t-\tfrac{2.5}{10}\,\epsilon" in app.latex[0].value
    assert r"x_t+\tfrac{2.5}{10}\,\epsilon" in open_page(PAGE, **link, attack="10 steps (PGD)").latex[0].value
    assert r"x'=x+\epsilon" in formula(1, is_targeted=False)
    asked = app.table[0].value
    assert list(asked.index) == [name for name, card in weights.cards().items() if card.classes == trained.card.classes]
    assert asked.loc["lenet", "perturbed"].startswith(data.bundled("test").classes[predicted])


def test_the_table_of_the_other_networks_has_those_that_there_are_now(
    tmp_path: Path, use_folders: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_folders(checkpoints=tmp_path)
    monkeypatch.setattr(weights.pretrained, "available", dict)
    for name in ("lenet", "mine"):
        shutil.copytree(ROOT / "checkpoints" / "lenet", tmp_path / name)
    app = open_page(PAGE, **LINK, view="adversarial", transfer="true", attack="10 steps (PGD)")
    assert list(app.table[0].value.index) == ["lenet", "mine"]
    shutil.rmtree(tmp_path / "mine")
    assert list(app.run().table[0].value.index) == ["lenet"]
    shutil.copytree(ROOT / "checkpoints" / "model_two", tmp_path / "mine")
    app.run()
    assert_no_error(app)
    asked = app.table[0].value
    assert asked.loc["mine", "the image"] != asked.loc["lenet", "the image"]


def test_many_images_are_attacked_when_a_reader_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ATTACKED", 3)
    app = open_page(PAGE, **LINK, view="adversarial")
    next(button for button in app.button if button.key == "attack_all_start").click().run()
    job = attacks_of(AttackSettings(weights.find("lenet"), 1))
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert len(job.accuracies) == len(EPSILONS)
    assert job.accuracies == sorted(job.accuracies, reverse=True)
    test = data.bundled("test")
    trained = checkpoints.load("lenet")
    first = test.subset(data.first_of_each_class(test.labels, 3))
    inputs = data.prepare(first.images, 32, trained.card.mean, trained.card.std)
    assert job.accuracies[0] == pytest.approx(float((trained.model(inputs).argmax(1).numpy() == first.labels).mean()))


def test_moved_images_have_a_curve_each() -> None:
    app = open_page(PAGE, **LINK, view="invariance", kind="shift", by="4")
    assert_no_error(app)
    assert not app.warning
    job = jobs._movings().all()[-1]
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert [label for _, label in job.images] == [8, 9, 0, 1, 2]
    amounts = page_invariance.amounts_of("shift", 32)
    assert 0 in amounts
    model = checkpoints.load("lenet").model
    expected = invariance.curve(model, image(), "shift", amounts, job.settings.layers)
    assert torch.allclose(job.curves[0].distances, expected.distances, atol=1e-5)
    rows = page_invariance.curve_rows(job)
    assert len(rows) == 5 * 3 * len(amounts)
    assert infos(app) == [page_invariance.in_words(rows, job)]
    spec = charts.moving_chart(rows, "distance in conv1_relu", "px", 4).to_dict()
    assert spec["title"]["text"] == "distance in conv1_relu"  # above: a low chart cuts it off beside its axis
    scales = [
        json.loads(chart.proto.spec)["layer"][1]["encoding"]["y"]["scale"] for chart in app.get("vega_lite_chart")
    ]
    assert scales[1] == scales[2] != scales[0]  # distances in two layers are compared
    assert scales[1]["domain"] == [0, pytest.approx(float(rows[rows["what"] != charts.PROBABILITY]["value"].max()))]
    first = job.settings.layers[0]
    silent = rows.assign(value=rows["value"].where(rows["what"] != first))
    assert f"the features of {first} are zero without a move, those" in page_invariance.in_words(silent, job)
    for kind in ("scale", "rotate"):
        assert invariance.KINDS[kind].unchanged in page_invariance.amounts_of(kind, 32)


def test_a_photograph_is_explained_and_moved_by_what_is_predicted() -> None:
    for view in ("adversarial", "invariance"):
        app = open_page(PAGE, checkpoint="lenet", images="photographs", view=view)
        assert_no_error(app)
        assert not app.warning


def test_a_lesion_is_tried_on_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "EXAMINED", 10)
    app = open_page(PAGE, **LINK, view="lesions", count="4")
    assert_no_error(app)
    assert not app.warning
    job = jobs.operation_on(weights.find("lenet"), "pool3")
    job.wait(60)
    app.run()
    assert_no_error(app)
    trained, test = checkpoints.load("lenet"), data.bundled("test")
    first = test.subset(data.first_of_each_class(test.labels, 10))
    inputs = data.prepare(first.images, 32, trained.card.mean, trained.card.std)
    channels = deconv.strongest_channels(tape.features(trained.model, image(), "pool3"), 4)
    expected = lesions.evaluate_without(trained.model, inputs, first.labels, "pool3", channels)
    found = job.found[jobs.Lesion("pool3", tuple(channels))]
    assert np.allclose(found.logits, expected.logits, atol=1e-4)
    whole = job.found[jobs.Lesion("pool3")]
    assert np.allclose(whole.logits, trained.model(inputs).numpy(), atol=1e-4)
    assert f"on 100 test images goes from {100 * accuracy(whole).value:.1f} % to" in infos(app)[0]
    assert lesion_view.part_in_words(jobs.Lesion("pool3", (29,))) == "map 29 of pool3"
    assert app.number_input(key="seed").disabled
    assert not open_page(PAGE, **LINK, view="lesions", which="at random").number_input(key="seed").disabled
    app = open_page(PAGE, checkpoint="resnet18_strided", view="lesions", part="residual", of_block="layer3.1")
    jobs.operation_on(weights.find("resnet18_strided"), "conv5_x").stop()
    assert_no_error(app)
    assert not app.warning


def test_stored_probes_are_shown_at_once_and_others_can_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(PAGE, **LINK, view="probes")
    assert_no_error(app)
    assert not app.warning
    found = probes.load(checkpoints.load("lenet"))
    assert infos(app) == [probes.in_words(found)]
    assert "2,000 training images and tried on 2,000 test images" in app.caption[-1].value
    rows = linear_probes.table(found)
    assert rows["layer"].tolist() == ["pixels", "conv1_relu", "conv2_relu", "conv3_relu"]
    assert (rows["low"] < rows["accuracy"]).all()
    monkeypatch.setattr(probes, "PER_CLASS", 4)
    other = open_page(PAGE, **LINK, view="probes", weights="untrained")
    assert_no_error(other)
    assert not infos(other)
    other.button(key="probes_start").click().run()
    job = jobs.probing(weights.find("lenet", weights.UNTRAINED))
    job.wait(60)
    other.run()
    assert_no_error(other)
    assert job.complete
    assert infos(other) == [probes.in_words(job.found)]
