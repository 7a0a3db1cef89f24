"""The pictures of the Evidence page, as large as pictures are sent, and the map of the most probable class."""

from collections.abc import Sequence

import numpy as np
import torch

from engine import pictures
from engine.occlusion import Occlusion
from pages.common import sheets
from pages.common.charts import OKABE_ITO

COLOURS = np.array([tuple(bytes.fromhex(colour.removeprefix("#"))) for colour in OKABE_ITO], dtype=np.uint8)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """uint8 `[side, side, 3]` of a picture `[S, S, 3]`, as large as pictures are sent."""
    return pictures.enlarged(picture[np.newaxis], sheets.SIDE)[0]


def large(picture: np.ndarray) -> bytes:
    """A PNG of a picture `[S, S, 3]`, as large as pictures are sent."""
    return pictures.png(enlarged(picture))


def answers(found: Occlusion, classes: Sequence[int], image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]`: at each pixel the most probable class with the square hidden whose middle is nearest.

    Args:
        classes: those that have a colour of their own; the others share the last one.
    """
    place = {label: min(index, len(COLOURS) - 1) for index, label in enumerate(classes)}
    predicted = found.predicted()
    colours = np.full((*predicted.shape, 3), pictures.UNKNOWN, np.uint8)
    for row, column in torch.nonzero(predicted >= 0).tolist():
        colours[row, column] = COLOURS[place.get(int(predicted[row, column]), len(COLOURS) - 1)]
    top, left, bottom, right = found.boxes.numpy().transpose(2, 0, 1)
    rows, columns = _nearest((top + bottom)[:, 0] / 2, found.size[0]), _nearest((left + right)[0] / 2, found.size[1])
    return pictures.laid_over(colours[rows][:, columns], image)


def _nearest(middles: np.ndarray, length: int) -> np.ndarray:
    """int64 `[length]`: which of `middles` is nearest to the middle of each pixel of a side."""
    return np.abs(np.arange(length)[:, np.newaxis] + 0.5 - middles).argmin(axis=1)
