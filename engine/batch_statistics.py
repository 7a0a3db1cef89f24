"""Batch norm in training: what it does that the statistics are those of the batch at hand.

A batch norm takes from each channel its mean and divides it by its standard deviation (Ioffe & Szegedy 2015, algorithm
1). Whose mean that is differs between the two modes:

    training      y = gamma (x - mean_B) / sqrt(var_B + eps) + beta       of this batch B, over its images and places
    evaluation    y = gamma (x - mean) / sqrt(var + eps) + beta           the running statistics, the same for all

and after every step of training the running statistics follow those of the batch, with momentum m = 0.1:

    mean <- (1 - m) mean + m mean_B        var <- (1 - m) var + m var_B n / (n - 1)

with n numbers per channel in the batch. So in training the answer to an image depends on which other images are in its
batch: noise, which is large in small batches, and helps a little against overfitting in larger ones. In batches of two
the statistics are so rough that the network answers much worse than in evaluation, although not a weight has changed.

Everything here happens on a copy whose batch norms alone are in training mode: no dropout, no step, the same weights.

Limits: the weights stand still. In a real training they move, and the running statistics run after them.

References: Ioffe & Szegedy (2015), "Batch normalization", section 3.1; Wu & He (2018), "Group normalization", figure 1,
on small batches.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from engine.accuracy.figures import accuracy
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError

SIZES = (2, 8, 32, 128)
"""Of batches."""
STEPS, DRAWS = 30, 10
"""How many batches of each size go through; how many batches one image is put into."""
EVALUATED_AT_ONCE = 32
Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Watched:
    """Batches of one size on their way through a network whose batch norms are in training mode.

    Attributes:
        size: images per batch.
        training: the answers in training mode; `evaluation`: those in evaluation mode, to the very same images.
        means, variances: `[S + 1, C]`: the running statistics of one batch norm, at first 0 and 1, then after each
            step.
        probabilities: `[D]`: of one image's class, each time in a batch with other images.
    """

    size: int
    training: Predictions = field(repr=False)
    evaluation: Predictions = field(repr=False)
    means: Tensor = field(repr=False)
    variances: Tensor = field(repr=False)
    probabilities: Tensor = field(repr=False)

    @property
    def changed(self) -> float:
        """The share of images whose predicted class is another one than in evaluation mode, 0-1."""
        return float((self.training.predicted != self.evaluation.predicted).mean())


def norms(model: nn.Module) -> dict[str, int]:
    """`{module name: its channels}` of the batch norms that keep running statistics, in order."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, Norm)}
    return {name: module.num_features for name, module in found.items() if module.running_mean is not None}


def in_training_mode(model: nn.Module) -> nn.Module:
    """A copy in which the batch norms, and nothing else, are in training mode, and begin anew: mean 0, variance 1.

    Raises:
        ConvscopeError: the network has no batch norm with running statistics.
    """
    if not norms(model):
        raise ConvscopeError(f"{type(model).__name__} has no batch norm: choose a network that has.")
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, Norm):
            module.reset_running_stats()
            module.train()
    return copied


