"""The pictures of the Maximisation page, and how they compare with the test images in words."""

import math
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine import patches, pictures
from engine.maximization.stored import Maximization, MaximizationSettings
from engine.patches import CLASSES, TopPatches
from engine.weights import Weights
from pages.common import resources

WIDTH = 540
"""How many pixels wide a sheet is encoded at most, unless its tiles are larger."""

PLAYED_AT_MOST = 64
"""More deconvnet reconstructions would keep the reader waiting."""


def sheet(tiles: np.ndarray) -> bytes:
    """A PNG of uint8 `[K, H, W, 3]` in a square."""
    return pictures.png(pictures.sheet(tiles, width=WIDTH, gap=gap(len(tiles))))


def gap(count: int) -> int:
    """Pixels between two of so many pictures."""
    return max(2, 8 - math.isqrt(count) // 2)


def names(settings: MaximizationSettings) -> list[str]:
    """The pictures' names: channels by their numbers, classes by their names."""
    if settings.layer == CLASSES:
        classes = resources.trained(settings.network).card.classes
        return [classes[index] for index in settings.channels]
    return [f"channel {index}" for index in settings.channels]


@dataclass(frozen=True)
class Examples:
    """Test images and the unit that each excites: nine images of one channel, or the strongest one of each of several.

    Small enough to be a key.
    """

    network: Weights
    layer: str
    images: tuple[int, ...]
    channels: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def examples(settings: MaximizationSettings, top: TopPatches) -> Examples:
    """The images beside the pictures of these settings."""
    channels = np.array(settings.channels)[:, None]
    ranks = np.arange(top.images.shape[1] if settings.count == 1 else 1)[None]
    parts = (top.images, np.broadcast_to(np.arange(len(top))[:, None], top.images.shape), top.rows, top.columns)
    of_each = (tuple(part[channels, ranks].reshape(-1).tolist()) for part in parts)
    return Examples(settings.network, settings.layer, *of_each)


@st.cache_resource(max_entries=64, show_spinner=False)
def test_images(examples: Examples) -> bytes:
    """A PNG of the images."""
    return sheet(resources.images("test").images[list(examples.images)])


@dataclass(frozen=True)
class Reconstructions:
    """A PNG of deconvnet reconstructions, `side` pixels each; `trimmed`: whether zeros around them were cut off."""

    png: bytes
    side: int
    trimmed: bool


@st.cache_resource(max_entries=64, show_spinner="Playing the signals back …")
def reconstructions(examples: Examples) -> Reconstructions:
    """The deconvnet reconstruction from each channel's strongest unit on its image, each on its own scale."""
    images = resources.images("test").images[list(examples.images)]
    units = examples.channels, examples.rows, examples.columns
    whole = patches.reconstructions(resources.trained(examples.network), examples.layer, images, *units)
    trimmed = patches.trimmed(whole)
    return Reconstructions(sheet(pictures.signed_each(trimmed)), trimmed.shape[-1], trimmed.shape != whole.shape)


def largest(settings: MaximizationSettings, top: TopPatches | None) -> np.ndarray | None:
    """`[K]`: the largest activation of each channel on any test image; None at another size than the network's own."""
    own = resources.trained(settings.network).card.input_size
    if top is None or settings.size != own:
        return None
    return top.values[list(settings.channels), 0]


def verdict(maximization: Maximization, top: np.ndarray | None, total: int) -> str:
    """How the pictures compare with the `total` test images, in a sentence."""
    ends = maximization.activations[-1]
    inactive = int((ends <= 0).sum())
    alone = len(ends) == 1
    what = "The activation" if alone else "The median activation"
    sentence = f"{what} went from {_median(maximization.activations[0])} to {_median(ends)}."
    excited = None if top is None else top > 0
    if excited is not None and not excited.any():
        sentence = f"None of the {total:,} test images excites what was maximised. {sentence}"
    elif excited is not None:
        above, ratio = int((ends > top).sum()), float(np.median(ends[excited] / top[excited]))
        sentence = (
            f"{above} of {len(ends)} pictures excite their unit more than any of the {total:,} test images does; "
            f"in the median {pictures.factor(ratio)} times as much as the strongest image."
        )
        if alone:
            strongest = f"the strongest of the {total:,} test images"
            sentence = f"The picture excites its unit {pictures.factor(ratio)} times as much as {strongest}."
    return sentence + (f" {'It' if alone else inactive} stayed inactive." if inactive else "")


def _median(values: np.ndarray) -> str:
    return f"{float(np.median(values)):.3g}"
