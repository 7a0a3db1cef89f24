"""The Feature maps page without a browser: every view of it, bad links, and the search for the strongest images."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from engine import (
    checkpoints,
    data,
    evolution,
    feature_maps,
    inactivity,
    patch_sheets,
    patches,
    pictures,
    settings,
    tape,
    weights,
)
from engine import tiles as feature_tiles
from engine.checkpoints import states
from engine.data import LabelledImages
from engine.graph.receptive_field import Box
from engine.views import View
from pages.common import resources, strongest_images
from pages.feature_maps import charts, jobs, over_training
from pages.feature_maps.jobs import ManyMaps
from tests.apps import assert_no_error, assert_pictures_have_words, can_be_touched, open_page

PAGE = "feature_maps/page.py"


@pytest.fixture
def fresh_caches() -> Iterator[None]:
    """Nothing is kept from before, and nothing afterwards."""
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


def said(app: AppTest) -> str:
    """All captions, notes and paragraphs of the page."""
    return "\n".join(element.value for kind in ("caption", "info", "markdown") for element in app.get(kind))


@pytest.mark.parametrize("show", ["one layer", "every layer", "two images"])
@pytest.mark.parametrize("checkpoint", ["resnet18", "lenet"])
def test_every_view_opens(show: str, checkpoint: str) -> None:
    app = open_page(PAGE, view=show, checkpoint=checkpoint)
    assert_no_error(app)
    assert not app.warning
    assert len(app.get("image")) == {"one layer": 6, "every layer": 1, "two images": 4}[show]
    assert "What to look at" in said(app)
    assert len(app.get("download_button")) >= 1


@pytest.mark.parametrize("layer", ["conv1", "conv1_relu", "pool1", "conv3_x", "conv5_x"])
@pytest.mark.parametrize("tiles", ["maps", "patches in the image"])
def test_every_layer_opens_and_names_its_receptive_field(layer: str, tiles: str) -> None:
    app = open_page(PAGE, layer=layer, tiles=tiles, order="strongest first", brightness="each its own")
    assert_no_error(app)
    whole = layer in ("conv3_x", "conv5_x")
    assert ("the patch is the image" in said(app)) == whole
    assert ("the dot is where the strongest unit sits" in said(app)) == (whole and tiles != "maps")
    assert ("Grey is zero, bright above" in said(app)) == (layer == "conv1" and tiles == "maps")


def test_the_strongest_map_is_shown_unless_the_link_names_another() -> None:
    assert "Map 17 of conv3_x" in said(open_page(PAGE, layer="conv3_x", channel="17"))
    app = open_page(PAGE, layer="conv3_x")
    label = next(number.label for number in app.number_input if number.label.startswith("Map"))
    strongest = re.fullmatch(r"Map \(strongest: (\d+)\)", label)[1]
    assert f"Map {strongest} of conv3_x" in said(app)


def shown_map(app: AppTest) -> tuple[int, int]:
    """The map that is looked at, and the strongest one."""
    control = next(number for number in app.number_input if number.key == "channel")
    assert f"Map {control.value} of" in said(app)
    return control.value, int(re.fullmatch(r"Map \(strongest: (\d+)\)", control.label)[1])


def test_who_names_no_map_follows_the_strongest_from_image_to_image() -> None:
    app = open_page(PAGE, checkpoint="lenet", layer="pool2")
    seen = [shown_map(app), *(shown_map(app.selectbox(key="class").set_value(name).run()) for name in ("frog", "ship"))]
    assert all(looked_at == strongest for looked_at, strongest in seen)
    assert len({strongest for _, strongest in seen}) > 1
    app.selectbox(key="layer").set_value("conv3").run()
    assert len(set(shown_map(app))) == 1


def test_who_names_a_map_keeps_it_from_image_to_image() -> None:
    app = open_page(PAGE, checkpoint="lenet", layer="pool2")
    app.number_input(key="channel").set_value(17).run()
    assert shown_map(app.selectbox(key="class").set_value("frog").run())[0] == 17
    link = open_page(PAGE, checkpoint="lenet", layer="pool2", channel="17")
    assert shown_map(link.selectbox(key="class").set_value("frog").run())[0] == 17
    assert not link.warning


def test_a_map_that_is_not_there_is_said_in_words() -> None:
    app = open_page(PAGE, layer="conv1", channel="64")
    assert_no_error(app)
    assert any("there are 0 to 63" in warning.value for warning in app.warning)


@pytest.mark.parametrize("key", ["view", "tiles", "order", "brightness", "crop", "class2", "number2", "size"])
def test_a_bad_link_shows_no_error(key: str) -> None:
    for show in ("one layer", "two images"):
        app = open_page(PAGE, **{"view": show, key: "nonsense"})
        assert_no_error(app)


def test_the_nine_images_are_those_of_the_stored_index() -> None:
    app = open_page(PAGE, layer="conv4_x", channel="20")
    index = patches.load(checkpoints.load("resnet18"))
    top = index.of("conv4_x")
    listed = re.findall(r"(\d+) \((-?\d+\.\d\d)\)", said(app))
    assert [int(image) for image, _ in listed] == top.images[20].tolist()
    assert [float(value) for _, value in listed] == pytest.approx(top.values[20].tolist(), abs=0.006)


PATCHES, PLAYED_BACK = "The nine test images", "The deconvnet reconstruction from"


def picture(app: AppTest, alt: str) -> str:
    """The address of the one picture whose words begin like this."""
    [address] = [one.url for image in app.get("image") for one in image.proto.imgs if one.alt.startswith(alt)]
    return address


def test_the_nine_images_can_be_cropped_to_their_reconstructions() -> None:
    whole = open_page(PAGE, layer="conv5_x", channel="3")
    cropped = open_page(PAGE, layer="conv5_x", channel="3", crop="reconstruction")
    assert picture(whole, PATCHES) != picture(cropped, PATCHES)


def test_the_switch_for_batch_norm_changes_what_comes_back_only() -> None:
    on, off = (open_page(PAGE, layer="conv4_x", channel="3", bn=state) for state in ("true", "false"))
    assert picture(on, PLAYED_BACK) != picture(off, PLAYED_BACK)
    assert picture(on, PATCHES) == picture(off, PATCHES)


def test_the_maximisation_of_a_map_is_there_if_it_is_stored_and_can_be_made_if_not() -> None:
    stored, other = (open_page(PAGE, layer="conv4_x", channel=channel) for channel in ("3", "100"))
    assert picture(stored, "An optimised picture")
    assert "Make the picture" not in [button.label for button in stored.button]
    assert "Make the picture" in [button.label for button in other.button]


def test_a_link_names_a_unit_and_the_strongest_maps_there() -> None:
    app = open_page(PAGE, layer="conv4_x", channel="3", unit="chosen unit", row="1", column="2")
    assert "row 1, column 2" in said(app)
    assert not app.warning
    assert "there are 0 to 3" in open_page(PAGE, unit="chosen unit", layer="conv4_x", row="9").warning[0].value


def test_words_on_depth_are_those_of_the_engine_and_differ_between_images() -> None:
    first, second = (
        [note.value for note in open_page(PAGE, view="every layer", **{"class": name}).info]
        for name in ("airplane", "frog")
    )
    assert len(first) == len(second) == 3
    assert first[0] == second[0]
    assert first[1:] != second[1:]


def test_inactive_units_are_counted_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "COUNTED", 2)
    jobs._counts.clear()
    app = open_page(PAGE, view="every layer", checkpoint="lenet")
    assert len(app.info) == 3
    button(app, "inactive_start").click().run()
    jobs.counting(weights.find("lenet")).wait(60)
    app.run()
    assert_no_error(app)
    counted = jobs.counting(weights.find("lenet")).counted
    assert inactivity.in_words(counted) in [note.value for note in app.info]
    assert "Measured on 20 test images" in said(app)
    top = patches.load(checkpoints.load("lenet"))
    rectified = [layer.layer for layer in counted if not layer.signed]
    dead = sum(int((top.of(layer).values[:, 0] <= 0).sum()) for layer in rectified)
    assert f"none of all 10,000 test images excites: {dead}." in said(app)
    jobs._counts.clear()
    rows = charts.inactive_table(counted)
    assert len(rows) == 3 * len(rectified)
    assert rows["share"].between(0, 1).all()


def test_two_images_are_of_different_classes_and_share_one_order() -> None:
    app = open_page(PAGE, view="two images", layer="conv3_x", order="strongest first")
    orders = re.findall(r"row by row \(([\d, ]+) …\)", said(app))
    assert len(orders) == 2
    assert orders[0] == orders[1]
    assert said(app).count("strongest first row by row") == 1
    assert said(app).count("in the order of the first image row by row") == 1
    assert "airplane, test image" in said(app)
    assert "truck, test image" in said(app)
    assert "The two images " in app.info[0].value


def test_two_images_of_one_class_can_be_chosen() -> None:
    app = open_page(PAGE, view="two images", class2="airplane", number2="5")
    assert_no_error(app)
    assert said(app).count("airplane, test image") >= 2


def test_a_photograph_without_a_class_and_another_size() -> None:
    app = open_page(PAGE, images="photographs", size="128")
    assert_no_error(app)
    assert "photograph: " in said(app)


def test_many_maps_stand_on_one_sheet_chosen_by_seed_or_image(monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"checkpoint": "lenet", "layer": "pool2", "view": "many maps", "seed": "2", "crop": "reconstruction"}
    app = open_page(PAGE, **link)
    index = patches.load(checkpoints.load("lenet"))
    channels = patch_sheets.at_random(index.of("pool2"), 2)
    job = jobs.playing(ManyMaps(weights.find("lenet"), "pool2", channels, True, "reconstruction"), index.of("pool2"))
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert not app.warning
    assert_pictures_have_words(app)
    assert [nine.channel for nine in job.nines] == list(channels)
    assert f"Maps {', '.join(map(str, channels))}, row by row" in said(app)
    assert can_be_touched(app)
    assert "Click one" in said(app)
    with monkeypatch.context() as patch:
        patch.setattr(type(job), "alive", True)
        app.run()
    assert not can_be_touched(app)
    assert "Click one" not in said(app)
    of_image = open_page(PAGE, checkpoint="lenet", layer="pool2", view="many maps", which="strongest on this image")
    assert_no_error(of_image)
    view = View(weights.find("lenet"), "pool2", "test", int((data.bundled("test").labels == 0).nonzero()[0][0]), 32)
    strongest = feature_maps.order_by_strength(resources.recording(view).activation)[:16]
    assert f"Maps {', '.join(map(str, sorted(strongest)))}, row by row" in said(of_image)


# ---------------------------------------------------------------------------------- the search for strong images


@pytest.fixture
def without_index(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use_folders: Callable[..., None],
    bundled_test: LabelledImages,
    fresh_caches: None,
) -> Path:
    """The checkpoints without LeNet's index, and only 300 images to search."""
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / patches.FILE).unlink()
    use_folders(checkpoints=tmp_path)
    monkeypatch.setattr(patches, "bundled", lambda split: bundled_test.subset(np.arange(300)))
    return tmp_path


