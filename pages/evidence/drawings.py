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
    """uint8 `[H, W, 3]`: the most probable class with each square hidden, in a colour of its own.

    Args:
        classes: those that have a colour; the others share the last one.
    """
    place = {label: min(index, len(COLOURS) - 1) for index, label in enumerate(classes)}
    predicted = found.predicted()
    colours = np.full((*predicted.shape, 3), pictures.UNKNOWN, np.uint8)
    for row, column in torch.nonzero(predicted >= 0).tolist():
        colours[row, column] = COLOURS[place.get(int(predicted[row, column]), len(COLOURS) - 1)]
    rows, columns = (
        np.minimum(np.arange(length) * count // length, count - 1)
        for length, count in zip(image.shape[:2], predicted.shape, strict=True)
    )
    return pictures.laid_over(colours[rows][:, columns], image)
