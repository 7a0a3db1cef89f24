"""Everything that the Feature maps page shows, drawn once and kept under small keys."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st
from torch import Tensor

from engine import data, feature_maps, patches, pictures, tape
from engine.deconv import silent_channels
from engine.feature_maps import LayerFigures
from engine.graph.receptive_field import Box, Pair, ReceptiveField, receptive_field
from engine.weights import Weights
from pages.common import resources, sheets
from pages.common.resources import View
from pages.feature_maps import index as feature_index
from pages.feature_maps import tiles as feature_tiles

ORDERS = ("in order", "strongest first")
SCALES = ("one scale", "each its own")
CROPS = ("what the unit sees", "where the reconstruction is")
WIDTH = 1500
"""About how many pixels wide a sheet is encoded."""


@dataclass(frozen=True)
class Maps:
    """How the maps of a layer are laid out: `order` and `scale` as above, `marked`: the map with a frame."""

    view: View
    order: str
    scale: str
    marked: int


@dataclass(frozen=True)
class Sheet:
    """A picture of many tiles; `order`: which maps, row by row; `silent`: how many are zero everywhere."""

    png: bytes
    order: tuple[int, ...]
    columns: int
    silent: int
    signed: bool


# All maps of a layer -------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=48, show_spinner=False)
def maps_sheet(
    maps: Maps, partner: View | None = None, aspect: float = 2.2, order: tuple[int, ...] | None = None
) -> Sheet:
    """All maps of a layer; with a `partner`, on a scale that both images share; `order`: another than its own."""
    activation = resources.recording(maps.view).activation
    both = [activation] if partner is None else [activation, resources.recording(partner).activation]
    signed = any(feature_maps.is_signed(found) for found in both)
    scales = feature_maps.scales(both, together=maps.scale == SCALES[0])
    tiles = feature_tiles.coloured(activation[0], scales, signed)
    order = order or _order(activation, maps.order)
    columns = pictures.columns_for(len(order), aspect)
    made = _sheet(tiles[list(order)], columns, order.index(maps.marked))
    return Sheet(pictures.png(made), order, columns, len(silent_channels(activation)), signed)


def _sheet(tiles: np.ndarray, columns: int, marked: int) -> np.ndarray:
    return pictures.sheet(tiles, columns, width=WIDTH, gap=6 if columns <= 20 else 4, marked=marked)


def _order(activation: Tensor, order: str) -> tuple[int, ...]:
    return feature_maps.order_by_strength(activation) if order == ORDERS[1] else tuple(range(activation.shape[1]))


# Patches in the current image ----------------------------------------------------------------------------------


@st.cache_resource(max_entries=64, show_spinner=False)
def field(network: Weights, layer: str) -> ReceptiveField:
    """What the layer's units see."""
    return receptive_field(resources.trained(network).model, layer)


def sees_everything(seen: ReceptiveField, size: int) -> bool:
    """Whether a unit in the middle can see the whole input, so that its patch is the image."""
    return seen.size is None or min(seen.size) >= size


@st.cache_resource(max_entries=48, show_spinner=False)
def patches_sheet(maps: Maps, aspect: float = 2.2) -> Sheet:
    """Where in the image each map's strongest unit looks: its patch lit, the rest dark; silent maps all dark."""
    view, activation = maps.view, resources.recording(maps.view).activation
    seen, image = field(view.network, view.layer), (view.size, view.size)
    silent = set(silent_channels(activation))
    places = [None if c in silent else unit for c, unit in enumerate(feature_maps.strongest_units(activation))]
    boxes = [None if unit is None else _patch(seen, unit, image) for unit in places]
    tiles = feature_tiles.lit(feature_tiles.fitted(picture(view), 64), boxes, image)
    if sees_everything(seen, view.size):
        tiles = feature_tiles.dotted(tiles, [_middle(activation, unit, view.size) for unit in places], image)
    order = _order(activation, maps.order)
    columns = pictures.columns_for(len(order), aspect)
    made = _sheet(tiles[list(order)], columns, order.index(maps.marked))
    return Sheet(pictures.png(made), order, columns, len(silent), False)


