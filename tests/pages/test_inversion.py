"""The Inversion page without a browser: controls, jobs that go on in threads, and what is shown of them."""

import io
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine import checkpoints, data, inversion, tape, weights
from engine.views import View
from pages.common import jobs
from pages.inversion import charts, tiles
from pages.inversion import jobs as inversion_jobs
from pages.inversion.jobs import Inversion, InversionSettings, inversion_of
from tests.apps import assert_no_error, open_page
from tests.oracles import fingerprint

PAGE = "inversion/page.py"
LENET = {"checkpoint": "lenet", "layer": "conv1"}
VIEW = View(weights.find("lenet"), "conv1", "test", 0, 32)
SETTINGS = InversionSettings(VIEW, "mahendran_vedaldi", None, 20, 0)


@pytest.fixture(autouse=True)
def _fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


def job_for(settings: InversionSettings) -> Inversion:
    """The job with these settings, at its end."""
    job = inversion_of(settings)
    job.start()
    job.wait(60)
    return job


def settings_of(app: AppTest, **changes) -> InversionSettings:
    """What the page asks for with these controls and the default ones."""
    first_airplane = int((data.bundled("test").labels == 0).nonzero()[0][0])
    return replace(InversionSettings(replace(VIEW, index=first_airplane), "mahendran_vedaldi", None, 50, 0), **changes)


def press(app: AppTest, key: str) -> AppTest:
    return next(button for button in app.button if button.key == key).click().run()


def finish(app: AppTest, *all_settings: InversionSettings) -> AppTest:
    """Start what the page shows, wait for its end, and look again."""
    press(app, "inversion_start")
    for settings in all_settings:
        inversion_of(settings).wait(60)
    return app.run()


# The job ---------------------------------------------------------------------------------------------------------


def test_a_job_measures_what_the_engine_gives():
    job, trained = job_for(SETTINGS), checkpoints.load("lenet")
    card = trained.card
    image = data.prepare(data.bundled("test").images[:1], 32, card.mean, card.std)
    steps = [step for _, step in inversion.invert_layers(trained.model, image, ["conv1"], steps=20)]
    assert job.complete
    assert [at.number for at in job.measurements] == [step.number for step in steps] == list(job.pictures)
    assert [at.error for at in job.measurements] == pytest.approx([step.error for step in steps], rel=1e-3)
    last = data.denormalised(steps[-1].image, card.mean, card.std)
    assert job.measurements[-1].psnr == pytest.approx(
        inversion.psnr(last, data.denormalised(image, card.mean, card.std))
    )
    np.testing.assert_array_equal(job.pictures[20], data.pixels_of(steps[-1].image, card.mean, card.std)[0])


def test_large_pictures_are_kept_less_often_and_the_last_one_always(monkeypatch):
    monkeypatch.setattr(inversion_jobs, "KEPT_BYTES", 7 * 3 * 32**2)
    job = job_for(replace(SETTINGS, steps=19))
    assert list(job.pictures) == [0, 3, 6, 9, 12, 15, 18, 19]
    assert len(job.measurements) == 20


@pytest.fixture
def gate(monkeypatch):
    """Lets an inversion take one step each time it is released; `gate.begun` counts the inversions.

    First looks go on by themselves.
    """
    released, original = threading.Semaphore(0), inversion.invert
    released.begun = 0

    def slowly(*args, **settings):
        if settings["steps"] == inversion_jobs.FIRST_STEPS:
            yield from original(*args, **settings)
            return
        released.begun += 1
        for step in original(*args, **settings):
            assert released.acquire(timeout=60)
            yield step

    monkeypatch.setattr(inversion_jobs.inversion, "invert", slowly)
    return released


def test_stop_keeps_what_there_is_and_start_begins_again(gate):
    job = inversion_of(SETTINGS)
    job.start()
    job.stop()
    gate.release(3)
    job.wait(60)
    assert not job.alive
    assert not job.complete
    assert len(job.measurements) <= 1
    gate.release(100)
    job.start()
    job.wait(60)
    assert job.complete
    assert [at.number for at in job.measurements] == list(range(21))


def test_two_sessions_share_one_job(gate):
    first, second = (open_page(PAGE, **LENET, steps="50") for _ in range(2))
    job = inversion_of(settings_of(first))
    press(first, "inversion_start")
    assert job.alive
    second.run()
    assert [button.key for button in second.button if (button.key or "").startswith("inversion_")] == ["inversion_stop"]
    press(second, "inversion_stop")
    gate.release(100)
    job.wait(60)
    assert gate.begun == 1
    assert not job.complete
    assert_no_error(first.run())


