"""Lectures: every shipped one is whole and its figures are true; a file from anywhere is read with care."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from engine import checkpoints, data, deconv, filters, lectures, occlusion, patches, probes, reports, settings, tape
from engine.checkpoints import states
from engine.errors import ConvscopeError
from engine.lectures import Lecture, Link, Step, figures, worksheet
from engine.training import histories
from pages import directory

PAGES = tuple(entry.address for entry in (directory.HOME, *directory.PAGES))
SHIPPED = ["batch-norm", "founding-paper", *(f"report-{number}" for number in range(5))]
TYPED = re.compile(r"\d+(\.\d+)? %|\d\.\d|\d{2},\d{3}")
NOT_MEASURED = re.compile(r"95 % interval|(section|figure) \d[.\d]*|10,000 test images")


def parsed(text: str) -> Lecture:
    return lectures.parse(text.encode(), "own", PAGES, "own.toml")


WHOLE = """title = "Zwei Schritte – \\u00fc"
minutes = 3

[[steps]]
link = "reconstruction?class=ship&bn=false"
sentence = "A ship."

[[steps]]
link = "http://127.0.0.1:8501/learning_curves?curves=lenet&curves=resnet18&lecture=other&step=4"
sentence = "Two curves."
answer = "<b>**bold**</b>"
"""


def test_seven_lectures_are_shipped() -> None:
    assert lectures.names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_lecture_is_whole_and_no_figure_in_it_is_typed(name: str) -> None:
    lecture = lectures.load(name, PAGES)
    assert 6 <= len(lecture.steps) <= 12
    for step in lecture.steps:
        assert step.question
        assert step.answer
        assert step.look
        for text in (step.sentence, step.question, step.answer, step.look):
            assert not TYPED.search(NOT_MEASURED.sub("", figures.PLACE.sub("", text))), text
            filled = figures.fill(text)
            assert "{" not in filled
            assert "nan" not in filled.split()


# The figures, computed in another way ---------------------------------------------------------------------------


def test_accuracies_are_those_of_the_stored_predictions() -> None:
    test = checkpoints.predictions("resnet18").test
    right = float((test.logits.argmax(axis=1) == test.labels).mean())
    assert figures.fill("{accuracy.resnet18}") == f"{right * 100:.1f} %"
    cats = test.labels == test.labels[data.bundled("test").classes.index("cat") == test.labels][0]
    share = float((test.logits[cats].argmax(axis=1) == test.labels[cats]).mean())
    assert figures.fill("{recall.resnet18.cat}").startswith(f"{share * 100:.1f} % (")


def test_how_many_images_it_takes_is_the_mean_over_the_seeds() -> None:
    rows = pd.read_csv(settings.folders.experiments / "images_per_class" / "results.csv")
    runs = rows[(rows["method"] == "linear") & (rows["images"] == 10)]
    mean = 100 * (runs["hits"] / runs["total"]).mean()
    assert figures.fill("{images_per_class.linear.10}") == f"{mean:.1f} %"


def test_parameters_of_a_part_are_those_of_its_modules() -> None:
    model = checkpoints.load("model_one").model
    largest = max(parameter.numel() for parameter in model.parameters())
    assert figures.fill("{part.model_one.dense_1}") == f"{largest + 2048:,}"
    assert figures.fill("{parameters.model_one}") == f"{sum(p.numel() for p in model.parameters()):,}"


def test_correlation_and_gain_are_those_of_the_pictures() -> None:
    trained, test = checkpoints.load("model_one"), data.bundled("test")
    index = int(np.flatnonzero(test.labels == test.classes.index("horse"))[0])
    image = data.prepare(test.images[index : index + 1], 32, trained.card.mean, trained.card.std)
    recorded = tape.record(trained.model, image, "pool5")
    made = deconv.reconstruct(recorded, recorded.activation, switches="centre")
    centred = [(p - p.mean(axis=(1, 2), keepdims=True)).ravel() for p in (made.pixels[0].numpy(), image[0].numpy())]
    assert figures.fill("{correlation.model_one.pool5.horse.centre}") == f"{np.corrcoef(*centred)[0, 1]:.2f}"
    gain = float(made.pixels.norm() / recorded.activation.norm())
    assert figures.fill("{gain.model_one.pool5.horse.centre}") == f"{gain:.2g}"


def test_figures_of_reports_are_cited() -> None:
    assert figures.fill("{report.0.resnet18.test}") == "83.0 %"
    assert figures.fill("{counted.0.bird}, {listed.0.bird} and {listed.1.cat}") == "28 of 39, 71.79 % and 54 %"
    assert figures.fill("{quoted.1.cross_entropy}") == reports.QUOTED[1, "cross_entropy"]


def test_figures_of_evidence_are_those_of_single_passes() -> None:
    trained, test = checkpoints.load("lenet"), data.bundled("test")
    card, index = trained.card, int(np.flatnonzero(test.labels == 8)[0])
    image = data.prepare(test.images[index : index + 1], 32, card.mean, card.std)
    hidden = [
        trained.model(torch.where(mask, 0.0, image))[0]
        for top in range(0, 32, 2)
        for left in range(0, 32, 2)
        for mask in [_square(top, left)]
    ]
    probabilities = torch.stack(hidden).softmax(1)
    assert figures.fill("{lowest.lenet.ship}") == f"{float(probabilities[:, 8].min()):.2f}"
    own = trained.model(image).argmax()
    assert figures.fill("{turned.lenet.ship}") == f"{int((probabilities.argmax(1) != own).sum())} of 256"
    rolled = image.roll(5, 3)
    assert figures.fill("{moved.lenet.ship.shift.5}") == f"{float(trained.model(rolled).softmax(1)[0, 8]):.2f}"
    still, moved = (tape.features(trained.model, x, "conv2_relu") for x in (image, rolled))
    assert (
        figures.fill("{distance.lenet.conv2_relu.ship.shift.5}")
        == f"{float((moved - still).norm() / still.norm()):.2f}"
    )
    inner = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(trained.model(inner), torch.tensor([8])), inner)
    scale = torch.tensor(card.std).view(1, 3, 1, 1)
    offset = torch.tensor(card.mean).view(1, 3, 1, 1)
    changed = (((image + gradient.sign() * 3 / 255 / scale) * scale + offset).clamp(0, 1) - offset) / scale
    assert figures.fill("{perturbed.lenet.ship.3}") == f"{float(trained.model(changed).softmax(1)[0, 8]):.2f}"
    assert figures.fill("{other_switches.lenet.conv2_relu.ship.ship}") == "1.00"
    assert -1 <= float(figures.fill("{noise.lenet.conv2_relu.ship}")) < 1


def test_figures_of_probes_are_the_stored_ones() -> None:
    stored = json.loads(probes.path_of("lenet").read_text())
    hits = {reading["layer"]: reading["hits"] for reading in stored["readings"]}
    assert figures.fill("{probe.lenet.conv2_relu}") == f"{hits['conv2_relu'] / 2000:.1%}".replace("%", " %")
    with pytest.raises(ConvscopeError, match=r"probe\.lenet\.conv9"):
        figures.fill("{probe.lenet.conv9}")


def _square(top: int, left: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., top : top + 8, left : left + 8] = True
    return mask


@pytest.mark.parametrize("figure", ["{accuracy.vgg}", "{nothing.at.all}", "{gain.lenet}", "{report.9.lenet.test}"])
def test_a_figure_that_there_is_not_is_named(figure: str) -> None:
    with pytest.raises(ConvscopeError, match=re.escape(figure)):
        figures.fill(f"It is {figure}.")


@pytest.mark.parametrize(
    "figure",
    [
        "{counted.9.cat}",
        "{counted_overall.7}",
        "{listed.-1.cat}",
        "{maps.lenet.conv1.-5}",
        "{maps.lenet.conv1.0}",
        "{maps.lenet.conv1.513}",
        "{maps.lenet.conv1.99999999999999}",
        pytest.param(f"{{perturbed.lenet.cat.{'9' * 400}}}", id="overflow"),
    ],
)
def test_a_number_that_a_figure_cannot_have_is_explained_beside_it(figure: str) -> None:
    with pytest.raises(ConvscopeError, match=re.escape(figure)):
        figures.fill(f"It is {figure}.")
    filled = figures.fill_or_explain(f"It is {figure}.")
    assert filled.startswith(f"It is {figure}. (The figure {figure} cannot be computed: ")


@pytest.mark.parametrize("figure", ["{turned.resnet18_224.airplane}", "{lowest.transfer.cat}"])
def test_no_figure_asks_a_large_network_hundreds_of_times(figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "occlude", lambda *arguments, **settings: pytest.fail("it has begun"))
    with pytest.raises(ConvscopeError, match="takes too long with each square hidden"):
        figures.fill(figure)


def test_a_figure_has_an_image_as_large_as_a_lecture_may_ask_for() -> None:
    assert figures.fill("{maps.lenet.conv1.512}") == "32 maps of 512 x 512"


# What is said in words, without a figure ------------------------------------------------------------------------


COMPARED = {
    "batch-norm": """
        shows the horse even better | correlation.model_one.pool1.horse.untrained > on
        is no sign of knowledge | correlation.model_one.pool5.horse.untrained > on
        the correlation falls | correlation.model_one.pool5.horse.on > centre
        From conv4_x on | correlation.resnet18.conv3_x.horse.on > correlation.resnet18.conv4_x.horse.on
        almost the same either way | cosine.model_one.pool5.horse > cosine.resnet18.conv5_x.horse
    """,
    "founding-paper": """
        Which layer notices more? | distance.resnet18.conv1_relu.horse.shift.8 > distance.resnet18.conv5_x.horse.shift.8
        only the truck survives | moved.resnet18.truck.rotate.90 > 0.5
        only the truck survives | moved.resnet18.horse.rotate.90 < 0.1
        half a turn brings the airplane back | moved.resnet18.airplane.rotate.180 > moved.resnet18.airplane.rotate.90
        scale costs more than shift | moved.resnet18.airplane.shift.8 > moved.resnet18.airplane.scale.2
        Does each layer pay? | accuracy.depth_3 > accuracy.depth_2
        it need not | accuracy.depth_3 > accuracy.depth_5
        After 1,000 of each class | images_per_class.scratch.1000 > images_per_class.transfer.10
        the last two stages hardly differ | probe.resnet18.conv5_x ~3 probe.resnet18.conv4_x
        better with depth | probe.resnet18.conv3_x > probe.resnet18.conv1_relu
        than on the signal | noise.resnet18.conv5_x.ship > other_switches.resnet18.conv5_x.ship.automobile
    """,
    "report-0": """
        few switches that could | correlation.resnet18.conv2_x.ship.on > correlation.resnet18.conv5_x.ship.on
    """,
    "report-1": """
        A little: the correlation | correlation.resnet18.conv2_x.ship.on > residual
        What is missing went along the shortcut | correlation.resnet18.conv2_x.ship.shortcut > residual
        the shortcut's picture is stronger | gain.resnet18.conv5_x.ship.shortcut > residual
        strength is not content | correlation.resnet18.conv5_x.ship.residual > shortcut
        random weights give a picture as well | correlation.resnet18.conv5_x.ship.untrained > 0.1
        is not even half a point away | listed.0.bird ~0.5 listed.0.cat
    """,
    "report-2": """
        run close together | accuracy.optimizer_sgd ~1 accuracy.optimizer_adam
        Adam alone is ahead here | accuracy.optimizer_adam > accuracy.optimizer_adam_then_sgd
        changing over is ahead | accuracy.report2_adam_then_sgd > accuracy.report2_adam
        no switches | correlation.resnet18_strided.conv4_x.cat.on < correlation.resnet18_strided.conv2_x.cat.on
    """,
    "report-3": """
        the shallow network is the large one | parameters.convnet2 > parameters.convnet4
        Here three | accuracy.depth_3 > accuracy.depth_4
        Deeper ones start more slowly | accuracy.depth_4 > accuracy.depth_5
        What may have closed the gap? | accuracy.convnet4 ~1 accuracy.convnet3
        In our two runs, yes | accuracy.depth_4 > accuracy.dropout_30
    """,
    "report-4": """
        little dropout and batch norm, not Adam | accuracy.ablation_base > accuracy.ablation_dropout_30
        little dropout and batch norm, not Adam | accuracy.ablation_base > accuracy.ablation_no_batch_norm
        SGD is ahead here | accuracy.ablation_sgd > accuracy.ablation_base
        Adam is ahead with us, too | accuracy.report4_model_two > accuracy.report4_model_two_sgd
        ahead at the end, too | accuracy.report4_model_two > accuracy.report4_model_two_no_batch_norm
        our single runs agree twice | accuracy.report4_model_two > accuracy.report4_model_two_dropout_30
    """,
}
"""Of each lecture its words, and what they say: that one figure is above, below, or at most so far from another."""


def _comparisons() -> Iterator[tuple[str, str, str, str, str]]:
    for name, lines in COMPARED.items():
        for line in lines.strip().splitlines():
            words, _, compared = line.strip().partition(" | ")
            yield (name, words, *compared.split())


@pytest.mark.parametrize(("name", "words", "figure", "relation", "other"), _comparisons())
def test_what_is_compared_in_words_is_so_in_figures(
    name: str, words: str, figure: str, relation: str, other: str
) -> None:
    assert any(words in text for step in lectures.load(name, PAGES).steps for text in (step.question, step.answer))
    first, second = _number(figure), _number(_whole_name(other, figure))
    if relation.startswith("~"):
        assert abs(first - second) <= float(relation[1:])
    else:
        assert {">": first > second, "<": first < second}[relation], (first, second)


def _whole_name(other: str, figure: str) -> str:
    """`other` with the parts of `figure` that it leaves out."""
    return f"{figure.rpartition('.')[0]}.{other}" if other.isalpha() else other


def _number(figure: str) -> float:
    filled = figure if figure[0].isdigit() else figures.fill(f"{{{figure}}}")
    return float(re.match(r"-?[\d,.]*\d", filled)[0].replace(",", ""))


def test_where_report_4_speaks_of_a_loss_that_rises_the_curves_show_it() -> None:
    steps = lectures.load("report-4", PAGES).steps
    for step in (steps[0], steps[3]):
        first = next(value for key, value in step.link.values if key == "curves")
        table = histories.read(histories.find()[first]).table
        lowest = table["val_loss"].idxmin()
        assert table["val_loss"].iloc[-1] > 1.2 * table["val_loss"][lowest]
        assert table["val_accuracy"].iloc[-1] >= table["val_accuracy"][lowest]


@pytest.mark.parametrize("name", SHIPPED)
def test_no_answer_repeats_the_paragraph_that_the_page_prints_beside_two_networks(name: str) -> None:
    for step in lectures.load(name, PAGES).steps:
        assert ("view", "Two networks") not in step.link.values or "{pair." not in step.answer


def test_with_batch_norm_the_training_loss_is_lower_in_every_epoch() -> None:
    with_it, without = (
        histories.read(histories.find()[f"experiments/report4_{name}"]).table["train_loss"]
        for name in ("model_two", "model_two_no_batch_norm")
    )
    assert (with_it < without).all()


def test_filters_for_stripes_are_black_and_white_and_flat_ones_have_a_colour() -> None:
    model = checkpoints.load("resnet18_strided").model
    words = filters.describe(filters.kernels(model, "conv1"))
    assert {one.colour for one in words if one.kind == "stripes"} == {"black-and-white"}
    assert not {"bright", "dark"} & {one.colour for one in words if one.kind == "flat areas"}
    assert {words[number].kind for number in (25, 33)} == {"stripes"}
    assert {words[number].kind for number in (13, 18)} == {"flat areas"}


def test_a_boat_excites_channel_6_most_and_a_dog_channel_12() -> None:
    test = data.bundled("test")
    strongest = patches.load(checkpoints.load("resnet18")).of("conv5_x", "whole map").images[:, 0]
    assert [test.classes[test.labels[strongest[channel]]] for channel in (6, 12)] == ["ship", "dog"]


def test_most_of_the_strongest_maps_of_the_dog_are_weak_for_the_ship() -> None:
    trained, test = checkpoints.load("convnet4"), data.bundled("test")
    card = trained.card
    dog, ship = (
        tape.features(trained.model, image, "conv4_relu")[0].amax((1, 2))
        for label in ("dog", "ship")
        for index in [int(np.flatnonzero(test.labels == test.classes.index(label))[0])]
        for image in [data.prepare(test.images[index : index + 1], card.input_size, card.mean, card.std)]
    )
    strongest = dog.topk(6).indices
    assert (ship[strongest] < dog[strongest] / 2).sum() > 3


# Files ---------------------------------------------------------------------------------------------------------


def test_a_lecture_is_read_with_pasted_addresses_and_written_again() -> None:
    lecture = parsed(WHOLE)
    assert lecture.title == "Zwei Schritte – ü"
    assert lecture.steps[0] == Step(Link("reconstruction", (("class", "ship"), ("bn", "false"))), "A ship.")
    assert lecture.steps[1].link == Link("learning_curves", (("curves", "lenet"), ("curves", "resnet18")))
    assert parsed(lectures.to_toml(lecture)) == lecture


@pytest.mark.parametrize("address", ["/", "http://127.0.0.1:8501/", "home"])
def test_home_is_written_by_the_address_that_a_browser_finds_it_at(address: str) -> None:
    lecture = parsed(WHOLE.replace("reconstruction?", f"{address}?"))
    assert lecture.steps[0].link == Link("home", (("class", "ship"), ("bn", "false")))
    assert str(lecture.steps[0].link) == "/?class=ship&bn=false"
    assert "<code>/?class=ship&amp;bn=false</code>" in worksheet.to_html(lecture, False)
    assert parsed(lectures.to_toml(lecture)) == lecture
    with pytest.raises(ConvscopeError, match="use one of /, train,"):
        parsed(WHOLE.replace("reconstruction?", "nowhere?"))


WRONG = {
    'title = "x': "own.toml is no TOML in UTF-8",
    'title = "x"': "line 1: a lecture needs steps",
    WHOLE.replace("minutes = 3", "minutes = 0"): "line 2: write minutes as a whole number",
    WHOLE.replace("minutes = 3", f"minutes = {'9' * 5000}"): "own.toml is no TOML",
    WHOLE.replace("minutes", "hours"): "line 2: 'hours' is no part of it",
    WHOLE.replace('sentence = "Two curves."', ""): r"line 8 \(step 2\): sentence is missing",
    WHOLE.replace('"A ship."', "3"): r"line 6 \(step 1\): write sentence as text in quotes",
    WHOLE.replace("A ship.", "x" * 501): r"line 6 \(step 1\): sentence has at most 500 characters",
    WHOLE.replace("A ship.", "\\u0007"): r"line 6 \(step 1\): sentence has at most",
    WHOLE.replace("A ship.", "\\u202e"): r"line 6 \(step 1\): sentence has at most",
    WHOLE.replace("reconstruction?", "../secrets?"): r"line 5 \(step 1\): there is no page 'secrets'",
    WHOLE.replace("class=", "_asked="): r"line 5 \(step 1\): '_asked' cannot be a setting",
    WHOLE.replace("class=ship", "class"): r"line 5 \(step 1\): the link is no address",
    WHOLE + WHOLE[WHOLE.index("[[steps]]") :] * 60: "at most 100 steps",
    "x" * 200_000: "larger than 100 kB",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str) -> None:
    with pytest.raises(ConvscopeError, match=WRONG[text]):
        parsed(text)


def test_other_encodings_and_unknown_names_are_refused() -> None:
    with pytest.raises(ConvscopeError, match="no TOML in UTF-8"):
        lectures.parse('title = "ü"'.encode("latin-1"), "own", PAGES, "own.toml")
    for name in ("../lectures/report-0", "report-9", "", "x" * 5000):
        with pytest.raises(ConvscopeError, match="There is no lecture"):
            lectures.load(name, PAGES)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.with_name("nothing"))])
def test_what_cannot_be_read_is_one_sentence(make: Callable[[Path], None], tmp_path: Path, use_folders: Any) -> None:
    use_folders(lectures=tmp_path)
    make(tmp_path / "new.toml")
    assert lectures.names() == ["new"]
    with pytest.raises(ConvscopeError, match=r"^new\.toml cannot be read \(.+\): .*\.$"):
        lectures.load("new", PAGES)


def test_a_layer_has_settled_after_the_first_epoch_from_which_on_it_stays_similar() -> None:
    trained, test = checkpoints.load("lenet"), data.bundled("test")
    index = int(np.flatnonzero(test.labels == test.classes.index("horse"))[0])
    image = data.prepare(test.images[index : index + 1], 32, trained.card.mean, trained.card.std)
    first, last = (one.features[:2](image).flatten() for one in (checkpoints.untrained("lenet").model, trained.model))
    assert torch.cosine_similarity(first, last, dim=0) < 0.9  # so it is an epoch, or the end
    said = figures.fill("{settled.lenet.conv1_relu.horse}")
    epoch = int(re.fullmatch(r"after epoch (\d+)", said)[1])
    for later in [one for one in states.epochs("lenet") if one >= epoch]:
        model = states.load("lenet", later).model
        assert torch.cosine_similarity(model.features[:2](image).flatten(), last, dim=0) >= 0.9
