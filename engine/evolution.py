"""How features come about: one map of a network at several moments of its training.

Zeiler & Fergus (2014, figure 4) show, for a map of each layer, the strongest activation over all images after epochs 1,
2, 5, 10, ..., played back to the pixels. Below each moment t stand here

    A_t(x)       the map, on one image x
    R_t(x)       the deconvnet reconstruction from its strongest unit there
    x*_t         the image of a whole set that excites the map most at that moment
    R_t(x*_t)    the reconstruction from its strongest unit there

The first two hold the image and change the network. In the last two the image may change from one moment to the next:
then the picture jumps, as in the paper.

How far a layer is from what it is going to be is measured on the image: the cosine similarity of its responses with
those of the trained network,

    s_t(layer) = <A_t, A_T> / (|A_t| |A_T|)        over all maps of the layer; 1 at the end

Zeiler & Fergus saw the lower layers converge within a few epochs and the upper ones only after many; `settled` says
from which moment on a layer stays above 0.9.

Limits: maps keep their numbers during one training, so that map c can be followed; between two trainings they do not.
A similarity of units on one image says nothing of how well the layer's content serves the next one.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 4 and figure 4.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from engine import feature_maps, patch_sheets, pictures
from engine.accuracy.figures import percent
from engine.checkpoints import Card, Trained
from engine.deconv import reconstruct, unit_signals
from engine.evaluation import Answer
from engine.graph.receptive_field import ReceptiveField
from engine.patches import TopPatches
from engine.tape import Tape
from engine.tiles import coloured, fitted
from engine.weights import TRAINED, UNTRAINED

ROWS = KERNEL, MAP, PICTURE, STRONGEST, FROM_STRONGEST = (
    "kernel",
    "map",
    "reconstruction",
    "strongest test image",
    "reconstruction from it",
)
"""What stands below a moment; the kernel only if it reads the pixels."""
TILE, GAP = 160, 6
"""Pixels: a picture of a sheet, and between two of them."""
HEADS = pictures.head_room(TILE, 2)
"""Pixels of the heads above, which have two lines."""
SETTLED = 0.9
"""The similarity from which on a layer is said to have settled."""

Similarities = Mapping[str, Mapping[str, float]]
"""`{moment: {layer: cosine similarity with the last moment}}`, in their order."""


@dataclass(frozen=True)
class Moment:
    """One map at one moment.

    Attributes:
        heads: lines above it: when it is, and what the network says then.
        pictures: `{one of ROWS: uint8 [h, w, 3]}`, as far as they are known.
    """

    heads: tuple[str, ...]
    pictures: Mapping[str, np.ndarray] = field(repr=False)


def short(moment: str) -> str:
    """A moment as the head of a column."""
    return moment if moment in (TRAINED, UNTRAINED) else f"epoch {moment}"


def heads(moment: str, card: Card, answer: Answer) -> tuple[str, str]:
    """The lines above a moment: when it is, and the class that the network predicts then."""
    return short(moment), f"{card.classes[answer.classes[0]]} {percent(answer.probabilities[0])}"


# One moment ----------------------------------------------------------------------------------------------------


def of_image(recorded: Tape, channel: int, **rules: object) -> dict[str, np.ndarray]:
    """The map on its own scale, and the reconstruction from its strongest unit, of a tape of one image.

    Args:
        rules: those of `engine.deconv.reconstruct`.

    Raises:
        ConvscopeError: there is no such channel, the tape is of several images, or an unknown rule.
    """
    pixels = reconstruct(recorded, unit_signals(recorded.activation, [channel]), gains=False, **rules).pixels
    one = recorded.activation[:, channel : channel + 1]
    scale, signed = feature_maps.scales([one], together=True), feature_maps.is_signed(recorded.activation)
    return {MAP: coloured(one[0], scale, signed)[0], PICTURE: pictures.signed_each(pixels)[0]}


def of_strongest(
    trained: Trained,
    layer: str,
    seen: ReceptiveField,
    top: TopPatches,
    channel: int,
    images: np.ndarray,
    **rules: object,
) -> dict[str, np.ndarray]:
    """The patch of a map's strongest image, and the reconstruction from it; arguments as of `patch_sheets.nine_of`."""
    first = TopPatches(*(part[:, :1] for part in (top.images, top.rows, top.columns, top.values)))
    one = patch_sheets.nine_of(trained, layer, seen, first, channel, images, **rules)
    return {STRONGEST: one.patches[0], FROM_STRONGEST: one.reconstructions[0]}