def test_a_reader_who_looks_on_keeps_more_jobs_going_than_there_are_places(gate, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    app = open_page(PAGE, checkpoint="lenet", view="layers in a row", steps="50")
    settings = settings_of(app)
    all_settings = [
        replace(settings, view=replace(settings.view, layer=layer)) for layer in ("conv1", "conv2", "conv3")
    ]
    assert len(all_settings) == jobs.AT_WORK + 1
    press(app, "inversion_start")
    for _ in range(4):
        clock[0] += 0.75 * jobs.PATIENCE
        app.run()
        gate.release(4)
        time.sleep(0.2)
    gate.release(1000)
    for settings in all_settings:
        inversion_of(settings).wait(60)
    assert all(inversion_of(settings).complete for settings in all_settings)


def test_start_begins_a_job_that_was_given_up_since_it_was_drawn(gate, monkeypatch):
    monkeypatch.setattr(jobs, "KEPT", 1)
    app = open_page(PAGE, **LENET, steps="50")
    inversion_of(SETTINGS)
    press(app, "inversion_start")
    job = inversion_of(settings_of(app))
    assert job.alive
    job.stop()
    gate.release(100)
    job.wait(60)


def test_a_failing_job_says_so_in_one_sentence(monkeypatch):
    def broken(*args, **settings):
        raise RuntimeError("no memory")

    monkeypatch.setattr(inversion_jobs.inversion, "invert", broken)
    app = open_page(PAGE, **LENET, steps="50")
    app = finish(app, settings_of(app))
    assert not app.exception
    assert "no memory" in app.error[0].value


def test_the_network_is_left_as_it_was():
    trained = inversion_jobs.resources.trained(weights.find("lenet"))
    before = fingerprint(trained.model)
    job_for(SETTINGS)
    assert fingerprint(trained.model) == before


# The page --------------------------------------------------------------------------------------------------------


def test_before_the_start_the_page_takes_a_first_look():
    app = open_page(PAGE, **LENET)
    assert_no_error(app)
    assert not app.warning
    assert "Inversion of conv1 of lenet" in app.markdown[0].value
    assert len(app.get("image")) == 3
    asked = settings_of(app, steps=200)
    first = inversion_of(replace(asked, steps=inversion_jobs.FIRST_STEPS))
    first.wait(60)
    app.run()
    assert_no_error(app)
    assert "**Inversion**: step 10; Start takes 200 steps" in [caption.value for caption in app.caption]
    assert app.metric[0].value == f"{first.measurements[-1].error:.4f}"
    assert not inversion_of(asked).is_begun
    app = finish(app, asked)
    assert_no_error(app)
    assert not any("Start takes" in caption.value for caption in app.caption)
    assert app.metric[0].value == f"{inversion_of(asked).measurements[-1].error:.4f}"


def test_afterwards_the_figures_are_shown_and_the_steps_can_be_gone_through():
    app = open_page(PAGE, **LENET, steps="50")
    settings = settings_of(app)
    app = finish(app, settings)
    assert_no_error(app)
    measurements = inversion_of(settings).measurements
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Relative feature error"] == f"{measurements[-1].error:.4f}"
    assert shown["PSNR to the image"] == f"{measurements[-1].psnr:.1f} dB"
    assert "Predicted for the last picture" in shown
    app = app.select_slider[0].set_value(5).run()
    assert_no_error(app)
    assert app.metric[0].value == f"{measurements[5].error:.4f}"
    assert [button.key for button in app.get("download_button")] == [
        "Pictures: inversion-slide.png",
        "Pictures: inversion.png",
        "Steps: inversion.csv",
    ]


def test_a_finished_result_is_shown_at_once_to_the_next_reader():
    app = open_page(PAGE, **LENET, steps="50")
    job_for(settings_of(app))
    later = open_page(PAGE, **LENET, steps="50")
    assert_no_error(later)
    assert later.metric[0].label == "Relative feature error"


def test_the_row_shows_every_convolution():
    app = open_page(PAGE, checkpoint="lenet", view="layers in a row", steps="50")
    assert "Inversion of each layer of lenet" in app.markdown[0].value
    layers = ("conv1", "conv2", "conv3")
    all_settings = [replace(settings_of(app), view=replace(settings_of(app).view, layer=layer)) for layer in layers]
    app = finish(app, *all_settings)
    assert_no_error(app)
    assert len(app.get("image")) == 1
    for settings in all_settings:
        last = inversion_of(settings).measurements[-1]
        figures = f"**{settings.view.layer}**  \nerror {last.error:.4f}  \nPSNR {last.psnr:.1f} dB"
        assert figures in [text.value for text in app.markdown]


@pytest.mark.parametrize("prior", ["Mahendran-Vedaldi", "none", "with jitter"])
def test_every_prior_can_be_chosen(prior):
    app = open_page(PAGE, **LENET, prior=prior, steps="50")
    assert_no_error(app)
    assert ("total variation" in app.latex[0].value) == (prior != "none")


def test_one_channel_can_be_matched():
    app = open_page(PAGE, **LENET, target="one channel", channel="4", steps="50")
    settings = settings_of(app, channel=4)
    app = finish(app, settings)
    assert_no_error(app)
    assert inversion_of(settings).complete


def test_an_inactive_channel_is_named():
    model = checkpoints.load("lenet").model
    settings = InversionSettings(replace(VIEW, layer="conv3_relu"), "none", None, 5, 0)
    image = inversion_jobs.resources.network_input(settings.view)
    silent = int((tape.features(model, image, "conv3_relu").flatten(2).amax(2)[0] == 0).nonzero()[0])
    job = job_for(replace(settings, channel=silent))
    assert job.error.startswith("The target is inactive")


@pytest.mark.parametrize(
    ("key", "value"),
    [("prior", "magic"), ("steps", "7"), ("seed", "-3"), ("view", "all"), ("target", "x")],
)
def test_a_bad_value_in_the_link_is_named_and_something_else_is_shown(key, value):
    app = open_page(PAGE, **LENET, **{key: value})
    app.query_params[key] = value
    app.run()
    assert not app.exception
    assert len(app.get("image")) == 3


@pytest.mark.parametrize("layer", ["conv1", "conv5_x"])
@pytest.mark.parametrize("bn", ["true", "false"])
def test_the_page_opens_on_the_other_network_too(layer, bn):
    assert_no_error(open_page(PAGE, checkpoint="resnet18", layer=layer, bn=bn))


def test_an_untrained_network_can_be_inverted():
    app = open_page(PAGE, **LENET, weights="untrained", steps="50")
    settings = settings_of(app)
    app = finish(app, replace(settings, view=replace(settings.view, network=weights.find("lenet", weights.UNTRAINED))))
    assert_no_error(app)
    assert app.metric


# Pictures and charts ---------------------------------------------------------------------------------------------


def test_the_pictures_are_png_of_the_right_content():
    job = job_for(SETTINGS)
    picture = Image.open(io.BytesIO(tiles.large(job.pictures[20])))
    assert picture.size == (448, 448)
    np.testing.assert_array_equal(np.asarray(picture)[::14, ::14], job.pictures[20])
    sheet = Image.open(io.BytesIO(tiles.sheet([[job.pictures[0]] * 2] * 3)))
    assert sheet.size == (2 * 256 + 8, 3 * 256 + 16)
    named = Image.open(io.BytesIO(tiles.sheet([[job.pictures[0]] * 2] * 3, ["the image", "conv1"], "black")))
    heads = np.asarray(named)[: named.height - sheet.height, :, 3] > 0
    assert heads[:, :256].any()
    assert heads[:, 264:].any()


def test_the_deconvnet_picture_is_of_the_same_target():
    whole = tiles.deconvnet(VIEW, None, True)
    channel = tiles.deconvnet(VIEW, 3, True)
    assert whole.shape == channel.shape == (32, 32, 3)
    assert not np.array_equal(whole, channel)


def test_the_tables_hold_what_was_measured_and_the_chart_nothing_that_a_logarithm_cannot_show():
    measurements = job_for(replace(SETTINGS, prior="none")).measurements
    table = charts.step_table(measurements)
    assert list(table["relative feature error"]) == [at.error for at in measurements]
    assert list(table["PSNR, dB"]) == [at.psnr for at in measurements]
    rows = charts.term_rows(measurements, jitter=False)
    assert set(rows["curve"]) == {"relative feature error"}
    assert (rows["value"] > 0).all()
    assert torch.isfinite(torch.tensor(rows["value"].to_numpy())).all()


def test_a_term_below_the_axis_is_named_instead_of_drawn():
    rows = pd.DataFrame([(0, "high", 1.0), (1, "high", 2.5e-7), (0, "low", 2.5e-7)], columns=["step", "curve", "value"])
    assert charts.below_the_axis(rows) == ["low"]
    lines = charts.falling_chart(["high"], 1)["layer"][0]
    assert lines["transform"] == [{"filter": f"datum.value >= {charts.LOWEST}"}]
    assert "clamp" not in lines["encoding"]["y"]["scale"]
