"""The Accuracy page without a browser: every view, what a click does, and bad links."""

import math
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import streamlit as st

from engine import checkpoints, reports, settings
from engine.accuracy import calibration, comparison, confusion
from engine.accuracy import images as accuracy_images
from engine.accuracy.figures import accuracy, class_figures, confusion_matrix
from engine.errors import ConvscopeError
from pages.accuracy import charts, classes, clicks, image_grid, mistakes, subject, two_networks
from pages.accuracy import confusion as confusion_view
from pages.common import downloads, resources
from tests.apps import assert_no_error, assert_pictures_have_words, open_page

VIEWS = ("Classes", "Confusion", "Mistakes", "Two networks", "All networks", "Confidence", "Live")


@pytest.fixture(autouse=True)
def _fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


def page(**link: str):
    return open_page("accuracy/page.py", **{"checkpoint": "lenet", **link})


def said(app) -> str:
    return "\n".join(element.value for element in (*app.markdown, *app.info, *app.caption))


def chart_rows(app, number: int) -> list[dict]:
    """The values that a sheet's chart was drawn from."""
    data = app.get("vega_lite_chart")[number].proto.data.data
    return pyarrow.ipc.open_stream(data).read_pandas().to_dict("records")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens(view: str) -> None:
    app = page(view=view)
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert not app.warning
    assert "What to look at" in said(app)
    assert app.get("vega_lite_chart") or view == "Live"  # whose chart waits for its first run


def test_the_figures_are_the_cards() -> None:
    card, share = checkpoints.available()["lenet"], accuracy(checkpoints.predictions("lenet").test)
    shown = re.search(
        r"Test accuracy of lenet: (.+) % of ([\d,]+) images .+ \(95 % interval (.+) % to (.+) %\)", said(page())
    )
    assert math.isclose(float(shown[1]), 100 * card.test_accuracy, abs_tol=0.051)
    assert shown[2] == f"{card.test_images:,}"
    assert (shown[3], shown[4]) == (f"{100 * share.low:.1f}", f"{100 * share.high:.1f}")


# Classes and cells ---------------------------------------------------------------------------------------------


def test_the_sidebars_class_shows_its_wrong_and_right_images() -> None:
    app = page(**{"class": "dog"})
    stored = checkpoints.predictions("lenet").test
    wrong = accuracy_images.of_class(stored, 5, correct=False)
    right = accuracy_images.of_class(stored, 5, correct=True)
    assert f"**{len(wrong)} images of dog are predicted as another class**" in said(app)
    assert [row["image"] for row in chart_rows(app, 1)] == wrong[: classes.WRONG].tolist()
    assert [row["image"] for row in chart_rows(app, 2)] == right[: classes.RIGHT].tolist()


def test_the_table_has_recall_precision_and_f1() -> None:
    (table,) = (element.value for element in page(figures="table").dataframe)
    figures = class_figures(confusion_matrix(checkpoints.predictions("lenet").test))
    assert list(table["recall"]) == [f"{100 * entry.recall.value:.1f} %" for entry in figures]
    assert list(table["F1"]) == [f"{100 * entry.f1:.1f} %" for entry in figures]
    assert list(table["images"]) == [1_000] * 10


def test_a_cell_shows_exactly_its_images() -> None:
    app = page(view="Confusion", predicted="dog", **{"class": "cat"})
    stored = checkpoints.predictions("lenet").test
    expected = np.flatnonzero((stored.labels == 3) & (stored.predicted == 5))
    assert f"**{len(expected):,} images of cat are predicted as dog**" in said(app)
    shown = [row["image"] for row in chart_rows(app, 1)]
    assert len(shown) == min(24, len(expected))
    assert set(shown) <= set(expected.tolist())
    assert [row["line0"] for row in chart_rows(app, 1)] == [f"{100 * stored.confidence[i]:.1f} %" for i in shown]


@pytest.mark.parametrize("cells", ["counts", "share of the row"])
@pytest.mark.parametrize("order", ["class order", "similar classes together"])
def test_every_way_to_draw_the_matrix_can_be_chosen(cells: str, order: str) -> None:
    assert_no_error(page(view="Confusion", cells=cells, order=order))


def test_the_order_of_similar_classes_is_found_once_for_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, ...]] = []
    order = confusion.similarity_order
    monkeypatch.setattr(confusion_view, "similarity_order", lambda of: found.append(order(of)) or found[-1])
    for predicted in ("dog", "deer"):
        app = page(view="Confusion", order="similar classes together", predicted=predicted, **{"class": "cat"})
        assert_no_error(app)
        assert f"images of cat are predicted as {predicted}" in said(app)
    assert len(found) == 1


