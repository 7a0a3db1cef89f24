r"""Calibration: does a network predict correctly as often as its confidence claims?

The softmax gives each prediction a confidence. It is calibrated if 80 % of all predictions with confidence 0.8 are
correct. The reliability diagram sorts the predictions into 15 bins of equal width and sets the accuracy in each bin
against its mean confidence; the expected calibration error is the gap between the two, averaged over the images (Guo et
al. 2017, eq. 3):

    ECE = sum_b n_b / N  |accuracy_b - confidence_b|

Bin b holds confidences in (b / 15, (b + 1) / 15], so that exactly 1.0 falls into the last one.

Temperature scaling (Guo et al. 2017, section 4.2) divides all logits by one number T > 0, fitted so that the
cross-entropy of the *validation* images is least. No prediction changes, only its confidence. With b = 1 / T the loss
is convex; with z the logits, p = softmax(b z) and y the label,

    L(b) = mean(log sum exp(b z) - b z_y),   L' = mean(E_p[z] - z_y),   L'' = mean(Var_p[z])

so Newton's method, kept between two bounds, finds the one minimum.

Limits: the ECE depends on the bins and has a positive expectation even for a calibrated network; one temperature for
all classes cannot correct a network that is overconfident in some classes and not in others.
"""

from dataclasses import dataclass

import numpy as np

from engine.accuracy.figures import Share, wilson
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The predictions with a confidence above `low` and up to `high`: their mean confidence and their accuracy."""

    low: float
    high: float
    confidence: float
    accuracy: Share


def reliability(predictions: Predictions, bins: int = BINS) -> list[Bin]:
    """The predictions sorted into `bins` equally wide bins of confidence; an empty bin has NaN for its figures."""
    edges = np.linspace(0, 1, bins + 1)
    confidence, correct = predictions.confidence, predictions.correct
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, weights=confidence, minlength=bins) / counts
    hits = np.bincount(place, weights=correct, minlength=bins)
    return [
        Bin(float(edges[b]), float(edges[b + 1]), float(means[b]), wilson(int(hits[b]), int(counts[b])))
        for b in range(bins)
    ]


def calibration_error(predictions: Predictions, bins: int = BINS) -> float:
    """The expected calibration error, 0-1; NaN for no images."""
    filled = [entry for entry in reliability(predictions, bins) if entry.accuracy.total]
    gaps = [entry.accuracy.total * abs(entry.accuracy.value - entry.confidence) for entry in filled]
    return sum(gaps) / len(predictions) if filled else float("nan")


def top_k(predictions: Predictions, k: int) -> Share:
    """The share of images whose true class is among the `k` largest logits; of equal logits the first class counts.

    Raises:
        ConvscopeError: `k` is not between 1 and the number of classes.
    """
    count, classes = predictions.logits.shape
    if not 1 <= k <= classes:
        raise ConvscopeError(f"There are {classes} classes, so their best {k} cannot be counted: take 1 to {classes}.")
    own = _own_logits(predictions)[:, None]
    earlier = np.arange(classes) < predictions.labels[:, None]
    ahead = (predictions.logits > own) | ((predictions.logits == own) & earlier)
    return wilson(int((ahead.sum(axis=1) < k).sum()), count)


@dataclass(frozen=True)
class Coverage:
    """Selective prediction: a network that predicts only with a confidence of at least `threshold`.

    Attributes:
        answered: the coverage, the share of all images for which it predicts.
        accuracy: of those predictions.
    """

    threshold: float
    answered: Share
    accuracy: Share


def coverage(predictions: Predictions, points: int = 100) -> list[Coverage]:
    """Accuracy against the share of images answered, at about `points` thresholds from the strictest to none.

    Predictions of equal confidence are made together or not at all, so there may be fewer points; none for no images.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    confidence, hits = predictions.confidence[order], predictions.correct[order].cumsum()
    ends = np.flatnonzero(np.append(confidence[1:] < confidence[:-1], True)) + 1 if len(order) else np.array([], int)
    kept = ends[np.unique(np.linspace(0, len(ends) - 1, min(points, len(ends))).round().astype(int))]
    return [
        Coverage(float(confidence[n - 1]), wilson(n, len(order)), wilson(int(hits[n - 1]), n)) for n in kept.tolist()
    ]


# Temperature ---------------------------------------------------------------------------------------------------


def scaled(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions with all logits (then float64) divided by `temperature` > 0."""
    return Predictions(predictions.logits.astype(np.float64) / temperature, predictions.labels)


def fit_temperature(validation: Predictions) -> float:
    """The temperature with the least cross-entropy on the validation predictions.

    Raises:
        ConvscopeError: there is no such temperature: there are no images, or the network is right about all of them
            (the colder the better), or no better than guessing (the hotter the better).
    """
    if not len(validation):
        raise ConvscopeError("A temperature cannot be fitted without validation images: choose another network.")
    low, high = 0.0, 1.0
    if _slope_and_curvature(validation, low)[0] >= 0:
        raise ConvscopeError("No temperature helps a network that is no better than guessing: choose another network.")
    if np.array_equal(_own_logits(validation), validation.logits.max(axis=1)):
        raise ConvscopeError(
            "No temperature is best for a network that is right about every validation image: choose another network."
        )
    while _slope_and_curvature(validation, high)[0] < 0:  # ends: the wrong predictions outweigh the rest at last
        low, high = high, 2 * high
    return 1 / _root(validation, low, high)


def _root(validation: Predictions, low: float, high: float) -> float:
    """Where the loss over the inverse temperature is flat: Newton's steps, halving the bounds where one leaves them."""
    inverse = high
    for _ in range(200):
        slope, curvature = _slope_and_curvature(validation, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = slope / curvature if curvature > 0 else np.inf
        following = inverse - step if low < inverse - step < high else (low + high) / 2
        if abs(following - inverse) <= 1e-14 * inverse:
            break
        inverse = following
    return inverse


def _slope_and_curvature(validation: Predictions, inverse: float) -> tuple[float, float]:
    """L' and L'' of the cross-entropy at an inverse temperature."""
    logits = validation.logits.astype(np.float64)
    p = Predictions(logits * inverse, validation.labels).probabilities
    mean = (p * logits).sum(axis=1)
    variance = (p * (logits - mean[:, None]) ** 2).sum(axis=1)
    return float((mean - _own_logits(validation)).mean()), float(variance.mean())


def _own_logits(predictions: Predictions) -> np.ndarray:
    """`[N]`: the logit of each image's true class."""
    return predictions.logits[np.arange(len(predictions)), predictions.labels]
