"""The Maximisation page without a browser: stored pictures at once, others made on demand, shared, and stopped."""

import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine import patches, weights
from engine.maximization import OBJECTIVES, PRESETS, stored
from engine.maximization.stored import Maximization, MaximizationSettings
from engine.patches import CLASSES, Index, TopPatches
from pages.common import ascents, strongest_images
from pages.common import jobs as work
from pages.maximization import charts, drawings
from tests.apps import assert_no_error, open_page

PAGE = "maximization/page.py"
LENET = weights.find("lenet")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """Empty caches and an empty folder: nothing is stored, and nothing is written into the app's own checkpoints."""
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setattr(stored, "path_of", lambda settings: tmp_path / settings.file_name)
    monkeypatch.setattr(patches, "path_of", lambda name, folder=None: tmp_path / name / patches.FILE)


def asked(layer: str = "conv1", **changes) -> MaximizationSettings:
    values = MaximizationSettings(LENET, layer, 0, 16, "whole map", "Fourier", steps=64, seed=0, size=32)
    return replace(values, **changes)


def nine_each(count: int = 32) -> TopPatches:
    """Every channel's strongest images are the first nine, with activation 0.01."""
    images, places = np.tile(np.arange(9), (count, 1)), np.zeros((count, 9), np.int64)
    return TopPatches(images, places, places, np.full((count, 9), 0.01, np.float32))


def known(layer: str, count: int) -> None:
    """Let the search of LeNet be done, with a result for `layer` only."""
    tops = {(layer, objective): nine_each(count) for objective in OBJECTIVES}
    strongest_images.search(LENET).index = Index(tops, 32, "")


def made(request: MaximizationSettings) -> Maximization:
    job = ascents.ascent(request)
    job.start()
    job.wait(60)
    assert job.complete, job.error
    return job.maximization


def button(app: AppTest, label: str):
    return next(button for button in app.button if button.label == label)


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def test_before_anybody_has_made_pictures_the_page_offers_to():
    app = open_page(PAGE, checkpoint="lenet", layer="conv1")
    assert_no_error(app)
    assert not app.warning
    assert "Nobody has made these pictures yet" in app.info[0].value
    assert button(app, "Make the pictures")
    assert button(app, "Search the 10,000 test images")


def test_the_button_makes_the_pictures_and_every_session_sees_them():
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64")
    button(app, "Make the pictures").click().run()
    job = ascents.ascent(asked())
    job.wait(60)
    assert job.complete
    app.run()
    assert_no_error(app)
    assert "**Optimised pictures** after 64 steps, 32 px. Channels 0 to 15, row by row." in captions(app)
    other = open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64")
    assert "after 64 steps" in captions(other)
    assert button(other, "Make them again")
    assert ascents.ascent(asked()) is job


def test_beside_them_stand_the_strongest_images_and_the_deconvnets_pictures():
    pictures = made(asked())
    known("conv1", 32)
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64")
    assert_no_error(app)
    assert len(app.get("image")) == 3
    above = int((pictures.activations[-1] > 0.01).sum())
    assert app.info[0].value.startswith(f"{above} of 16 pictures excite their unit more than any of the 10,000")
    assert "times the strongest image" in app.get("vega_lite_chart")[0].proto.spec


def test_one_channel_shows_its_nine_strongest_images():
    made(asked("conv2", first=5, count=1))
    known("conv2", 64)
    app = open_page(PAGE, checkpoint="lenet", layer="conv2", steps="64", view="one channel", channel="5")
    assert_no_error(app)
    assert len(app.get("image")) == 3
    assert "**Strongest test images**: the nine strongest, row by row, of 10,000." in captions(app)
    assert "Channel 5." in captions(app)


def test_classes_are_called_by_their_names():
    made(asked(CLASSES, count=10))
    known(CLASSES, 10)
    app = open_page(PAGE, checkpoint="lenet", steps="64", view="classes")
    assert_no_error(app)
    assert "Row by row: airplane, automobile, bird" in captions(app)


def test_all_channels_come_in_one_batch():
    made(asked("conv1", count=32))
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64", view="all channels")
    assert_no_error(app)
    assert "Channels 0 to 31" in captions(app)


