"""The code that pages give away: it is run, and what it computes is what the page shows."""

import ast
import io
import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine import checkpoints, pictures, probes, reports, settings, weights
from engine.accuracy.figures import wilson
from engine.training import images_per_class
from engine.views import View
from engine.weights import Weights
from pages.accuracy import subject
from pages.common import ascents, code, resources
from pages.common import charts as page_charts
from pages.common.resources import OWN
from pages.evidence import jobs as evidence_jobs
from pages.evidence import sanity_check
from pages.feature_maps import jobs as map_jobs
from pages.feature_maps import over_training
from pages.inversion import jobs as inversion_jobs
from pages.network import jobs as network_jobs
from pages.network import svg
from tests.apps import assert_no_error, open_page

LENET = {"checkpoint": "lenet"}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], bytes]]:
    """What the page's menu would save, by file name."""
    offered: dict[str, Callable[[], bytes]] = {}
    button = st.download_button

    def note(label: str, data: Callable[[], bytes], file_name: str, *rest: Any, **settings: Any) -> bool:
        offered[file_name] = data
        return button(label, data, file_name, *rest, **settings)

    monkeypatch.setattr(st, "download_button", note)
    return offered


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[AppTest | str], dict[str, Any]]:
    """Runs a page's code in an empty folder; gives its variables."""
    monkeypatch.chdir(tmp_path)

    def run(page: AppTest | str) -> dict[str, Any]:
        if isinstance(page, AppTest):
            assert_no_error(page)
            [page] = [block.value for block in page.code]
        (tmp_path / "code.py").write_text(page, encoding="utf-8")
        return runpy.run_path("code.py")

    return run


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def assert_same(picture: np.ndarray, png: bytes) -> None:
    np.testing.assert_array_equal(pixels(pictures.png(picture)), pixels(png))


RECONSTRUCTIONS = {
    "layers": LENET,
    "a channel of one layer": LENET | {"layer": "conv2_relu", "signal": "one channel", "channel": "5"},
    "a chosen unit": LENET | {"signal": "one channel", "unit": "chosen unit", "row": "2", "column": "3"},
    "a chosen unit of each of the strongest channels": LENET
    | {"layer": "conv2_relu", "signal": "top 9", "unit": "chosen unit", "row": "2", "column": "3"},
    "nine channels, gradient": LENET
    | {"signal": "top 9", "unit": "whole map", "rule": "gradient", "compare": "nothing"},
    "a class": LENET | {"signal": "class", "logit": "cat", "compare": "ReLU rules"},
    "training": LENET | {"compare": "training", "weights": "trained"},
    "two images": LENET | {"compare": "images", "images": "photographs", "photograph": "coffee"},
    "switches": LENET | {"compare": "switches", "images": "train", "number": "7"},
    "batch norm off, weights doubled, along the shortcuts": {
        "checkpoint": "resnet18_strided",
        "layer": "conv2_x",
        "bn": "false",
        "weight_scale": "2",
        "path": "shortcut",
    },
}


@pytest.mark.parametrize("link", RECONSTRUCTIONS.values(), ids=RECONSTRUCTIONS)
def test_the_code_of_a_reconstruction_computes_its_pictures(link: dict, files: dict, run: Callable) -> None:
    computed = run(open_page("reconstruction/page.py", **link))
    assert_same(computed["picture"], files["reconstruction.png"]())
    assert pixels(Path("reconstruction.png").read_bytes()).size


MAPS = {
    "conv2_relu-maps.png": {"order": "strongest first", "brightness": "each its own", "layer": "conv2_relu"},
    "conv1_relu-patches.png": {"tiles": "patches in the image", "layer": "conv1_relu"},
    "conv3_relu-patches.png": {"tiles": "patches in the image", "layer": "conv3_relu"},
    "every-layer.png": {"view": "every layer"},
}


@pytest.mark.parametrize(("name", "link"), MAPS.items(), ids=MAPS)
def test_the_code_of_feature_maps_computes_the_sheet(name: str, link: dict, files: dict, run: Callable) -> None:
    computed = run(open_page("feature_maps/page.py", **LENET, **link))
    assert_same(computed["picture"], files[name]())


def test_the_code_of_the_sheet_of_stages_computes_it(files: dict, run: Callable) -> None:
    computed = run(open_page("feature_maps/page.py", checkpoint="transfer", view="every layer"))
    assert len(computed["maps"]) == 9  # of 89 layers, for which no screen has room
    assert_same(computed["picture"], files["every-layer.png"]())


def test_the_code_of_many_maps_computes_the_sheet(files: dict, run: Callable) -> None:
    app = open_page("feature_maps/page.py", **LENET, view="many maps", layer="conv2_relu", seed="5")
    for job in map_jobs._playing().all():
        job.wait(60)
    assert_same(run(app.run())["picture"], files["conv2_relu-many-maps.png"]())


