"""How often is the network right, about which classes, and how certain is that figure?

Accuracy on n images is an estimate: another n images would give another figure. The Wilson score interval (Wilson
1927; Brown, Cai & DasGupta 2001) contains the true accuracy in about 95 of 100 such experiments. With k correct
predictions of n and z = 1.96 it is

    (p + z^2 / 2n  ±  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),    p = k / n

It never leaves 0 to 1, and stays honest for small n, where the textbook's p ± z sqrt(p (1 - p) / n) does not.

All figures per class come from the confusion matrix: recall divides its diagonal by the sums of the rows (the images of
the class), precision by the sums of the columns (the images predicted as the class).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from engine.accuracy.predictions import Predictions

Z_95 = 1.959963984540054
"""The standard normal's 97.5 % quantile: 95 % lie between -z and z."""


@dataclass(frozen=True)
class Share:
    """k hits of n: the share `value` with its 95 % Wilson interval `low` to `high`, in 0-1; NaN if n = 0."""

    hits: int
    total: int
    value: float
    low: float
    high: float


def percent(share: float) -> str:
    """0.8189 as "81.9 %"."""
    return f"{100 * share:.1f} %"


def wilson(hits: int, total: int, z: float = Z_95) -> Share:
    """The share `hits / total` with its Wilson score interval; all NaN for no images at all."""
    if total == 0:
        return Share(0, 0, math.nan, math.nan, math.nan)
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    # At the ends the two terms are equal but for rounding.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == total else centre + half
    return Share(hits, total, share, low, high)


def accuracy(predictions: Predictions) -> Share:
    """The share of images whose largest logit is the true class."""
    return accuracy_of(confusion_matrix(predictions))


def accuracy_of(confusion: np.ndarray) -> Share:
    """The share of images on the diagonal of counts `[K, K]` of (true class, predicted class)."""
    return wilson(int(np.trace(confusion)), int(confusion.sum()))


def accuracy_per_class(predictions: Predictions) -> list[Share]:
    """For each of the K classes: the share of its own images that are recognised (the class's recall)."""
    return [figures.recall for figures in class_figures(confusion_matrix(predictions))]


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class.

    Attributes:
        recall: of the images of the class (their number, `recall.total`, is its support), how many are recognised.
        precision: of the images predicted as this class, how many are of it.
        f1: the harmonic mean of both, 0-1; NaN for a class that neither occurs nor is ever predicted.
    """

    recall: Share
    precision: Share
    f1: float


def class_figures(confusion: np.ndarray) -> list[ClassFigures]:
    """Recall, precision and F1 of each class from counts `[K, K]` of (true class, predicted class)."""
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassFigures(wilson(hit, own), wilson(hit, claimed), 2 * hit / (own + claimed) if own + claimed else math.nan)
        for hit, own, claimed in zip(hits.tolist(), support.tolist(), predicted.tolist(), strict=True)
    ]


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """int64 `[K, K]`: how many images of class (row) were predicted as class (column)."""
    classes = predictions.logits.shape[1]
    cells = predictions.labels * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def commonest_mistake(confusion: np.ndarray) -> tuple[int, int, int] | None:
    """(true class, predicted class, how many images) of the largest count off the diagonal; None without mistakes."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    count = int(mistakes[true, predicted])
    return (int(true), int(predicted), count) if count else None


def cross_entropy(predictions: Predictions) -> float:
    """The mean of `-log p(true class)` in nats; NaN for no images."""
    logits = torch.from_numpy(predictions.logits).double()
    return float(F.cross_entropy(logits, torch.from_numpy(predictions.labels)))
