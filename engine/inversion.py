"""Feature inversion: from the features of an image at a layer, back to an image with the same features.

Start from faint noise x and change its pixels until the features phi(x) match the target's features phi0
(Mahendran & Vedaldi 2015, equation 1):

    minimise   |phi(x) - phi0|^2 / |phi0|^2   +   a R_alpha(x)   +   b R_TV(x)

    R_alpha(x) = mean |x / B|^alpha                         keeps values in the range of pixels
    R_TV(x)    = mean (|gradient of x|^2 / V^2)^(beta/2)    keeps the picture smooth

The first term alone has many minimisers, since a deep layer ignores much of its input: most of them look like
noise. The other two, the prior (their section 3.2), prefer those that look like a photograph. As in their
section 3.3 each is divided by what is usual in photographs: B is about the largest value of a normalised pixel,
and V the size of the gradient, here in units of picture widths, so that the weights a and b do not depend on the
image's size.
Dividing by |phi0|^2 moves no minimum: with a = b = 0 this is a plain sum of squares.

The descent is L-BFGS (Nocedal 1980) with a backtracking line search. Each step lowers the loss, and one that
overflows is never taken. With jitter (Mahendran & Vedaldi 2016: the picture is shifted at random in each step)
the loss differs from step to step, which L-BFGS cannot handle: then it is Adam (Kingma & Ba 2015).

Limits: a small feature error does not make a recognisable picture; what is not in the features comes from the
prior and from the noise at the start, not from the image.

References: Mahendran & Vedaldi (2015), "Understanding deep image representations by inverting them"; Mahendran &
Vedaldi (2016), "Visualizing deep convolutional neural networks using natural pre-images".
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import ConvscopeError
from engine.optimizers import Adam
from engine.tape import features

LARGEST_VALUE = 2.0
"""B: pixels of 0 and 255 are about 2 standard deviations of the data away from its mean."""

USUAL_GRADIENT = 15.0
"""V: root mean square of the change per picture width, of the bundled training images, normalised, at 64 px."""

START_NOISE = 0.1
"""Standard deviation of the noise at the start; louder noise stays visible where the features do not see it."""


@dataclass(frozen=True)
class Prior:
    """What a picture should be like, besides having the right features.

    Attributes:
        alpha_weight, variation_weight: a and b, at least 0; a typical photograph adds a tenth of a, and b, to the loss.
        alpha, beta: the exponents, at least 1.
        jitter: the picture is shifted by up to that many pixels in each step, at random.
    """

    alpha_weight: float = 0.0
    variation_weight: float = 0.0
    alpha: float = 6.0
    beta: float = 2.0
    jitter: int = 0

    def __post_init__(self) -> None:
        weights = (self.alpha_weight, self.variation_weight, self.jitter)
        exponents = (self.alpha, self.beta)
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not all(1 <= e <= 100 for e in exponents):
            raise ConvscopeError("A prior needs weights and a jitter of at least 0, and exponents of at least 1.")


MAHENDRAN_VEDALDI = Prior(alpha_weight=0.01, variation_weight=0.02)
PRIORS = {
    "none": Prior(),
    "mahendran_vedaldi": MAHENDRAN_VEDALDI,
    "mahendran_vedaldi_jitter": replace(MAHENDRAN_VEDALDI, jitter=2),
}
"""None is the plain version. `benchmarks/inversion.py` chose the weights on training images. Jitter blurs: on the
shipped ResNet-18 at conv2_x the PSNR is 17 dB instead of 30, so it is for deep layers."""

FEATURE, ALPHA_NORM, VARIATION = "feature", "alpha norm", "total variation"


@dataclass(frozen=True)
class InversionStep:
    """Where the descent is after `number` steps (0: the noise at the start).

    Attributes:
        image: `[1, 3, H, W]`, normalised as the network expects; `pixels` gives it in 0-1. Always finite.
        loss: the sum of `terms`, `{name: value}` with the names `FEATURE`, `ALPHA_NORM` and `VARIATION`.
        error: the relative feature error `|phi(x) - phi0|^2 / |phi0|^2`; with jitter, that of the unshifted picture.
    """

    number: int
    image: Tensor = field(repr=False)
    loss: float
    terms: dict[str, float]
    error: float


def invert(
    model: nn.Module,
    layer: str,
    target: Tensor,
    *,
    size: int,
    prior: Prior = MAHENDRAN_VEDALDI,
    channel: int | None = None,
    steps: int = 200,
    seed: int = 0,
) -> Iterator[InversionStep]:
    """Descend to an image whose features at `layer` are `target` (Mahendran & Vedaldi 2015, equation 1).

    Args:
        model: a network in eval mode; it is only read.
        layer: a friendly name (see `engine.tape.layers`) or the name of a graph's node.
        target: the features to match, `[1, C, h, w]` or `[1, C]`: `engine.tape.features` of an image.
        size: height and width of the image, in pixels.
        channel: match this channel's map only; None for the whole layer.
        steps: at most so many; fewer if nothing is left to gain.
        seed: of the noise at the start (and of the jitter).

    Returns:
        The steps, from number 0 on, each computed when it is asked for: stop asking, and it stops.

    Raises:
        ConvscopeError: the target does not fit the layer, is zero everywhere or not finite, there is no such
            channel, or the numbers of pixels and steps make no sense; and the errors of `engine.tape.features`.
    """
    if size < 1 or steps < 0:
        raise ConvscopeError(f"An inversion of {size} px in {steps} steps is not possible: use positive numbers.")
    random = torch.Generator().manual_seed(seed)
    noise = START_NOISE * torch.randn(1, 3, size, size, generator=random, dtype=target.dtype)
    problem = problem_of(model, layer, target, channel, prior)
    start = problem.at(noise.to(target.device))
    if not start.is_finite:
        raise ConvscopeError(f"At the layer {layer!r} the network overflows on noise: choose an earlier layer.")
    points = _adam(problem, start, steps, random) if prior.jitter else _lbfgs(problem, start, steps)
    return (InversionStep(number, p.image, p.loss, p.terms, p.error) for number, p in enumerate(points))


def invert_layers(
    model: nn.Module, image: Tensor, layers: Sequence[str], **settings: Any
) -> Iterator[tuple[str, InversionStep]]:
    """Invert the features of `image` `[1, 3, H, H]` at each of `layers`, one after the other: pairs of layer and step.

    Settings and errors are those of `invert`.
    """
    for layer in layers:
        with torch.no_grad():
            target = features(model, image, layer)
        for step in invert(model, layer, target, size=image.shape[-1], **settings):
            yield layer, step


# ------------------------------------------------------------------------------------------ how near a picture is


def psnr(first: Tensor, second: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two pictures in 0-1: 10 log10(1 / mean squared difference)."""
    difference = float((first - second).square().mean())
    return math.inf if difference == 0 else -10 * math.log10(difference)


