"""Adversarial images: a change too small to be seen, which changes the answer.

The loss of the true class rises fastest along its gradient by the pixels. Of all changes of at most epsilon in each
pixel, the one that raises the loss most, as far as it is linear, takes the gradient's sign (Goodfellow, Shlens &
Szegedy 2015, "fast gradient sign method", FGSM):

    x' = x + epsilon sign(d loss(x, true class) / dx)

A network is linear enough for one step to succeed on many images. Several smaller steps, each followed by a projection
back to within epsilon of x and to 0-1, succeed on nearly all (projected gradient descent, PGD; Madry et al. 2018). With
a target the loss of that class is lowered instead.

Epsilon is measured on pixels in 0-1; on the scale of 8-bit pixels it is 255 times as large, and one grey level is the
smallest change that can be saved as a picture.

Limits: PGD starts at the image itself, and not at random within epsilon: nothing is drawn, and the same image gives the
same result. It is no proof that a network withstands an attack, only that this one fails.

References: Goodfellow, Shlens & Szegedy (2015), "Explaining and harnessing adversarial examples"; Madry et al. (2018),
"Towards deep learning models resistant to adversarial attacks".
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import data, tape
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError

STRIDE = 2.5
"""How far the steps lead together, in epsilons, so that they can reach every corner and return (Madry et al. 2018)."""
AT_ONCE = 50


def perturb(
    model: nn.Module,
    image: Tensor,
    label: int | Sequence[int] | np.ndarray | Tensor,
    *,
    epsilon: float,
    std: Sequence[float],
    mean: Sequence[float],
    steps: int = 1,
    target: int | None = None,
) -> Tensor:
    """An input of the same shape that the network is more likely to get wrong; one step is FGSM, several are PGD.

    Args:
        model: a network in eval mode; it is only read.
        image: `[N, 3, H, W]`, normalised as the network expects.
        label: the true class; one for all images, or one for each.
        epsilon: the largest change of a pixel, on the scale 0-1.
        std, mean: per channel, of pixels in 0-1: they say where 0 and 1 are.
        target: the class to be taken for; None: any but the true one.

    Returns:
        `[N, 3, H, W]`, normalised: within `epsilon` of the image and within 0-1.

    Raises:
        ConvscopeError: a negative epsilon, no step, no such class, a model that cannot be traced.
    """
    if not (math.isfinite(epsilon) and epsilon >= 0) or steps < 1:
        raise ConvscopeError("A perturbation takes an epsilon of at least 0 and at least one step.")
    away = _classes(label if target is None else target, image)
    reach, lowest, highest = _bounds(image, epsilon, std, mean)
    stride = reach if steps == 1 else reach * min(1.0, STRIDE / steps)
    perturbed = image.detach()
    for _ in range(steps):
        direction = _gradient(model, perturbed, away).sign()
        moved = perturbed + stride * (direction if target is None else -direction)
        perturbed = moved.clamp(lowest, highest)
    return perturbed


def accuracy_curve(
    model: nn.Module,
    images: Tensor,
    labels: np.ndarray,
    epsilons: Sequence[float],
    *,
    std: Sequence[float],
    mean: Sequence[float],
    steps: int = 1,
    on_batch: Callable[[int], object] | None = None,
) -> tuple[Predictions, ...]:
    """The answers to perturbed images `[N, 3, H, W]`, for each of `epsilons`.

    With one step the gradient is taken once for all epsilons.

    Args:
        labels: int `[N]`.
        on_batch: called with the number of images done; raise from it to stop.
        The rest, and the errors, as of `perturb`.
    """
    logits: list[list[Tensor]] = [[] for _ in epsilons]
    for start in range(0, len(labels), AT_ONCE):
        batch, true = images[start : start + AT_ONCE], labels[start : start + AT_ONCE]
        sign = _gradient(model, batch, _classes(true, batch)).sign() if steps == 1 else None
        for found, epsilon in zip(logits, epsilons, strict=True):
            if sign is None:
                changed = perturb(model, batch, true, epsilon=epsilon, std=std, mean=mean, steps=steps)
            else:
                reach, lowest, highest = _bounds(batch, epsilon, std, mean)
                changed = (batch + reach * sign).clamp(lowest, highest)
            found.append(_logits(model, changed))
        if on_batch is not None:
            on_batch(min(start + AT_ONCE, len(labels)))
    true_classes = np.asarray(labels, dtype=np.int64)
    return tuple(Predictions(torch.cat(found).float().numpy(), true_classes) for found in logits)


def as_input_of_another(
    images: Tensor,
    *,
    std: Sequence[float],
    mean: Sequence[float],
    size: int,
    other_std: Sequence[float],
    other_mean: Sequence[float],
) -> Tensor:
    """Images `[N, 3, H, W]` made for one network as the input `[N, 3, size, size]` of another.

    They travel as pictures do, in 8 bits; resizing them weakens a perturbation of single pixels.
    """
    return data.prepare(data.pixels_of(images, mean, std), size, other_mean, other_std)


def _bounds(
    image: Tensor, epsilon: float, std: Sequence[float], mean: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Epsilon as a normalised step per channel, and the lowest and highest value of each pixel."""
    scale, offset = (image.new_tensor(values).view(1, 3, 1, 1) for values in (std, mean))
    reach, black, white = epsilon / scale, -offset / scale, (1 - offset) / scale
    within = image.detach().clamp(black, white)
    return reach, torch.maximum(within - reach, black), torch.minimum(within + reach, white)


def _gradient(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Of each image's loss by its pixels."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = tape.features(model, images, tape.logits(model))
        if not 0 <= int(classes.min()) <= int(classes.max()) < logits.shape[1]:
            raise ConvscopeError(f"There is no such class: this network knows classes 0 to {logits.shape[1] - 1}.")
        loss = F.cross_entropy(logits, classes, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
    return gradient


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    return tape.features(model, images, tape.logits(model))


def _classes(label: int | Sequence[int] | np.ndarray | Tensor, images: Tensor) -> Tensor:
    """int64 `[N]`."""
    classes = torch.as_tensor(label, dtype=torch.int64, device=images.device).reshape(-1)
    if len(classes) not in (1, len(images)):
        raise ConvscopeError(f"There are {len(images)} images but {len(classes)} classes: give one for each image.")
    return classes.expand(len(images))
