"""Which picture excites a unit most? Start from noise and walk uphill.

With the weights fixed, a unit's activation h is a function of the picture x alone, and its gradient is one backward
pass away:

    x <- x + step * dh/dx,    up to the layer of h and no further

The objective h is one unit in the middle of its feature map, or the mean of the whole map's positive part (see
`engine.objectives`). The class scores before the softmax are units too; after it, the easiest way up would be to make
the other scores smaller.

Two parametrisations of the picture. `Plain` steps on the pixels themselves, inside a ball, since any picture could
excite more by having more contrast:

    maximise h(x)  subject to  |x| <= r,    r = the norm of a typical image

(Erhan et al. 2009, equation 1); of a linear unit the solution is its own filter. `Fourier` (in
`engine.maximization.fourier`) steps on Fourier coefficients, in the colours of photographs, and on a moving picture.

A ReLU that is inactive at the start passes no gradient back, and the picture would stay grey for ever. As long as it is
inactive, the gradient is that of the ReLU's input. Each step's picture is the best one so far, without movements: its
activation never falls.

Limits: the way up ends on some hill, not on the highest, and another seed may find another; with `Plain` the network
responds to grain that no eye would call a pattern. A unit that reacts to several things shows one, or a mixture.

References: Erhan, Bengio, Courville & Vincent (2009), "Visualizing higher-layer features of a deep network";
Simonyan et al. (2013), "Deep inside convolutional networks", section 2; Olah, Mordvintsev & Schubert (2017), "Feature
visualization".
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine import tape
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.maximization.fourier import Canvas, Fourier, Gradient
from engine.objectives import CENTRE_UNIT, WHOLE_MAP, excitation
from engine.operations import AveragePool, Identity, MaxPool, ReLU

OBJECTIVES = (WHOLE_MAP, CENTRE_UNIT)
STEPS = 512
"""As in Olah et al. (2017)."""

_EACH_UNTIL, _THEN_EVERY = 8, 8
_PIXELS_AT_ONCE = 64 * 64 * 64
"""How many pixels go through the network together: larger inputs go in smaller groups, so that memory suffices."""


@dataclass(frozen=True)
class Plain:
    """Erhan et al. (2009): gradient ascent on the pixels, inside a ball; all lengths as shares of its radius.

    Attributes:
        rate: the length of a step.
        start: the norm of the noise that it starts from.
        contrast: the radius, as the root mean square of the normalised pixels; a typical image has 1.
    """

    rate: float = 0.1
    start: float = 0.1
    contrast: float = 1.0

    def begin(self, canvas: Canvas, count: int, seed: int, like: Tensor) -> "Pixels":
        """`count` equal pictures of noise, of the type and on the device of `like`."""
        return Pixels(self, canvas, count, seed, like)

    def drawn(self, images: Tensor, canvas: Canvas) -> Tensor:
        """Pixels `[K, 3, H, W]` in 0-1 to draw `images` with: zero, the average colour, as mid-grey."""
        largest = images.abs().flatten(1).quantile(0.99, dim=1).clamp(min=torch.finfo(images.dtype).tiny)
        return (0.5 + 0.5 * images / largest.view(-1, 1, 1, 1)).clamp(0, 1)


class Pixels:
    """Pictures in the making, each inside its ball."""

    def __init__(self, preset: Plain, canvas: Canvas, count: int, seed: int, like: Tensor) -> None:
        shape = (1, 3, canvas.size, canvas.size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.radius = preset.contrast * math.sqrt(noise.numel())
        self.rate = preset.rate
        self._images = (preset.start * self.radius * noise / noise.norm()).to(like).repeat(count, 1, 1, 1)

    def images(self) -> Tensor:
        """The pictures now, as network input `[K, 3, H, W]`."""
        return self._images

    def climb(self, gradient: Gradient) -> None:
        """One step of fixed length up each picture's gradient, and back to the ball if it led outside."""
        up = gradient(self._images)
        stepped = self._images + self.rate * self.radius * up / _norm(up)
        self._images = stepped * (self.radius / _norm(stepped)).clamp(max=1)


def _norm(images: Tensor) -> Tensor:
    """`[K, 1, 1, 1]`, never zero."""
    norms = images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return norms.clamp(min=torch.finfo(images.dtype).tiny)


PRESETS: dict[str, Plain | Fourier] = {"Fourier": Fourier(), "pixels": Plain()}


@dataclass(frozen=True)
class AscentStep:
    """Where the ascent is.

    Attributes:
        number: how many steps were taken; `total`: how many will be.
        images: network input `[K, 3, H, W]`: of each channel the best picture so far.
        activations: `[K]`, what these pictures reach, without movements.
    """

    number: int
    total: int
    images: Tensor = field(repr=False)
    activations: Tensor = field(repr=False)