def of_kernel(model: nn.Module, layer: str, channel: int) -> dict[str, np.ndarray]:
    """The map's kernel in colour; nothing if it does not read the pixels.

    Raises:
        ConvscopeError: there is no such layer or channel.
    """
    kernel = feature_maps.kernel(model, layer, channel)
    if kernel is None or not kernel.of_image or len(kernel.weight) != 3:
        return {}
    return {KERNEL: pictures.signed_each(kernel.weight[None])[0]}


# The sheet -----------------------------------------------------------------------------------------------------


def sheet(moments: Sequence[Moment], ink: str = pictures.INK, ground: pictures.Colour = pictures.CLEAR) -> np.ndarray:
    """uint8 RGBA `[H, W, 4]`: a column for each moment below its heads; on the left what each row is."""
    columns = len(moments) + 1
    tiles = []
    for row in rows_of(moments):
        tiles.append(pictures.text_tile(textwrap.wrap(row, len(PICTURE)), TILE, ink))
        tiles += [_tile(moment.pictures.get(row)) for moment in moments]
    heads = [("",), *(moment.heads for moment in moments)]
    return pictures.sheet(np.stack(tiles), columns, gap=GAP, heads=heads, ink=ink, ground=ground)


def rows_of(moments: Sequence[Moment]) -> list[str]:
    """Those of `ROWS` that some moment has."""
    return [row for row in ROWS if any(row in moment.pictures for moment in moments)]


def places(moments: Sequence[Moment]) -> list[tuple[float, float, float, float]]:
    """(left, top, width, height) of each moment's column in shares of the sheet."""
    step, rows = TILE + GAP, len(rows_of(moments))
    wide, high = step * (len(moments) + 1) - GAP, HEADS + step * rows - GAP
    top, lefts = HEADS / high, [step * number / wide for number in range(1, len(moments) + 1)]
    return [(left, top, TILE / wide, 1 - top) for left in lefts]


def _tile(picture: np.ndarray | None) -> np.ndarray:
    """A picture, stretched to a tile, or a clear one."""
    if picture is None:
        return np.zeros((TILE, TILE, 4), dtype=np.uint8)
    return np.pad(fitted(picture, TILE), ((0, 0), (0, 0), (0, 1)), constant_values=255)


# When layers settle --------------------------------------------------------------------------------------------


def similarities(models: Mapping[str, nn.Module], x: Tensor, layers: Sequence[str]) -> dict[str, dict[str, float]]:
    """How similar each layer's responses to one image are to those at the last moment.

    Args:
        models: `{moment: its network}`, the trained one last.
        x: `[1, 3, H, W]`.
        layers: friendly names or node names; those with negative units are left out.

    Raises:
        ConvscopeError: there is no such layer, or `x` is of another shape than the networks take.
    """
    maps = {moment: feature_maps.all_maps(model, x, layers) for moment, model in models.items()}
    last = maps[list(models)[-1]]
    rectified = [layer for layer in layers if not feature_maps.is_signed(last[layer])]
    return {
        moment: {layer: feature_maps.cosine_similarity(of_layers[layer], last[layer]) for layer in rectified}
        for moment, of_layers in maps.items()
    }


def settled(of_moments: Similarities, layer: str) -> str:
    """The first moment from which on the layer's similarity is at least `SETTLED`."""
    moments = list(of_moments)
    last = moments.pop()
    while moments and of_moments[moments[-1]][layer] >= SETTLED:
        last = moments.pop()
    return last


def in_words(of_moments: Similarities) -> str:
    """From which moment on each layer is about what it is at the end."""
    first = next(iter(of_moments.values()))
    said = "; ".join(f"{layer}: {settled(of_moments, layer)}" for layer in first)
    return f"From when on each layer's similarity with the trained network is at least {SETTLED}: {said}."
