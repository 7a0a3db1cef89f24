"""The learning-rate range test: which rates does this network, on these images, learn with?

The rate rises from tiny to huge within one short training, by the same factor at each step:

    rate_n = low (high / low)^(n / (N - 1))

While it is too small the loss stays where it is; then it falls; when the rate is too large the loss explodes, and the
test stops. One batch's loss is noisy, so it is smoothed: s_n = b s_{n-1} + (1 - b) loss_n, over 1 - b^(n+1), b = 0.9.

At the lowest smoothed loss the rate is too large already: the loss has just stopped falling. A tenth of that rate is
suggested, which lies well inside the range where it falls. It is a start for one's own trials, no more: it depends on
the batch size, and long trainings, or those that average their weights, often tolerate higher rates.

Reference: Smith (2017), "Cyclical learning rates for training neural networks", section 3.3. There the rate rises
linearly and the accuracy is looked at; the exponential rise shows many orders of magnitude in one test.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor

from engine.data import prepare
from engine.files import write_text
from engine.seeding import seeded
from engine.training.batches import Batches
from engine.training.datasets import Splits, to_learn_from
from engine.training.recipe import Recipe
from engine.training.start import make_optimizer, starting_network, train_mode_
from engine.training.step import descend, losses

SMOOTHING = 0.9
EXPLODED = 4.0
"""The test stops when the smoothed loss is this many times its lowest value."""
SETTLED = 5
"""Steps before the loss may be called exploded: the first batches differ much."""


@dataclass(frozen=True)
class RangeTestPoint:
    """One step: its learning rate, the plain cross-entropy of its batch before the step in nats, and smoothed."""

    step: int
    learning_rate: float
    loss: float
    smoothed: float


def range_test(
    recipe: Recipe,
    splits: Splits,
    device: torch.device,
    steps: int = 100,
    low: float = 1e-6,
    high: float = 10.0,
    bases: Path | None = None,
) -> Iterator[RangeTestPoint]:
    """Train a network of its own by the recipe's first phase, at rising rates; ends early when the loss explodes.

    Args:
        steps: from the rate `low` to the rate `high`, at least 2.
        bases: where the checkpoint lies that the recipe starts from; None for the folder of all checkpoints.

    Raises:
        ConvscopeError: the recipe's network cannot be built.
    """
    splits = to_learn_from(splits, recipe)
    model = starting_network(recipe, splits.train.classes, device, bases)
    optimizer = make_optimizer(model, recipe.phases[0])
    train_mode_(model, recipe.train_last)
    smoothed, lowest = 0.0, math.inf
    for step, (images, labels) in enumerate(islice(_batches(recipe, splits, device), steps)):
        rate = low * (high / low) ** (step / (steps - 1))
        with seeded(recipe.seed + step):  # of dropout
            loss, plain = losses(model, prepare(images, recipe.pixels_at(0), *recipe.statistics), labels, recipe)
        smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * plain.item()
        point = RangeTestPoint(step, rate, plain.item(), smoothed / (1 - SMOOTHING ** (step + 1)))
        if not math.isfinite(point.loss):
            return
        yield point
        lowest = min(lowest, point.smoothed)
        if step >= SETTLED and point.smoothed > EXPLODED * lowest:
            return
        descend(optimizer, loss, rate)


def _batches(recipe: Recipe, splits: Splits, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    source = Batches(splits.train, recipe, device)
    for epoch in count():
        yield from source.epoch(epoch)


def suggested(points: Sequence[RangeTestPoint]) -> float | None:
    """A tenth of the rate at the lowest smoothed loss; None if the loss never fell."""
    if not points:
        return None
    lowest = min(points, key=lambda point: point.smoothed)
    return lowest.learning_rate / 10 if lowest.smoothed < points[0].smoothed else None


def write_csv(points: Sequence[RangeTestPoint], file: Path) -> None:
    """Store the test's curve at `file`."""
    lines = [f"{point.step},{point.learning_rate:.6g},{point.loss:.6g},{point.smoothed:.6g}" for point in points]
    write_text(file, "\n".join(["step,learning_rate,loss,smoothed", *lines]) + "\n")
