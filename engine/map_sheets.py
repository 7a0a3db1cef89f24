"""Sheets of feature maps: all maps of a layer, one image's alone or beside another's; the strongest of every layer.

Responses go from dark (0 and below) to yellow; maps of a layer before its ReLU are grey, with zero at mid-grey.
"""

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from engine import feature_maps, pictures, tape
from engine.deconv import silent_channels
from engine.graph.receptive_field import Box, Pair, ReceptiveField
from engine.tiles import coloured, dotted, fitted, lit

TILES = MAPS, PATCHES = ("maps", "patches in the image")
"""What stands for each map: itself, or where in the image its strongest unit looks."""
ORDERS = ("in order", "strongest first")
BRIGHTNESS = ("one scale", "each its own")
WIDE, HALF_WIDE = 1.7, 0.9
"""How many times as wide as high a sheet is, across the page and across half of it."""
STRONGEST, MOST_LAYERS = 4, 16
"""How many maps of each layer stand on the sheet of every layer, and of how many layers a screen has room for them."""


def in_order(activation: Tensor, order: str) -> tuple[int, ...]:
    """The maps of `[1, C, H, W]` in one of `ORDERS`."""
    return feature_maps.order_by_strength(activation) if order == ORDERS[1] else tuple(range(activation.shape[1]))


def columns(count: int, aspect: float = WIDE) -> int:
    """How many maps stand in a row of a sheet that is about `aspect` times as wide as high."""
    return math.ceil(math.sqrt(aspect * count))


def tiles(activation: Tensor, brightness: str = BRIGHTNESS[0], partner: Tensor | None = None) -> np.ndarray:
    """uint8 `[C, H, W, 3]`: the maps `[1, C, H, W]` on one image.

    Args:
        brightness: one of `BRIGHTNESS`.
        partner: the maps on another image, which share the scale.
    """
    both = [activation] if partner is None else [activation, partner]
    scales = feature_maps.scales(both, together=brightness == BRIGHTNESS[0])
    return coloured(activation[0], scales, any(map(feature_maps.is_signed, both)))


def patches_in_image(activation: Tensor, seen: ReceptiveField, pixels: np.ndarray) -> np.ndarray:
    """uint8 `[C, 64, 64, 3]`: the image once per map, the receptive field of its strongest unit lit, the rest dark.

    Where the units see the whole image a dot marks the place of the strongest one; for an inactive map all is dark.

    Args:
        activation: `[1, C, H, W]`.
        seen: the receptive field of the units.
        pixels: uint8 `[S, S, 3]`, the image at the network's input size.
    """
    side, inactive = len(pixels), set(silent_channels(activation))
    image = (side, side)
    units = [None if c in inactive else unit for c, unit in enumerate(feature_maps.strongest_units(activation))]
    boxes = [None if unit is None else _patch(seen, unit, image) for unit in units]
    drawn = lit(fitted(pixels, 64), boxes, image)
    return dotted(drawn, [_centre(activation, unit, side) for unit in units], image) if seen.holds(side) else drawn


def _patch(seen: ReceptiveField, unit: Pair, image: Pair) -> Box:
    return Box(0, 0, *image) if seen.holds(image[0]) else seen.box(*unit, image)


def _centre(activation: Tensor, unit: Pair | None, side: int) -> Pair | None:
    """The image's pixel above which a unit sits."""
    if unit is None:
        return None
    row, column = ((2 * at + 1) * side // (2 * cells) for at, cells in zip(unit, activation.shape[2:], strict=True))
    return row, column


def with_room(model: nn.Module, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the `maps` of all layers those for a sheet: of more than `MOST_LAYERS` layers the outputs of the stages."""
    if len(maps) <= MOST_LAYERS:
        return dict(maps)
    return {name: maps[name] for name in tape.stage_outputs(model, MOST_LAYERS) if name in maps}


def of_every_layer(
    maps: Mapping[str, Tensor], ink: str = pictures.INK, ground: pictures.Colour = pictures.CLEAR
) -> np.ndarray:
    """uint8 RGBA `[H, W, 4]`: a column for each layer of `{layer: [1, C, H, W]}`, its strongest maps on one scale."""
    side = side_of_four(len(maps))
    columns = np.stack([_strongest(activation, side) for activation in maps.values()], axis=1)
    # The font that the drawing library brings along has no multiplication sign.
    heads = [(name, "{1} of {2} x {3}".format(*activation.shape)) for name, activation in maps.items()]
    return pictures.sheet(columns.reshape(-1, side, side, 3), len(maps), heads=heads, ink=ink, ground=ground)


def side_of_four(layers: int) -> int:
    """How many pixels wide a map is, where so many layers stand side by side."""
    return 160 if layers <= 9 else 120


def _strongest(activation: Tensor, side: int) -> np.ndarray:
    """uint8 `[STRONGEST, side, side, 3]`."""
    four = activation[0, list(feature_maps.order_by_strength(activation)[:STRONGEST])]
    drawn = coloured(four, feature_maps.scales([four[None]], together=True), feature_maps.is_signed(activation))
    return np.stack([fitted(tile, side) for tile in drawn])