def test_the_code_of_two_images_computes_both_sheets(files: dict, run: Callable) -> None:
    sheets = run(open_page("feature_maps/page.py", **LENET, view="two images", layer="conv2_relu"))["sheets"]
    saved = [file() for name, file in files.items() if re.fullmatch(r"conv2_relu-maps-test-\d+\.png", name)]
    assert len(saved) == 2
    for sheet, png in zip(sheets, saved, strict=True):
        assert_same(sheet, png)


@pytest.mark.parametrize("view", ["one layer", "layers in a row"])
def test_the_code_of_an_inversion_computes_its_pictures(view: str, files: dict, run: Callable) -> None:
    link = LENET | {"steps": "50", "view": view, "prior": "none", "layer": "conv1_relu"}
    app = open_page("inversion/page.py", **link)
    app.button(key="inversion_start").click().run()
    for job in inversion_jobs._inversions().all():
        job.wait(60)
    app.run()
    computed = run(app)["picture"]
    shown = pixels(files["inversion.png"]()).astype(int)
    np.testing.assert_allclose(pixels(pictures.png(computed)), shown, atol=3)


def test_the_code_of_a_maximisation_computes_its_pictures(files: dict, run: Callable) -> None:
    link = LENET | {"view": "one channel", "layer": "conv1_relu", "steps": "64", "preset": "pixels", "seed": "3"}
    app = open_page("maximization/page.py", **link)
    app.button(key="ascent_start").click().run()
    for job in ascents._ascents().all():
        job.wait(60)
    app.run()
    np.testing.assert_allclose(
        pixels(pictures.png(run(app)["picture"])), pixels(files["maximization.png"]()).astype(int), atol=3
    )


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ({"epoch": "0", "brightness": "all together"}, "lenet-filters.png"),
        ({"weights": "untrained"}, "lenet-filters.png"),
        ({"view": "deeper layers", "convolution": "features.6", "channel": "9"}, "lenet-features.6-9.png"),
    ],
)
def test_the_code_of_filters_computes_the_sheet(link: dict, name: str, files: dict, run: Callable) -> None:
    assert_same(run(open_page("filters/page.py", **LENET, **link))["picture"], files[name]())


def test_the_code_of_filters_in_training_saves_a_sheet_for_each_moment(files: dict, run: Callable) -> None:
    run(open_page("filters/page.py", **LENET, view="before and after training"))
    saved = {name: file for name, file in files.items() if re.fullmatch(r"lenet-filters-epoch-\d+\.png", name)}
    assert len(saved) == 3
    for name, file in saved.items():
        np.testing.assert_array_equal(pixels(Path(name.removeprefix("lenet-")).read_bytes()), pixels(file()))


def table(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content))


def test_the_code_of_the_layer_table_counts_the_same(files: dict, run: Callable) -> None:
    computed = run(open_page("network/page.py", **LENET, size="64"))
    rows, saved = computed["network"].stages(computed["table"]), table(files["lenet-64px-layers.csv"]())
    assert [row.name for row in rows] == saved["part"].tolist()
    assert [row.parameters for row in rows] == saved["parameters"].tolist()
    assert [row.multiply_adds for row in rows] == saved["multiply_adds"].tolist()


def test_the_code_of_the_diagram_has_its_boxes(files: dict, run: Callable) -> None:
    computed = run(open_page("network/page.py", **LENET, view="diagram"))
    drawn = files["lenet-32px.svg"]().decode()
    assert all(box.shape in drawn for box in computed["drawn"].boxes)


def test_the_code_of_one_convolution_adds_up_to_the_same(run: Callable) -> None:
    app = open_page("network/page.py", **LENET, view="one convolution", channel="4", row="9", column="11")
    total = f"{run(app)['step'].total:.3f}".replace("-", "−")
    assert any(text.value.endswith(f"**{total}**") for text in app.markdown)


def test_the_code_of_one_deconvnet_layer_adds_up_to_the_same(run: Callable) -> None:
    link = {"view": "one deconvnet layer", "layer": "conv3", "reverse": "filtered"}
    app = open_page("network/page.py", **LENET, **link, channel="4", row="3", column="2")
    total = svg.short(run(app)["found"].total, 3)
    assert any(text.value.endswith(f"maps = **{total}**") for text in app.markdown)


def test_the_code_of_receptive_fields_says_the_same(run: Callable, capsys: Any) -> None:
    app = open_page("network/page.py", **LENET, view="receptive fields", layer="conv3_relu")
    for job in network_jobs._measurements().all():
        job.wait(60)
    run(app.run())
    assert app.info[0].value in capsys.readouterr().out.splitlines()


