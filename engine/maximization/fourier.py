"""A picture as a sum of waves, in colours that photographs have, looked at from a slightly moving head.

Gradient ascent on pixels finds noise that excites a unit: convolutions with strides and poolings favour checkerboards,
and nothing pulls neighbouring pixels together. Olah et al. change no objective for it, but the coordinates in which
the steepest way up is taken, and what the network gets to see:

    waves       t = F^-1( n z_f / max(n f, 1)^d ):   a picture of side n, from one complex number z_f per frequency f.
                A step on z changes low frequencies more than high ones, so shapes come before grain. Photographs have
                d = 1 (Field 1987), and so has Olah's; CIFAR-10's pictures, enlarged, have less detail than that.
    colours     x = sigmoid(M t), M M^T ~ covariance of photographs' colours:   a step changes brightness most, then
                blue against yellow, then green against magenta. The sigmoid keeps pixels between 0 and 1.
    movements   in each step the network sees the picture shifted, scaled and rotated at random by a little: only what
                excites the unit in all of these positions grows.

The covariance is that of the shipped CIFAR-10 training images. Limits: none of this makes the picture typical of what
the network was trained on, and a picture that excites a unit most need not be what the unit is for.

References: Olah, Mordvintsev & Schubert (2017), "Feature visualization", section "The enemy of feature visualization";
Field (1987), "Relations between the statistics of natural images and the response properties of cortical cells".
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.data import denormalised
from engine.operations.base import inner_product
from engine.optimizers import Adam

COLOUR_COVARIANCE = ((0.06156, 0.05533, 0.05142), (0.05533, 0.06010, 0.05874), (0.05142, 0.05874, 0.06926))
"""Of red, green and blue (0-1) over all pixels of the 5,000 bundled CIFAR-10 training images."""


@dataclass(frozen=True)
class Canvas:
    """What a network takes: square pictures of `size` pixels, normalised by `mean` and `std` (per channel, on 0-1)."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Network input of `[K, 3, H, W]` pixels in 0-1."""
        return (pixels - _per_channel(self.mean, pixels)) / _per_channel(self.std, pixels)

    def pixels(self, images: Tensor) -> Tensor:
        """Pixels of network input `[K, 3, H, W]`, clipped to 0-1."""
        return denormalised(images, self.mean, self.std)


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


Gradient = Callable[[Tensor], Tensor]
"""Of the objective by the picture: `[K, 3, H, W]` to `[K, 3, H, W]`, each picture's own."""


@dataclass(frozen=True)
class Fourier:
    """Olah et al. (2017): Adam on the waves.

    Attributes:
        rate: Adam's step size.
        start: standard deviation of the random waves that it starts from.
        decay: d above. On the shipped ResNet-18 at 64 px, 1 gave grain, and with 2 half of the units hardly moved.
        shift: how far the picture moves at most, as a share of its side.
        scale: how much larger or smaller it gets at most, as a share.
        rotation: how far it turns at most, in degrees.
    """

    rate: float = 0.05
    start: float = 0.01
    decay: float = 1.5
    shift: float = 1 / 24
    scale: float = 0.1
    rotation: float = 10.0

    def begin(self, canvas: Canvas, count: int, seed: int, like: Tensor) -> "Waves":
        """`count` equal pictures of random waves, of the type and on the device of `like`."""
        return Waves(self, canvas, count, seed, like)

    def drawn(self, images: Tensor, canvas: Canvas) -> Tensor:
        """Pixels `[K, 3, H, W]` in 0-1 to draw `images` with: their own colours."""
        return canvas.pixels(images)


