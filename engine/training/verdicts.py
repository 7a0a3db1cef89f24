"""A learning curve's verdict: still improving, converged, or overfitting since which epoch?

The rule reads the validation loss v and the training loss t of the epochs at the final image size, N of them.

1. Noise. Neighbouring epochs differ by chance. If v is a smooth curve plus independent noise of standard deviation s,
   its second differences v[i-1] - 2 v[i] + v[i+1] are nearly free of the curve and have standard deviation s * sqrt(6):

       s = 1.4826 * median |second differences| / sqrt(6)        (the median ignores a few jumps)

2. Still improving. A straight line through the last third (at least 3 epochs) falls by more than 1 % of the lowest
   loss from the first of these epochs to the last, and its slope is beyond three of its standard errors
   s / sqrt(sum (i - mean i)^2).
3. Otherwise, has the validation loss risen? Its mean over the last three epochs is held against its lowest mean over
   three neighbouring epochs, lest one lucky epoch count as the lowest. It must lie above by more than 3 s and by more
   than 2 %. If the training loss has meanwhile fallen by more than three of its own s, the network is overfitting
   since the lowest of those three epochs; if not, the training is getting worse.
4. Otherwise it has converged.

Limits: with fewer than 4 epochs there is no verdict. The noise is itself estimated: of curves that are flat but for
noise, 4 to 120 epochs long, about 3 in 100 were called something else than converged. A run that slows down only
because its learning rate goes to zero looks like any other; the sentence then says so.

References: Prechelt (1998), "Early stopping - but when?", for the generalisation loss (rule 3);
von Neumann et al. (1941) for noise from differences; Hampel (1974) for the median's factor.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.accuracy.figures import percent
from engine.training.curves import final_stretch

SHORTEST = 4
"""Epochs that a verdict needs."""
FALL, RISE = 0.01, 0.02
"""Relative to the lowest loss: what counts as a fall and as a rise."""
TAIL = 3
"""Epochs that are averaged where one could be a lucky one."""
SLOWED = 0.05
"""A learning rate below this share of the highest counts as run down to zero."""

TOO_SHORT, BROKEN, IMPROVING = "too short", "not a number", "still improving"
CONVERGED, OVERFITTING, WORSENING = "converged", "overfitting", "getting worse"


@dataclass(frozen=True)
class Verdict:
    """What the curve says.

    Attributes:
        kind: one of the six words of this module.
        since: the epoch of the lowest validation loss, where the loss has risen since, or the first epoch whose loss
            is not a number; else None.
        sentence: the same for a reader, with figures.
    """

    kind: str
    since: int | None
    sentence: str


def verdict(table: pd.DataFrame) -> Verdict:
    """The verdict on a history's table; the rule stands at the top of this module."""
    last = final_stretch(table)
    broken = last.loc[~np.isfinite(last[["train_loss", "val_loss"]]).all(axis=1), "epoch"]
    if len(broken):
        epoch = int(broken.iloc[0])
        return Verdict(BROKEN, epoch, f"In epoch {epoch} a loss is not a number: the training has broken down.")
    if len(last) < SHORTEST:
        count = "1 epoch" if len(last) == 1 else f"{len(last)} epochs"
        return Verdict(TOO_SHORT, None, f"Too short for a verdict: {count} at the final image size.")
    validation = last["val_loss"].to_numpy()
    fall, significant = _fall_of_last_third(validation)
    if fall > FALL and significant:
        return Verdict(IMPROVING, None, _improving(validation, fall, last))
    return _risen(last) or Verdict(CONVERGED, None, _converged(validation, fall))


def noise(values: np.ndarray) -> float:
    """The standard deviation of the noise on a smooth curve `[N]`, N at least 3, from its second differences."""
    return 1.4826 * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6)


def _third(values: np.ndarray) -> int:
    return max(TAIL, math.ceil(len(values) / 3))


def _fall_of_last_third(validation: np.ndarray) -> tuple[float, bool]:
    """By what share of the lowest loss the line through the last third falls, and whether beyond three errors."""
    part = validation[-_third(validation) :]
    at = np.arange(len(part)) - (len(part) - 1) / 2
    slope = float(at @ part / (at @ at))
    error = noise(validation) / math.sqrt(at @ at)
    return -slope * (len(part) - 1) / _scale(validation), -slope > 3 * error


def _scale(losses: np.ndarray) -> float:
    """The lowest loss; a loss of exactly zero has no shares."""
    return max(float(losses.min()), 1e-12)


def _risen(last: pd.DataFrame) -> Verdict | None:
    validation, training = last["val_loss"].to_numpy(), last["train_loss"].to_numpy()
    means = np.convolve(validation, np.ones(TAIL) / TAIL, "valid")
    first = int(means.argmin())
    lowest = slice(first, first + TAIL)
    rise = float(means[-1] - means[first])
    if rise <= max(3 * noise(validation), RISE * _scale(validation)):
        return None
    since = int(last["epoch"].iloc[first + int(validation[lowest].argmin())])
    share = percent(rise / _scale(validation))
    risen = f"since epoch {since}: the validation loss has risen by {share} from its lowest values"
    if training[lowest].mean() - training[-TAIL:].mean() > 3 * noise(training):
        return Verdict(OVERFITTING, since, f"Overfitting {risen}, while the training loss kept falling.")
    return Verdict(WORSENING, since, f"Getting worse {risen}, and the training loss did not fall any more.")


def _improving(validation: np.ndarray, fall: float, last: pd.DataFrame) -> str:
    epochs = f"over the last {_third(validation)} epochs"
    sentence = f"Still improving: {epochs} the validation loss fell by {percent(fall)}"
    rates = last["learning_rate"].to_numpy()
    if rates[-1] < SLOWED * np.nanmax(rates, initial=0.0):
        return f"{sentence}, while the learning rate went down to almost zero: to go on, train on a longer schedule."
    return f"{sentence}; more epochs should help."


def _converged(validation: np.ndarray, fall: float) -> str:
    change = f"{'fell' if fall > 0 else 'rose'} by {percent(abs(fall))}"
    epochs = f"over the last {_third(validation)} epochs"
    return f"Converged: {epochs} the validation loss {change}, which is little or within its noise."