def test_the_code_of_the_classes_has_their_figures(files: dict, run: Callable) -> None:
    computed = run(open_page("accuracy/page.py", **LENET))
    figures, saved = computed["figures"].class_figures(computed["confusion"]), table(files["lenet-classes.csv"]())
    np.testing.assert_allclose([one.recall.low for one in figures], saved["low"])
    np.testing.assert_allclose([one.f1 for one in figures], saved["F1"])


def test_the_code_of_a_reports_confusion_has_its_counts(files: dict, run: Callable) -> None:
    name = next(test.name for test in reports.TESTS if test.confusion is not None)
    computed = run(open_page("accuracy/page.py", **LENET, view="Confusion", of=name))["confusion"]
    saved = table(files[f"{name}-confusion.csv"]()).drop(columns="true class")
    np.testing.assert_array_equal(computed, saved)


def test_the_code_of_the_mistakes_shows_the_same_images(files: dict, run: Callable) -> None:
    computed = run(open_page("accuracy/page.py", **LENET, view="Mistakes"))
    assert_same(computed["picture"], files["lenet-most-confident-mistakes.png"]())


def test_the_code_of_two_networks_has_the_page_s_sentence(files: dict, run: Callable, capsys: Any) -> None:
    app = open_page("accuracy/page.py", **LENET, view="Two networks", against="model_two")
    computed = run(app)
    assert f"**{capsys.readouterr().out.splitlines()[0]}**" in [text.value for text in app.markdown]
    saved = table(files["lenet-less-model_two.csv"]()).drop(columns="true class")
    difference = computed["comparison"].confusion_difference(computed["first"], computed["second"])
    np.testing.assert_allclose(difference, saved)


def test_the_code_of_confidence_has_the_points_of_the_chart(files: dict, run: Callable) -> None:
    computed = run(open_page("accuracy/page.py", **LENET, view="Confidence"))
    bins = computed["calibration"].reliability(computed["after"])
    saved = table(files["lenet-reliability.csv"]()).query("when == 'after'")
    np.testing.assert_allclose([one.accuracy.value for one in bins], saved["accuracy"])


