"""Figures in words, and as the tables that charts are drawn from and that readers save."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.accuracy.figures import Share
from engine.accuracy.predictions import Predictions
from pages.common.texts import percent


def interval(share: Share) -> str:
    """ "95 % interval 85.4 % to 86.8 %"."""
    return f"95 % interval {percent(share.low)} to {percent(share.high)}"


def shares_table(shares: Sequence[Share], **columns: Any) -> pd.DataFrame:
    """A row per share: `columns`, then accuracy, low and high (0-1), and how many of the images are right."""
    rows = [(share.value, share.low, share.high, share.hits, share.total) for share in shares]
    figures = pd.DataFrame(rows, columns=["accuracy", "low", "high", "right", "images"])
    return pd.concat([pd.DataFrame(columns, index=figures.index), figures], axis=1)


def matrix_table(cells: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """A confusion matrix `[K, K]`: a row per true class, a column per predicted class."""
    table = pd.DataFrame(cells, columns=list(classes))
    table.insert(0, "true class", list(classes))
    return table


def predictions_table(predictions: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    """A row per image: true class, predicted class and confidence (0-1)."""
    return pd.DataFrame(
        {
            "true class": [classes[label] for label in predictions.labels],
            "predicted class": [classes[label] for label in predictions.predicted],
            "confidence": predictions.confidence,
        }
    )