def made_up(count: int) -> Maximization:
    """As many steps as 128 leave behind, and activations that rise at random."""
    steps = np.array([*range(8), *range(8, 129, 8)])
    activations = np.random.default_rng(0).random((len(steps), count), np.float32).cumsum(axis=0)
    return Maximization(np.zeros((count, 8, 8, 3), np.uint8), steps, activations)


def test_so_many_channels_that_a_line_for_each_would_be_too_much():
    request = asked("conv5_x", network=weights.find("resnet18"), count=512, steps=128, size=64)
    ascents.ascent(request).maximization = made_up(512)
    app = open_page(PAGE, checkpoint="resnet18", layer="conv5_x", view="all channels")
    assert_no_error(app)
    assert "Channels 0 to 511" in captions(app)
    assert '"area"' in app.get("vega_lite_chart")[0].proto.spec


def test_the_band_lies_where_most_pictures_are_and_the_table_holds_all():
    many = made_up(512)
    table = charts.ascent_table(many, [f"channel {index}" for index in range(512)], None)
    spec = charts.ascent_chart(table)
    assert len(table) == many.activations.size
    band = pd.DataFrame(spec["datasets"][spec["layer"][0]["data"]["name"]])
    assert spec["layer"][0]["mark"]["type"] == "area"
    np.testing.assert_allclose(band["low"], np.quantile(many.activations, 0.1, axis=1), rtol=1e-4)
    np.testing.assert_allclose(band["high"], np.quantile(many.activations, 0.9, axis=1), rtol=1e-4)
    few = charts.ascent_chart(table[table["picture"].isin([f"channel {index}" for index in range(64)])])
    assert few["layer"][0]["mark"]["type"] == "line"


def test_more_channels_than_the_deconvnet_can_play_at_once():
    known("conv3", 128)
    app = open_page(PAGE, checkpoint="lenet", layer="conv3", view="all channels")
    assert_no_error(app)
    assert "For at most 64 channels" in captions(app)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_way_can_be_chosen(preset, objective):
    app = open_page(PAGE, checkpoint="lenet", layer="conv3_relu", preset=preset, objective=objective)
    assert_no_error(app)
    assert not app.warning


def test_another_size_is_not_compared_with_images_at_the_networks_own():
    assert drawings.largest(asked(size=32), nine_each()) is not None
    assert drawings.largest(asked(size=64), nine_each()) is None
    assert drawings.largest(asked(), None) is None


def test_untrained_weights_have_pictures_of_their_own():
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", weights="untrained", steps="64")
    assert_no_error(app)
    made(asked())
    before_training = asked(network=weights.find("lenet", weights.UNTRAINED))
    made(before_training)
    trained, untrained = (ascents.ascent(settings).maximization for settings in (asked(), before_training))
    assert not np.array_equal(trained.pictures, untrained.pictures)


BAD_VALUES = {"steps": "7", "seed": "-1", "first_channel": "500", "preset": "magic", "objective": "noise", "size": "17"}


def test_bad_values_in_the_link_are_named():
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", **BAD_VALUES)
    assert_no_error(app)
    said = " ".join(warning.value for warning in app.warning)
    assert all(f"{key} {value!r}" in said for key, value in BAD_VALUES.items()), said


# Jobs ----------------------------------------------------------------------------------------------------------


def test_what_is_standard_is_stored_and_read_again():
    request = asked("conv1", steps=stored.STEPS)
    pictures = made(request)
    st.cache_resource.clear()
    again = ascents.ascent(request)
    assert again.complete
    assert not again.alive
    assert np.array_equal(again.maximization.pictures, pictures.pictures)


def test_a_search_is_stored_and_read_again(monkeypatch, bundled_test):
    monkeypatch.setattr(patches, "bundled", lambda split: bundled_test.subset(np.arange(300)))
    search = strongest_images.search(LENET)
    search.start()
    search.wait(60)
    top = search.index.of("conv1", "whole map")
    assert top.images.shape == (32, 9)
    st.cache_resource.clear()
    again = strongest_images.index(LENET)
    assert strongest_images.search(LENET).index is None
    assert np.array_equal(again.of("conv1", "whole map").images, top.images)


