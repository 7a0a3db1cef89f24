"""Occlusion: which part of the image must be visible for the network's answer?

A square slides over the image and hides what is below it; at every place the network is asked again (Zeiler & Fergus
2014, section 4.2 and figure 7). With x the image and x_rc the image whose square at row r and column c is filled:

    p(true class | x_rc)            low where the square hides what the answer needs
    argmax_k p(k | x_rc)            what the network takes the rest of the image for
    sum of one map A_k(x_rc)        whether the map responds to what is hidden, or to something else

It is the plainest of the methods: it looks at the network from outside, and holds for any network.

    squares of side `patch`, `stride` pixels apart: corners at (r * stride, c * stride) while inside the image; at the
    far borders they are clipped

Limits: what the square is filled with is an image of its own, which the network has hardly seen in training (0, the
colour that is subtracted from all pixels, is the mildest: the data's mean, or mid-grey where pixels are brought to -1
to 1; try others). What can be seen in two places is missed by hiding either. A small square hides no whole part, a
large one says less about where.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks". In the printed version
(ECCV) it is figure 6.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine import tape
from engine.errors import ConvscopeError
from engine.graph.runs import check_images

FIRST, AT_ONCE = 16, 48
"""How many squares go through the network at first, so that there is something to see, and then at once."""


@dataclass(frozen=True)
class Occlusion:
    """An image with each of R x C squares hidden.

    Attributes:
        logits: `[R, C, K]`; NaN where the square has not had its turn.
        boxes: int64 `[R, C, 4]`: top, left, bottom, right of each square in pixels; the last two are outside it.
        activity: `[R, C]`: the sum of the chosen map at each place; None if no map was chosen.
        done: how many squares, row by row, have had their turn.
        size: (height, width) of the image, whose far borders no square may reach.
    """

    logits: Tensor = field(repr=False)
    boxes: Tensor = field(repr=False)
    activity: Tensor | None = field(repr=False)
    done: int
    size: tuple[int, int]

    @property
    def squares(self) -> int:
        """R x C."""
        return self.boxes.shape[0] * self.boxes.shape[1]

    def probability(self, label: int) -> Tensor:
        """`[R, C]`: the probability of a class, in 0-1, with each square hidden."""
        return self.logits.softmax(dim=-1)[..., label]

    def predicted(self) -> Tensor:
        """int64 `[R, C]`: the most probable class with each square hidden; -1 where there is no answer yet."""
        unknown = self.logits.isnan().any(dim=-1)
        return self.logits.argmax(dim=-1).masked_fill(unknown, -1)

    def over_pixels(self, values: Tensor) -> Tensor:
        """`[H, W]`: at each pixel the mean of `values` `[R, C]` over the squares that hide it; NaN where none does."""
        total, count = values.new_zeros(self.size), values.new_zeros(self.size)
        for value, (top, left, bottom, right) in zip(values.flatten(), self.boxes.flatten(0, 1).tolist(), strict=True):
            total[top:bottom, left:right] += value
            count[top:bottom, left:right] += 1
        return total / count


def occlude(
    model: nn.Module,
    image: Tensor,
    *,
    patch: int,
    stride: int,
    fill: float | Sequence[float] = 0.0,
    unit_map: tuple[str, int] | None = None,
) -> Occlusion:
    """The network's answers with each square of the image hidden (Zeiler & Fergus 2014, section 4.2).

    Args:
        model: a network in eval mode; it is only read.
        image: `[1, 3, H, W]`, normalised as the network expects.
        patch: the side of the square in pixels.
        stride: the pixels from one square to the next.
        fill: what the square is filled with: a normalised value, or one for each colour; 0 is the colour that is
            subtracted from all pixels.
        unit_map: a layer and a channel, whose activity is measured as well.

    Raises:
        ConvscopeError: not one image, a square or stride below one pixel or larger than the image, no such layer or
            channel, or a model that cannot be traced.
    """
    (last,) = deque(occlude_in_steps(model, image, patch=patch, stride=stride, fill=fill, unit_map=unit_map), maxlen=1)
    return last


def occlude_in_steps(
    model: nn.Module,
    image: Tensor,
    *,
    patch: int,
    stride: int,
    fill: float | Sequence[float] = 0.0,
    unit_map: tuple[str, int] | None = None,
) -> Iterator[Occlusion]:
    """`occlude`, a few squares at a time: what is known so far, again and again, and at last everything.

    Arguments and errors are those of `occlude`; each yield is a value of its own.
    """
    _check(image, patch, stride)
    colour = _colour(fill, image)
    height, width = image.shape[2:]
    boxes = squares(height, width, patch, stride)
    flat, answers, activity = boxes.flatten(0, 1), None, None
    start = 0
    while start < len(flat):
        end = min(start + (AT_ONCE if start else FIRST), len(flat))
        logits, sums = _answers(model, _hidden(image, flat[start:end], colour), unit_map)
        if answers is None:
            answers = logits.new_full((len(flat), logits.shape[1]), torch.nan)
            activity = None if sums is None else sums.new_full((len(flat),), torch.nan)
        answers[start:end] = logits
        if activity is not None:
            activity[start:end] = sums
        shape = boxes.shape[:2]
        kept = None if activity is None else activity.clone().unflatten(0, shape)
        yield Occlusion(answers.clone().unflatten(0, shape), boxes, kept, end, (height, width))
        start = end


def squares(height: int, width: int, patch: int, stride: int) -> Tensor:
    """int64 `[R, C, 4]`: top, left, bottom, right of the squares over an image of this size."""
    tops, lefts = torch.arange(0, height, stride), torch.arange(0, width, stride)
    top, left = torch.meshgrid(tops, lefts, indexing="ij")
    return torch.stack([top, left, (top + patch).clamp(max=height), (left + patch).clamp(max=width)], dim=-1)


def _hidden(image: Tensor, boxes: Tensor, colour: Tensor) -> Tensor:
    """`[K, 3, H, W]`: the image with each of `boxes` `[K, 4]` filled."""
    copies = image.repeat(len(boxes), 1, 1, 1)
    for copy, (top, left, bottom, right) in zip(copies, boxes.tolist(), strict=True):
        copy[:, top:bottom, left:right] = colour
    return copies


@torch.no_grad()
def _answers(model: nn.Module, images: Tensor, unit_map: tuple[str, int] | None) -> tuple[Tensor, Tensor | None]:
    """The logits, and each image's sum of the chosen map."""
    output = tape.logits(model)
    if unit_map is None:
        return tape.features(model, images, output), None
    layer, channel = unit_map
    found = tape.activations(model, images, [layer, output])
    channels = found[layer].shape[1]
    if channel not in range(channels):
        raise ConvscopeError(f"There is no channel {channel}: {layer} has channels 0 to {channels - 1}.")
    return found[output], found[layer][:, channel].flatten(1).sum(dim=1)


def _check(image: Tensor, patch: int, stride: int) -> None:
    check_images(image)
    if len(image) != 1:
        raise ConvscopeError(f"Occlusion looks at one image, not {len(image)}: hand over one.")
    side = max(image.shape[2:])
    for name, value in (("square", patch), ("stride", stride)):
        if value not in range(1, side + 1):
            raise ConvscopeError(f"A {name} of {value} px does not fit an image of {side} px: choose 1 to {side}.")


def _colour(fill: float | Sequence[float], image: Tensor) -> Tensor:
    """`[3, 1, 1]` (or `[1, 1, 1]` of a single value)."""
    colour = image.new_tensor(fill).reshape(-1, 1, 1)
    if len(colour) not in (1, image.shape[1]) or not colour.isfinite().all():
        raise ConvscopeError("The square is filled with one number, or with one for each colour.")
    return colour
