"""The Learning curves page: links restore its views, its figures are the histories', and bad input is a sentence."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine import checkpoints, pictures
from engine.accuracy.figures import wilson
from engine.training import curves, histories, images_per_class, verdicts
from engine.training.records import to_csv
from engine.training.run import RunFolder
from pages.common import downloads
from pages.common.charts import OKABE_ITO, letters_in, short_names
from pages.learning_curves import charts, on_paper
from pages.learning_curves.charts import TRAINING, VALIDATION, Style
from tests.apps import ROOT, assert_no_error, open_page

PAGE = "learning_curves/page.py"
PLAIN = Style(time=False, images=(TRAINING, VALIDATION), log=False, weight=0.0, reports=True)


@pytest.fixture(autouse=True)
def _on_its_own():
    """Fresh caches."""
    st.cache_data.clear()
    st.cache_resource.clear()


def opened(**link: str | list[str]) -> AppTest:
    """The page alone, opened by a link; the app around it, which turns errors into sentences, is tested elsewhere."""
    app = AppTest.from_file(str(ROOT / "pages" / PAGE), default_timeout=120)
    for key, value in link.items():
        app.query_params[key] = value
    return app.run()


def table() -> pd.DataFrame:
    epochs = np.arange(1, 13)
    loss = 0.6 + 0.01 * (epochs - 5) ** 2
    return pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": np.exp(-epochs / 6),
            "train_accuracy": 0.5 + epochs / 40,
            "val_loss": loss,
            "val_accuracy": 0.5 + 0.01 * np.minimum(epochs, 9),
            "batch_loss": loss,
            "learning_rate": 0.1,
            "optimizer": "sgd",
            "pixels": 32,
            "seconds": 10.0,
        }
    )


@pytest.fixture
def arms(tmp_path: Path, use_folders) -> Path:
    """Three runs of which two are arms of the group "trial", and nothing else; gives their folder."""
    use_folders(**{source: tmp_path / source for source in histories.SOURCES})
    for name, group, seed in (("one", "trial", 1), ("two", "trial", 2), ("alone", "", 1)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        recipe = {"name": "mine", "architecture": "lenet", "input_size": 32, "group": group, "seed": seed}
        (folder / "recipe.json").write_text(json.dumps({**recipe, "phases": [{"epochs": 12, "learning_rate": 0.1}]}))
        table().to_csv(folder / "history.csv", index=False)
    return tmp_path / "runs"


def text(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption])


def specs(app: AppTest) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]


def test_it_opens_with_figures_of_the_cards():
    app = open_page(PAGE)
    assert_no_error(app)
    assert not app.warning
    shown = app.table[0].value
    card = checkpoints.available()["lenet"]
    assert list(shown.index) == ["LeNet", "ResNet-18"]
    assert shown.loc["LeNet", "test"] == f"{100 * card.test_accuracy:.1f} %"
    assert shown.loc["LeNet", "test loss"] == f"{card.test_loss:.3f}"
    assert len(specs(app)) == 2
    for one in (histories.read(histories.find()[key]) for key in ("lenet", "resnet18")):
        assert verdicts.verdict(one.table).sentence in text(app)


def test_a_link_restores_the_view(arms):
    link = {
        "curves": ["runs/alone", "runs/two"],
        "axis": "time",
        "measured_on": "validation",
        "loss_scale": "log",
        "smoothing": "strong",
        "reports": "false",
    }
    app = opened(**link)
    assert_no_error(app)
    assert not app.warning
    assert app.multiselect(key="curves").value == ["runs/alone", "runs/two"]
    assert list(app.table[0].value.index) == ["run alone", "run two"]
    loss = json.dumps(specs(app)[0])
    assert '"type": "log"' in loss
    assert '"title": "seconds"' in loss
    assert "report 4" not in json.dumps(specs(app))
    numbers = b"".join(part.data.data for part in app.get("vega_lite_chart")[0].proto.datasets)
    assert VALIDATION.encode() in numbers
    assert TRAINING.encode() not in numbers


def test_the_table_shows_the_best_epochs_and_the_figures_there(arms):
    row = opened(curves="runs/alone").table[0].value.loc["run alone"]
    kept = table().set_index("epoch").loc[9]
    assert (row["best by loss"], row["best by accuracy"], row["epochs"]) == ("epoch 5", "epoch 9", "12")
    assert row["validation loss"] == f"{kept['val_loss']:.3f}"
    assert row["gap"] == f"{kept['val_loss'] - kept['train_loss']:.3f}"
    assert row["validation"] == f"{100 * kept['val_accuracy']:.1f} %"
    assert (row["test"], row["test loss"]) == ("", "")


def test_the_verdict_is_computed(arms):
    assert "Overfitting since epoch 5" in text(opened(curves="runs/alone"))


def test_a_comparison_says_what_budget_its_arms_had(arms):
    app = opened(comparison="trial")
    assert_no_error(app)
    assert sorted(app.table[0].value.index) == ["run one", "run two"]
    assert not app.multiselect
    assert "differ in seed (seed 1, seed 2)" in text(app)
    assert "They share 12 epochs, CIFAR-10's 45,000 training images, 32 px." in text(app)


def test_how_many_images_it_takes_is_shown_where_it_was_measured(arms):
    known = {
        images_per_class.Run(method, images, 1): wilson(hits, 100)
        for method, images, hits in (("scratch", 10, 20), ("linear", 10, 70), ("scratch", 300, 80))
    }
    images_per_class.write(known)
    app = opened(comparison="images")
    assert_no_error(app)
    assert not app.warning
    assert app.button_group[0].options == ["my choice", "trial", "images"]
    [spec] = specs(app)
    x = spec["layer"][0]["encoding"]["x"]
    assert (x["scale"]["type"], x["axis"]["values"]) == ("log", [10, 300])
    [said] = app.info
    assert said.value == images_per_class.in_words(images_per_class.points(known))
    shown, low, high = app.table[0].value, 100 * wilson(70, 100).low, 100 * wilson(70, 100).high
    assert shown.loc["10", "linear"] == f"70.0 % ({low:.1f} to {high:.1f} %)"
    assert shown.loc["300", "linear"] == "not measured"
    assert f"{len(images_per_class.planned()) - 3} runs have not been measured yet" in text(app)


def test_ready_made_comparisons_are_offered_where_their_arms_are(arms):
    assert opened().button_group[0].options == ["my choice", "trial"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("comparison", "moon", "The link asks for comparison 'moon'"),
        ("curves", "runs/none", "There is no learning curve 'runs/none' here"),
        ("axis", "weeks", "The link asks for axis 'weeks'"),
        ("measured_on", "all", "The link asks for measured_on 'all'"),
        ("loss_scale", "cubic", "The link asks for loss_scale 'cubic'"),
        ("smoothing", "2", "The link asks for smoothing '2'"),
        ("reports", "maybe", "The link asks for reports 'maybe'"),
    ],
)
def test_a_bad_link_is_named_and_something_else_is_shown(arms, key, value, said):
    app = opened(**{key: value})
    assert_no_error(app)
    assert any(warning.value.startswith(said) for warning in app.warning)
    assert len(specs(app)) == 2


def test_a_damaged_history_is_one_sentence_and_the_others_are_shown(arms):
    (arms / "two" / "history.csv").write_text("epoch\n1\n")
    app = opened(curves=["runs/one", "runs/two"])
    assert not app.exception
    assert [error.value.startswith("The learning curve in runs/two/history.csv") for error in app.error] == [True]
    assert list(app.table[0].value.index) == ["run one"]
    assert not opened(comparison="trial").exception


@pytest.mark.parametrize("content", ["epoch\n1\n", to_csv([])])
def test_a_worksheet_loses_no_curve_to_another_one_that_cannot_be_read(arms, content):
    charts_of = ["Learning curves: loss", "Learning curves: accuracy"]
    (arms / "two" / "history.csv").write_text(content)
    assert [words for words, _ in on_paper.charts_of({"curves": ["runs/one", "runs/alone"]})] == charts_of
    (reason, nothing), *drawn = on_paper.charts_of({"curves": ["runs/one", "runs/two"]})
    assert reason.startswith("The learning curve in runs/two/history.csv")
    assert nothing == ""
    assert [words for words, _ in drawn] == charts_of
    assert {curve for _, chart in drawn for part in values_of(chart) for curve in part["curve"]} == {"run one"}


def test_a_worksheet_has_the_curves_of_the_page(arms):
    for link in ({}, {"curves": "runs/one"}, {"comparison": "trial"}):
        shown = list(opened(**link).table[0].value.index)
        drawn = [chart for _, chart in on_paper.charts_of({key: [value] for key, value in link.items()})]
        numbers = [set(part["curve"]) for chart in drawn for part in values_of(chart)]
        assert set.union(*numbers) == set(shown)


def values_of(chart: alt.TopLevelMixin) -> list[pd.DataFrame]:
    """The numbers of a chart that have curves."""
    frames = map(pd.DataFrame, chart.to_dict()["datasets"].values())
    return [frame for frame in frames if "curve" in frame]


def test_a_run_that_disappears_is_left_out(arms):
    app = opened(curves=["runs/one", "runs/two"])
    (arms / "two" / "history.csv").unlink()
    assert_no_error(app.run())
    assert list(app.table[0].value.index) == ["run one"]


def test_a_growing_history_is_read_again(arms):
    app = opened(curves="runs/one")
    longer = pd.concat([table(), table().tail(1).assign(epoch=13)])
    longer.to_csv(arms / "one" / "history.csv", index=False)
    assert app.run().table[0].value.loc["run one", "epochs"] == "13"


def test_a_training_that_goes_on_is_shown(arms, monkeypatch):
    monkeypatch.setattr(RunFolder, "alive", True)
    app = opened(curves="runs/one")
    assert_no_error(app)
    assert list(app.table[0].value.index) == ["run one"]


def test_a_loss_that_is_no_number_does_no_harm(arms):
    table().assign(val_loss=math.nan, train_loss=math.inf, val_accuracy=math.nan).to_csv(
        arms / "one" / "history.csv", index=False
    )
    for scale in ("linear", "log"):
        app = opened(curves="runs/one", loss_scale=scale)
        assert_no_error(app)
        assert "a loss is not a number" in text(app)
        assert app.table[0].value.loc["run one", "best by loss"] == "none"


def test_without_any_curve_it_says_so(arms, tmp_path, use_folders):
    app = opened(curves="")
    assert [info.value for info in app.info] == ["Choose at least one curve."]
    use_folders(**dict.fromkeys(histories.SOURCES, tmp_path / "nowhere"))
    assert any(error.value.startswith("There is no learning curve yet") for error in open_page(PAGE).error)


# Charts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_charts_can_be_saved(arms, metric):
    chosen = [histories.read(place) for place in histories.find().values()]
    svg = downloads.file_of(charts.chart(chosen, metric, PLAIN), "svg").decode()
    assert all(name in svg for name in charts.labels(chosen).values())
    assert ("report 4: 71.5 %" in svg) == (metric == "accuracy")


@pytest.mark.parametrize("ink", ["black", "white"])
def test_names_are_written_in_legible_shades_of_their_curves(ink):
    chosen = [histories.read(histories.find()[key]) for key in ("lenet", "model_one")]
    svg = downloads.file_of(charts.chart(chosen, "accuracy", PLAIN, ink), "svg").decode()
    names = list(charts.labels(chosen).values())
    fills = [re.search(rf'<text[^>]* fill="([^"]+)"[^>]*>{name}</text>', svg)[1] for name in names]
    assert fills == [letters_in(colour, ink) for colour in OKABE_ITO[:2]]
    assert f'stroke="{OKABE_ITO[1]}"' in svg


LONG = "lenet_with_batch_norm_and_dropout_30_sgd_0.1_seed_{}_group_b7"


def test_long_names_leave_the_width_to_the_curves(arms):
    for number in (41, 42):
        shutil.copytree(arms / "one", arms.parent / "checkpoints" / LONG.format(number))
    chosen = [histories.read(place) for place in histories.find().values() if place.source == "checkpoints"]
    whole = list(charts.labels(chosen).values())
    drawing = charts.chart(chosen, "accuracy", PLAIN).to_dict()
    margin = [row for rows in drawing["datasets"].values() for row in rows if "phone" in row and row["bold"]]
    assert [row["words"] for row in margin] == whole
    for place, letters in (("screen", charts.IN_MARGIN), ("phone", charts.IN_NARROW_MARGIN)):
        shown = [row[place] for row in margin]
        assert len(set(shown)) == 2
        assert all(0 < len(name) <= letters for name in shown)
    texts = [layer for layer in drawing["layer"] if layer["mark"]["type"] == "text"]
    assert all(layer["encoding"]["tooltip"]["field"] == "words" for layer in texts)
    assert all("datum.screen" in layer["mark"]["text"]["expr"] for layer in texts)
    assert all(name in downloads.file_of(drawing, "svg").decode() for name in whole)


@pytest.mark.parametrize("letters", [5, 11, 20])
def test_short_names_can_be_told_apart(letters):
    names = ["lenet", "report4 model one", "report4 model two", "report2 adam", "a" * 60, "a" * 61, "  ".join("_" * 20)]
    names += [LONG.format(number) for number in range(3)]
    short = short_names(names, letters)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(words) <= max(letters, 6) for words in short.values())
    assert short["lenet"] == "lenet"


def test_a_short_name_keeps_its_start_and_its_last_words():
    names = ["report4 model one", "report4 model two"]
    assert list(short_names(names, 11).values()) == ["report4…one", "report4…two"]
    names = [LONG.format(number) for number in (41, 42)]
    assert list(short_names(names, 20).values()) == ["lenet_wi…41_group_b7", "lenet_wi…42_group_b7"]


def test_a_report_that_measured_on_validation_images_is_told_from_one_that_tested():
    resnet, lenet = (histories.read(histories.find()[key]) for key in ("resnet18", "lenet"))
    svg = downloads.file_of(charts.chart([resnet], "accuracy", PLAIN), "svg").decode()
    assert "report 0: 83.0 %" in svg
    assert "report 1*: 81.9 %" in svg
    assert "validation images" in charts.meaning_of_mark([lenet, resnet], PLAIN)
    assert charts.meaning_of_mark([lenet], PLAIN) == ""
    assert charts.meaning_of_mark([resnet], replace(PLAIN, reports=False)) == ""
    assert "An asterisk marks" in text(opened(curves="resnet18"))


def test_a_report_of_several_curves_network_has_the_colour_of_none():
    def colours(*keys: str) -> dict[str, str]:
        chosen = [histories.read(histories.find()[key]) for key in keys]
        drawn = charts.chart(chosen, "accuracy", PLAIN).to_dict()
        rule = next(layer for layer in drawn["layer"] if layer["mark"].get("strokeDash") == [14, 6])
        scale = rule["encoding"]["color"]["scale"]
        of_curve = dict(zip(scale["domain"], scale["range"], strict=True))
        return {row["words"]: of_curve[row["owner"]] for row in drawn["datasets"][rule["data"]["name"]]}

    assert colours("experiments/optimizer_adam", "experiments/optimizer_sgd") == {"report 2: 71.1 %": pictures.INK}
    assert colours("lenet", "model_one") == {"report 4: 71.5 %": OKABE_ITO[0], "report 4: 77.9 %": OKABE_ITO[1]}


def test_names_stand_nearer_to_their_curves_the_more_lines_have_room():
    chosen = [histories.read(histories.find()[key]) for key in ("lenet", "model_one", "model_two", "resnet18")]
    drawn = charts.chart(chosen, "accuracy", PLAIN).to_dict()
    texts = [layer for layer in drawn["layer"] if "windowSize" in str(layer["mark"].get("text"))]
    names = pd.DataFrame(drawn["datasets"][texts[0]["data"]["name"]])
    away = [(names[f"of_{lines}"] - names["value"]).abs().max() for lines in charts.LINES]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.6 * away[0]
    assert all(f"datum.of_{lines}" in texts[0]["transform"][0]["calculate"] for lines in charts.LINES)


def test_the_table_says_how_many_training_images_are_measured(arms):
    assert "training figures on at most 5,000 training images" in text(opened(curves="runs/alone"))


def test_two_trainings_of_one_name_stay_apart(arms):
    shutil.copytree(arms / "one", arms.parent / "experiments" / "mine")
    shutil.copytree(arms / "one", arms.parent / "checkpoints" / "mine")
    chosen = [histories.read(place) for key, place in histories.find().items() if key.endswith("mine")]
    assert list(charts.labels(chosen).values()) == ["mine (mine)", "mine (experiments/mine)"]
    assert charts.rows(chosen, "loss", PLAIN)["curve"].nunique() == 2


def test_arms_of_an_experiment_are_named_by_what_differs(arms):
    for name in ("ablation_base", "ablation_no_batch_norm"):
        shutil.copytree(arms / "one", arms.parent / "experiments" / name)
    chosen = [histories.read(place) for key, place in histories.find().items() if key.startswith("experiments")]
    assert list(charts.labels(chosen).values()) == ["base", "no batch norm"]
    assert list(charts.labels(chosen[:1]).values()) == ["ablation base"]
    assert list(opened(comparison="ablation").table[0].value.index) == ["base", "no batch norm"]


def test_rows_hold_the_table_by_epoch_and_by_time(arms):
    one = histories.read(histories.find()["runs/one"])
    by_epoch = charts.rows([one], "loss", PLAIN)
    validation = by_epoch[by_epoch["images"] == VALIDATION]
    np.testing.assert_array_equal(validation["measured"], table()["val_loss"])
    np.testing.assert_array_equal(validation["at"], table()["epoch"])
    by_time = charts.rows([one], "loss", Style(True, (VALIDATION,), False, 0.9, False))
    np.testing.assert_allclose(by_time["at"], 10.0 * table()["epoch"])
    np.testing.assert_allclose(by_time["shown"], curves.smoothed(table()["val_loss"].to_numpy(), 0.9))


@pytest.mark.parametrize(
    "places", [[0.5], [0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 0.99, 0.98], [0.2, 0.9, 0.25, 0.91], [0.5] * 7]
)
def test_labels_are_kept_apart_in_their_order(places):
    moved = charts.apart(places, 0.1)
    ordered = sorted(range(len(places)), key=lambda index: places[index])
    steps = np.diff([moved[index] for index in ordered])
    assert (steps >= 0.1 - 1e-6).all()
    assert min(moved) >= 0
    assert max(moved) <= 1


def test_labels_with_room_stay():
    assert charts.apart([0.9, 0.1, 0.5], 0.1) == [0.9, 0.1, 0.5]