def test_a_job_can_be_stopped_and_keeps_what_it_has(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    ascend = stored.pictures

    def slow(trained, request):
        for step in ascend(trained, request):
            yield step
            begun.set()
            go_on.wait(30)

    monkeypatch.setattr(stored, "pictures", slow)
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64")
    button(app, "Make the pictures").click().run()
    assert begun.wait(30)
    app.run()
    assert button(app, "Stop")
    button(app, "Stop").click()
    job = ascents.ascent(asked())
    job.stop()
    go_on.set()
    job.wait(30)
    assert not job.alive
    assert not job.complete
    assert job.maximization is not None
    assert_no_error(open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64"))


def test_no_button_lies_inside_the_fragment_that_looks_again_and_again(monkeypatch):
    drawn, inside, begin, plain = [], [], st.fragment, st.button

    def fragment(run_every=None):
        def wrap(body):
            def marked():
                inside.append(True)
                body()
                inside.pop()

            return begin(marked, run_every=run_every)

        return wrap

    def noted(label, *args, **settings):
        drawn.append((label, bool(inside)))
        return plain(label, *args, **settings)

    monkeypatch.setattr(st, "fragment", fragment)
    monkeypatch.setattr(st, "button", noted)
    assert_no_error(open_page(PAGE, checkpoint="lenet", layer="conv1"))
    assert {("Make the pictures", False), ("Search the 10,000 test images", False)} <= set(drawn)
    assert not any(within for _, within in drawn)


def test_what_goes_wrong_in_a_job_is_said_on_the_page(monkeypatch):
    def fails(trained, request):
        raise RuntimeError("no memory")
        yield

    monkeypatch.setattr(stored, "pictures", fails)
    job = ascents.ascent(asked())
    job.start()
    job.wait(30)
    app = open_page(PAGE, checkpoint="lenet", layer="conv1", steps="64")
    assert not app.exception
    assert "no memory" in app.error[0].value


def held_up(monkeypatch):
    """Lets jobs begin, and go on only when told to; gives the requests at work, and the signal."""
    working, go_on, ascend = [], threading.Event(), stored.pictures

    def pictures(trained, request):
        working.append(request)
        for step in ascend(trained, request):
            go_on.wait(0.05)
            yield step
        working.remove(request)

    monkeypatch.setattr(stored, "pictures", pictures)
    return working, go_on


def three_jobs(steps: int) -> list[ascents.Ascent]:
    three = [ascents.ascent(asked(count=1, first=channel, steps=steps)) for channel in range(3)]
    for job in three:
        job.start()
    return three


def test_two_jobs_work_at_a_time_and_the_third_waits(monkeypatch):
    working, go_on = held_up(monkeypatch)
    three = three_jobs(24)
    assert max(len(working) for _ in range(20) if go_on.wait(0.01) is False) <= work.AT_WORK
    go_on.set()
    for job in three:
        job.wait(60)
    assert all(job.complete for job in three)


def test_a_job_that_nobody_watches_gives_way(monkeypatch):
    monkeypatch.setattr(work, "PATIENCE", 0.0)
    _, go_on = held_up(monkeypatch)
    three = three_jobs(512)
    for job in three[:2]:
        job.wait(60)
    assert sum(not job.complete for job in three[:2]) >= 1
    three[2].stop()
    go_on.set()
    for job in three:
        job.stop()
        job.wait(60)


def test_the_verdict_counts():
    steps = np.array([0, 8])
    three = Maximization(np.zeros((3, 4, 4, 3), np.uint8), steps, np.array([[0, 0, 0], [2.0, 0.5, 0.0]], np.float32))
    sentence = drawings.verdict(three, np.array([1.0, 1.0, 0.0], np.float32), 10_000)
    assert sentence.startswith("1 of 3 pictures")
    assert "1.25 times" in sentence
    assert "1 stayed inactive" in sentence
    assert "went from 0 to 0.5" in drawings.verdict(three, None, 0)
    one = three.some(slice(1))
    sentence = drawings.verdict(one, np.ones(1, np.float32), 10_000)
    assert sentence == "The picture excites its unit 2 times as much as the strongest of the 10,000 test images."
    assert drawings.verdict(one, None, 0) == "The activation went from 0 to 2."
    no_image = drawings.verdict(three, np.zeros(3, np.float32), 10_000)
    assert no_image.startswith("None of the 10,000 test images excites what was maximised. The median activation went")