@torch.no_grad()
def watch_in_steps(
    model: nn.Module,
    images: Tensor,
    labels: np.ndarray,
    image: Tensor,
    label: int,
    norm: str,
    *,
    sizes: Sequence[int] = SIZES,
    steps: int = STEPS,
    draws: int = DRAWS,
    seed: int = 0,
    on_batch: Callable[[], object] | None = None,
) -> Iterator[tuple[Watched, ...]]:
    """Send batches of each size through a copy of the network in training mode: what is known so far, size by size.

    Args:
        model: a network in eval mode; it is only read.
        images: `[N, 3, H, W]`, normalised as the network expects, from which batches are drawn; `labels`: int `[N]`.
        image, label: `[1, 3, H, W]`, put into a batch with others again and again, and the class that is asked for.
        norm: the batch norm whose running statistics are kept, one of `norms`.
        sizes: of batches, each at least 2 and at most N.
        steps, draws: how many batches of each size; how many of them hold `image`.
        seed: of the draws.
        on_batch: called before each of the batches in training mode; raise from it to stop.

    Raises:
        ConvscopeError: no such batch norm or class, a batch that is too small or too large, not one label per image.
    """
    _check(model, images, labels, norm, sizes)
    evaluated = torch.cat([model(batch) for batch in images.split(EVALUATED_AT_ONCE)])
    if label not in range(evaluated.shape[1]):
        raise ConvscopeError(f"There is no class {label}: this network knows classes 0 to {evaluated.shape[1] - 1}.")
    found: tuple[Watched, ...] = ()
    for size in sizes:
        generator = np.random.default_rng((seed, size))
        batches = [generator.choice(len(images), size, replace=False) for _ in range(steps)]
        logits, means, variances = _run(in_training_mode(model), images, batches, norm, on_batch)
        drawn = np.concatenate(batches)
        probabilities = among_others(model, image, images, size, draws, seed, on_batch)[:, label]
        found = (
            *found,
            Watched(
                size,
                Predictions(logits.float().numpy(), labels[drawn]),
                Predictions(evaluated[drawn].float().numpy(), labels[drawn]),
                means,
                variances,
                probabilities,
            ),
        )
        yield found


def _run(
    copied: nn.Module,
    images: Tensor,
    batches: Sequence[np.ndarray],
    norm: str,
    on_batch: Callable[[], object] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits of all batches, and the running mean and variance before the first and after each one."""
    watched = copied.get_submodule(norm)
    kept = [(watched.running_mean.clone(), watched.running_var.clone())]
    logits = []
    for batch in batches:
        if on_batch is not None:
            on_batch()
        logits.append(copied(images[torch.from_numpy(batch)]))
        kept.append((watched.running_mean.clone(), watched.running_var.clone()))
    means, variances = (torch.stack(values) for values in zip(*kept, strict=True))
    return torch.cat(logits), means, variances


@torch.no_grad()
def among_others(
    model: nn.Module,
    image: Tensor,
    others: Tensor,
    size: int,
    draws: int,
    seed: int = 0,
    on_batch: Callable[[], object] | None = None,
) -> Tensor:
    """`[D, K]`: the probabilities for one image in training mode, in batches of `size` with other images each time.

    Arguments and errors are those of `watch_in_steps`.
    """
    copied, generator = in_training_mode(model), np.random.default_rng((seed, size, 1))
    answers = []
    for _ in range(draws):
        if on_batch is not None:
            on_batch()
        drawn = torch.from_numpy(generator.choice(len(others), size - 1, replace=False))
        answers.append(copied(torch.cat([image, others[drawn]]))[0].softmax(dim=0))
    return torch.stack(answers)


def _check(model: nn.Module, images: Tensor, labels: np.ndarray, norm: str, sizes: Sequence[int]) -> None:
    known = norms(model)
    if known and norm not in known:
        raise ConvscopeError(f"There is no batch norm {norm!r} in this network: choose {', '.join(known)}.")
    if len(images) != len(labels):
        raise ConvscopeError(f"There are {len(images)} images and {len(labels)} labels: give one label for each image.")
    unfit = next((size for size in sizes if size not in range(2, len(images) + 1)), None)
    if unfit is not None:
        raise ConvscopeError(
            f"Batches of {unfit} cannot be drawn from {len(images)} images: choose 2 to {len(images)}."
        )


def in_words(found: Sequence[Watched]) -> str:
    """How much worse small batches are, and how far one image's answer goes from batch to batch."""
    first, last = found[0], found[-1]
    said = [
        f"in batches of {one.size} images: {accuracy(one.training).value:.0%} ({accuracy(one.evaluation).value:.0%})"
        for one in ((first,) if first is last else (first, last))
    ]
    low, high = float(first.probabilities.min()), float(first.probabilities.max())
    return (
        f"Accuracy in training mode, and in evaluation mode on the same images: {', '.join(said)}. In batches of "
        f"{first.size} the probability of this image's class goes from {low:.2f} to {high:.2f}, with the other images."
    ).replace("%", " %")
