"""An interruption at any moment, a kill included, changes nothing about the end of a run."""

import csv
import errno
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.settings import ROOT
from engine.training import control, live_files
from engine.training.datasets import Splits
from engine.training.plan import Cut, Plan
from engine.training.recipe import Phase, Recipe, Resolution
from engine.training.records import EpochRecord
from engine.training.run import RunFolder
from engine.training.telemetry import StepReport
from tests import killing
from tests.runs import Stop, lenet, train

# Going on ------------------------------------------------------------------------------------------------------

MIXED = Recipe(
    name="mixed",
    architecture="model_two",
    input_size=32,
    batch_size=16,
    cutout=8,
    label_smoothing=0.1,
    mixup=0.4,
    ema=0.9,
    seed=5,
    phases=(Phase(2, 0.05, "sgd"), Phase(2, 0.002, "adam", "cosine")),
)
GROWING = Recipe(
    name="growing",
    architecture="torchvision:shufflenet_v2_x0_5",  # few weights: processors without bfloat16 take long for it
    input_size=32,
    batch_size=32,
    precision="bfloat16",
    phases=(Phase(2, 0.01, "adamw"), Phase(1, 0.01, "sgd")),
    resolutions=(Resolution(0, 24), Resolution(1, 32)),
)


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two stored states differ by a single bit or more; wall-clock seconds apart."""
    if isinstance(one, dict):
        keys = one.keys() | other.keys()
        return [
            d for key in keys if key != "seconds" for d in differences(one.get(key), other.get(key), f"{place}.{key}")
        ]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for index, (a, b) in pairs for d in differences(a, b, f"{place}.{index}")]
    same = torch.equal(one, other) if isinstance(one, Tensor) else one == other
    return [] if same else [place]


def same_end(one: RunFolder, other: RunFolder) -> bool:
    assert differences(one.load(), other.load()) == []
    assert differences(one.best(), other.best()) == []
    histories = [
        [{**row, "seconds": ""} for row in csv.DictReader((run.path / "history.csv").read_text().splitlines())]
        for run in (one, other)
    ]
    assert histories[0] == histories[1]
    return True


def test_differences_are_found() -> None:
    one = {"a": [torch.zeros(2), 1], "seconds": 1}
    assert differences(one, {"a": [torch.zeros(2), 1], "seconds": 2}) == []
    assert differences(one, {"a": [torch.tensor([0, 1e-45]), 2], "seconds": 1}) == [".a.0", ".a.1"]


@pytest.fixture(scope="module")
def uninterrupted(bundled_train: LabelledImages, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    splits = Splits(bundled_train.subset(np.arange(64)), bundled_train.subset(np.arange(4_000, 4_032)))
    runs = {recipe.name: RunFolder(tmp_path_factory.mktemp(recipe.name)) for recipe in (MIXED, GROWING)}
    for recipe in (MIXED, GROWING):
        train(recipe, splits, runs[recipe.name])
    return runs


def stopping_at(epoch: int, step: int) -> Callable[[StepReport], None]:
    def observe(report: StepReport) -> None:
        if (report.epoch, report.step) == (epoch, step):
            raise Stop

    return observe


@pytest.mark.parametrize(
    ("recipe", "stops"),
    [
        (MIXED, [(0, 1)]),
        (MIXED, [(1, 0)]),
        (MIXED, [(1, 3)]),
        (MIXED, [(2, 0)]),
        (MIXED, [(3, 2)]),
        (MIXED, [(0, 3), (1, 1), (1, 2), (2, 1), (3, 0)]),
        (GROWING, [(1, 0), (2, 1)]),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else str(value),
)
def test_a_stopped_and_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(
    recipe: Recipe, stops: list[tuple[int, int]], splits: Splits, folder: RunFolder, uninterrupted: dict[str, RunFolder]
) -> None:
    for epoch, step in stops:
        with pytest.raises(Stop):
            train(recipe, splits, folder, stopping_at(epoch, step))
        state = folder.load()
        assert (state["epoch"] if state else 0) == epoch
        torch.rand(7)  # the global generator is somewhere else when the run goes on
    progress = train(recipe, splits, folder)
    assert progress.epoch == recipe.epochs
    assert same_end(folder, uninterrupted[recipe.name])


def test_the_uninterrupted_runs_use_what_could_be_forgotten(uninterrupted: dict[str, RunFolder]) -> None:
    mixed, growing = (uninterrupted[name].load() for name in ("mixed", "growing"))
    assert [record["optimizer"] for record in mixed["history"]] == ["sgd", "sgd", "adam", "adam"]
    assert [record["pixels"] for record in growing["history"]] == [24, 32, 32]
    for state in (mixed, growing):
        losses = [record["batch_loss"] for record in state["history"]]
        assert all(map(math.isfinite, losses))
        assert len(set(losses)) == len(losses)
        assert len(state["optimizer"]["state"]) > 0


def test_a_finished_run_is_left_as_it_is(splits: Splits, uninterrupted: dict[str, RunFolder]) -> None:
    folder = uninterrupted["mixed"]
    before = (folder.path / "state.pt").read_bytes()
    progress = train(MIXED, splits, folder, stopping_at(0, 0))
    assert progress.epoch == 4
    assert (folder.path / "state.pt").read_bytes() == before
    assert progress.history == [EpochRecord(**record) for record in folder.load()["history"]]


@pytest.mark.parametrize(("file", "nth", "epochs_kept"), [("best.pt", 1, 0), ("history.csv", 2, 1), ("state.pt", 2, 1)])
def test_a_disk_that_fills_up_costs_one_epoch(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, nth: int, epochs_kept: int
) -> None:
    folder, whole = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "whole")
    moves: list[str] = []
    move = os.replace

    def failing(source: Any, target: Path) -> None:
        moves.append(target.name)
        if moves.count(file) == nth and target.name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(ConvscopeError, match=rf"run/{file} could not be written \(No space left on device\)"):
            train(lenet(), splits, folder)
    state = folder.load()
    assert (state["epoch"] if state else 0) == epochs_kept
    train(lenet(), splits, folder)
    train(lenet(), splits, whole)
    assert same_end(folder, whole)


def test_a_folder_with_another_recipe_is_refused(splits: Splits, folder: RunFolder) -> None:
    train(lenet(), splits, folder)
    before = {path.name: path.read_bytes() for path in folder.path.glob("*.*")}
    for other in (lenet(seed=4), lenet(phases=(Phase(3, 0.01, schedule="constant"),))):
        with pytest.raises(ConvscopeError) as caught:
            folder.begin(other)
        assert str(caught.value) == (
            f"{folder.path} holds a run of another recipe: delete it with `--delete run`, or name another folder with "
            "`--run`."
        )
    assert {path.name: path.read_bytes() for path in folder.path.glob("*.*")} == before
    folder.begin(lenet())


def test_another_recipe_takes_the_place_of_one_by_which_no_epoch_was_trained(folder: RunFolder) -> None:
    folder.begin(MIXED)
    # What a run has written that was killed in the course of its first epoch, or while it saved it.
    folder.save_plan(Plan(MIXED, (Cut(0, 2),)))
    folder.save_best((1, {}))
    folder.save_weights(1, {})
    other = replace(MIXED, precision="float64")
    folder.begin(other)
    assert folder.recipe() == other
    assert [path.name for path in folder.path.iterdir()] == ["recipe.json"]


def test_a_damaged_recipe_file_is_refused(folder: RunFolder) -> None:
    folder.begin(lenet())
    (folder.path / "recipe.json").write_text("{")
    with pytest.raises(ConvscopeError, match="holds a run of another recipe"):
        folder.begin(lenet())


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_damaged_state_is_refused_and_kept(splits: Splits, folder: RunFolder, share: float) -> None:
    train(lenet(phases=(Phase(1, 0.01),)), splits, folder)
    file = folder.path / "state.pt"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    size = file.stat().st_size
    with pytest.raises(ConvscopeError) as caught:
        train(lenet(phases=(Phase(1, 0.01),)), splits, folder)
    assert str(caught.value) == f"{file} is damaged: delete {folder.path} and start the run again."
    assert file.stat().st_size == size


def test_missing_best_weights_are_one_sentence(folder: RunFolder) -> None:
    with pytest.raises(ConvscopeError) as caught:
        folder.best()
    assert str(caught.value) == (
        f"{folder.path}/best.pt is missing or damaged: delete {folder.path} and start the run again."
    )


# Killing -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
def test_runs_that_are_killed_again_and_again_end_bit_for_bit_like_ones_that_were_not(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stderr
    counts = re.search(r"killed (\d+)", result.stdout)
    assert counts is not None
    assert int(counts[1]) >= 20
    for name in ("averaged", "commanded"):
        whole, killed = (RunFolder(tmp_path / f"{name}-{kind}") for kind in ("whole", "killed"))
        assert same_end(killed, whole)
        assert not [path.name for path in killed.path.glob(".*")], "what a killed process had half written is left"
        assert live_files.read_status(killed).state == "finished"
        steps = live_files.read_steps(killed).step
        assert np.all(np.diff(steps) > 0), "a step is noted twice"


def test_the_killed_runs_make_use_of_what_could_be_forgotten(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command and the early stopping happen, and happen in the middle."""
    monkeypatch.setattr(control, "INTERVAL", 0.0)
    killing.train(killing.COMMANDED, folder, killing.splits(), id)
    assert [(cut.epoch, cut.steps) for cut in folder.plan(killing.COMMANDED).cuts] == [(4, 1)]
    history = folder.load()["history"]
    assert 5 < len(history) < folder.plan(killing.COMMANDED).epochs
    assert [record["learning_rate"] == 1e-12 for record in history] == [epoch >= 5 for epoch in range(len(history))]
    assert killing.AVERAGED.ema
