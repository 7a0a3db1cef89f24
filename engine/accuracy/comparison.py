r"""Two networks on the same images: is one of them better, or was it luck?

Both predict the same images, so their errors are correlated: what is hard for one is hard for the other. Two
intervals that overlap therefore say little. McNemar's test (McNemar 1947) looks only at the images on which exactly one
of the two is right: b that A knows and B misses, and c the other way round. If both were equally good, each such image
would fall to either side like a coin. The exact probability of a split at least as uneven is

    p = min(1, 2 sum_{k <= min(b, c)} C(b + c, k) / 2^(b + c))

Its limits: it compares these two trained networks, not of their architectures (another seed gives another network),
and on many images a difference too small to matter can still be certain.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine.accuracy.figures import confusion_matrix
from engine.accuracy.images import most_confident_first
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError


@dataclass(frozen=True)
class Paired:
    """Of the images that two networks A and B saw: how many both know, only one of them, or neither."""

    both: int
    only_a: int
    only_b: int
    neither: int


WAYS_TO_DIFFER = ("only the first is right", "only the second is right", "both wrong, in different ways")


def pair(a: Predictions, b: Predictions) -> Paired:
    """Count who is right about which image.

    Raises:
        ConvscopeError: the predictions are not of the same images, as far as labels and classes can tell.
    """
    _must_match(a, b)
    knows_a, knows_b = a.correct, b.correct
    counts = (knows_a & knows_b, knows_a & ~knows_b, ~knows_a & knows_b, ~knows_a & ~knows_b)
    return Paired(*(int(mask.sum()) for mask in counts))


def mcnemar(paired: Paired) -> float:
    """The two-sided exact p value; 1 when the two never differ."""
    fewer, total = min(paired.only_a, paired.only_b), paired.only_a + paired.only_b
    ways = term = 1
    for k in range(1, fewer + 1):  # whole numbers throughout: exact, and C(n, k) from C(n, k - 1)
        term = term * (total - k + 1) // k
        ways += term
    return min(1.0, 2 * ways / 2**total)


def in_words(first: str, second: str, paired: Paired) -> str:
    """What was counted, and whether chance explains it, in three sentences."""
    p = mcnemar(paired)
    counted = (
        f"{first} is right about {_images(paired.only_a)} that {second} misses; "
        f"{second} is right about {_images(paired.only_b)} that {first} misses."
    )
    better = first if paired.only_a > paired.only_b else second
    if paired.only_a == paired.only_b:
        return f"{counted} On these images neither is better (p = 1)."
    chance = f"If both were equally good, chance alone would split them at least as unevenly {_how_often(p)}."
    verdict = (
        f"So {better} is better, as these two were trained." if p < 0.05 else "This test cannot tell which is better."
    )
    return f"{counted} {chance} {verdict}"


def differing(a: Predictions, b: Predictions, way: str) -> np.ndarray:
    """int64 `[M]`: the images on which two networks differ in one of `WAYS_TO_DIFFER`, the most confident of A first.

    Raises:
        ConvscopeError: there is no such way, or the predictions are not of the same images.
    """
    _must_match(a, b)
    first, second, neither = WAYS_TO_DIFFER
    masks = {
        first: a.correct & ~b.correct,
        second: ~a.correct & b.correct,
        neither: ~a.correct & ~b.correct & (a.predicted != b.predicted),
    }
    if way not in masks:
        raise ConvscopeError(f"Two networks cannot differ in the way {way!r}: choose one of {', '.join(masks)}.")
    return most_confident_first(a, masks[way])


def confusion_difference(a: Predictions, b: Predictions) -> np.ndarray:
    """int64 `[K, K]`: how many more images of class (row) A predicts as class (column) than B does.

    Raises:
        ConvscopeError: the predictions are not of the same images.
    """
    _must_match(a, b)
    return confusion_matrix(a) - confusion_matrix(b)


def _must_match(a: Predictions, b: Predictions) -> None:
    if a.logits.shape != b.logits.shape or not np.array_equal(a.labels, b.labels):
        raise ConvscopeError(
            "These two networks were not tested on the same images, so their predictions cannot be compared: "
            "choose two that were trained on the same data set."
        )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _how_often(p: float) -> str:
    """A probability as odds a class can picture."""
    if p < 1e-6:
        return "less than once in a million such tests"
    if p >= 0.1:
        return f"in {p * 100:.0f} of 100 such tests (p = {p:.2g})"
    exponent = math.floor(-math.log10(p)) + 2
    return f"in {p * 10**exponent:.0f} of {10**exponent:,} such tests (p = {p:.2g})"