def test_the_code_of_all_networks_has_their_figures(
    files: dict, run: Callable, capsys: Any, tmp_path: Path, use_folders: Callable
) -> None:
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "checkpoints" / "lenet")
    use_folders(checkpoints=tmp_path / "checkpoints", experiments=tmp_path / "none")
    subject.candidates.clear()
    run(open_page("accuracy/page.py", **LENET, view="All networks"))
    subject.candidates.clear()
    names = [line.partition(" Share(")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == table(files["networks.csv"]())["network"].tolist()


def test_the_code_of_a_live_run_has_its_accuracy(run: Callable) -> None:
    app = open_page("accuracy/page.py", **LENET, view="Live")
    app.session_state["_live_perturbed"].wait(60)
    app.run()
    computed = run(app)
    shown = next(metric.value for metric in app.metric if metric.label == "Accuracy")
    assert shown == f"{computed['predictions'].correct.mean():.1%}".replace("%", " %")


EVIDENCE = (
    ("occlusion.png", {"square": "8", "stride": "8", "fill": "grey", "brightness": "each its own"}),
    ("evidence.png", {"view": "methods", "drawn": "picture", "logit": "dog"}),
    ("evidence.png", {"view": "methods", "compare": "images", "class2": "ship", "number2": "2"}),
    ("sanity.png", {"view": "sanity check", "layer": "conv2_relu", "seed": "3"}),
    ("adversarial.png", {"view": "adversarial", "epsilon": "8", "attack": "10 steps (PGD)", "toward": "cat"}),
)


def finished(page: AppTest) -> AppTest:
    """The page once its jobs are done."""
    for jobs in (evidence_jobs._occlusions(), evidence_jobs._checks(), evidence_jobs._movings()):
        for job in jobs.all():
            job.wait(60)
    return page.run()


@pytest.mark.parametrize(("name", "link"), EVIDENCE)
def test_the_code_of_evidence_computes_its_pictures(name: str, link: dict, files: dict, run: Callable) -> None:
    computed = run(finished(open_page("evidence/page.py", **LENET, **link)))
    shown = files[name]
    assert_same(computed["picture"], shown() if callable(shown) else shown)


@pytest.mark.parametrize(
    ("page", "name", "link"),
    [
        ("evidence", "sanity.png", {"view": "sanity check", "layer": "conv2_relu"}),
        ("inversion", "inversion.png", {"view": "layers in a row"}),
    ],
)
def test_saved_names_of_pictures_can_be_read_on_white(
    page: str, name: str, link: dict, files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (page_charts, sanity_check):
        monkeypatch.setattr(module, "ink", lambda: "white")  # as on a dark page
    app = finished(open_page(f"{page}/page.py", **LENET, **link))
    for job in inversion_jobs._inversions().all():
        job.wait(60)
    app.run()
    above = pixels(files[name]())[:40]  # the names of the columns
    assert (above[..., 3] > 200).any()
    assert above[above[..., 3] > 0][:, :3].max() < 50


def test_the_code_of_moved_images_has_the_curves_numbers(files: dict, run: Callable) -> None:
    computed = run(finished(open_page("evidence/page.py", **LENET, view="invariance", kind="rotate")))
    saved = table(files["invariance.csv"]()).query("what == 'probability'")
    np.testing.assert_allclose(computed["values"], saved["value"][: len(computed["values"])], rtol=1e-5)


def test_the_code_of_a_lesion_has_its_predictions(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_jobs, "EXAMINED", 3)
    evidence_jobs._operations.clear()
    page = open_page("evidence/page.py", **LENET, view="lesions", layer="conv1_relu", count="4")
    job = evidence_jobs.operation_on(Weights.of(checkpoints.load("lenet").card), "conv1_relu")
    job.wait(60)
    evidence_jobs._operations.clear()
    _, without = job.found.values()
    np.testing.assert_allclose(run(page)["predictions"].logits, without.logits, atol=1e-5)


def test_the_code_of_learning_curves_has_the_chart_s_numbers(files: dict, run: Callable) -> None:
    link = {"curves": "lenet", "smoothing": "strong", "measured_on": "validation"}
    app = open_page("learning_curves/page.py", **link)
    computed = run(app)
    smoothed = computed["curves"].smoothed_by_size(computed["table"], "val_loss", 0.9)
    np.testing.assert_allclose(smoothed, table(files["learning-curves-loss.csv"]())["shown"])


def test_the_code_of_images_per_class_has_the_chart_s_points(
    files: dict, run: Callable, tmp_path: Path, use_folders: Callable[..., None]
) -> None:
    use_folders(experiments=tmp_path)
    images_per_class.write({images_per_class.Run("linear", 10, seed): wilson(40 + seed, 100) for seed in (1, 2)})
    computed = run(open_page("learning_curves/page.py", comparison="images"))
    [drawn] = table(files["images-per-class.csv"]()).to_dict("records")
    [point] = computed["points"]
    assert asdict(point) == drawn


def test_the_code_of_the_training_form_writes_its_recipe(files: dict, run: Callable) -> None:
    run(open_page("train/page.py"))
    [name] = [name for name in files if name.endswith(".toml")]
    assert Path(name).read_bytes() == files[name]()


def test_the_code_of_probes_reaches_the_same(run: Callable, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page("evidence/page.py", **LENET, view="probes")
    monkeypatch.setattr(probes, "PER_CLASS", 4)
    *_, found = probes.probe_in_steps(checkpoints.load("lenet"))
    run(page)
    assert capsys.readouterr().out.splitlines()[-1] == probes.in_words(found)


def test_the_code_of_batches_says_what_the_page_says(
    run: Callable, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SIZES": (2, 4), "STEPS": 1, "DRAWS": 2}.items():
        monkeypatch.setattr(network_jobs, name, value)
    network_jobs._batches.clear()
    link = {"checkpoint": "model_two", "view": "batch norm"}
    app = open_page("network/page.py", **link)
    for job in network_jobs._batches().all():
        job.wait(60)
    assert "in batches of 2" in app.run().info[0].value
    [lines] = [block.value for block in app.code]
    run(lines.replace("seed=0", "seed=0, sizes=(2, 4), steps=1, draws=2"))
    assert app.info[0].value == capsys.readouterr().out.splitlines()[-1]


def test_names_from_outside_are_only_ever_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    name = 'a\'); import os; print(os)\n"""\u2028#\\.png'
    monkeypatch.setitem(st.session_state, "_own_pictures", {7: (name, None)})
    view = View(Weights(name, name, ""), name, OWN, 7, 32)
    lines = [code.load(view.network), f"image = {code.image(view)}", code.record(view)]
    tree = ast.parse(code.script(*lines))
    assert [type(statement) for statement in tree.body] == [ast.ImportFrom] * 3 + [ast.Assign] * 3
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert strings.count(name) == 5


def test_the_code_of_a_map_over_training_computes_its_moments(run: Callable) -> None:
    link = {"layer": "conv1_relu", "view": "over training", "channel": "5"}
    columns = run(open_page("feature_maps/page.py", **LENET, **link))["columns"]
    moments, first = weights.moments("lenet"), int(resources.indices_by_class("test")[0][0])
    assert [column.heads for column in columns] == [(moment,) for moment in moments]
    for column, moment in zip(columns, moments, strict=True):
        view = View(weights.find("lenet", moment), "conv1_relu", "test", first, 32)
        shown = over_training.moment_of(view, 5, True, False).pictures
        assert list(shown) == list(column.pictures) == ["kernel", "map", "reconstruction"]
        assert all(np.array_equal(shown[row], column.pictures[row]) for row in shown)
