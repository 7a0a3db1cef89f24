"""The pictures of the Evidence page: heat maps, alone or laid over the grey image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine import pictures
from engine.occlusion import Occlusion
from pages.common import sheets
from pages.common.charts import OKABE_ITO

SEEN = 0.45
"""How much of the image shows through a heat map."""
UNKNOWN = np.array([round(pictures.MID_GREY)] * 3, dtype=np.uint8)
"""The colour of what is not known yet."""
COLOURS = np.array([tuple(bytes.fromhex(colour.removeprefix("#"))) for colour in OKABE_ITO], dtype=np.uint8)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """uint8 `[side, side, 3]` of a picture `[S, S, 3]`, as large as pictures are sent."""
    return pictures.enlarged(picture[np.newaxis], sheets.SIDE)[0]


def large(picture: np.ndarray) -> bytes:
    """A PNG of a picture `[S, S, 3]`, as large as pictures are sent."""
    return pictures.png(enlarged(picture))


def stretched(heat: Tensor) -> np.ndarray:
    """`[H, W]` in 0-1: a heat map from its smallest to its largest value; all 0 if it is flat. NaN stays."""
    values = heat.double().numpy()
    known = values[~np.isnan(values)]
    if not len(known) or known.max() == known.min():
        return values * 0
    return (values - known.min()) / (known.max() - known.min())


def over_image(shares: np.ndarray, image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]`: shares `[H, W]` as colours, laid over the grey image `[H, W, 3]`; grey where it is NaN."""
    unknown = np.isnan(shares)
    return laid_over(np.where(unknown[..., None], UNKNOWN, pictures.viridis(np.nan_to_num(shares))), image)


def laid_over(colours: np.ndarray, image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]`: colours `[H, W, 3]` over the grey image `[H, W, 3]`."""
    grey = image.mean(axis=2, keepdims=True)
    return np.rint(colours * (1 - SEEN * (1 - grey / 255))).astype(np.uint8)


def answers(found: Occlusion, classes: Sequence[int], image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]`: the most probable class with each square hidden, in a colour of its own.

    Args:
        classes: those that have a colour; the others share the last one.
    """
    place = {label: min(index, len(COLOURS) - 1) for index, label in enumerate(classes)}
    predicted = found.predicted()
    colours = np.full((*predicted.shape, 3), UNKNOWN, np.uint8)
    for row, column in torch.nonzero(predicted >= 0).tolist():
        colours[row, column] = COLOURS[place.get(int(predicted[row, column]), len(COLOURS) - 1)]
    rows, columns = (
        np.minimum(np.arange(length) * count // length, count - 1)
        for length, count in zip(image.shape[:2], predicted.shape, strict=True)
    )
    return laid_over(colours[rows][:, columns], image)
