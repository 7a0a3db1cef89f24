"""What can be read from a training's figures: best epochs, gaps, smoothed and thinned curves.

A history is a table with one row per epoch and the columns of `EpochRecord` (`histories.read_table`), or a list of
such records.

Steps. A noted step lies at `epoch - 1 + (its place in the epoch + 1) / steps per epoch`; the figures of a whole epoch
at its number. The loss of one batch jumps about, so neighbouring steps are averaged: groups of equal size, at most
`MOST`.

Reference: Kingma & Ba (2015), "Adam", section 3, for the bias correction of a moving mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.errors import ConvscopeError
from engine.training.plan import Plan
from engine.training.records import EpochRecord, Steps

# Epochs --------------------------------------------------------------------------------------------------------


def best_epoch(history: Sequence[EpochRecord], input_size: int) -> EpochRecord | None:
    """The epoch whose weights are kept: of those at the final image size, the first with the highest accuracy.

    None as long as no epoch has seen images of `input_size`: at a smaller size, no weights are kept.
    """
    final = [record for record in history if record.pixels == input_size]
    return max(final, key=lambda record: record.val_accuracy, default=None)


def final_stretch(table: pd.DataFrame) -> pd.DataFrame:
    """The last epochs, as far back as the images have the final size."""
    other = np.flatnonzero(table["pixels"].to_numpy() != table["pixels"].iloc[-1])
    return table.iloc[other[-1] + 1 :] if len(other) else table


def size_changes(table: pd.DataFrame) -> list[tuple[int, int]]:
    """(epoch, pixels) of each epoch whose images have another size than the epoch's before."""
    changed = table[table["pixels"].diff().fillna(0) != 0]
    return [(int(epoch), int(pixels)) for epoch, pixels in zip(changed["epoch"], changed["pixels"], strict=True)]


def best_epochs(table: pd.DataFrame) -> tuple[int | None, int | None]:
    """The epochs of the lowest validation loss and of the highest validation accuracy at the final image size.

    The first of equals; None where all values are not numbers. As of `best_epoch`, images may have had another size in
    between.
    """
    last = table[table["pixels"] == table["pixels"].iloc[-1]].set_index("epoch")
    loss, accuracy = (last[column][np.isfinite(last[column])] for column in ("val_loss", "val_accuracy"))
    return int(loss.idxmin()) if len(loss) else None, int(accuracy.idxmax()) if len(accuracy) else None


def kept_epoch(table: pd.DataFrame) -> pd.Series:
    """The line of the highest validation accuracy, whose weights are kept; of the last epoch where there is none."""
    _, best = best_epochs(table)
    return table.set_index("epoch").loc[table["epoch"].iloc[-1] if best is None else best]


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Per epoch: "loss", validation's minus training's, and "accuracy", training's minus validation's."""
    loss, accuracy = table["val_loss"] - table["train_loss"], table["train_accuracy"] - table["val_accuracy"]
    return pd.DataFrame({"epoch": table["epoch"], "loss": loss, "accuracy": accuracy})


def elapsed(table: pd.DataFrame) -> np.ndarray:
    """float64 `[N]`: the seconds from the start of the training to the end of each epoch."""
    return table["seconds"].cumsum().to_numpy()


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """The exponential moving mean of `values` `[N]`, corrected for its start at zero:

        m_t = weight * m_(t-1) + (1 - weight) * x_t,    result: m_t / (1 - weight^t)

    `weight` is 0 (no smoothing) to below 1. A value that is not finite stays as it is and is left out of the mean.
    """
    if not 0 <= weight < 1:
        raise ConvscopeError(f"The weight of smoothing must lie between 0 and below 1, not {weight:g}.")
    mean, count = 0.0, 0
    result = np.array(values, dtype=np.float64)
    for index, value in enumerate(result):
        if math.isfinite(value):
            mean, count = weight * mean + (1 - weight) * value, count + 1
            result[index] = mean / (1 - weight**count)
    return result


def smoothed_by_size(table: pd.DataFrame, column: str, weight: float) -> np.ndarray:
    """`smoothed`, begun afresh wherever the image size changes, so that the jump there stays a jump."""
    stretch = (table["pixels"].diff().fillna(0) != 0).cumsum()
    parts = [smoothed(part.to_numpy(), weight) for _, part in table[column].groupby(stretch, sort=True)]
    return np.concatenate(parts)


# Steps ---------------------------------------------------------------------------------------------------------

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


def _means(values: np.ndarray, size: int) -> np.ndarray:
    """The means of groups of `size` neighbours; the last group may be smaller."""
    starts = np.arange(0, len(values), size)
    if not len(starts):
        return np.zeros(0)
    return np.add.reduceat(values.astype(float), starts) / np.diff([*starts, len(values)])
