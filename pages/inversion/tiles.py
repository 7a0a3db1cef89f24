"""The tiles of the Inversion page: the image, its inversion, and the deconvnet reconstruction beside them."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from engine import data, pictures
from engine.playbacks import Playback
from engine.views import View
from pages.common import resources, sheets

TILE = 256
"""About how many pixels high a tile of the row of layers is."""


@st.cache_resource(max_entries=256, show_spinner=False)
def deconvnet(view: View, channel: int | None, batch_norm: bool) -> np.ndarray:
    """uint8 `[S, S, 3]`: the deconvnet reconstruction from the same target, on its own scale."""
    signal, channels = ("all channels", ()) if channel is None else ("whole map", (channel,))
    pixels = resources.play(Playback(view, signal, channels, batch_norm=batch_norm)).reconstruction.pixels
    return pictures.signed_each(pixels)[0]


def image(view: View) -> np.ndarray:
    """uint8 `[S, S, 3]`: the image at the input size of the network, with which an inversion is compared."""
    card = resources.trained(view.network).card
    return data.pixels_of(resources.network_input(view), card.mean, card.std)[0]


def grey(view: View) -> np.ndarray:
    """uint8 `[S, S, 3]`: stands for an inversion that has not begun."""
    return np.full((view.size, view.size, 3), round(pictures.MID_GREY), dtype=np.uint8)


def large(picture: np.ndarray) -> bytes:
    """A PNG of one picture `[S, S, 3]`, enlarged without blur."""
    return pictures.png(pictures.enlarged(picture[np.newaxis], sheets.SIDE)[0])


def sheet(rows: Sequence[Sequence[np.ndarray]], heads: Sequence[str] = (), ink: str = pictures.INK) -> bytes:
    """A PNG of rows of pictures `[S, S, 3]` of one size, below the heads of their columns."""
    tiles = pictures.enlarged(np.stack([picture for row in rows for picture in row]), TILE)
    return pictures.png(pictures.sheet(tiles, len(rows[0]), heads=[(head,) for head in heads], ink=ink))
