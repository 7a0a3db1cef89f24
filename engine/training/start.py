"""The network at the start of a run, and what follows it: its optimizer and the average of its weights.

A run starts with random weights (see `engine.models.initialisation`), or with its base: the weights of a checkpoint, or
torchvision's, which then go on learning.

Transfer: the first layers of a network that was trained on other images see edges and textures, which all images have
(Yosinski et al. 2014, "How transferable are features in deep neural networks?"). With `train_last` they keep the base's
weights, and their batch norm its statistics; if the classes are others, the last layer starts afresh.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from engine import checkpoints, settings
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES, build
from engine.models.initialisation import initialise_
from engine.models.torchvision_models import PREFIX, TRANSFORM_INPUT
from engine.optimizers import SGD, Adam, AdamW
from engine.seeding import seeded
from engine.training.recipe import Phase, Recipe
from engine.training.step import number_type


def fresh_network(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network with the random weights that its seed gives."""
    with seeded(recipe.seed):
        model = build(recipe.architecture, num_classes=num_classes, **recipe.build_options)
        initialise_(model, recipe.initialisation)
    return model


def starting_network(recipe: Recipe, classes: tuple[str, ...], device: torch.device, bases: Path | None) -> nn.Module:
    """The recipe's network as its training begins, on `device`: random weights, or those of its base in `bases`.

    Raises:
        ConvscopeError: there is no such network or base, or it cannot take images of the recipe's size.
    """
    model = fresh_network(recipe, len(classes))
    _check_size(model, recipe)
    if recipe.base:
        load_base_(model, recipe, classes, bases)
    freeze_(model, recipe.train_last)
    # On CPU and CUDA convolutions are faster with the channels last.
    layout = torch.preserve_format if device.type == "mps" else torch.channels_last
    return model.to(device, number_type(recipe), memory_format=layout)


def _check_size(model: nn.Module, recipe: Recipe) -> None:
    """Torchvision's networks fail only in the forward pass when an image is too small for them."""
    if not recipe.architecture.startswith(PREFIX):
        return
    pixels = min([recipe.input_size, *(entry.pixels for entry in recipe.resolutions)])
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, pixels, pixels))
    except (RuntimeError, AssertionError) as error:
        raise ConvscopeError(
            f"{recipe.architecture} cannot take images of {pixels} pixels: choose a larger input_size (usual are "
            f"{ARCHITECTURES[recipe.architecture].input_size})."
        ) from error


def with_known_base(recipe: Recipe, folder: Path | None = None) -> Recipe:
    """The recipe that names the weights it starts from: a checkpoint of the same name may be another one tomorrow.

    Raises:
        ConvscopeError: there is no such base, or it cannot be had; a checkpoint lies in `folder`, as of `load_base_`.
    """
    if not recipe.base or recipe.base_sha256:
        return recipe
    return replace(recipe, base_sha256=checkpoints.base(recipe.base, recipe.architecture, folder).sha256)


def load_base_(model: nn.Module, recipe: Recipe, classes: tuple[str, ...], folder: Path | None) -> None:
    """Give `model` the weights `recipe.base`; the last layer keeps its own if the base knows other `classes`.

    Args:
        folder: where the base lies, if it is a checkpoint; None for the folder of all checkpoints.

    Raises:
        ConvscopeError: there is no such base, it is of another network, or not the one that the recipe means.
    """
    base = checkpoints.base(recipe.base, recipe.architecture, folder or settings.folders.checkpoints)
    if recipe.base_sha256 not in ("", base.sha256):
        raise ConvscopeError(
            f"The checkpoint {recipe.base!r} is not the one that this run starts from: its weights have changed since."
        )
    if base.transform_input != getattr(model, TRANSFORM_INPUT, False):
        raise ConvscopeError(
            f"The weights {recipe.base!r} were trained with {TRANSFORM_INPUT} = {str(base.transform_input).lower()}: "
            "write this into the recipe's options."
        )
    try:
        checkpoints.begin_with_(model, base, classes)
    except RuntimeError as error:
        raise ConvscopeError(
            f"The checkpoint {recipe.base!r} cannot be continued by this recipe: its network is another one than "
            f"{recipe.architecture} with the options {recipe.options}."
        ) from error


def _keys(model: nn.Module, modules: list[nn.Module]) -> set[str]:
    """The keys in a state dict of the weights and statistics of `modules` themselves."""
    wanted, called = {id(module) for module in modules}, {id(module): name for name, module in model.named_modules()}
    owners = {called[number] for number in wanted}
    return {key for key in model.state_dict() if key.rpartition(".")[0] in owners}


def trained_modules(model: nn.Module, last: int) -> list[nn.Module]:
    """The `last` convolutions of `model` and all that comes after the first of them; everything for 0.

    "After" is the order in which the network's modules are listed, which is that of the layers.
    """
    modules = list(model.modules())
    convolutions = [index for index, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    return modules[convolutions[-last] :] if 0 < last < len(convolutions) else modules


def trained_keys(model: nn.Module, last: int) -> set[str]:
    """The keys in a state dict of the weights and statistics of `trained_modules`."""
    return _keys(model, trained_modules(model, last))


def freeze_(model: nn.Module, last: int) -> None:
    """Let nothing but `trained_modules` ask for gradients."""
    trained = trained_keys(model, last)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def train_mode_(model: nn.Module, last: int) -> None:
    """Training mode for `trained_modules` and whatever they are part of, evaluation mode for all others."""
    trained = {id(module) for module in trained_modules(model, last)}
    for module in model.modules():
        module.training = any(id(part) in trained for part in module.modules())


def make_optimizer(model: nn.Module, phase: Phase) -> Optimizer:
    """The phase's optimizer; vectors (biases, batch norm's parameters) are not decayed."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in learning if parameter.ndim > 1]
    others = [parameter for parameter in learning if parameter.ndim <= 1]
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
