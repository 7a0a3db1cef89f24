"""How long a training will take: a few steps of the very network are timed, and multiplied.

    seconds = sum over epochs of  (images learned from) x (seconds per image of a step)
                                + (images measured)     x (seconds per image of a forward pass)

A transfer that keeps what its frozen layers answer (`keep_frozen`) adds one pass of all images through those, and its
epochs cost what the layers behind them cost.

Batches grow from a few images until the time or the memory that may be spent is spent, so a large network is timed on
few images and a small one on whole batches. The estimate is rough: other work on the machine, and the cost of saving,
are left out.

A step is timed as the training takes it: with the layers that a transfer keeps, and in the numbers that it computes
with. Only dropout is left out: it draws from the generator that all threads share, which a page may be using meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from engine.checkpoints import states
from engine.data import BUNDLED_TRAINING_PER_CLASS, CIFAR10_CLASSES, VALIDATION_SHARE
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES, blank, for_shapes, parameter_count
from engine.training.datasets import TRAIN_SAMPLE
from engine.training.frozen_features import End, FrozenStart, views
from engine.training.memory import free_memory
from engine.training.recipe import Phase, Recipe
from engine.training.start import freeze_, fresh_network, make_optimizer, train_mode_
from engine.training.step import descend, losses, number_type

PER_CLASS = {"cifar10_bundled": BUNDLED_TRAINING_PER_CLASS, "cifar10": 5_000}
"""How many labelled images of each class a dataset has for training and validation."""

PROCESS = 800_000_000
"""Bytes of a process that has loaded PyTorch and the images."""
TIMED, TIMED_BATCH = 1_000_000_000, 200_000_000
"""Bytes that the timing of the first few images may take, beside the pages, and a batch of more of them."""
START = 6.0
"""Seconds until a new process has loaded PyTorch and the images."""
LARGEST_SIDE = 256
"""Pixels of an image's side up to which a network is run on zeros to count what a step keeps."""
RATE = 1e-9
"""Of the steps that are timed: too small to change anything."""
RANDOM = (nn.Dropout, nn.Dropout2d, StochasticDepth)
"""The layers that draw random numbers while a network is trained."""
FIRST_BATCH = 4
GROWTH = 4


@dataclass(frozen=True)
class TimePerImage:
    """Seconds per image: of a training step, of a forward pass for measuring, and of what is computed once and kept."""

    step: float
    forward: float
    once: float = 0.0


def parameters(recipe: Recipe, classes: int = 10) -> int:
    """How many parameters the recipe's network has; none of them takes memory.

    Raises:
        ConvscopeError: there is no such network: the images are too small for it, or it has no such option.
    """
    return parameter_count(blank(recipe.architecture, num_classes=classes, **recipe.build_options))


@dataclass(frozen=True)
class KeptStates:
    """After which epochs a run keeps its state, and how many bytes all of them take."""

    epochs: tuple[int, ...]
    bytes: int


def kept_states(recipe: Recipe, classes: int = 10) -> KeptStates:
    """What a run of `recipe` keeps of its states over time; errors as of `parameters`."""
    epochs = states.epochs_to_keep(recipe.epochs, recipe.keep_states)
    model = blank(recipe.architecture, num_classes=classes, **recipe.build_options)
    return KeptStates(epochs, len(epochs) * states.size(model))


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step takes: for the network, and for each image of the batch."""

    network: int
    image: int


def memory(recipe: Recipe, classes: int = 10) -> int:
    """About how many bytes a process needs that trains by `recipe`; next to none of them is spent on it.

    Raises:
        ConvscopeError: there is no such network.
    """
    step = step_memory(recipe, classes)
    return PROCESS + step.network + recipe.batch_size * step.image


def step_memory(recipe: Recipe, classes: int = 10) -> StepMemory:
    """About how many bytes a step takes at the largest images; errors as of `memory`.

    What autograd keeps of a step for the way back is counted for two images and for three: so much more is each of
    them. There is once more half of it for the gradients on that way, and for each parameter itself, its gradient, the
    optimizer's one or two numbers, and its moving average.
    """
    pixels = max(recipe.pixels_at(epoch) for epoch in range(recipe.epochs))
    model = _network_to_count(recipe, classes, pixels)
    of_two, of_three = (_kept_for_the_way_back(model, count, pixels) for count in (2, 3))
    of_one = of_three - of_two
    numbers = 2 + bool(recipe.ema) + max(1 if phase.optimizer == "sgd" else 2 for phase in recipe.phases)
    width = 2 if recipe.precision == "float64" else 1
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    of_parameters = 4 * (parameter_count(model) + numbers * learned)
    return StepMemory(width * (3 * (of_two - 2 * of_one) // 2 + of_parameters), width * 3 * of_one // 2)


def _network_to_count(recipe: Recipe, classes: int, pixels: int) -> nn.Module:
    """The recipe's network in training mode, of which only the shapes are wanted; large maps take no memory."""
    make = for_shapes if pixels <= LARGEST_SIDE else blank
    model = make(recipe.architecture, num_classes=classes, **recipe.build_options)
    freeze_(model, recipe.train_last)
    _train_mode_(model, recipe)
    return model


