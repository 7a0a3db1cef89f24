"""Pictures on a page: one crisp PNG per grid, never one element per tile."""

import numpy as np
import streamlit as st
from torch import Tensor

from engine import pictures

SIDE = 448
"""About how many pixels high a picture is encoded; the browser fits it to its column, without blurring."""

GAP = 8
"""Pixels between two pictures of a sheet."""


def signed(pixels: Tensor, scale: float) -> np.ndarray:
    """uint8 `[H, W, 4]`: pictures `[K, 3, H, W]` with zero at mid-grey, a single one or all as a square sheet."""
    return pictures.sheet(pictures.signed(pixels, scale), width=SIDE, gap=GAP)


def show(picture: bytes | str, alt: str) -> None:
    """A picture, a PNG or an SVG, as wide as its column."""
    st.image(picture, output_format="PNG", width="stretch", alt=alt)