def button(app: AppTest, key: str):
    return next(one for one in app.button if one.key == key)


def test_a_missing_index_is_searched_for_on_demand(without_index: Path) -> None:
    app = open_page(PAGE, checkpoint="lenet")
    assert_no_error(app)
    assert "Nobody has searched for them in this network yet" in said(app)
    button(app, "search_start").click().run()
    job = strongest_images.search(weights.find("lenet"))
    job.wait(60)
    app.run()
    assert_no_error(app)
    assert "Of 10,000, strongest first" in said(app)
    assert (without_index / "lenet" / patches.FILE).exists()
    assert job.words == "300 of 10,000 images"


def test_a_search_can_be_stopped_and_started_again(without_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "BATCH", 1)
    job = strongest_images.search(weights.find("lenet"))
    job.start()
    job.stop()
    job.wait(60)
    assert (job.alive, job.index, job.error) == (False, None, "")
    assert not (without_index / "lenet" / patches.FILE).exists()
    monkeypatch.setattr(patches, "BATCH", 100)
    job.start()
    job.wait(60)
    assert job.index is not None
    assert (without_index / "lenet" / patches.FILE).exists()


def test_while_a_search_goes_on_the_page_shows_progress_and_a_stop_button(
    without_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strongest_images.Search, "alive", property(lambda self: True))
    strongest_images.search(weights.find("lenet")).advance(50, 300, "images")
    app = open_page(PAGE, checkpoint="lenet")
    assert_no_error(app)
    assert button(app, "search_stop").label == "Stop"
    assert any(progress.proto.text == "50 of 300 images" for progress in app.get("progress"))
    assert len(app.get("image")) == 4  # the rest of the page is there


