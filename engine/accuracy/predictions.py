"""The outputs of a network for many images: every figure of accuracy is a pure function of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """The logits of a network for N images, and the true classes.

    Attributes:
        logits: float32 or float64 `[N, K]`, before the softmax.
        labels: int64 `[N]`, the true classes.
    """

    logits: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> np.ndarray:
        """int64 `[N]`: the class with the largest logit; the first of them when several are equal."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """bool `[N]`: whether the prediction is the label."""
        return self.predicted == self.labels

    @property
    def probabilities(self) -> np.ndarray:
        """float64 `[N, K]`: softmax of the logits."""
        shifted = np.exp(self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    @property
    def confidence(self) -> np.ndarray:
        """float64 `[N]`: the probability of the predicted class."""
        return self.probabilities.max(axis=1)

    def subset(self, indices: np.ndarray) -> "Predictions":
        """The predictions of the images at `indices`, in that order."""
        return Predictions(self.logits[indices], self.labels[indices])
