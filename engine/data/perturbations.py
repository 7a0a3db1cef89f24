"""Images made harder: how fast does accuracy fall when the pixels are disturbed?

Four disturbances of uint8 images, each with one strength s that leaves the image as it is at its mildest:

    noise       pixel + s e, with e from a standard normal distribution, s in grey levels
    blur        convolution with a Gaussian of standard deviation s pixels
    brightness  s times the pixel
    shift       the image moved s pixels to the right, its left edge repeated

Values are rounded and clipped to 0-255, as a camera would. The noise comes from a seed, and stronger noise is the same
noise enlarged: a curve over s then shows the strength and not the luck of the draw. Hendrycks & Dietterich (2019),
"Benchmarking neural network robustness to common corruptions and perturbations", use the first three among others.

A network that was trained with such disturbances, as ours were with shifts of up to 4 pixels, finds them easier.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import functional as transforms

from engine.errors import ConvscopeError


@dataclass(frozen=True)
class Perturbation:
    """One way to disturb images.

    Attributes:
        apply: images uint8 `[N, 3, H, W]`, strength and seed to images of that shape and type.
        unit: of the strength, in words.
        mildest, strongest, step: the strengths to offer; `mildest` or `unchanged` changes nothing.
        unchanged: the strength at which the images stay as they are.
    """

    apply: Callable[[Tensor, float, int], Tensor]
    unit: str
    mildest: float
    strongest: float
    step: float
    unchanged: float

    @property
    def strengths(self) -> tuple[float, ...]:
        """All strengths to offer, from the mildest to the strongest."""
        steps = round((self.strongest - self.mildest) / self.step)
        return tuple(round(self.mildest + number * self.step, 9) for number in range(steps + 1))


def perturbed(images: np.ndarray, kind: str, strength: float, seed: int = 0) -> np.ndarray:
    """uint8 `[N, H, W, 3]`: `images` of that shape, disturbed; the same for the same seed.

    Raises:
        ConvscopeError: there is no such kind of perturbation, or the strength is outside its range.
    """
    if kind not in PERTURBATIONS:
        raise ConvscopeError(f"There is no perturbation {kind!r}: choose one of {', '.join(PERTURBATIONS)}.")
    chosen = PERTURBATIONS[kind]
    if not chosen.mildest <= strength <= chosen.strongest:
        offered = f"{chosen.mildest:g} to {chosen.strongest:g} {chosen.unit}"
        raise ConvscopeError(f"A {kind} of {strength:g} is out of range: choose {offered}.")
    if strength == chosen.unchanged or not len(images):
        return images
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    return chosen.apply(pixels, strength, seed).permute(0, 2, 3, 1).contiguous().numpy()


def _noise(images: Tensor, strength: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return _as_bytes(images + strength * torch.randn(images.shape, generator=generator))


def _blur(images: Tensor, strength: float, seed: int) -> Tensor:
    radius = min(int(np.ceil(3 * strength)), min(images.shape[-2:]) - 1)  # beyond 3 sigma a Gaussian is as good as 0
    return _as_bytes(transforms.gaussian_blur(images.float(), [2 * radius + 1] * 2, [strength] * 2))


def _brightness(images: Tensor, strength: float, seed: int) -> Tensor:
    return _as_bytes(images * strength)


def _shift(images: Tensor, strength: float, seed: int) -> Tensor:
    pixels, width = int(strength), images.shape[-1]
    return transforms.pad(images, [pixels, 0, 0, 0], padding_mode="edge")[..., :width]


def _as_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


PERTURBATIONS = {
    "noise": Perturbation(_noise, "grey levels", 0, 80, 5, 0),
    "blur": Perturbation(_blur, "pixels", 0, 3, 0.25, 0),
    "brightness": Perturbation(_brightness, "times", 0.1, 2.5, 0.1, 1),
    "shift": Perturbation(_shift, "pixels", 0, 12, 1, 0),
}