class Waves:
    """Pictures in the making: their waves, and Adam's memory of the way up."""

    def __init__(self, preset: Fourier, canvas: Canvas, count: int, seed: int, like: Tensor) -> None:
        self.preset, self.canvas = preset, canvas
        self._random = torch.Generator().manual_seed(seed)
        shape = (1, 3, *frequencies(canvas.size).shape, 2)
        first = preset.start * torch.randn(shape, generator=self._random, dtype=torch.float64)
        self.waves = first.to(like).repeat(count, 1, 1, 1, 1).requires_grad_(True)
        self._adam = Adam([self.waves], preset.rate, maximize=True)

    def images(self) -> Tensor:
        """The pictures now, as network input `[K, 3, H, W]`."""
        with torch.no_grad():
            return self._painted()

    def climb(self, gradient: Gradient) -> None:
        """One step of Adam, up the objective of the moved pictures."""
        with torch.enable_grad():
            moved = warp(self._painted(), self._movement())
        # The pictures do not depend on each other, so their gradients may meet in one backward pass.
        (self.waves.grad,) = torch.autograd.grad(inner_product(gradient(moved.detach()), moved), self.waves)
        self._adam.step()

    def _painted(self) -> Tensor:
        return self.canvas.normalised(colourful(from_waves(self.waves, self.canvas.size, self.preset.decay)))

    def _movement(self) -> "Movement":
        right, down, larger, turn = (2 * torch.rand(4, generator=self._random, dtype=torch.float64) - 1).tolist()
        reach = self.preset.shift * self.canvas.size
        factor = (1 + self.preset.scale) ** larger
        return Movement(right * reach, down * reach, factor, turn * self.preset.rotation)


# ----------------------------------------------------------------------------------------------------- waves


def frequencies(size: int) -> Tensor:
    """float64 `[size, size // 2 + 1]`: how often each wave of a real picture repeats per pixel."""
    down = torch.fft.fftfreq(size, dtype=torch.float64).view(-1, 1)
    right = torch.fft.rfftfreq(size, dtype=torch.float64)
    return (down**2 + right**2).sqrt()


def amplitudes(size: int, decay: float) -> Tensor:
    """float64 `[size, size // 2 + 1]`: falling with the frequency; the constant has that of the longest wave."""
    return size / (size * frequencies(size)).clamp(min=1) ** decay


def from_waves(waves: Tensor, size: int, decay: float) -> Tensor:
    """Pictures `[K, 3, size, size]` of `waves` `[K, 3, size, size // 2 + 1, 2]`, real and imaginary parts."""
    spectrum = torch.view_as_complex(waves) * amplitudes(size, decay).to(waves)
    return torch.fft.irfft2(spectrum, s=(size, size), norm="ortho")


# --------------------------------------------------------------------------------------------------- colours


def colour_matrix(covariance: Sequence[Sequence[float]] = COLOUR_COVARIANCE) -> Tensor:
    """float64 `[3, 3]` M with M M^T proportional to `covariance`; a column per principal colour, the longest 1."""
    values, colours = torch.linalg.eigh(torch.tensor(covariance, dtype=torch.float64))
    matrix = (colours * values.clamp(min=0).sqrt()).flip(1)
    return matrix / matrix.norm(dim=0).max()


def colourful(pictures: Tensor) -> Tensor:
    """Pixels in 0-1 of `[K, 3, H, W]` amounts of the principal colours."""
    return torch.einsum("ij,kjhw->kihw", colour_matrix().to(pictures), pictures).sigmoid()


# ------------------------------------------------------------------------------------------------- movements


@dataclass(frozen=True)
class Movement:
    """`right` and `down` in pixels, enlarged by `factor`, turned by `degrees` against the clock."""

    right: float
    down: float
    factor: float
    degrees: float


def warp(images: Tensor, movement: Movement) -> Tensor:
    """`[K, 3, n, n]` moved about their centre; what comes in from outside is zero, the average colour."""
    size = images.shape[-1]
    cosine, sine = (trig(math.radians(movement.degrees)) / movement.factor for trig in (math.cos, math.sin))
    # A pixel's colour is fetched from where it was: the inverse movement, in units of half the side.
    right, down = 2 * movement.right / size, 2 * movement.down / size
    inverse = [[cosine, -sine, -cosine * right + sine * down], [sine, cosine, -sine * right - cosine * down]]
    theta = torch.tensor([inverse], dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
