"""A sheet of kernels as one PNG, each with its number below and one of them in a frame."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine import pictures

WIDTH = 1200
"""About how many pixels wide a sheet is."""
GAP, LABEL = 10, 46
INK, FRAME = (128, 128, 128, 255), (230, 159, 0, 255)
"""Grey reads on a light page and on a dark one; the frame is Okabe & Ito's orange."""


def columns_for(count: int, wide: bool = False) -> int:
    """How many tiles stand side by side: 8 up to 64, as papers draw them; more on a `wide` sheet."""
    if wide or count > 64:
        return min(count, max(16, math.ceil(math.sqrt(2 * count))))
    return min(count, 8)


def numbered(tiles: np.ndarray, columns: int, marked: int | None) -> bytes:
    """A PNG of tiles uint8 `[K, h, w, 3]`, row by row, enlarged without blur."""
    side = max(tiles.shape[1], WIDTH // columns - GAP)
    large = pictures.enlarged(tiles, side)
    count, height, width, _ = large.shape
    step_x, step_y = width + GAP, height + LABEL + GAP
    rows = math.ceil(count / columns)
    sheet = Image.new("RGBA", (columns * step_x + GAP, rows * step_y + GAP))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(14, min(40, width // 3)))
    for index, tile in enumerate(large):
        left, top = GAP + index % columns * step_x, GAP + index // columns * step_y
        sheet.paste(Image.fromarray(tile), (left, top))
        ink = FRAME if index == marked else INK
        draw.text((left + width / 2, top + height + LABEL / 2), str(index), ink, font, anchor="mm")
        if index == marked:
            draw.rectangle((left - 7, top - 7, left + width + 6, top + height + 6), outline=FRAME, width=6)
    return pictures.png(np.asarray(sheet))
