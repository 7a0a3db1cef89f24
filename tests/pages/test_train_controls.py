"""What the Train page makes of those settings of its starting point that have no control."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
import streamlit as st
import torch

from engine.training import device, estimate
from engine.training.estimate import TimePerImage
from engine.training.queue import jobs
from engine.training.recipe import Phase, Recipe, Resolution
from pages.train import controls
from pages.train import estimate as page_estimate
from tests.apps import assert_no_error, open_page

PAGE = "train/page.py"
GROWING = controls.starting_point("resnet18")
TRANSFER = controls.starting_point("resnet18_transfer")
RANDOM = "It begins with random weights: those of resnet18_transfer belong to another network."
FIXED_SIZES = "All epochs see {} px: the growing images of resnet18 do not fit here."


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_folders: Callable[..., None]) -> Path:
    """An empty folder of runs, and an estimate that takes no time."""
    st.cache_resource.clear()
    use_folders(runs=tmp_path / "runs")
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(0.01, 0.002))
    return tmp_path / "runs"


def made(base: Recipe, network: str = "", **changes: object) -> Recipe:
    """The recipe of `base`'s controls after these changes, the first of which may be another network."""
    values = controls.settings_of(base)
    if network:
        values |= controls.network_settings(network, {})
    return controls.recipe_of({**values, **changes}, base)


# Growing images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"epochs1": 29}, {"epochs1": 11}, {"phases": "2"}, {"batch_size": 32}])
def test_images_grow_as_long_as_they_reach_their_final_size(changes: dict[str, object]) -> None:
    recipe = made(GROWING, **changes)
    assert recipe.resolutions == GROWING.resolutions == (Resolution(0, 32), Resolution(10, 64))
    assert controls.remarks(recipe, GROWING) == ["The images grow: 32 px from epoch 1 on, 64 px from epoch 11 on."]


@pytest.mark.parametrize(
    ("changes", "pixels"),
    [
        ({"epochs1": 10}, 64),
        ({"epochs1": 5, "input_size": "32"}, 32),
        ({"input_size": "96"}, 96),
        ({"network": "lenet"}, 64),
    ],
)
def test_images_that_cannot_grow_are_named(changes: dict[str, object], pixels: int) -> None:
    recipe = made(GROWING, **changes)
    assert recipe.resolutions == ()
    assert controls.remarks(recipe, GROWING) == [FIXED_SIZES.format(pixels)]


def test_sizes_after_the_end_are_left_out() -> None:
    base = replace(GROWING, resolutions=(Resolution(0, 32), Resolution(10, 64), Resolution(20, 64)))
    assert made(base, epochs1=15).resolutions == base.resolutions[:2]


def test_a_starting_point_without_them_needs_no_words() -> None:
    recipe = made(controls.FIRST_LESSON)
    assert recipe == controls.FIRST_LESSON
    assert controls.remarks(recipe, controls.FIRST_LESSON) == []


# Initialisation ------------------------------------------------------------------------------------------------


def test_another_network_does_not_begin_with_the_weights_of_the_first() -> None:
    base = replace(TRANSFER, base_sha256="0" * 64)
    recipe = made(base, "lenet", input_size="32")
    assert (recipe.base, recipe.base_sha256, recipe.train_last) == ("", "", 0)
    plain = Recipe("plain", "lenet", (Phase(1, 0.1),))
    assert recipe.statistics == plain.statistics
    assert controls.remarks(recipe, base) == [RANDOM]


def test_the_same_network_keeps_its_first_weights() -> None:
    recipe = made(TRANSFER, epochs1=3)
    assert (recipe.base, recipe.train_last) == (TRANSFER.base, 5)
    assert controls.remarks(recipe, TRANSFER) == [
        "It begins with the weights torchvision:IMAGENET1K_V1, and only the last 5 convolutions and what follows them "
        "learn."
    ]


@pytest.mark.parametrize("has_it", [True, False])
def test_the_page_says_where_bfloat16_takes_long(has_it: bool, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: has_it)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    app = open_page(PAGE, precision="bfloat16")
    assert any(caption.value.startswith(device.SLOW_BFLOAT16) for caption in app.caption) is not has_it


@pytest.mark.parametrize(
    ("name", "where"), [("cpu", "on this machine"), ("cuda", "on the processor; this machine’s GPU takes less")]
)
def test_the_time_is_of_the_processor(name: str, where: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_estimate, "best_device", lambda: torch.device(name))
    app = open_page(PAGE)
    end = time.monotonic() + 60
    while any("timing a few steps" in text.value for text in app.markdown):
        assert time.monotonic() < end
        app.run()
    assert any(text.value.endswith(f"** {where}") for text in app.markdown)


def test_the_least_of_what_was_measured_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([0.02, 9.0, 0.001])
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(next(measured, 9.0), 0.002))
    monkeypatch.setattr(page_estimate, "VALID", -1.0)
    timing = page_estimate.Timing(controls.FIRST_LESSON)
    end, costs = time.monotonic() + 60, [timing.cost]
    while costs[-1] != TimePerImage(0.001, 0.002):
        assert time.monotonic() < end
        timing.renew()
        costs.append(timing.cost)
    assert [cost.step for cost, _ in groupby(filter(None, costs))] == [0.02, 0.001]


def test_the_page_says_so_and_starts_what_can_be_trained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Recipe] = []
    monkeypatch.setattr(jobs, "start", lambda folder, check: submitted.append(folder.recipe()))
    app = open_page(PAGE, recipe="resnet18_transfer", architecture="LeNet", dataset="5,000 shipped images")
    assert_no_error(app)
    assert RANDOM in [caption.value for caption in app.caption]
    app.main.button(key="train_start").click().run()
    assert [(recipe.architecture, recipe.base, recipe.train_last) for recipe in submitted] == [("lenet", "", 0)]


# States over time ----------------------------------------------------------------------------------------------


def test_a_run_that_keeps_states_says_which_and_how_much_they_take() -> None:
    recipe = made(controls.FIRST_LESSON, keep_states=True)
    assert recipe == replace(controls.FIRST_LESSON, keep_states=True)
    said = ["States kept: after epochs 1, 2, 4, 8, about 3.1 MB."]  # 390,186 weights in 2 bytes, 234 biases in 4
    assert controls.remarks(recipe, controls.FIRST_LESSON) == said
    assert controls.remarks(made(controls.FIRST_LESSON, keep_states=True, epochs1=1), controls.FIRST_LESSON) == [
        "A run of one epoch has no state between its ends to keep."
    ]


def test_the_link_asks_for_states_and_a_run_is_started_with_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Recipe] = []
    monkeypatch.setattr(jobs, "start", lambda folder, check: submitted.append(folder.recipe()))
    app = open_page(PAGE, keep_states="true")
    assert_no_error(app)
    assert any(caption.value.startswith("States kept: after epochs 1, 2, 4, 8") for caption in app.caption)
    app.main.button(key="train_start").click().run()
    assert [recipe.keep_states for recipe in submitted] == [True]


# Numbers in the address ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "asked", "usual"),
    [("epochs1", "1e999", 10), ("seed", "inf", 0), ("epochs1", "9" * 400, 10), ("batch_size", "2.5", 64)],
)
def test_a_number_that_cannot_be_is_replaced_by_the_one_that_is_said(
    root: Path, key: str, asked: str, usual: int
) -> None:
    app = open_page(PAGE, **{key: asked})
    assert_no_error(app)
    assert app.number_input(key=key).value == usual
    assert f"must be a whole number from {'2 to 4,096' if key == 'batch_size' else ''}" in app.warning[0].value
    assert f"{usual} is shown instead" in app.warning[0].value
