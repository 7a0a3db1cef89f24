"""The images behind a figure.

Every figure on the Accuracy page counts images. These functions give the images themselves, as positions in the test
set, so that a class can look at what it has just counted. All of them sort by confidence, the probability of the
predicted class; of equally confident images the first in the test set comes first.
"""

import numpy as np

from engine.accuracy.predictions import Predictions

_WRONG = "1227 1718 2405 2592 2804 4794 5191 5468 5632 5690 5960 6877 6966 7657 7846 8058 9227 9352"
KNOWN_WRONG_LABELS = tuple(map(int, _WRONG.split()))
"""Positions in CIFAR-10's official test set whose own label is wrong, by a majority of human judges.

Northcutt, Athalye & Mueller (2021), "Pervasive label errors in test sets destabilize machine learning benchmarks"; they
list 54 labels as wrong or unclear, and for these 18 most judges agreed on another class.
"""


def of_class(predictions: Predictions, label: int, *, correct: bool) -> np.ndarray:
    """int64 `[M]`: images of class `label` that are recognised, or not; the most confident first."""
    return most_confident_first(predictions, (predictions.labels == label) & (predictions.correct == correct))


def of_cell(predictions: Predictions, label: int, predicted: int) -> np.ndarray:
    """int64 `[M]`: images of class `label` that are predicted as `predicted`, the most confident first."""
    return most_confident_first(predictions, (predictions.labels == label) & (predictions.predicted == predicted))


def of_all_classes(predictions: Predictions, *, correct: bool) -> np.ndarray:
    """int64 `[M]`: all images with a correct prediction, or a wrong one, the most confident first."""
    return most_confident_first(predictions, predictions.correct == correct)


def most_confident_first(predictions: Predictions, chosen: np.ndarray) -> np.ndarray:
    """int64 `[M]`: the images where the mask `chosen` `[N]` is true, in falling order of confidence."""
    indices = np.flatnonzero(chosen)
    return indices[np.argsort(-predictions.confidence[indices], kind="stable")]


def known_wrong(predictions: Predictions) -> np.ndarray:
    """int64 `[M]`: the images whose label is known to be wrong, of predictions on the official test set, in order."""
    return np.array([index for index in KNOWN_WRONG_LABELS if index < len(predictions)], dtype=np.int64)