def _patch(seen: ReceptiveField, unit: Pair, image: Pair) -> Box:
    return Box(0, 0, *image) if sees_everything(seen, image[0]) else seen.box(*unit, image)


def _middle(activation: Tensor, unit: Pair | None, size: int) -> Pair | None:
    """The image's pixel above which a unit sits."""
    if unit is None:
        return None
    row, column = ((2 * at + 1) * size // (2 * cells) for at, cells in zip(unit, activation.shape[2:], strict=True))
    return row, column


@st.cache_resource(max_entries=64, show_spinner=False)
def picture(view: View) -> np.ndarray:
    """uint8 `[size, size, 3]`: the image as the network takes it in, with its colours put back."""
    card = resources.trained(view.network).card
    return data.pixels_of(resources.network_input(view), card.mean, card.std)[0]


@st.cache_resource(max_entries=64, show_spinner=False)
def image_with_patch(view: View, channel: int) -> bytes:
    """A PNG of the image; a frame around what the map's strongest unit sees, unless the map is silent."""
    activation = resources.recording(view).activation
    shown = picture(view)
    if not bool(activation[0, channel].any()):
        return pictures.png(feature_tiles.fitted(shown, sheets.SIDE))
    unit = feature_maps.strongest_units(activation)[channel]
    box = _patch(field(view.network, view.layer), unit, (view.size, view.size))
    return pictures.png(feature_tiles.framed(shown, box, sheets.SIDE))


# One map -------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=64, show_spinner=False)
def one_map(view: View, channel: int) -> bytes:
    """A PNG of one map on its own scale."""
    activation = resources.recording(view).activation
    one = activation[:, channel : channel + 1]
    scale = feature_maps.scales([one], together=True)
    tiles = feature_tiles.coloured(one[0], scale, feature_maps.is_signed(activation))
    return pictures.png(feature_tiles.fitted(tiles[0], sheets.SIDE))


@dataclass(frozen=True)
class KernelDrawing:
    """A PNG of a kernel, and what it is in words."""

    png: bytes
    words: str


@st.cache_resource(max_entries=64, show_spinner=False)
def kernel(network: Weights, layer: str, channel: int) -> KernelDrawing | None:
    """The kernel behind a map: in colour if it reads the pixels, else its strongest slices; None if there is none."""
    found = feature_maps.kernel(resources.trained(network).model, layer, channel)
    if found is None:
        return None
    count, high, wide = found.weight.shape
    shown = feature_maps.kernel_pictures(found)
    tiles = pictures.signed(shown, pictures.scale_of(found.weight))
    if found.of_image:
        return KernelDrawing(_square(tiles), f"{found.node}, {high} × {wide} pixels in colour. Grey is zero.")
    words = f"{found.node}, {high} × {wide} for each of {count} maps below: the {len(shown)} strongest. Grey is zero."
    return KernelDrawing(_square(tiles), words)


def _square(tiles: np.ndarray) -> bytes:
    return pictures.png(pictures.sheet(tiles, width=sheets.SIDE))


# The strongest test images of one map --------------------------------------------------------------------------


@dataclass(frozen=True)
class Top:
    """Which map's strongest images are shown, and how."""

    network: Weights
    layer: str
    channel: int
    batch_norm: bool
    crop: str


@dataclass(frozen=True)
class TopDrawing:
    """PNGs of the patches, of what a deconvnet sends back from each, and of both; one line per image."""

    patches: bytes
    reconstructions: bytes
    both: bytes
    table: pd.DataFrame
    silent: bool


@st.cache_resource(max_entries=64, show_spinner="Playing back the strongest images …")
def top_images(top: Top) -> TopDrawing | None:
    """The strongest test images of a map; None if they have yet to be searched for."""
    index = feature_index.index(top.network)
    if index is None or top.layer not in index.layers:
        return None
    found, trained = index.layers[top.layer], resources.trained(top.network)
    card, test = trained.card, resources.images("test")
    chosen = found.images[top.channel]
    x = data.prepare(test.images[chosen], index.input_size, card.mean, card.std)
    recorded = tape.record(trained.model, x, top.layer)
    units = found.rows[top.channel].tolist(), found.columns[top.channel].tolist()
    sent_back = patches.unit_pictures(recorded, top.channel, *units, batch_norm=top.batch_norm)
    boxes = _boxes(top, sent_back, index.input_size)
    made = [_grid(tiles, boxes) for tiles in (data.pixels_of(x, card.mean, card.std), pictures.signed_each(sent_back))]
    names = [test.classes[label] for label in test.labels[chosen]]
    table = pd.DataFrame(
        {"image": chosen, "class": names, "activation": found.values[top.channel], "row": units[0], "column": units[1]}
    )
    silent = not bool((found.values[top.channel] > 0).any())
    both = pictures.sheet(np.stack(made), 2, gap=16)
    return TopDrawing(*(pictures.png(sheet) for sheet in (*made, both)), table, silent)


def _boxes(top: Top, sent_back: Tensor, size: int) -> list[Box]:
    """What of each image to show."""
    image, seen = (size, size), field(top.network, top.layer)
    if top.crop == CROPS[1]:
        return [patches.squared(patches.support(pixels), image) for pixels in sent_back]
    if sees_everything(seen, size):
        return [Box(0, 0, *image)] * len(sent_back)
    return list(feature_index.index(top.network).layers[top.layer].boxes(top.channel, seen, image))


def _grid(tiles: np.ndarray, boxes: list[Box]) -> np.ndarray:
    side = 160
    crops = [patches.crop(tile, box, round(pictures.MID_GREY)) for tile, box in zip(tiles, boxes, strict=True)]
    return pictures.sheet(np.stack([feature_tiles.fitted(crop, side) for crop in crops]), 3)


# Every layer ---------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=8, show_spinner="Running the network …")
def maps_of_all(view: View) -> dict[str, Tensor]:
    """The maps of every named layer on the view's image; the view's own layer does not matter."""
    return feature_maps.all_maps(resources.trained(view.network).model, resources.network_input(view))


def anywhere(view: View) -> View:
    """The view without its layer, as the key of what concerns all layers."""
    return replace(view, layer="")


@st.cache_resource(max_entries=24, show_spinner=False)
def four_of_every_layer(view: View, ink: str, ground: pictures.Colour = pictures.CLEAR) -> bytes:
    """A PNG: the four strongest maps of every layer, one column per layer."""
    found = maps_of_all(view)
    side = 160 if len(found) <= 9 else 120
    columns = np.stack([_four(maps, side) for maps in found.values()], axis=1)
    # The font that the drawing library brings along has no multiplication sign.
    heads = [(name, "{1} of {2} x {3}".format(*maps.shape)) for name, maps in found.items()]
    sheet = pictures.sheet(columns.reshape(-1, side, side, 3), len(found), heads=heads, ink=ink, ground=ground)
    return pictures.png(sheet)


def _four(maps: Tensor, side: int) -> np.ndarray:
    """uint8 `[4, side, side, 3]`: the four strongest maps."""
    four = maps[0, list(feature_maps.order_by_strength(maps)[:4])]
    scales = feature_maps.scales([four[None]], together=True)
    tiles = feature_tiles.coloured(four, scales, feature_maps.is_signed(maps))
    return np.stack([feature_tiles.fitted(tile, side) for tile in tiles])


@st.cache_data(max_entries=64, show_spinner=False)
def figures(view: View) -> tuple[LayerFigures, ...]:
    """The figures of every layer's maps."""
    return tuple(feature_maps.figures(name, maps) for name, maps in maps_of_all(view).items())


@st.cache_data(max_entries=64, show_spinner=False)
def alikeness(first: View, second: View) -> dict[str, float]:
    """How alike two images' responses are, layer by layer; layers before a ReLU are left out."""
    one, other = maps_of_all(first), maps_of_all(second)
    signed = {name for name in one if feature_maps.is_signed(one[name])}
    return {name: feature_maps.alikeness(one[name], other[name]) for name in one if name not in signed}
