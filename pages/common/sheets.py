"""Pictures on a page: one crisp PNG per grid, never one element per tile."""

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st
from torch import Tensor

from engine import pictures

SIDE = 448
"""About how many pixels high a picture is encoded; the browser fits it to its column, without blurring."""


def signed(pixels: Tensor, scale: float) -> np.ndarray:
    """uint8 `[H, W, 4]`: pictures `[K, 3, H, W]` with zero at mid-grey, a single one or all as a square sheet."""
    tiles = pictures.signed(pixels, scale)
    columns = math.ceil(math.sqrt(len(tiles)))
    return pictures.contact_sheet(pictures.enlarged(tiles, SIDE // columns), columns)


def side_by_side(sheets: Sequence[np.ndarray], gap: int = 16) -> bytes:
    """A PNG of sheets `[H, W, 4]` of one size in a row."""
    between = np.zeros((sheets[0].shape[0], gap, 4), dtype=np.uint8)
    parts = [part for sheet in sheets for part in (sheet, between)][:-1]
    return pictures.png(np.concatenate(parts, axis=1))


def show(png: bytes, alt: str) -> None:
    """A picture as wide as its column."""
    st.image(png, output_format="PNG", width="stretch", alt=alt)
