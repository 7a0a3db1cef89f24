"""What the tests of training share: tiny recipes, tiny data, and how to stop a run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.training import control, live_files, telemetry
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.recipe import Phase, Recipe
from engine.training.records import RunProgress
from engine.training.run import RunFolder
from engine.training.telemetry import StepReport

CPU = torch.device("cpu")


class Stop(Exception):
    """What an observer raises to end a run."""


def lenet(**changes: Any) -> Recipe:
    recipe = Recipe("tiny", "lenet", (Phase(2, 0.01, schedule="constant"),), input_size=32, batch_size=16, seed=3)
    return replace(recipe, **changes)


def train(
    recipe: Recipe, splits: Splits, folder: RunFolder, observe: Callable[[StepReport], object] = id
) -> RunProgress:
    """Train to the end, as the command does."""
    folder.begin(recipe)
    return Training(recipe, splits, folder, CPU, observe).run()


TWO_PHASES = lenet(phases=(Phase(3, 0.02, schedule="constant"), Phase(2, 0.001, "adam", schedule="constant")))


def at(epoch: int, step: int, action: Callable[[], object]) -> Callable[[StepReport], None]:
    """An observer that acts once a certain step is done."""

    def observe(report: StepReport) -> None:
        if (report.epoch, report.step) == (epoch, step):
            action()

    return observe


def act_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for commands, and write live files, at every step."""
    monkeypatch.setattr(control, "INTERVAL", 0.0)
    for name in ("STEPS_INTERVAL", "STATUS_INTERVAL", "FILTERS_INTERVAL"):
        monkeypatch.setattr(telemetry, name, 0.0)


def kinds(folder: RunFolder) -> list[str]:
    """The kinds of the run's events, in order."""
    return [event.kind for event in live_files.read_events(folder)]