# ----------------------------------------------------------------------------------------------------- the loss


def alpha_norm(x: Tensor, alpha: float) -> Tensor:
    """`mean |x / B|^alpha`: large only where a value leaves the range of pixels (equation 3)."""
    return (x / LARGEST_VALUE).abs().pow(alpha).mean()


def total_variation(x: Tensor, beta: float) -> Tensor:
    """`mean (|gradient|^2 / V^2)^(beta / 2)` by forward differences, 0 beyond the border (equation 4)."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
    down = (padded[..., 1:, :-1] - x) * height
    right = (padded[..., :-1, 1:] - x) * width
    squared = (down.square() + right.square()) / USUAL_GRADIENT**2
    # Below beta = 2 the slope at zero is infinite, and zero times infinity would be no number.
    return (squared if beta >= 2 else squared.clamp(min=1e-12)).pow(beta / 2).mean()


@dataclass(frozen=True)
class Point:
    """The loss at an image, and its gradient."""

    image: Tensor
    gradient: Tensor
    loss: float
    terms: dict[str, float]
    error: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and bool(self.gradient.isfinite().all())


@dataclass(frozen=True)
class Problem:
    """The loss as a function of the image; `target`: the features of `channels`; `energy`: |phi0|^2."""

    model: nn.Module
    layer: str
    channels: slice
    target: Tensor
    energy: Tensor
    prior: Prior

    def at(self, image: Tensor, shift: tuple[int, int] = (0, 0)) -> Point:
        """The loss of `image`; the network sees it shifted by `shift`."""
        x = image.detach().requires_grad_()
        with torch.enable_grad():
            terms = {FEATURE: self.error(x.roll(shift, (2, 3)) if any(shift) else x)} | self._penalties(x)
            loss = sum(terms.values())
            (gradient,) = torch.autograd.grad(loss, x)
        values = {name: float(value.detach()) for name, value in terms.items()}
        error = float(self._error_alone(image)) if any(shift) else values[FEATURE]
        return Point(image.detach(), gradient, float(loss.detach()), values, error)

    def error(self, x: Tensor) -> Tensor:
        """The relative feature error."""
        reached = features(self.model, x, self.layer)[:, self.channels]
        if reached.shape != self.target.shape:
            raise ConvscopeError(
                f"The target does not fit {self.layer!r}: it has shape {list(self.target.shape)}, but an image of "
                f"{x.shape[2]} px gives {list(reached.shape)}; take the features of an image of that size there."
            )
        return (reached - self.target).square().sum() / self.energy

    @torch.no_grad()
    def _error_alone(self, x: Tensor) -> Tensor:
        return self.error(x)

    def _penalties(self, x: Tensor) -> dict[str, Tensor]:
        prior, none = self.prior, x.new_zeros(())
        alpha = prior.alpha_weight * alpha_norm(x, prior.alpha) if prior.alpha_weight else none
        variation = prior.variation_weight * total_variation(x, prior.beta) if prior.variation_weight else none
        return {ALPHA_NORM: alpha, VARIATION: variation}


def problem_of(model: nn.Module, layer: str, target: Tensor, channel: int | None, prior: Prior) -> Problem:
    if target.dim() < 2 or len(target) != 1:
        raise ConvscopeError("The target must be the features of one image: [1, C, h, w] or [1, C].")
    if channel is not None and channel not in range(target.shape[1]):
        raise ConvscopeError(f"There is no channel {channel}: this layer has channels 0 to {target.shape[1] - 1}.")
    channels = slice(None) if channel is None else slice(channel, channel + 1)
    matched = target.detach()[:, channels]
    energy = matched.square().sum()
    if not energy.isfinite():
        raise ConvscopeError(f"The target at {layer!r} is not finite: choose another image or an earlier layer.")
    if not energy > 0:
        raise ConvscopeError("The target is inactive (zero everywhere): choose another channel or image.")
    return Problem(model, layer, channels, matched, energy, prior)


# -------------------------------------------------------------------------------------------------- the descent

MEMORY = 20
"""How many steps L-BFGS remembers."""
FIRST_CHANGE = 0.1
"""Root mean square of the first step, when nothing is known yet about the curvature."""
HALVINGS = 20
SUFFICIENT = 1e-4
"""Armijo's condition: the loss must fall by at least this share of what the slope promises."""
RATE = 0.1
"""Adam's step size at the start; it falls to zero along a cosine."""

