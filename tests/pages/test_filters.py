"""The Filters page: its sheets, words and charts, over training time, and from bad links."""

import numpy as np
import pytest
import streamlit as st

from engine import filters
from engine.errors import ConvscopeError
from engine.filters import sheets
from engine.filters.words import NO_PATTERN, Description
from pages.filters import charts, first_layer, kernels
from tests.apps import assert_no_error, assert_pictures_have_words, open_page

PAGE = "filters/page.py"
VIEWS = ("first layer", "before and after training", "deeper layers")


@pytest.fixture(scope="module", autouse=True)
def _fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


def said(app) -> str:
    return "\n".join(element.value for element in app.markdown)


@pytest.mark.parametrize("checkpoint", ["lenet", "resnet18"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("weights", ["trained", "untrained"])
def test_every_view_opens(checkpoint, view, weights):
    app = open_page(PAGE, checkpoint=checkpoint, view=view, weights=weights)
    assert_no_error(app)
    assert_pictures_have_words(app)
    assert not app.warning


@pytest.mark.parametrize("how", filters.FORMS)
@pytest.mark.parametrize("scale", sheets.SCALES)
def test_kernels_can_be_shown_in_every_way(how, scale):
    app = open_page(PAGE, checkpoint="lenet", form=how, brightness=scale)
    assert_no_error(app)
    assert len(app.get("image")) == 2


def test_a_filters_words_and_figures_are_those_that_were_measured():
    word = filters.describe(filters.snapshots("lenet").kernels[-1])[4]
    app = open_page(PAGE, checkpoint="lenet", channel="4")
    assert_no_error(app)
    assert f"### {word.text}" in said(app)
    assert any(f"at {word.orientation:.0f}°" in caption.value for caption in app.caption)


def test_the_slider_goes_through_all_kept_epochs():
    app = open_page(PAGE, checkpoint="lenet")
    slider = app.select_slider("epoch")
    assert [int(option) for option in slider.options] == list(filters.snapshots("lenet").epochs)
    trained = app.info[0].value
    slider.set_value("0").run()
    assert_no_error(app)
    assert "before training" in said(app)
    assert app.info[0].value != trained
    assert "no clear orientation" in app.info[0].value


def test_a_link_to_an_epoch_restores_it():
    app = open_page(PAGE, checkpoint="lenet", epoch="15")
    assert_no_error(app)
    assert app.select_slider("epoch").value == "15"
    assert "after epoch 15 of 30" in said(app)


def test_training_is_shown_before_halfway_and_after():
    app = open_page(PAGE, checkpoint="resnet18", view="before and after training")
    assert len(app.get("image")) == 3
    assert "(epoch 0)" in said(app)
    assert "(epoch 15)" in said(app)
    assert "(epoch 30)" in said(app)


@pytest.mark.parametrize(("epochs", "moments"), [((0, 1), 2), ((1, 2), 2), ((1,), 1), ((0, 1, 2), 3)])
def test_a_short_training_has_no_moment_twice(epochs, moments, monkeypatch):
    kept = filters.snapshots("lenet")
    short = filters.Snapshots(kept.kernels[: len(epochs)], epochs)
    monkeypatch.setattr(filters, "snapshots", lambda name: short)
    kernels.snapshots.clear()
    app = open_page(PAGE, checkpoint="lenet", view="before and after training")
    assert_no_error(app)
    assert len(app.get("image")) == moments
    assert f"**after training** (epoch {epochs[-1]})" in said(app)
    assert ("halfway" in app.info[0].value) == (moments == 3)
    kernels.snapshots.clear()


def test_without_kept_kernels_the_networks_own_are_shown(monkeypatch):
    def missing(name):
        raise ConvscopeError(f"filters.npz of {name} is missing.")

    monkeypatch.setattr(filters, "snapshots", missing)
    kernels.snapshots.clear()
    app = open_page(PAGE, checkpoint="lenet")
    assert_no_error(app)
    assert "32 filters** after training" in said(app)
    assert any("is missing" in caption.value for caption in app.caption)
    training = open_page(PAGE, checkpoint="lenet", view="before and after training")
    assert not training.exception
    assert [error.value for error in training.error] == ["filters.npz of lenet is missing."]


def test_deeper_kernels_of_any_convolution_and_map():
    app = open_page(PAGE, view="deeper layers", convolution="layer3.0.downsample.0", channel="200")
    assert_no_error(app)
    assert "1 × 1 weights for each of the 128 maps" in said(app)


@pytest.mark.parametrize(
    "link",
    [
        {"channel": "64"},
        {"epoch": "31"},
        {"epoch": "later"},
        {"epoch": "1" * 5_000},
        {"form": "pink"},
        {"view": "x"},
    ],
)
def test_bad_links_are_told_and_never_show_a_traceback(link):
    app = open_page(PAGE, **link)
    assert_no_error(app)
    assert app.warning


def test_a_bad_link_to_a_deeper_layer_is_told():
    app = open_page(PAGE, view="deeper layers", convolution="layer9")
    assert_no_error(app)
    assert app.warning


# Pictures, tables and charts -----------------------------------------------------------------------------------


def test_one_scale_for_all_keeps_weak_filters_weak():
    last = filters.snapshots("lenet").kernels[-1]
    each, together = (sheets.tiles(last, "RGB", scale) for scale in sheets.SCALES)
    spread = [float(np.abs(tiles.astype(float) - 127.5).max(axis=(1, 2, 3)).min()) for tiles in (each, together)]
    assert spread[0] > 120
    assert spread[1] < spread[0]


def test_tables_hold_every_filter_and_every_grating():
    last = filters.snapshots("lenet").kernels[-1]
    table = first_layer.descriptions_table(filters.describe(last))
    assert len(table) == 32
    answers = first_layer.responses_table(filters.tuning(last), 4)
    assert len(answers) == filters.DIRECTIONS * filters.FREQUENCIES
    best = answers.loc[answers["response"].idxmax()]
    assert best["orientation"] == table["orientation_degrees"][4]
    assert 1 / best["frequency"] == pytest.approx(table["period_px"][4], abs=0.01)


def test_kinds_are_counted_once_each():
    kept = filters.snapshots("lenet")
    found = [filters.describe(kept.kernels[index]) for index in (0, kept.halfway, -1)]
    table = charts.kinds_table(["a", "b", "c"], found)
    assert list(table.groupby("when")["filters"].sum()) == [32, 32, 32]


def test_the_summary_counts_in_words():
    kinds = ["stripes", "stripes", "edges", "spots", "flat areas", NO_PATTERN]
    words = tuple(Description("", kind, None, None, "", 0.5, 0.1) for kind in kinds)
    assert first_layer.summary(words) == (
        "Of 6 filters, 1 edge, 2 stripes, 1 spot, 1 flat area; 1 with no clear orientation."
    )


def test_a_depthwise_kernel_reads_one_map_which_is_named():
    app = open_page(PAGE, view="deeper layers", checkpoint="transfer", convolution="blocks.0.residual.0", channel="5")
    assert_no_error(app)
    assert not app.warning
    assert "3 × 3 weights for the one map that it reads, map 5" in said(app)
    assert r"\sum" not in app.latex[0].value


def test_the_headline_over_three_moments_names_the_network_alone():
    def headline(**link):
        return next(
            one.value for one in open_page(PAGE, checkpoint="lenet", **link).markdown if one.value.startswith("# ")
        )

    assert "What the filters of lenet respond to" in headline(weights="untrained", view="before and after training")
    assert "lenet before training" in headline(weights="untrained")
