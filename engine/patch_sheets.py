"""Many maps on one sheet: each with its nine strongest patches, and the reconstruction from each of them.

Figure 2 of Zeiler & Fergus (2014) looks at a layer as a whole: a random handful of its maps, for each the nine images
that excite it most, cropped to what the strongest unit sees (the patches), and beside them, on a half of its own, the
deconvnet reconstruction from that very unit:

    reconstructions         patches
    map map map map         map map map map        a map is a block of 3 x 3,
    ...                     ...                    strongest first, row by row

What the nine patches of a map share is what it responds to; the reconstructions show which part of each patch the unit
answered to. From layer to layer the patches of a map vary more: edges, then textures, then parts and whole objects.

Each reconstruction has a scale of its own, with zero at mid-grey: the sheet compares what they show, not how strong
they are.

Limits: those of `engine.patches`, and of a small choice: sixteen maps of 512 are no survey. Draw another sixteen.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 4 and figure 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from engine import patches, pictures
from engine.checkpoints import Trained
from engine.data import pixels_of, prepare
from engine.errors import ConvscopeError
from engine.graph.receptive_field import Box, ReceptiveField
from engine.patches import TopPatches
from engine.tiles import fitted

CROPS = FIELD, SUPPORT = ("receptive field", "reconstruction")
"""What each image is cropped to: what the unit can see, or where its reconstruction is (`engine.patches.support`)."""
MAPS = 16
IN_A_ROW, NINE_IN_A_ROW = 4, 3
TILE, SEAM, GAP, MIDDLE = 70, 2, 10, 32
"""Pixels: a patch, the seams between those of one map, between two maps, between the two halves. With these the sheet
is about as large as there is room on a slide."""
BLOCK = NINE_IN_A_ROW * TILE + (NINE_IN_A_ROW - 1) * SEAM
HALF = IN_A_ROW * BLOCK + (IN_A_ROW - 1) * GAP


@dataclass(frozen=True)
class Nine:
    """One map's strongest images, strongest first, all cropped alike.

    Attributes:
        channel: which map.
        patches, reconstructions: uint8 `[h, w, 3]` each.
    """

    channel: int
    patches: tuple[np.ndarray, ...] = field(repr=False)
    reconstructions: tuple[np.ndarray, ...] = field(repr=False)


def nine_of(
    trained: Trained,
    layer: str,
    seen: ReceptiveField,
    top: TopPatches,
    channel: int,
    images: np.ndarray,
    crop: str = FIELD,
    **rules: object,
) -> Nine:
    """The patches of one map's strongest images, and the deconvnet reconstruction from the strongest unit of each.

    Args:
        seen: the receptive field of the layer's units.
        top: the layer's strongest images; `images`: uint8 `[N, H, W, 3]`, those that were searched.
        crop: one of `CROPS`.
        rules: those of `engine.deconv.reconstruct`.

    Raises:
        ConvscopeError: there is no such channel, layer, or rule.
    """
    if channel not in range(len(top)):
        raise ConvscopeError(f"There is no map {channel}: {layer} has maps 0 to {len(top) - 1}.")
    strongest, card = images[top.images[channel]], trained.card
    units = [channel] * len(strongest), top.rows[channel].tolist(), top.columns[channel].tolist()
    pixels = patches.reconstructions(trained, layer, strongest, *units, **rules)
    inputs = pixels_of(prepare(strongest, card.input_size, card.mean, card.std), card.mean, card.std)
    boxes = _boxes(seen, top, channel, pixels, crop)
    return Nine(channel, _cropped(inputs, boxes), _cropped(pictures.signed_each(pixels), boxes))


def _boxes(seen: ReceptiveField, top: TopPatches, channel: int, pixels: Tensor, crop: str) -> Sequence[Box]:
    """The part of each image to show."""
    image = (pixels.shape[2], pixels.shape[3])
    if crop == SUPPORT:
        return [patches.squared(patches.support(one), image) for one in pixels]
    if seen.holds(image[0]):
        return [Box(0, 0, *image)] * len(pixels)
    return top.boxes(channel, seen, image)


def _cropped(tiles: np.ndarray, boxes: Sequence[Box]) -> tuple[np.ndarray, ...]:
    grey = round(pictures.MID_GREY)
    return tuple(patches.crop(tile, box, grey) for tile, box in zip(tiles, boxes, strict=True))


def at_random(top: TopPatches, seed: int, count: int = MAPS) -> tuple[int, ...]:
    """`count` maps in order, drawn from those that respond to some image; all of them if there are no more."""
    responding = np.flatnonzero(top.values[:, 0] > 0)
    drawn = np.random.default_rng(seed).choice(responding, min(count, len(responding)), replace=False)
    return tuple(sorted(drawn.tolist()))


# The sheet -----------------------------------------------------------------------------------------------------


def sheet(of_maps: Sequence[Nine], count: int = MAPS) -> np.ndarray:
    """uint8 RGBA `[H, W, 4]`: reconstructions on the left, patches on the right, a block of nine for each map.

    Args:
        count: how many maps there are going to be; those that are not there yet are left clear.
    """
    clear = np.zeros((BLOCK, BLOCK, 4), dtype=np.uint8)
    halves = [
        [block(one) for one in of_half] + [clear] * (count - len(of_maps))
        for of_half in ([one.reconstructions for one in of_maps], [one.patches for one in of_maps])
    ]
    return pictures.sheet(
        np.stack([pictures.sheet(np.stack(blocks), IN_A_ROW, gap=GAP) for blocks in halves]), 2, gap=MIDDLE
    )


def block(nine: Sequence[np.ndarray], tile: int = TILE, seam: int = SEAM) -> np.ndarray:
    """uint8 RGBA `[h, w, 4]`: pictures `[h, w, 3]` of any size, `tile` pixels each, three in a row."""
    return pictures.sheet(np.stack([fitted(one, tile) for one in nine]), NINE_IN_A_ROW, gap=seam)


def places(count: int = MAPS) -> list[tuple[float, float, float, float]]:
    """(left, top, width, height) of each block in shares of the sheet: all reconstructions, then all patches."""
    wide = HALF * 2 + MIDDLE
    high = -(-count // IN_A_ROW) * (BLOCK + GAP) - GAP
    return [
        (
            (half * (HALF + MIDDLE) + number % IN_A_ROW * (BLOCK + GAP)) / wide,
            number // IN_A_ROW * (BLOCK + GAP) / high,
            BLOCK / wide,
            BLOCK / high,
        )
        for half in range(2)
        for number in range(count)
    ]
