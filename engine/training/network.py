"""The network at the start of a run, and what follows it: its optimizer and the average of its weights.

    default    the architecture's own random weights
    xavier     uniform, variance 2 / (inputs + outputs) of a unit    Glorot & Bengio (2010), equation 16
    kaiming    normal, variance 2 / inputs of a unit                 He et al. (2015), equation 10
    base       the weights of a checkpoint, which then goes on learning

Glorot's rule keeps the size of signals in a chain of linear layers, He's in a chain of layers with ReLUs, each of
which loses half of them. Batch norm restores that size after each layer, whatever the weights.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from engine import checkpoints
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES, build
from engine.training.recipe import Phase, Recipe


def fresh_network(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network with the random weights that its seed gives."""
    spec = ARCHITECTURES[recipe.architecture]
    size = {"input_size": recipe.input_size} if spec.fixed_input else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build(recipe.architecture, num_classes=num_classes, **{**size, **recipe.options})
        if recipe.initialisation != "default":
            initialise_(model, recipe.initialisation)
    return model


def initialise_(model: nn.Module, rule: str) -> None:
    """Draw all convolutions' and dense layers' weights by "xavier" or "kaiming"; their biases become zero."""
    draw: Callable[[Tensor], Tensor] = {"xavier": nn.init.xavier_uniform_, "kaiming": _kaiming_}[rule]
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _kaiming_(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def load_base_(model: nn.Module, recipe: Recipe, folder: Path) -> None:
    """Give `model` the weights of the checkpoint `recipe.base` in `folder`.

    Raises:
        ConvscopeError: there is no such checkpoint, it is another network, or not the one that the recipe means.
    """
    trained = checkpoints.load(recipe.base, folder)
    if recipe.base_sha256 not in ("", trained.card.weights_sha256):
        raise ConvscopeError(
            f"The checkpoint {recipe.base!r} is not the one that this run starts from: its weights have changed since."
        )
    try:
        model.load_state_dict(trained.model.state_dict())
    except RuntimeError as error:
        raise ConvscopeError(
            f"The checkpoint {recipe.base!r} cannot be continued by this recipe: its network is another one "
            f"({trained.card.architecture} with the options {trained.card.options})."
        ) from error


def make_optimizer(model: nn.Module, phase: Phase) -> Optimizer:
    """The phase's optimizer; vectors (biases, batch norm's parameters) are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": phase.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if phase.optimizer == "sgd":
        nesterov = phase.nesterov and phase.momentum > 0
        return SGD(groups, lr=phase.learning_rate, momentum=phase.momentum, nesterov=nesterov)
    return {"adam": Adam, "adamw": AdamW}[phase.optimizer](groups, lr=phase.learning_rate)


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` that follows its weights and its batch norm statistics as an exponential moving average.

    After n steps the decay is at most (1 + n) / (10 + n), so that a short run does not average in its random start.
    """

    def follow(averages: list[Tensor], currents: list[Tensor], steps: Tensor) -> None:
        weight = 1 - min(decay, (1 + steps.item()) / (10 + steps.item()))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:
            torch._foreach_copy_(averages, currents)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)


def first_filters(model: nn.Module) -> np.ndarray:
    """float16 `[O, 3, k, k]`: a copy of the first convolution's kernels."""
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    return convolution.weight.detach().cpu().contiguous().numpy().astype(np.float16)
