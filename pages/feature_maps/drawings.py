"""The pictures of the Feature maps page: each is drawn once and kept under a small key.

Arguments with an underscore are what is drawn; they follow from the key, which alone tells the pictures apart.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from torch import Tensor

from engine import feature_maps, map_sheets, patch_sheets, pictures
from engine.map_sheets import BRIGHTNESS
from engine.patches import TopPatches
from engine.tiles import coloured, fitted
from engine.views import View
from engine.weights import Weights
from pages.common import resources, sheets
from pages.common.kept import keep

WIDTH = 1500
"""How many pixels wide a sheet is encoded at most, unless its tiles are larger."""


@dataclass(frozen=True)
class Sheet:
    """A sheet of all maps of a layer; small enough to be a key.

    Attributes:
        order: the maps, row by row; `columns`: how many in a row.
        brightness: one of `BRIGHTNESS`.
        partner: another image that shares the scale.
    """

    view: View
    order: tuple[int, ...]
    columns: int
    brightness: str = BRIGHTNESS[0]
    partner: View | None = None

    @property
    def gap(self) -> int:
        """Pixels between two maps."""
        return 6 if self.columns <= 20 else 4


# All maps of a layer -------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=48, show_spinner=False)
def maps(sheet: Sheet, _activation: Tensor, _partner: Tensor | None = None) -> bytes:
    """A PNG of the maps `[1, C, H, W]` on one image; `_partner`: those on the other image that shares the scale."""
    return _arranged(sheet, map_sheets.tiles(_activation, sheet.brightness, _partner))


@st.cache_resource(max_entries=48, show_spinner=False)
def patches_in_image(sheet: Sheet, _activation: Tensor) -> bytes:
    """A PNG of the image once per map: the receptive field of the map's strongest unit lit, the rest dark."""
    view = sheet.view
    seen, pixels = resources.field(view.network, view.layer), resources.input_pixels(view)
    return _arranged(sheet, map_sheets.patches_in_image(_activation, seen, pixels))


def _arranged(sheet: Sheet, tiles: np.ndarray) -> bytes:
    return pictures.png(pictures.sheet(tiles[list(sheet.order)], sheet.columns, width=WIDTH, gap=sheet.gap))


# The image -----------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=64, show_spinner=False)
def image(view: View) -> bytes:
    """A PNG of the image at the network's input size."""
    return pictures.png(fitted(resources.input_pixels(view), sheets.SIDE))


# One map -------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=64, show_spinner=False)
def one_map(view: View, channel: int, _activation: Tensor) -> bytes:
    """A PNG of one map on its own scale."""
    one = _activation[:, channel : channel + 1]
    tiles = coloured(one[0], feature_maps.scales([one], together=True), feature_maps.is_signed(_activation))
    return pictures.png(fitted(tiles[0], sheets.SIDE))


class Kernel(NamedTuple):
    """A PNG of a kernel, and what it is in words."""

    png: bytes
    words: str


@st.cache_resource(max_entries=64, show_spinner=False)
def kernel(network: Weights, layer: str, channel: int) -> Kernel | None:
    """The kernel of a map: in colour if it reads the pixels, else its strongest slices; None if there is none."""
    kernel = feature_maps.kernel(resources.trained(network).model, layer, channel)
    if kernel is None:
        return None
    count, high, wide = kernel.weight.shape
    slices = feature_maps.kernel_pictures(kernel)
    of_maps = f"for each of {count} maps below: the {len(slices)} strongest"
    words = f"{kernel.node}, {high} × {wide} {'pixels in colour' if kernel.of_image else of_maps}. Grey is zero."
    return Kernel(pictures.png(sheets.signed(slices, pictures.scale_of(kernel.weight))), words)


# The strongest test images of one map --------------------------------------------------------------------------


class Top(NamedTuple):
    """Which channel's strongest test images to draw, and how; small enough to be a key."""

    network: Weights
    layer: str
    channel: int
    batch_norm: bool
    crop: str


class TopNine(NamedTuple):
    """PNGs of the patches, of the deconvnet reconstruction from each, and of both; a table with a line per image."""

    patches: bytes
    reconstructions: bytes
    both: bytes
    table: pd.DataFrame


@keep("Playing back the strongest images …")
def top_nine(top: Top, _strongest: TopPatches) -> TopNine:
    """The strongest test images of a channel, and the deconvnet reconstruction from each."""
    trained, test = resources.trained(top.network), resources.images("test")
    seen = resources.field(top.network, top.layer)
    nine = patch_sheets.nine_of(
        trained, top.layer, seen, _strongest, top.channel, test.images, top.crop, batch_norm=top.batch_norm
    )
    drawn = [patch_sheets.block(tiles, 160, 8) for tiles in (nine.patches, nine.reconstructions)]
    drawn.append(pictures.sheet(np.stack(drawn), 2, gap=16))
    parts = (_strongest.images, _strongest.values, _strongest.rows, _strongest.columns)
    images, values, rows, columns = (part[top.channel] for part in parts)
    names = [test.classes[label] for label in test.labels[images]]
    columns_of_table = {"image": images, "class": names, "activation": values, "row": rows, "column": columns}
    return TopNine(*map(pictures.png, drawn), pd.DataFrame(columns_of_table))


# Every layer ---------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=24, show_spinner=False)
def four_of_every_layer(view: View, ink: str, ground: pictures.Colour, _maps: dict[str, Tensor]) -> bytes:
    """A PNG: the four strongest maps of every layer, one column per layer."""
    return pictures.png(map_sheets.of_every_layer(_maps, ink, ground))
