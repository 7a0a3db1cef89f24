"""The pictures of the Inversion page: what came back, the image itself, and the deconvnet's picture beside them."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from engine import data, pictures
from pages.common import resources, sheets
from pages.common.resources import Playback, View

TILE = 256
"""About how many pixels high a tile of the row of layers is."""


@st.cache_resource(max_entries=256, show_spinner=False)
def deconvnet(view: View, channel: int | None, batch_norm: bool) -> np.ndarray:
    """uint8 `[S, S, 3]`: what the deconvnet sends back of the same target, on its own scale."""
    seed, channels = ("all channels", ()) if channel is None else ("whole map", (channel,))
    made = resources.reconstruction(Playback(view, seed, channels, batch_norm=batch_norm)).pixels
    return pictures.signed(made, pictures.scale_of(made))[0]


def seen(view: View) -> np.ndarray:
    """uint8 `[S, S, 3]`: the image at the size at which the network sees it, which is what is compared with."""
    card = resources.trained(view.network).card
    return data.pixels_of(resources.network_input(view), card.mean, card.std)[0]


def nothing(view: View) -> np.ndarray:
    """uint8 `[S, S, 3]`, grey: what has come back before anything was begun."""
    return np.full((view.size, view.size, 3), round(pictures.MID_GREY), dtype=np.uint8)


def large(picture: np.ndarray) -> bytes:
    """A PNG of one picture `[S, S, 3]`, enlarged without blur."""
    return pictures.png(pictures.enlarged(picture[np.newaxis], sheets.SIDE)[0])


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> bytes:
    """A PNG of rows of pictures `[S, S, 3]` of one size."""
    tiles = np.stack([picture for row in rows for picture in row])
    return pictures.png(pictures.sheet(pictures.enlarged(tiles, TILE), len(rows[0])))
