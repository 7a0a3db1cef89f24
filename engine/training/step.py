"""One step: the loss of a batch, in the precision that the recipe asks for, and a move of the weights against it.

With label smoothing s the network is asked for 1 - s + s/K of the true class and s/K of each other one (Szegedy et al.
2016, section 7). What is recorded is the plain cross-entropy all the same: it can be compared with validation's.

With mixup of strength a each image is blended with another one of its batch, and so is what is asked of the network:

    x = t * x_i + (1 - t) * x_j    loss = t * cross-entropy(y_i) + (1 - t) * cross-entropy(y_j)    t ~ Beta(a, a)

so it cannot memorise the images (Zhang et al. 2018, "mixup: Beyond empirical risk minimization"). Where the
features of frozen layers are kept, those are blended: manifold mixup (Verma et al. 2019).
"""

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional as F
from torch.optim import Optimizer

from engine.training.recipe import Recipe


def number_type(recipe: Recipe) -> torch.dtype:
    """What weights and losses are kept in."""
    return torch.float64 if recipe.precision == "float64" else torch.float32


def losses(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """The loss to be minimised, and the plain cross-entropy, which has no gradient.

    Args:
        images: prepared, `[B, 3, H, W]`; labels: `[B]`.
    """
    if not recipe.mixup:
        return _losses(_logits(model, images, recipe), labels, recipe)
    share = float(Beta(recipe.mixup, recipe.mixup).sample())
    # The batch is in random order, so its reverse gives each image a partner at random.
    logits = _logits(model, torch.lerp(images.flip(0), images, share), recipe)
    mine, partners = (_losses(logits, each, recipe) for each in (labels, labels.flip(0)))
    return tuple(share * one + (1 - share) * other for one, other in zip(mine, partners, strict=True))


def _logits(model: nn.Module, images: Tensor, recipe: Recipe) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        logits = model(images.to(number_type(recipe)))
    return logits.to(number_type(recipe))


def _losses(logits: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    plain = F.cross_entropy(logits.detach(), labels) if recipe.label_smoothing else loss.detach()
    return loss, plain


def descend(optimizer: Optimizer, loss: Tensor, learning_rate: float) -> None:
    """Move the weights of `optimizer` one step against the gradient of `loss`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
