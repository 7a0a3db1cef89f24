"""Inactive units: how much of a layer stays at zero, on one image, and on many.

After a ReLU a unit is inactive where it is not above zero. That is what makes a network's answers sparse: on one image
most units of a deep layer are inactive, on another image other ones (Glorot, Bordes & Bengio 2011). A unit, or a whole
map, that is inactive on *every* image is dead: no image sends a gradient through it. The weights of a dead map then
learn nothing from the images, and what it was meant to learn is missing; it comes back only if something else moves it,
such as a change in the layers below, or weight decay. Zeiler & Fergus (2014, section 4.1) found dead filters in the
first layer of an older network, and changed its stride.

    inactive now and then   mean over images of the share of units A <= 0
    never active            share of units with A <= 0 on every image
    dead maps               maps of which every unit is never active

Limits: "every image" are those that were looked at. What no test image excites, another one might; with more images
there are fewer dead units, never more.

References: Glorot, Bordes & Bengio (2011), "Deep sparse rectifier neural networks"; Zeiler & Fergus (2014), section
4.1; Lu et al. (2019), "Dying ReLU and initialization".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import ConvscopeError
from engine.feature_maps import all_maps
from engine.patches import TopPatches

AT_ONCE = 10
"""Images: all layers' maps are in memory together."""


@dataclass(frozen=True)
class Inactivity:
    """A layer's inactive units over some images.

    Attributes:
        layer: its name; `maps`, `units`: how many it has; `images`: how many were looked at.
        now_and_then: the share of units that are inactive on an image, on average, 0-1.
        never_active: how many units were inactive on all images; `dead_maps`: how many maps.
        signed: whether some unit was below zero, as before a ReLU; then none of this means anything.
    """

    layer: str
    maps: int
    units: int
    images: int
    now_and_then: float
    never_active: int
    dead_maps: int
    signed: bool


@torch.no_grad()
def count_in_steps(model: nn.Module, images: Tensor, layers: Sequence[str]) -> Iterator[tuple[Inactivity, ...]]:
    """The inactive units of several layers, over the images so far, a few more at each step.

    Args:
        model: a network in eval mode; it is only read.
        images: `[N, 3, H, W]`, normalised as the network expects.
        layers: friendly names or node names.

    Raises:
        ConvscopeError: no images, no such layer.
    """
    if len(images) == 0:
        raise ConvscopeError("There are no images to count inactive units on: give at least one.")
    active: dict[str, Tensor] = {}
    inactive, signed, done = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, False), 0
    for batch in images.split(AT_ONCE):
        done += len(batch)
        for name, maps in all_maps(model, batch, layers).items():
            above = maps > 0
            active[name] = above.any(dim=0) | active.get(name, False)
            inactive[name] += float((~above).double().mean(dim=tuple(range(1, maps.dim()))).sum())
            signed[name] |= bool((maps < 0).any())
        yield tuple(_of_layer(name, active[name], inactive[name] / done, done, signed[name]) for name in layers)


def _of_layer(name: str, active: Tensor, now_and_then: float, images: int, signed: bool) -> Inactivity:
    """`active`: `[C, H, W]` or `[C]`, whether each unit was above zero on some image."""
    dead = int((~active.flatten(1).any(dim=1)).sum()) if active.dim() > 1 else int((~active).sum())
    never = int((~active).sum())
    return Inactivity(name, len(active), active.numel(), images, now_and_then, never, dead, signed)


def dead_maps(top: TopPatches) -> int:
    """How many maps are inactive on every image that was searched for the strongest ones."""
    return int((top.values[:, 0] <= 0).sum())


def in_words(counted: Sequence[Inactivity]) -> str:
    """How much of the first and of the last rectified layer is inactive, and how many units were never active."""
    rectified = [layer for layer in counted if not layer.signed]
    if not rectified:
        return "No layer here is behind a ReLU: each has units below zero."
    first, last = rectified[0], rectified[-1]
    shares = {f"{layer.now_and_then:.0%} in {layer.layer}": None for layer in (first, last)}
    never = [layer for layer in rectified if layer.never_active]
    said = f"On an image {' and '.join(shares)} of the units are inactive, on average over {first.images} images."
    if not never:
        return f"{said} Every unit was active on some image.".replace("%", " %")
    most = max(never, key=lambda layer: layer.never_active / layer.units)
    return (
        f"{said} Never active: {most.never_active:,} of {most.units:,} units in {most.layer}, the largest share; "
        f"whole maps: {sum(layer.dead_maps for layer in rectified)} of {sum(layer.maps for layer in rectified):,}."
    ).replace("%", " %")
