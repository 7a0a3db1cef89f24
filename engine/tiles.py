"""Feature maps as pictures: one colour scale for responses, one for signed maps; frames and shades on an image."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from engine import pictures
from engine.graph.receptive_field import Box, Pair
from engine.pictures import FRAME

Colour = tuple[int, int, int]
SHADE = 0.3
"""How much of a picture's brightness is left outside a patch."""


def coloured(maps: Tensor, scales: Tensor, signed: bool) -> np.ndarray:
    """uint8 `[K, H, W, 3]` of maps `[K, H, W]`, each on its own of `scales` `[K]`.

    Signed maps are grey, with zero at mid-grey; others go from viridis' dark end (0 and below) to its bright end.
    """
    if signed:
        return pictures.signed(maps[:, None].expand(-1, 3, -1, -1), scales.double().numpy())
    shares = (maps / scales.clamp(min=1e-30)[:, None, None]).numpy()
    return pictures.viridis(shares)


def _frame(picture: np.ndarray, box: Box, thickness: int, colour: Colour) -> None:
    """Draw a frame along the inside of the box."""
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    picture[box.top : box.top + thickness, columns] = colour
    picture[box.bottom - thickness : box.bottom, columns] = colour
    picture[rows, box.left : box.left + thickness] = colour
    picture[rows, box.right - thickness : box.right] = colour


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 `[side, side, 3]`: a picture `[H, W, 3]` stretched to a square by repeating or leaving out pixels."""
    rows, columns = ((np.arange(side) + 0.5) * length / side for length in picture.shape[:2])
    return picture[rows.astype(int)][:, columns.astype(int)]


def framed(picture: np.ndarray, boxes: Sequence[tuple[Box, Colour]], side: int) -> np.ndarray:
    """uint8 `[side, side, 3]`: a picture with a frame in its colour around each box of its pixels, clipped to it."""
    made, image = fitted(picture, side), picture.shape[:2]
    for box, colour in boxes:
        _frame(made, _scaled(box.clipped(image), image, side), max(2, side // 72), colour)
    return made


def lit(picture: np.ndarray, boxes: Sequence[Box | None], image: Pair) -> np.ndarray:
    """uint8 `[K, h, w, 3]`: a picture `[h, w, 3]` once per box, dark outside it; all of it dark for None.

    The boxes are in pixels of an image of (height, width) pixels, of which the picture is a smaller copy.
    """
    dark = (picture * SHADE).astype(np.uint8)
    tiles = dark[np.newaxis].repeat(len(boxes), axis=0)
    for tile, box in zip(tiles, boxes, strict=True):
        if box is not None:
            inside = _scaled(box.clipped(image), image, len(picture))
            rows, columns = slice(inside.top, inside.bottom), slice(inside.left, inside.right)
            tile[rows, columns] = picture[rows, columns]
    return tiles


def dotted(tiles: np.ndarray, places: Sequence[Pair | None], image: Pair) -> np.ndarray:
    """The tiles `[K, h, w, 3]` with a dot at each place, given in pixels of an image of (height, width) pixels."""
    side, radius = tiles.shape[1], max(1, tiles.shape[1] // 20)
    for tile, place in zip(tiles, places, strict=True):
        if place is not None:
            row, column = (min(max(at * side // size, 0), side - 1) for at, size in zip(place, image, strict=True))
            tile[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1] = FRAME
    return tiles


def _scaled(box: Box, image: Pair, side: int) -> Box:
    """A box of an image's pixels in a square copy of `side` pixels, at least one pixel in size."""
    top, left = box.top * side // image[0], box.left * side // image[1]
    bottom, right = -(-box.bottom * side // image[0]), -(-box.right * side // image[1])
    return Box(top, left, max(top + 1, bottom), max(left + 1, right))