def maximize(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    *,
    canvas: Canvas,
    preset: Plain | Fourier | None = None,
    objective: str = "whole map",
    steps: int = STEPS,
    seed: int = 0,
) -> Iterator[AscentStep]:
    """Pictures that excite `channels` of `layer`, one for each, in one batch.

    Gives the start, each of the first steps and then every eighth; the model is only read. All pictures start from
    the same noise and see the same movements, so one channel's picture does not depend on the others'.

    Args:
        model: a network in eval mode.
        layer: a friendly name or a node's name; for classes `engine.tape.logits(model)`.
        canvas: the size of the pictures, which need not be the network's own, and its normalisation.
        preset: the parametrisation and how to step; `Fourier()` if not given.
        objective: "whole map" (the mean of the map's positive part) or "centre unit"; for logits and dense layers
            both are the unit itself.
        seed: of the noise and the movements.

    Raises:
        ConvscopeError: at the first step: unknown layer, channel or objective, a model in training mode, a size that
            does not fit, or a network whose answer is not a number.
    """
    aim = _Aim(model, layer, tuple(channels), _known(objective))
    like = next(model.parameters())
    pictures = (preset or Fourier()).begin(canvas, len(aim.channels), seed, like)
    best = pictures.images().clone()
    reached = aim.activations(best)
    if not reached.isfinite().all():
        raise ConvscopeError(f"At {layer!r} the network's answer is not a number: its weights are damaged.")
    yield AscentStep(0, steps, best, reached)
    for number in range(1, steps + 1):
        pictures.climb(aim.gradient)
        if number <= _EACH_UNTIL or number % _THEN_EVERY == 0 or number == steps:
            best, reached = _better(best, reached, pictures.images(), aim)
            yield AscentStep(number, steps, best, reached)


def _known(objective: str) -> str:
    if objective not in OBJECTIVES:
        raise ConvscopeError(f"There is no objective {objective!r}: choose {' or '.join(OBJECTIVES)}.")
    return objective


def _better(best: Tensor, reached: Tensor, images: Tensor, aim: "_Aim") -> tuple[Tensor, Tensor]:
    """Of each picture the new one if it reaches as much; comparisons with what is not a number are false."""
    now = aim.activations(images)
    wins = now >= reached
    return torch.where(wins.view(-1, 1, 1, 1), images, best), torch.where(wins, now, reached)


# -------------------------------------------------------------------------------------------------- gradient


class _Aim:
    """The objective of each picture of a batch: channel `channels[k]` for picture k."""

    def __init__(self, model: nn.Module, layer: str, channels: tuple[int, ...], objective: str) -> None:
        self.model, self.layer, self.channels, self.objective = model, layer, channels, objective
        self.before = _before_rectifier(model, layer)
        if not channels:
            raise ConvscopeError("No channel is chosen: choose at least one.")

    @torch.no_grad()
    def activations(self, images: Tensor) -> Tensor:
        """`[K]`: what each picture reaches."""
        return torch.cat([self._excitation(*group) for group in self._groups(images)])

    def gradient(self, images: Tensor) -> Tensor:
        """`[K, 3, H, W]`: of each picture's objective; zero where it is not a number."""
        gradients = [self._gradient_of(*group) for group in self._groups(images)]
        return torch.cat(gradients).nan_to_num(0, 0, 0)

    def _groups(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        at_once = max(1, _PIXELS_AT_ONCE // images[0, 0].numel())
        channels = torch.tensor(self.channels, device=images.device)
        return zip(images.split(at_once), channels.split(at_once), strict=True)

    @torch.enable_grad()
    def _gradient_of(self, images: Tensor, channels: Tensor) -> Tensor:
        x = images.contiguous(memory_format=torch.channels_last).requires_grad_(True)
        reached = self._excitation(x, channels)
        inactive = reached == 0
        total = reached.sum()
        if inactive.any():
            total = total + self._before_relu(x[inactive], channels[inactive]).sum()
        return torch.autograd.grad(total, x)[0]

    def _excitation(self, images: Tensor, channels: Tensor) -> Tensor:
        maps = tape.features(self.model, images, self.layer)
        self._check(maps)
        return _of_each(excitation(maps, self.objective), channels)

    def _before_relu(self, images: Tensor, channels: Tensor) -> Tensor:
        """The input of the layer's ReLU, whatever its sign: in the centre, or the mean of the map."""
        maps = tape.features(self.model, images, self.before)
        whole = maps.dim() == 4 and self.objective == "whole map"
        return _of_each(maps.mean(dim=(2, 3)) if whole else excitation(maps, self.objective), channels)

    def _check(self, maps: Tensor) -> None:
        if maps.dim() not in (2, 4):
            raise ConvscopeError(f"{self.layer!r} holds neither feature maps nor units: choose a layer that does.")
        if not all(0 <= channel < maps.shape[1] for channel in self.channels):
            raise ConvscopeError(f"{self.layer!r} has channels 0 to {maps.shape[1] - 1}: choose among these.")


def _of_each(values: Tensor, channels: Tensor) -> Tensor:
    """`[K]`: of picture k `[K, C]` the value of `channels[k]`."""
    return values.gather(1, channels.view(-1, 1)).squeeze(1)


def _before_rectifier(model: nn.Module, layer: str) -> str:
    """The node that the layer's ReLU reads, also from behind pooling; the layer itself if it has none."""
    graph = trace(model)
    node = graph.resolve(layer)
    own = graph.names[node]
    while isinstance(graph.operations[node], MaxPool | AveragePool | Identity):
        node = node.args[0]
    return graph.names[node.args[0]] if isinstance(graph.operations[node], ReLU) else own
