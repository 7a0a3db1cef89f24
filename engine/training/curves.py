"""A run's figures as curves over epochs, thinned to what a screen can show.

A noted step lies at `epoch - 1 + (its place in the epoch + 1) / steps per epoch`; a whole epoch's figures at its
number. The loss of one batch jumps about, so neighbouring steps are averaged: groups of equal size, at most `MOST`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.training.plan import Plan
from engine.training.records import EpochRecord, Steps

MOST = 240
"""Points of a curve: one for every few pixels of a chart."""


@dataclass(frozen=True)
class StepCurve:
    """Means over neighbouring steps; arrays `[G]`: where they lie (in epochs), loss in nats, learning rate."""

    epoch: np.ndarray
    loss: np.ndarray
    learning_rate: np.ndarray


def step_curve(steps: Steps, plan: Plan, steps_per_epoch: int, most: int = MOST) -> StepCurve:
    """The noted steps of a run whose epochs have `steps_per_epoch` steps (at least 1), as at most `most` points."""
    before = {epoch: plan.steps_before(epoch - 1, steps_per_epoch) for epoch in np.unique(steps.epoch).tolist()}
    begins = np.array([before[epoch] for epoch in steps.epoch.tolist()], dtype=float)
    place = steps.epoch - 1 + (steps.step - begins + 1) / max(1, steps_per_epoch)
    size = max(1, -(-len(steps) // most))
    return StepCurve(*(_means(values, size) for values in (place, steps.loss, steps.learning_rate)))


def best_epoch(history: Sequence[EpochRecord], input_size: int) -> EpochRecord | None:
    """The epoch whose weights are kept: of those at the final image size, the first with the most right answers.

    None as long as no epoch has seen images of `input_size`: at a smaller size, no weights are kept.
    """
    final = [record for record in history if record.pixels == input_size]
    return max(final, key=lambda record: record.val_accuracy, default=None)


def _means(values: np.ndarray, size: int) -> np.ndarray:
    """The means of groups of `size` neighbours; the last group may be smaller."""
    starts = np.arange(0, len(values), size)
    if not len(starts):
        return np.zeros(0)
    return np.add.reduceat(values.astype(float), starts) / np.diff([*starts, len(values)])