def test_a_failed_search_is_one_sentence(without_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(patches, "search", fail)
    app = open_page(PAGE, checkpoint="lenet")
    button(app, "search_start").click().run()
    strongest_images.search(weights.find("lenet")).wait(30)
    app.run()
    assert not app.exception
    assert "(RuntimeError: out of memory)" in app.error[0].value


def test_an_untrained_network_has_its_own_search_which_is_not_stored(without_index: Path) -> None:
    patches.build("lenet", without_index)
    before = (without_index / "lenet" / patches.FILE).read_bytes()
    app = open_page(PAGE, checkpoint="lenet", weights="untrained")
    assert_no_error(app)
    button(app, "search_start").click().run()
    strongest_images.search(weights.find("lenet", weights.UNTRAINED)).wait(60)
    app.run()
    assert_no_error(app)
    assert "Of 10,000, strongest first" in said(app)
    assert (without_index / "lenet" / patches.FILE).read_bytes() == before


# ------------------------------------------------------------------------------------------------------ pictures


def test_colours_of_responses_and_of_signed_maps() -> None:
    maps = torch.tensor([[[-2.0, 0.0, 1.0, 2.0]]])
    grey = feature_tiles.coloured(maps, torch.tensor([2.0]), signed=True)
    assert grey[0, 0, :, 0].tolist() == [0, 128, 191, 255]
    viridis = feature_tiles.coloured(maps, torch.tensor([2.0]), signed=False)
    assert tuple(viridis[0, 0, 0]) == tuple(viridis[0, 0, 1]) == pictures.VIRIDIS[0]
    assert tuple(viridis[0, 0, 3]) == pictures.VIRIDIS[-1]
    assert (feature_tiles.coloured(torch.zeros(1, 2, 2), torch.zeros(1), False) == pictures.VIRIDIS[0]).all()


def test_patches_are_lit_and_the_rest_is_dark() -> None:
    picture = np.full((8, 8, 3), 100, dtype=np.uint8)
    tiles = feature_tiles.lit(picture, [Box(-4, 8, 8, 32), None], (16, 16))
    assert (tiles[0, :4, 4:] == 100).all()
    assert (tiles[0, 4:] == 30).all()
    assert (tiles[0, :, :4] == 30).all()
    assert (tiles[1] == 30).all()


def test_fitting_repeats_and_leaves_out_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (4, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(feature_tiles.fitted(picture, 8), picture.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(feature_tiles.fitted(feature_tiles.fitted(picture, 12), 4), picture)


def test_tables_for_the_downloads() -> None:
    figures = (feature_maps.LayerFigures("conv1_relu", 64, 32, 32, 0.25, 10, False),)
    table = charts.table(figures)
    assert isinstance(table, pd.DataFrame)
    assert table.iloc[0].tolist() == ["conv1_relu", 64, 32, 32, 0.25, 10, False]
    assert list(table) == ["layer", "maps", "height", "width", "inactive share", "maps for half", "signed"]


# --------------------------------------------------------------------------------------------------- over training


def test_one_map_stands_side_by_side_at_every_moment(without_index: Path) -> None:
    patches.build("lenet", without_index)
    app = open_page(PAGE, checkpoint="lenet", view="over training", layer="conv2_relu", weights="untrained")
    assert_no_error(app)
    assert_pictures_have_words(app)
    moments = weights.moments("lenet")
    slider = app.select_slider(key="weights")
    assert [slider.value, *slider.options] == ["untrained", *moments]
    assert f"At {len(moments) - 1} of these moments the strongest test images are not known yet" in said(app)
    button(app, "search_start").click().run()
    for moment in moments:
        strongest_images.search(weights.find("lenet", moment)).wait(60)
    app.run()
    assert_no_error(app)
    assert "not known yet" not in said(app)
    assert "at least 0.9: conv1_relu: " in said(app)


def test_a_moment_is_the_one_that_the_network_shows_alone() -> None:
    channel = 3
    for moment in weights.moments("lenet"):
        view = View(weights.find("lenet", moment), "conv2_relu", "test", 0, 32)
        shown = over_training.moment_of(view, channel, True, False)
        alone = weights.load(view.network)
        x = data.prepare(data.bundled("test").images[:1], 32, alone.card.mean, alone.card.std)
        own = evolution.of_image(tape.record(alone.model, x, "conv2_relu"), channel)
        assert shown.pictures.keys() == own.keys()
        assert all(np.array_equal(shown.pictures[row], own[row]) for row in own)


def test_the_slider_is_in_the_link() -> None:
    state = weights.moments("lenet")[1]
    app = open_page(PAGE, checkpoint="lenet", weights=state)
    assert_no_error(app)
    assert app.select_slider(key="weights").value == state
    assert f"How lenet after epoch {state} responds" in said(app)
    app.select_slider(key="weights").set_value("untrained").run()
    assert "How lenet before training responds" in said(app)


@pytest.mark.parametrize("show", ["one layer", "over training"])
def test_a_damaged_state_is_one_sentence_on_the_page(without_index: Path, show: str) -> None:
    moment = weights.moments("lenet")[1]
    (without_index / "lenet" / states.FOLDER / f"{moment}.pt").write_bytes(b"no weights")
    app = open_page(PAGE, checkpoint="lenet", view=show, weights=moment)
    assert not app.exception
    said = f"The weights of 'lenet' after epoch {moment} are missing or damaged: get lenet/states/{moment}.pt again"
    assert any(said in error.value.replace("\\", "") for error in app.error)