def _kept_for_the_way_back(model: nn.Module, count: int, pixels: int) -> int:
    """How many bytes autograd keeps of a step with `count` images, without the network's own.

    Nobody goes back, so the graph gets nothing to keep. A layer's output, given to its own graph, would be a circle of
    references that Python cannot collect: it held each network that was counted, for as long as the process ran.
    """
    of_model = {value.untyped_storage()._cdata for value in model.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def count_storage(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in of_model:
            kept[storage._cdata] = storage

    def never(_: None) -> Tensor:
        raise AssertionError("The way back is counted, not gone.")

    device = next(model.parameters()).device
    with torch.autograd.graph.saved_tensors_hooks(count_storage, never):
        model(torch.zeros(count, 3, pixels, pixels, device=device))
    return sum(storage.nbytes() for storage in kept.values())


def check_memory(recipe: Recipe) -> None:
    """Nothing, if a training by `recipe` fits into the memory that is free now.

    Raises:
        ConvscopeError: it does not; the sentence has both figures.
    """
    needed, free = memory(recipe), free_memory()
    if needed > free:
        raise ConvscopeError(
            f"This training needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: choose a "
            f"smaller batch than {recipe.batch_size} or smaller images than {recipe.input_size} px."
        )


@dataclass(frozen=True)
class ImageCounts:
    """How many images an epoch learns from, and how many pick the epoch that is kept."""

    training: int
    validation: int


def images(recipe: Recipe) -> ImageCounts | None:
    """How many images of CIFAR-10 `recipe` uses; None for a folder, whose pictures are not counted yet."""
    labelled = PER_CLASS.get(recipe.dataset)
    if labelled is None:
        return None
    validation = round(labelled * VALIDATION_SHARE)
    training = min(recipe.sample or labelled, labelled - validation)
    return ImageCounts(training * len(CIFAR10_CLASSES), validation * len(CIFAR10_CLASSES))


def timed(recipe: Recipe, pixels: int) -> Recipe:
    """What decides the cost of a step with images of `pixels` x `pixels`: equal results mean equal costs."""
    size = recipe.input_size if ARCHITECTURES[recipe.architecture].fixed_input else pixels
    phases = (Phase(1, 0.01, optimizer=recipe.phases[0].optimizer),)
    same = {key: getattr(recipe, key) for key in ("options", "batch_size", "precision")}
    transfer = {"base": recipe.base, "train_last": recipe.train_last} if recipe.train_last else {}
    transfer |= {"keep_frozen": True, "crop_padding": 0} if recipe.keep_frozen else {}
    return Recipe("timed", recipe.architecture, phases, input_size=size, **same, **transfer)


def cost(recipe: Recipe, budget: float = 1.0) -> TimePerImage:
    """Time some steps of `timed(...)`'s recipe on this machine's CPU, for about `budget` seconds.

    Raises:
        ConvscopeError: the network is too large for that.
    """
    taken = step_memory(recipe)
    first = taken.network + FIRST_BATCH * taken.image
    if first > TIMED:
        raise ConvscopeError(f"Its steps are not timed: {FIRST_BATCH} images take {first / 1e9:.1f} GB of memory.")
    most = min(recipe.batch_size, max(FIRST_BATCH, TIMED_BATCH // max(1, taken.image)))
    model = _timed_network(recipe)
    network, batch, once = model, partial(_noise, recipe=recipe), 0.0
    if recipe.keep_frozen:
        start = FrozenStart(model, recipe, torch.device("cpu"))
        once, budget = _seconds_per_image(start.answer, most, batch, 0.3 * budget), 0.7 * budget
        network, batch = End(model, start.cut), partial(_features, start=start)
    _train_mode_(model, recipe)
    optimizer = make_optimizer(model, replace(recipe.phases[0], learning_rate=RATE))

    def step(images: Tensor) -> None:
        loss, _ = losses(network, images, torch.zeros(len(images), dtype=torch.long), recipe)
        descend(optimizer, loss, RATE)

    per_step = _seconds_per_image(step, most, batch, 0.75 * budget)
    model.eval()
    with torch.inference_mode():
        return TimePerImage(per_step, _seconds_per_image(network, most, batch, 0.25 * budget), once)


def _timed_network(recipe: Recipe) -> nn.Module:
    """The recipe's network as it is trained, but for its mode."""
    model = fresh_network(recipe, len(CIFAR10_CLASSES))
    freeze_(model, recipe.train_last)
    return model.to(number_type(recipe), memory_format=torch.channels_last)


def _train_mode_(model: nn.Module, recipe: Recipe) -> None:
    """As it is trained, but for dropout."""
    train_mode_(model, recipe.train_last)
    for module in model.modules():
        if isinstance(module, RANDOM):
            module.eval()


def _seconds_per_image(
    run: Callable[[Tensor], object], most: int, batch: Callable[[int], Tensor], budget: float
) -> float:
    """Of the largest batch, of at most `most` images, that can be reached within `budget` seconds, the fastest run."""
    end = time.perf_counter() + budget
    count = min(FIRST_BATCH, most)
    fastest = _seconds(run, batch(count), end)
    if time.perf_counter() < end:  # else setting up memory and kernels was the smaller part
        fastest = _seconds(run, batch(count), end)
    while True:
        larger = min(count * GROWTH, most)
        if time.perf_counter() + 2 * fastest * larger / count > end:
            return fastest / count
        taken = _seconds(run, batch(larger), end)
        fastest, count = (min(fastest, taken) if larger == count else taken), larger


def _seconds(run: Callable[[Tensor], object], images: Tensor, end: float) -> float:
    """The shorter of two runs, as whatever else the machine does can only make one longer; one run where time is up."""
    taken: list[float] = []
    while len(taken) < 2 and (not taken or time.perf_counter() < end):
        begun = time.perf_counter()
        run(images)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _noise(count: int, recipe: Recipe) -> Tensor:
    shape = (count, 3, recipe.input_size, recipe.input_size)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=number_type(recipe))
    return noise.contiguous(memory_format=torch.channels_last)


def _features(count: int, start: FrozenStart) -> Tensor:
    return start.answer(_noise(count, start.recipe)).to(number_type(start.recipe))


def seconds(recipe: Recipe, count: ImageCounts, cost_at: Callable[[int], TimePerImage]) -> float:
    """About how long `recipe` takes with `count` images.

    Args:
        cost_at: the result of `cost` for images with a side of that many pixels.
    """
    measured = min(TRAIN_SAMPLE, count.training) + count.validation
    costs = {pixels: cost_at(pixels) for pixels in {recipe.pixels_at(epoch) for epoch in range(recipe.epochs)}}
    each = [costs[recipe.pixels_at(epoch)] for epoch in range(recipe.epochs)]
    kept = count.training * (1 + views(recipe)) + count.validation
    return START + kept * each[-1].once + sum(count.training * one.step + measured * one.forward for one in each)


def in_words(seconds: float) -> str:
    """A duration for a person: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(round(minutes / 10) * 10, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