Pair = tuple[Tensor, Tensor]


def _lbfgs(problem: Problem, point: Point, steps: int) -> Iterator[Point]:
    """Downhill until the steps are used up or rounding is all that is left."""
    pairs: deque[Pair] = deque(maxlen=MEMORY)
    yield point
    for _ in range(steps):
        lower = _line_search(problem, point, pairs)
        if lower is None and pairs:  # the remembered curvature misleads: forget it
            pairs.clear()
            lower = _line_search(problem, point, pairs)
        if lower is None:
            return
        change, slope_change = lower.image - point.image, lower.gradient - point.gradient
        if _dot(change, slope_change) > 0:
            pairs.append((change, slope_change))
        point = lower
        yield point


def _line_search(problem: Problem, point: Point, pairs: Sequence[Pair]) -> Point | None:
    """The first point that is low enough among a full step, half of it, a quarter ...; None if there is none."""
    if not point.gradient.any():
        return None
    direction = _direction(point.gradient, pairs)
    slope = _dot(direction, point.gradient)
    rounding = torch.finfo(point.image.dtype).eps * abs(point.loss)
    for halving in range(HALVINGS):
        length = 0.5**halving
        if -length * slope <= rounding:
            return None
        lower = problem.at(point.image + length * direction)
        if lower.is_finite and lower.loss <= point.loss + SUFFICIENT * length * slope:
            return lower
    return None


def _direction(gradient: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Minus the gradient, times the inverse curvature that the remembered steps suggest (Nocedal 1980)."""
    if not pairs:
        return gradient * (-FIRST_CHANGE / float(gradient.square().mean().sqrt()))
    direction, shares = -gradient, []
    for change, slope_change in reversed(pairs):
        share = _dot(change, direction) / _dot(change, slope_change)
        direction = direction - share * slope_change
        shares.append(share)
    change, slope_change = pairs[-1]
    direction = direction * (_dot(change, slope_change) / _dot(slope_change, slope_change))
    for (change, slope_change), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + change * (share - _dot(slope_change, direction) / _dot(change, slope_change))
    return direction


def _dot(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first.flatten(), second.flatten()))


def _adam(problem: Problem, point: Point, steps: int, random: torch.Generator) -> Iterator[Point]:
    """Adam on a loss that changes with each random shift; after an overflow it goes on from the last finite image."""
    image, caution = point.image.clone(), 1.0
    adam = Adam([image], RATE)
    yield point
    for number in range(steps):
        adam.param_groups[0]["lr"] = caution * RATE * (1 + math.cos(math.pi * number / steps)) / 2
        image.grad = point.gradient
        adam.step()
        lower = problem.at(image.clone(), _shift(problem.prior.jitter, random))
        if lower.is_finite and math.isfinite(lower.error):
            point = lower
        else:
            image, caution = point.image.clone(), caution / 2
            adam = Adam([image], RATE)
        yield point


def _shift(jitter: int, random: torch.Generator) -> tuple[int, int]:
    down, right = torch.randint(-jitter, jitter + 1, (2,), generator=random).tolist()
    return down, right
