"""Invariance: the image is moved, enlarged or turned; how much of this does each layer notice?

Zeiler & Fergus (2014, section 4 and figure 5) move an image step by step and measure, at each layer f, how far its
features are from those of the image in its usual place, and what becomes of the probability of its class:

    distance = |f(T x) - f(x)| / |f(x)|

Small changes of the image make large ones in the first layer, whose units see a few pixels each, and smaller ones in
the last. Shift and scale are tolerated, since convolution moves with the image and pooling forgets where; a rotation is
not, unless the object looks the same when turned.

    shift     pixels to the right; what leaves at one side enters at the other
    scale     times as large, about the middle
    rotate    degrees, anticlockwise, about the middle

Shifting around the border makes one case exact: a network of circular convolutions gives the shifted features, and its
global averages stay as they are. Scaled and turned images are interpolated, and what comes from outside the image is
filled with 0, the colour that is subtracted from all pixels.

Limits: networks here were trained with small shifts and mirror images, and with no rotation. A distance says nothing
of whether the change matters for the answer: see the probability.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks".
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchvision.transforms import functional as transforms

from engine import tape
from engine.errors import ConvscopeError

AT_ONCE = 8
"""How many moved images go through the network at once: the maps of all layers are in memory together."""


@dataclass(frozen=True)
class Kind:
    """A way to move an image.

    Attributes:
        apply: an image `[1, 3, H, W]` and an amount to the moved image.
        unit: of the amount, in words.
        unchanged: the amount at which the image stays as it is.
    """

    apply: Callable[[Tensor, float], Tensor]
    unit: str
    unchanged: float


@dataclass(frozen=True)
class Curve:
    """How far the features of a moved image are from those of the image itself.

    Attributes:
        distances: `[L, A]`, relative L2 per layer and amount; NaN where the layer does not respond to the image.
        logits: `[A, K]`.
    """

    distances: Tensor = field(repr=False)
    logits: Tensor = field(repr=False)

    def probability(self, label: int) -> Tensor:
        """`[A]`: the probability of a class, 0-1."""
        return self.logits.softmax(dim=1)[:, label]


@torch.no_grad()
def curve(model: nn.Module, image: Tensor, kind: str, amounts: Sequence[float], layers: Sequence[str]) -> Curve:
    """Distances and answers while the image is moved (Zeiler & Fergus 2014, figure 5).

    Args:
        model: a network in eval mode; it is only read.
        image: `[1, 3, H, W]`, normalised as the network expects.
        kind: one of `KINDS`: "shift", "scale" or "rotate".
        amounts: how far, in the kind's unit.
        layers: friendly names or node names.

    Raises:
        ConvscopeError: not one image, an unknown kind or layer, an amount that does not fit (see `moved`), or none.
    """
    if len(amounts) == 0:
        raise ConvscopeError("There is nothing to compare: give at least one amount.")
    output = tape.logits(model)
    names = [*layers, output]
    images = torch.cat([moved(image, kind, amount) for amount in amounts])
    still = tape.activations(model, image, names)
    distances, logits = [], []
    for batch in images.split(AT_ONCE):
        found = tape.activations(model, batch, names)
        distances.append(torch.stack([_distances(found[name], still[name]) for name in layers]) if layers else None)
        logits.append(found[output])
    empty = image.new_zeros(0, len(images))
    return Curve(torch.cat(distances, dim=1) if layers else empty, torch.cat(logits))


def moved(image: Tensor, kind: str, amount: float) -> Tensor:
    """The image `[1, 3, H, W]`, moved; at the kind's `unchanged` amount it is the image itself.

    Raises:
        ConvscopeError: not one image, an unknown kind, a shift by parts of a pixel, a scale that is not positive.
    """
    if image.dim() != 4 or len(image) != 1:
        raise ConvscopeError("One image [1, 3, H, W] is moved at a time: hand over one.")
    if kind not in KINDS:
        raise ConvscopeError(f"An image cannot be moved by {kind!r}: choose one of {', '.join(KINDS)}.")
    if not math.isfinite(amount):
        raise ConvscopeError(f"An image cannot be moved by {amount}: give a number.")
    chosen = KINDS[kind]
    return image if amount == chosen.unchanged else chosen.apply(image, amount)


def _distances(features: Tensor, still: Tensor) -> Tensor:
    """`[A]`: relative L2 of features `[A, ...]` to those of one image `[1, ...]`; NaN where those are all zero."""
    norm = still.norm()
    return (features - still).flatten(1).norm(dim=1) / norm.where(norm > 0, torch.nan)


def _shift(image: Tensor, amount: float) -> Tensor:
    if amount != round(amount):
        raise ConvscopeError(f"An image is shifted by whole pixels, not by {amount:g}.")
    return image.roll(round(amount), dims=3)


def _scale(image: Tensor, amount: float) -> Tensor:
    if amount <= 0:
        raise ConvscopeError(f"An image is scaled by a positive number, not by {amount:g}.")
    return _affine(image, angle=0.0, scale=amount)


def _rotate(image: Tensor, amount: float) -> Tensor:
    return _affine(image, angle=-amount, scale=1.0)  # torchvision's positive angle is clockwise


def _affine(image: Tensor, angle: float, scale: float) -> Tensor:
    still = {"translate": [0, 0], "shear": [0.0, 0.0], "interpolation": transforms.InterpolationMode.BILINEAR}
    return transforms.affine(image, angle=angle, scale=scale, fill=[0.0], **still)


KINDS = {
    "shift": Kind(_shift, "pixels", 0),
    "scale": Kind(_scale, "times", 1),
    "rotate": Kind(_rotate, "degrees", 0),
}
