"""The learning rate as a function of how far a phase has come: no state, so nothing to restore on resuming.

"one_cycle" rises linearly to the highest rate and falls linearly to zero (Smith & Topin 2019, "Super-convergence");
"cosine" follows half a cosine (Loshchilov & Hutter 2017, "SGDR", equation 5, one period).
"""

import math

from engine.training.recipe import Phase


def learning_rate(phase: Phase, progress: float) -> float:
    """The rate when `progress` (0-1) of the phase's steps are done."""
    return phase.learning_rate * _factor(phase, min(max(progress, 0.0), 1.0))


def _factor(phase: Phase, progress: float) -> float:
    if phase.schedule == "constant":
        return 1.0
    if phase.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if progress < phase.warmup:
        return progress / phase.warmup
    return (1 - progress) / (1 - phase.warmup) if phase.warmup < 1 else 1.0