@pytest.mark.parametrize("test", reports.TESTS[1:], ids=lambda test: test.name)
@pytest.mark.parametrize("view", VIEWS)
def test_a_reports_figures_are_shown_where_there_are_any(test, view: str) -> None:
    app = page(of=test.name, view=view)
    assert not app.exception
    if view in ("Classes", "Confusion"):
        assert f"{100 * test.overall.value:.1f} % of 1,800" in said(app)


# Clicks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["Classes", "Confusion", "Mistakes", "Two networks"])
def test_the_images_of_a_grid_can_be_chosen_without_pointing(view: str) -> None:
    app = page(view=view, **{"class": "cat"})
    box = next(box for box in app.selectbox if box.key.startswith("image-"))
    tiles = [row for row in chart_rows(app, 0 if view == "Mistakes" else 1) if "words" in row]
    assert box.options == [row["words"] for row in tiles]
    app = box.select_index(2).run()
    assert_no_error(app)
    index, test = tiles[2]["image"], resources.images("test")
    assert app.selectbox(key="class").value == test.classes[test.labels[index]]
    assert f"test image {index}" in said(app)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A session state to run callbacks on."""
    kept: dict = {}
    monkeypatch.setattr(st, "session_state", kept)
    return kept


def test_below_narrow_tiles_similar_classes_can_be_told_apart() -> None:
    grid = [image_grid.Tile(0, ("airplane", "→ automobile")), image_grid.Tile(1, ("automobile", "→ airplane"))]
    spec = image_grid.drawn(resources.images("test"), grid, -1, "black", image_grid.COLUMNS)
    words, shown = re.compile(r'font-size="(\d+)px"[^>]*>([^<]+)<'), {}
    for width in (346, 900):
        svg = downloads.file_of({**spec, "width": width, "background": "white"}, "svg").decode()
        shown[width] = words.findall(svg)
    assert {text for size, text in shown[900] if size == "16"} == {line for tile in grid for line in tile.lines}
    narrow = [text for size, text in shown[346] if size == "11"]
    assert len(set(narrow)) == 4
    assert all(len(text) >= 6 for text in narrow)


def test_a_click_on_a_tile_puts_that_image_into_the_sidebar(state: dict) -> None:
    state["sheet"] = {"selection": {"pick": [{"image": 6_877}]}}
    test = resources.images("test")
    clicks.hand_on("sheet", lambda point: clicks.select_image(test, point["image"]))
    assert state["images"] == "test"
    assert state["class"] == test.classes[test.labels[6_877]]
    assert np.flatnonzero(test.labels == test.labels[6_877])[state["number"]] == 6_877


def test_a_click_beside_the_tiles_changes_nothing(state: dict) -> None:
    state["sheet"] = {"selection": {"pick": []}}
    clicks.hand_on("sheet", lambda point: clicks.select_image(resources.images("test"), point["image"]))
    assert list(state) == ["sheet"]


def test_a_click_on_a_class_puts_it_into_the_sidebar(state: dict) -> None:
    state["bars"] = {"selection": {"pick": [{"class": "cat"}]}}
    clicks.hand_on("bars", partial(classes.select_class, subject.of_network("lenet")))
    assert (state["images"], state["class"], state["number"]) == ("test", "cat", 0)


def test_the_links_of_an_image_name_that_image() -> None:
    app = page(number="17", **{"class": "cat"})
    links = [link.proto for link in app.get("page_link")]
    assert [link.page for link in links] == ["feature_maps", "reconstruction", "inversion"]
    for link in links:
        assert link.query_string == "checkpoint=lenet&images=test&class=cat&number=17"


@pytest.mark.parametrize("index", [0, 1, 4_999, 9_999])
def test_every_test_image_has_a_place(index: int) -> None:
    place = clicks.link_to(resources.images("test"), index)
    test = resources.images("test")
    assert place["class"] == test.classes[test.labels[index]]
    assert np.flatnonzero(test.labels == test.labels[index])[int(place["number"])] == index


# Mistakes, pairs, confidence -----------------------------------------------------------------------------------


def test_known_wrong_labels_are_shown_and_marked() -> None:
    index = accuracy_images.KNOWN_WRONG_LABELS[0]
    app = page(view="Mistakes", answers="wrong label", **clicks.link_to(resources.images("test"), index))
    assert [row["image"] for row in chart_rows(app, 0)] == list(accuracy_images.KNOWN_WRONG_LABELS)
    assert app.warning[0].value.startswith("The label of this image is known to be wrong")


@pytest.mark.parametrize("answers", mistakes.KINDS[:4])
def test_answers_are_sorted_by_confidence(answers: str) -> None:
    app = page(view="Mistakes", answers=answers)
    stored = checkpoints.predictions("lenet").test
    shown = [row["image"] for row in chart_rows(app, 0)]
    assert all(stored.correct[shown] == answers.endswith("correct"))
    confidence = stored.confidence[stored.correct == answers.endswith("correct")]
    assert stored.confidence[shown[0]] == (confidence.max() if answers.startswith("most") else confidence.min())


@pytest.mark.parametrize(
    ("view", "caption"),
    [
        ("Classes", "Images of ship: first those that lenet predicts as another class, then correct ones"),
        ("Confusion", "Images of ship that lenet predicts as airplane"),
        ("Mistakes", "lenet: most confident mistakes"),
        ("Two networks", "Images on which lenet and resnet18 differ: only the first is right"),
    ],
)
def test_slides_of_images_have_words(view: str, caption: str, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = []
    monkeypatch.setattr(downloads, "picture", lambda heading, png, name, caption="": captions.append(caption))
    page(view=view, against="resnet18", **{"class": "ship"})
    assert caption in captions


def test_two_networks_are_compared_in_words() -> None:
    app = page(view="Two networks", against="resnet18")
    a, b = (checkpoints.predictions(name).test for name in ("lenet", "resnet18"))
    assert f"**{comparison.in_words('lenet', 'resnet18', comparison.pair(a, b))}**" in said(app)
    assert all(f"**{name}**" in said(app) for name in ("lenet", "resnet18", "lenet − resnet18"))


def test_the_matrices_of_two_networks_have_one_colour_scale() -> None:
    matrices, _ = two_networks._matrices("lenet", "resnet18", *map(subject.of_network, ("lenet", "resnet18")))
    mistakes = [row for matrix in matrices[:2] for rows in matrix["datasets"].values() for row in rows if row["wrong"]]
    most = max(row["value"] for row in mistakes)
    assert all(row["shade"] == pytest.approx(row["value"] / most) for row in mistakes)


def test_the_confidence_view_says_both_errors() -> None:
    stored = checkpoints.predictions("lenet")
    temperature = calibration.fit_temperature(stored.validation)
    after = calibration.calibration_error(calibration.scaled(stored.test, temperature))
    text = said(page(view="Confidence"))
    assert f"are {100 * calibration.calibration_error(stored.test):.1f} % apart" in text
    assert f"by {temperature:.2f}, fitted on {len(stored.validation):,} validation images, {100 * after:.1f} %" in text


def test_names_of_all_networks_stand_apart_and_in_order() -> None:
    values = np.array([0.9, 0.7, 0.9, 0.9001, 0.2])
    places = charts.apart(values, 0.05)
    assert np.diff(np.sort(places)).min() >= 0.05 - 1e-12
    assert list(np.argsort(places)) == list(np.argsort(values, kind="stable"))


@pytest.mark.parametrize("count", [1, 5, 60])
def test_names_of_all_networks_leave_the_width_to_the_points(count: int) -> None:
    names = [f"lenet_with_batch_norm_and_dropout_30_sgd_0.1_seed_{number}_group_b7" for number in range(count)]
    accuracy = np.linspace(0.9, 0.1, count)
    columns = {"kind": "experiment", "accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
    table = pd.DataFrame({"network": names, **columns, "parameters": 10 ** np.linspace(4, 7, count)})
    table.loc[count - 1, "kind"] = "checkpoint"
    shown = charts.named(table)
    assert shown["network"][0] == names[-1]
    for place, most in charts.MOST_NAMES.items():
        assert shown[place].count() == min(count, most)
        assert shown[place].max() <= table["high"].max() + 1e-12
        assert shown[f"name on {place}"].nunique() == len(shown)
        assert shown[f"name on {place}"].str.len().max() <= charts.LETTERS_BESIDE[place]
    svg = downloads.file_of(charts.all_networks(table, "parameters", "black"), "svg").decode()
    assert all((f">{name}<" in svg) == (name in set(shown["network"])) for name in names)


def test_two_long_names_above_a_narrow_chart_can_be_told_apart() -> None:
    names = [f"lenet_'with\"_batch_norm_and_dropout_30_sgd_0.1_seed_{number}_group_b7" for number in (42, 43)]
    figures = {"class": "cat", "accuracy": 0.5, "low": 0.4, "high": 0.6}
    table = pd.DataFrame([{"network": name, **figures} for name in names])
    svg = downloads.file_of({**charts.dumbbells(table, names).to_dict(), "width": 300}, "svg").decode()
    shown = set(re.findall(r">([^<]*_group_b7)<", svg))
    assert len(shown) == 2
    assert all("…" in name for name in shown)


# Experiments and errors ----------------------------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path: Path, use_folders: Callable[..., None]) -> Path:
    """An experiment called "depth-3", with the answers of LeNet and without weights."""
    folder = tmp_path / "experiments" / "depth-3"
    shutil.copytree(settings.folders.checkpoints / "lenet", folder, ignore=shutil.ignore_patterns("weights.pt"))
    use_folders(experiments=folder.parent)
    return folder


def test_a_network_that_has_just_been_kept_is_found_at_once(tmp_path: Path, use_folders: Callable[..., None]) -> None:
    use_folders(experiments=tmp_path)
    assert "just-kept" not in subject.candidates()
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "just-kept")
    assert subject.of_network("just-kept").name == "just-kept"
    with pytest.raises(ConvscopeError, match="'nobody' is not on this machine"):
        subject.of_network("nobody")


@pytest.mark.parametrize("view", VIEWS)
def test_an_experiment_has_every_view(experiment: Path, view: str) -> None:
    app = page(of="depth-3", view=view, checkpoint="resnet18", against="resnet18")
    assert_no_error(app)
    if view not in ("All networks", "Live"):
        assert "Test accuracy of depth-3" in said(app)


def test_a_damaged_experiment_is_one_sentence(experiment: Path) -> None:
    (experiment / "predictions.npz").write_bytes(b"not an archive")
    app = page(of="depth-3")
    assert not app.exception
    assert app.error[0].value.startswith("The checkpoint 'depth-3' cannot be used: predictions.npz is damaged")
    networks = page(view="All networks")
    assert_no_error(networks)
    assert "'depth-3' cannot be used" in networks.warning[0].value


BAD_LINKS = [
    ("view", "sideways", "Classes"),
    ("of", "nobody", "Classes"),
    ("order", "random", "Classes"),
    ("figures", "pie", "Classes"),
    ("cells", "dots", "Confusion"),
    ("order", "random", "Confusion"),
    ("predicted", "zebra", "Confusion"),
    ("answers", "maybe", "Mistakes"),
    ("against", "nobody", "Two networks"),
    ("differ", "never", "Two networks"),
    ("cost", "euros", "All networks"),
    ("disturbance", "fog", "Live"),
    ("images_tested", "999999", "Live"),
]


@pytest.mark.parametrize(("key", "value", "view"), BAD_LINKS)
def test_a_bad_value_in_the_link_shows_another_view_instead(key: str, value: str, view: str) -> None:
    app = page(**{"view": view, key: value})
    assert_no_error(app)
    assert "What to look at" in said(app)


def test_an_order_of_another_view_falls_back_without_a_word() -> None:
    app = page(view="Classes", order="best first")
    app.button_group(key="view").set_value("Confusion").run()
    assert_no_error(app)
    assert not app.warning
    assert app.button_group(key="order").value == "class order"


@pytest.mark.parametrize("images", ["train", "photographs", "own"])
@pytest.mark.parametrize("view", VIEWS)
def test_other_images_in_the_sidebar_do_no_harm(view: str, images: str) -> None:
    app = page(view=view, images=images)
    assert_no_error(app)
    if view not in ("Classes", "Confusion"):
        return
    if images == "train":
        assert "images of airplane are predicted as" in said(app)
        assert len(chart_rows(app, 1)) >= 12
        assert "Click a test image to see its probabilities here" in said(app)
    else:
        assert f"Click {'a class' if view == 'Classes' else 'a cell'} to see its test images." in said(app)
        assert "Click a test image" not in said(app)
        assert len(app.get("vega_lite_chart")) == 1


def test_the_figures_of_a_network_before_training_say_whose_they_are() -> None:
    said = "These are the figures of the trained network"
    for link, is_said in (({}, False), ({"weights": "1"}, True), ({"weights": "1", "view": "Live"}, False)):
        app = open_page("accuracy/page.py", checkpoint="lenet", **link)
        assert_no_error(app)
        assert any(said in caption.value for caption in app.caption) == is_said
