"""Sheets of kernels with their numbers: all filters of a first layer, or one deeper kernel."""

import math
from collections.abc import Iterable

import numpy as np
from torch import Tensor

from engine import pictures
from engine.filters import as_grey, in_form

WIDTH = 1200
"""How many pixels wide a sheet is at most."""
GAP = 8
"""Pixels between two tiles, and around all of them."""
SCALES = ("each filter", "all together")


def tiles(kernels: Tensor, form: str, scale: str) -> np.ndarray:
    """uint8 `[K, k, k, 3]`: kernels `[K, 3, k, k]` in a form, with zero at mid-grey, on one of `SCALES`."""
    pixels = in_form(kernels, form)
    return pictures.signed(pixels, pictures.scale_of(pixels)) if scale == SCALES[1] else pictures.signed_each(pixels)


def of_first_layer(kernels: Tensor, form: str, scale: str, width: int = WIDTH) -> np.ndarray:
    """uint8 RGBA `[H, W, 4]`: kernels `[K, 3, k, k]` as `tiles` draws them."""
    return _numbered(tiles(kernels, form, scale), columns(len(kernels)), range(len(kernels)), width)


def of_deeper_layer(kernel: Tensor, maps: range) -> np.ndarray:
    """uint8 RGBA `[H, W, 4]`: a kernel `[C, k_h, k_w]`, a grey picture per map that it reads, all on one scale."""
    pixels = as_grey(kernel)
    return _numbered(pictures.signed(pixels, pictures.scale_of(pixels)), wide(len(kernel)), maps, WIDTH)


def _numbered(drawn: np.ndarray, in_a_row: int, numbers: Iterable[int], width: int) -> np.ndarray:
    return pictures.sheet(drawn, in_a_row, width=width, gap=GAP, labels=list(map(str, numbers)))


def columns(count: int) -> int:
    """How many kernels of a first layer stand in a row: 8, as papers draw them, unless there are many."""
    return min(count, 8) if count <= 64 else wide(count)


def wide(count: int) -> int:
    """How many kernels stand in a row of a sheet that is wider than high."""
    return min(count, max(16, math.ceil(math.sqrt(2 * count))))
