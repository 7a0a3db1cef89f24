"""What the tests of training share: tiny recipes, tiny data, and how to stop a run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from engine.training.loop import Splits, StepReport, Training
from engine.training.recipe import Phase, Recipe
from engine.training.run import Progress, RunFolder

CPU = torch.device("cpu")


class Stop(Exception):
    """What an observer raises to end a run."""


def lenet(**changes: Any) -> Recipe:
    recipe = Recipe("tiny", "lenet", (Phase(2, 0.01, schedule="constant"),), input_size=32, batch_size=16, seed=3)
    return replace(recipe, **changes)


def train(recipe: Recipe, splits: Splits, folder: RunFolder, observe: Callable[[StepReport], object] = id) -> Progress:
    """Train to the end, as the command does."""
    folder.begin(recipe)
    return Training(recipe, splits, folder, CPU, observe).run()
