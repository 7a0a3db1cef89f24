"""The receptive field as it is used: how much each pixel really moves a unit.

The receptive field (`engine.graph.receptive_field`) is where a unit can look. Luo et al. (2016) ask how much it makes
of each pixel there: the derivative of the middle unit by the pixels, over many images. With A(x) the maps of a layer, m
its middle place and K its channels:

    influence(i, j) = mean over images x, channels k of   sum over colours of  (d A_k(x)[m] / d x[i, j])^2

Few paths lead from a unit to the border of its field, very many to the middle of it. So for random weights the
influence falls off like a bell curve, and the part of the field that matters grows like the square root of the depth
where the field itself grows with the depth. Luo et al. saw training widen it.

One backward pass for each channel would be K times as much work as one for all. With random signs v_k, 1 or -1,

    mean over v of (sum_k v_k g_k)^2 = sum_k g_k^2

since all mixed terms cancel on average (Hutchinson's trick). So each image is played back once, with signs of its own.

Limits: it is a derivative, so it says what a small change of a pixel does. A unit that is inactive on an image depends
on nothing there. Where there are few units (2 x 2), the middle one is not in the middle of the image.

Reference: Luo, Li, Urtasun & Zemel (2016), "Understanding the effective receptive field in deep convolutional neural
networks", sections 2 and 3.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine import tape
from engine.errors import ConvscopeError
from engine.graph.receptive_field import Box, Pair, ReceptiveField
from engine.patches import support

SHARE = 0.9
"""Of the influence, at least; what holds it is what a unit makes use of."""
AT_ONCE = 10


@dataclass(frozen=True)
class EffectiveField:
    """What the middle unit of a layer makes of the pixels, on average over some images.

    Attributes:
        layer: its name; `unit`: (row, column) of the middle one.
        influence: `[H, W]`, not negative.
        images: how many.
    """

    layer: str
    unit: Pair
    influence: Tensor = field(repr=False)
    images: int

    @property
    def used(self) -> Box:
        """A box that holds at least `SHARE` of the influence; the whole image if there is none.

        It is where the middle stretches of both axes meet, so each axis leaves out half of what may lie outside.
        """
        return support(self.influence.sqrt()[None], 1 - (1 - SHARE) / 2)


def measure(model: nn.Module, images: Tensor, layers: Sequence[str], seed: int = 0) -> Mapping[str, EffectiveField]:
    """The effective receptive fields of several layers (Luo et al. 2016), by the names asked for.

    Args:
        model: a network in eval mode; it is only read.
        images: `[N, 3, H, W]`, normalised as the network expects.
        layers: friendly names or node names; each has maps.
        seed: of the random signs.

    Raises:
        ConvscopeError: no images, no such layer, or one without maps.
    """
    (last,) = deque(measure_in_steps(model, images, layers, seed), maxlen=1)
    return last


def measure_in_steps(
    model: nn.Module, images: Tensor, layers: Sequence[str], seed: int = 0
) -> Iterator[dict[str, EffectiveField]]:
    """`measure`, a few images at a time: the fields over the images so far. Arguments and errors are those of it."""
    if len(images) == 0 or not layers:
        raise ConvscopeError("There is nothing to measure: give at least one image and one layer.")
    generator = torch.Generator().manual_seed(seed)
    totals: dict[str, Tensor] = {}
    done = 0
    for batch in images.split(AT_ONCE):
        found = influences(model, batch, layers, generator)
        totals = {name: totals.get(name, 0) + summed for name, (_, summed) in found.items()}
        done += len(batch)
        yield {name: EffectiveField(name, unit, totals[name] / done, done) for name, (unit, _) in found.items()}


def influences(
    model: nn.Module, images: Tensor, layers: Sequence[str], generator: torch.Generator
) -> dict[str, tuple[Pair, Tensor]]:
    """For each layer the middle unit, and the influence `[H, W]` summed over the images, with signs of each its own."""
    pixels = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        maps = tape.activations(model, pixels, layers)
        return {name: _influence(name, activation, pixels, generator) for name, activation in maps.items()}


def _influence(name: str, activation: Tensor, pixels: Tensor, generator: torch.Generator) -> tuple[Pair, Tensor]:
    if activation.dim() != 4:
        raise ConvscopeError(f"The layer {name!r} has no maps: choose one before the dense layers.")
    count, channels, height, width = activation.shape
    row, column = height // 2, width // 2
    signs = torch.randint(2, (count, channels), generator=generator).to(activation) * 2 - 1
    signed = (signs * activation[:, :, row, column]).sum()
    (gradient,) = torch.autograd.grad(signed, pixels, retain_graph=True)
    return (row, column), gradient.square().sum(dim=(0, 1)) / channels


def in_words(found: EffectiveField, seen: ReceptiveField) -> str:
    """How much of its receptive field the unit makes use of."""
    image = tuple(found.influence.shape)
    box = seen.box(*found.unit, image)
    clipped, used = box.clipped(image), found.used
    if not found.influence.any():
        return f"The middle unit of {found.layer} is inactive on all {found.images} images: it depends on no pixel."
    size = "the whole image" if seen.size is None else "{} × {} px".format(*seen.size)
    part = used.height * used.width / (clipped.height * clipped.width)
    within = "" if (clipped.height, clipped.width) == (seen.size or image) else " that is inside the image"
    return (
        f"The middle unit of {found.layer} can see {size}. At least {SHARE:.0%} of its influence, over {found.images} "
        f"images, comes from {used.height} × {used.width} px: {min(part, 1):.0%} of what it sees{within}."
    ).replace("%", " %")
