"""Feature maps as pictures: one colour scale for responses, one for signed maps, frames, shades and labels."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from engine import pictures
from engine.graph.receptive_field import Box, Pair

VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 73, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37),
)  # fmt: skip
FRAME = (230, 159, 0)
"""Okabe & Ito's orange, which viridis and most photographs do not hold."""

Colour = tuple[int, int, int, int]
CLEAR, WHITE = (0, 0, 0, 0), (255, 255, 255, 255)
"""Grounds of a picture, with their opacity."""

SHADE = 0.3
"""How much of a picture's brightness is left outside a patch."""


def coloured(maps: Tensor, scales: Tensor, signed: bool) -> np.ndarray:
    """uint8 `[K, H, W, 3]` of maps `[K, H, W]`, each on its own of `scales` `[K]`.

    Signed maps are grey, with zero at mid-grey; others go from viridis' dark end (0 and below) to its bright end.
    """
    shares = (maps / scales.clamp(min=1e-30)[:, None, None]).numpy()
    if signed:
        grey = np.clip(np.rint(pictures.MID_GREY * (1 + shares)), 0, 255).astype(np.uint8)
        return grey[..., np.newaxis].repeat(3, axis=-1)
    steps = np.linspace(0, 1, 256)
    anchors = np.linspace(0, 1, len(VIRIDIS))
    table = np.stack([np.interp(steps, anchors, channel) for channel in zip(*VIRIDIS, strict=True)], axis=1)
    return np.rint(table).astype(np.uint8)[np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)]


def columns_for(count: int, aspect: float) -> int:
    """How many square tiles go into a row so that a sheet is about `aspect` times as wide as high.

    A number that leaves no row unfinished goes first, if one is near.
    """
    wanted = math.sqrt(count * aspect)
    full = min((n for n in range(1, count + 1) if count % n == 0), key=lambda n: abs(math.log(n / wanted)))
    return full if 2 / 3 < full / wanted < 3 / 2 else max(1, min(count, math.ceil(wanted)))


def sheet(tiles: np.ndarray, columns: int, width: int, marked: int | None = None) -> np.ndarray:
    """uint8 `[H, W, 4]`: tiles `[K, h, w, 3]` row by row, about `width` pixels wide; one of them has a frame."""
    gap = 6 if columns <= 20 else 4
    enlarged = pictures.enlarged(tiles, max(1, (width // columns - gap) * tiles.shape[1] // tiles.shape[2]))
    made = pictures.contact_sheet(enlarged, columns, gap)
    made = np.pad(made, ((gap, gap), (gap, gap), (0, 0)))
    if marked is not None:
        height, wide = enlarged.shape[1] + gap, enlarged.shape[2] + gap
        top, left = marked // columns * height, marked % columns * wide
        _frame(made, Box(top, left, top + height + gap, left + wide + gap), gap)
    return made


def _frame(picture: np.ndarray, box: Box, thickness: int) -> None:
    """Draw a frame along the inside of the box."""
    colour = np.array([*FRAME, 255][: picture.shape[2]], dtype=np.uint8)
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    picture[box.top : box.top + thickness, columns] = colour
    picture[box.bottom - thickness : box.bottom, columns] = colour
    picture[rows, box.left : box.left + thickness] = colour
    picture[rows, box.right - thickness : box.right] = colour


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 `[side, side, 3]`: a picture `[H, W, 3]` stretched to a square by repeating or leaving out pixels."""
    rows, columns = ((np.arange(side) + 0.5) * length / side for length in picture.shape[:2])
    return picture[rows.astype(int)][:, columns.astype(int)]


def framed(picture: np.ndarray, box: Box, side: int) -> np.ndarray:
    """uint8 `[side, side, 3]`: a picture with a frame around a box of its pixels, clipped to the picture."""
    made, within = fitted(picture, side), _scaled(box.clipped(picture.shape[:2]), picture.shape[:2], side)
    _frame(made, within, max(2, side // 96))
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


def labelled_columns(
    columns: Sequence[tuple[Sequence[str], np.ndarray]], side: int, ink: str, ground: Colour = CLEAR
) -> np.ndarray:
    """uint8 `[H, W, 4]`: a column of tiles `[K, side, side, 3]` per entry, under its lines of text in `ink`."""
    gap, line = 8, max(16, side // 7)
    head = line * 3
    tallest = max(len(tiles) for _, tiles in columns)
    canvas = np.full((head + tallest * (side + gap), len(columns) * (side + gap) - gap, 4), ground, dtype=np.uint8)
    for index, (_, tiles) in enumerate(columns):
        left = index * (side + gap)
        for row, tile in enumerate(tiles):
            top = head + row * (side + gap)
            canvas[top : top + side, left : left + side, :3] = tile
            canvas[top : top + side, left : left + side, 3] = 255
    return _with_texts(canvas, [lines for lines, _ in columns], side + gap, line, ink)


def _with_texts(canvas: np.ndarray, texts: Sequence[Sequence[str]], step: int, line: int, ink: str) -> np.ndarray:
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    for index, lines in enumerate(texts):
        for row, text in enumerate(lines):
            font = _font_for(text, line, step - 8)
            pen.text((index * step + (step - 8) / 2, row * line * 1.25), text, fill=ink, font=font, anchor="ma")
    return np.asarray(drawn)


def _font_for(text: str, height: int, width: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The largest font up to `height` in which the text is not wider than `width`."""
    font = ImageFont.load_default(height)
    wide = font.getlength(text)
    return font if wide <= width else ImageFont.load_default(max(8, int(height * width / wide)))
