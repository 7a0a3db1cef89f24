"""A network has been run again: do its predictions agree with the stored ones?

Stored figures can be believed because they can be computed again. Another processor adds in another order, so logits
may differ in their last digits, and the prediction may change where two classes are as good as equal; `differences`
counts those images.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

import numpy as np

from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError


@dataclass(frozen=True)
class Differences:
    """Live against stored predictions: images with another prediction, and the largest gap between two logits."""

    images: int
    answers: int
    logits: float


def differences(live: Predictions, stored: Predictions) -> Differences:
    """How far live predictions are from the stored ones of the same images.

    Raises:
        ConvscopeError: they are not of the same images.
    """
    if live.logits.shape != stored.logits.shape or not np.array_equal(live.labels, stored.labels):
        raise ConvscopeError("The stored predictions are of other images: evaluate the network on the test images.")
    gap = float(np.abs(live.logits - stored.logits).max(initial=0))
    return Differences(len(live), int((live.predicted != stored.predicted).sum()), gap)


def in_words(found: Differences) -> str:
    """Whether live and stored answers agree, in a sentence."""
    if found.answers == 0:
        agreement = f"All {found.images:,} live answers are the stored ones"
    else:
        agreement = f"{found.answers:,} of {found.images:,} live answers differ from the stored ones"
    most = float(Context(prec=1, rounding=ROUND_CEILING).create_decimal(repr(found.logits)))  # so that none is further
    return f"{agreement}; no logit is further than {most:g} from its stored value."
