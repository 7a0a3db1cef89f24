"""What the Maximisation page shows of a request, drawn once and kept."""

import math
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine import gallery, pictures
from engine.gallery import CLASSES, Maximization, Request, Strongest
from engine.weights import Weights
from pages.common import resources

SIDE = 540
"""About how many pixels wide a sheet is encoded."""

PLAYED_AT_MOST = 64
"""More of the deconvnet's pictures would keep the reader waiting."""


@dataclass(frozen=True)
class Sheet:
    """A PNG of tiles, row by row."""

    png: bytes
    columns: int


def sheet(tiles: np.ndarray) -> Sheet:
    """uint8 `[K, H, W, 3]` in a square, enlarged by a whole factor or not at all."""
    columns = math.ceil(math.sqrt(len(tiles)))
    return Sheet(pictures.png(pictures.sheet(tiles, width=SIDE, gap=max(2, 8 - columns // 2))), columns)


def names(request: Request) -> list[str]:
    """What the request's pictures are called: channels by their numbers, classes by their names."""
    if request.layer == CLASSES:
        classes = resources.trained(request.network).card.classes
        return [classes[index] for index in request.channels]
    return [f"channel {index}" for index in request.channels]


def examples(request: Request, found: Strongest) -> tuple[list[int], list[int]]:
    """Test images to be shown, and whose they are: nine for one channel, the strongest of each for several."""
    if request.count == 1:
        images = found.images[request.first].tolist()
        return images, [request.first] * len(images)
    return found.images[list(request.channels), 0].tolist(), list(request.channels)


@st.cache_resource(max_entries=64, show_spinner=False)
def found(images: tuple[int, ...]) -> Sheet:
    """The test images with these indices."""
    return sheet(resources.images("test").images[list(images)])


@dataclass(frozen=True)
class PlayedBack:
    """The deconvnet's pictures, `side` pixels each; `cropped`: whether there is more around them, all zero."""

    sheet: Sheet
    side: int
    cropped: bool


@st.cache_resource(max_entries=64, show_spinner="Playing the signals back …")
def played_back(network: Weights, layer: str, images: tuple[int, ...], channels: tuple[int, ...]) -> PlayedBack:
    """The deconvnet's picture of each channel on its image, each on its own scale."""
    back = gallery.deconvnet(resources.trained(network), layer, resources.images("test").images[list(images)], channels)
    seen = gallery.cropped(back)
    return PlayedBack(sheet(pictures.signed_each(seen)), seen.shape[-1], seen.shape != back.shape)


def top_of(request: Request, strongest: Strongest | None) -> np.ndarray | None:
    """`[K]`: the largest activation of each of the request's channels on any test image, at the network's own size."""
    own = resources.trained(request.network).card.input_size
    if strongest is None or request.size != own:
        return None
    return strongest.activations[list(request.channels), 0]


def verdict(made: Maximization, top: np.ndarray | None, total: int) -> str:
    """How the pictures compare with the images, in a sentence."""
    ends = made.activations[-1]
    silent = int((ends <= 0).sum())
    if top is None:
        sentence = f"The median activation has risen from {_median(made.activations[0])} to {_median(ends)}."
    else:
        above = int((ends > top).sum())
        ratio = float(np.median(ends[top > 0] / top[top > 0])) if (top > 0).any() else math.nan
        sentence = (
            f"{above} of {len(ends)} pictures excite their unit more than any of the {total:,} test images does; "
            f"in the median {pictures.factor(ratio)} times as much as the strongest image."
        )
    return sentence + (f" {silent} stayed silent." if silent else "")


def _median(values: np.ndarray) -> str:
    return f"{float(np.median(values)):.3g}"
