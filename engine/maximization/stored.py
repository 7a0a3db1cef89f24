"""Pictures that excite the channels of a layer, kept with the checkpoint.

A maximisation takes seconds, and a lecture has none to spare. So the pictures of a layer's first sixteen channels and
of the classes are stored in the checkpoint's folder, with the activations after each step:

    maximization/conv5_x_0-15_whole-map_Fourier_128_seed0_64px.npz     pictures, steps, activations

A file names the weights that it belongs to, and is ignored for others. `python -m engine.maximization CHECKPOINT`
makes what is missing; to have all of it made again, delete the folder. The test images that the pictures are compared
with are those of `engine.patches`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from engine import checkpoints, data, patches, settings, tape
from engine.checkpoints import Trained
from engine.errors import ConvscopeError
from engine.files import write_atomically
from engine.maximization import OBJECTIVES, PRESETS, maximize
from engine.maximization.fourier import Canvas
from engine.patches import CLASSES, TopPatches, node_of
from engine.stored import read_arrays
from engine.weights import Weights

AT_ONCE, STEPS, SEED = 16, 128, 0
"""What is stored: the first channels, after so many steps, from this noise."""


@dataclass(frozen=True)
class MaximizationSettings:
    """Which pictures to make, and how; small enough to be a key.

    Attributes:
        network: which weights of which network.
        layer: a friendly name, or `engine.patches.CLASSES`.
        first, count: channels `first` to `first + count - 1`.
        objective: one of `engine.maximization.OBJECTIVES`; `preset`: a key of `engine.maximization.PRESETS`.
        size: the side of the pictures in pixels.
    """

    network: Weights
    layer: str
    first: int
    count: int
    objective: str
    preset: str
    steps: int
    seed: int
    size: int

    @property
    def channels(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def file_name(self) -> str:
        last = self.first + self.count - 1
        parts = (self.layer, f"{self.first}-{last}", self.objective, self.preset, f"{self.steps}", f"seed{self.seed}")
        return "_".join(parts).replace(" ", "-") + f"_{self.size}px.npz"


@dataclass(frozen=True)
class Maximization:
    """Pictures, and the way there.

    Attributes:
        pictures: uint8 `[K, H, W, 3]`.
        steps: int `[S]`, after which steps the activations were measured.
        activations: float32 `[S, K]`, of the best picture so far.
    """

    pictures: np.ndarray
    steps: np.ndarray
    activations: np.ndarray

    def some(self, of: slice) -> "Maximization":
        """Some of the pictures."""
        return Maximization(self.pictures[of], self.steps, self.activations[:, of])


def pictures(trained: Trained, chosen: MaximizationSettings) -> Iterator[Maximization]:
    """The pictures as they form, with all activations so far; errors as of `engine.maximization.maximize`."""
    card, preset = trained.card, PRESETS[chosen.preset]
    canvas = Canvas(chosen.size, card.mean, card.std)
    ascent = maximize(
        trained.model,
        node_of(trained.model, chosen.layer),
        chosen.channels,
        canvas=canvas,
        preset=preset,
        objective=chosen.objective,
        steps=chosen.steps,
        seed=chosen.seed,
    )
    steps: list[int] = []
    activations: list[np.ndarray] = []
    for step in ascent:
        steps.append(step.number)
        activations.append(step.activations.float().cpu().numpy())
        pixels = data.to_bytes(preset.drawn(step.images, canvas))
        yield Maximization(pixels, np.array(steps), np.stack(activations))


# What is stored --------------------------------------------------------------------------------------------------


def is_stored(chosen: MaximizationSettings, trained: Trained) -> bool:
    """Whether these pictures are among those that are stored with their checkpoint."""
    own = chosen.network == Weights.of(trained.card) and chosen.layer in layers_of(trained)
    return own and chosen in standard(trained, [chosen.layer])


def among(chosen: MaximizationSettings, batch: MaximizationSettings) -> slice | None:
    """Which pictures of a batch are those of `chosen`; None if it does not hold them."""
    alike = replace(chosen, first=batch.first, count=batch.count) == batch
    holds = batch.first <= chosen.first and chosen.channels.stop <= batch.channels.stop
    return slice(chosen.first - batch.first, chosen.channels.stop - batch.first) if alike and holds else None


def find(chosen: MaximizationSettings, trained: Trained) -> Maximization | None:
    """These pictures, if they are stored with their checkpoint, by themselves or among others; None if not."""
    for batch in standard(trained, [chosen.layer]):
        if (part := among(chosen, batch)) and (found := load(path_of(batch), trained.card.weights_sha256)):
            return found.some(part)
    return None


def layers_of(trained: Trained) -> list[str]:
    """The layers whose pictures are stored: the first one, those that end a stage, and the classes."""
    stages = tape.stages(trained.model)
    of_blocks = [layer for stage, layer in stages.items() if layer == stage]
    return list(dict.fromkeys([*list(stages)[:1], *(of_blocks or stages.values()), CLASSES]))


def standard(trained: Trained, layers: Sequence[str]) -> list[MaximizationSettings]:
    """What is stored of `layers`: both presets, the whole map, at the network's own size."""
    counts = {layer: min(AT_ONCE, channel_count(trained, layer)) for layer in layers}
    size, network = trained.card.input_size, Weights.of(trained.card)
    return [
        MaximizationSettings(network, layer, 0, count, OBJECTIVES[0], preset, STEPS, SEED, size)
        for (layer, count), preset in itertools.product(counts.items(), PRESETS)
    ]


def channel_count(trained: Trained, layer: str) -> int:
    """How many channels a layer has, or how many classes there are."""
    if layer == CLASSES:
        return len(trained.card.classes)
    size = trained.card.input_size
    like = next(trained.model.parameters())
    with torch.no_grad():
        return tape.features(trained.model, torch.zeros(1, 3, size, size).to(like), layer).shape[1]


def path_of(chosen: MaximizationSettings) -> Path:
    """Where pictures are stored with their checkpoint."""
    return settings.folders.checkpoints / chosen.network.checkpoint / "maximization" / chosen.file_name


def save(maximization: Maximization, path: Path, weights_sha256: str) -> None:
    """Store pictures, atomically.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable.
    """
    arrays = {**vars(maximization), "weights": np.array(weights_sha256)}
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def load(path: Path, weights_sha256: str) -> Maximization | None:
    """The stored pictures; None if they are missing, damaged or of other weights."""
    try:
        stored = read_arrays(path)
        own = str(stored["weights"]) == weights_sha256
        return _checked(Maximization(stored["pictures"], stored["steps"], stored["activations"])) if own else None
    except (OSError, ValueError, KeyError):  # all of them mean: make it again
        return None


def _checked(read: Maximization) -> Maximization:
    """The same; raises a ValueError for arrays that do not belong together."""
    pictures, steps, activations = read.pictures, read.steps, read.activations
    are_pictures = pictures.dtype == np.uint8 and pictures.ndim == 4 and pictures.shape[3] == 3 and pictures.size > 0
    if not are_pictures or steps.ndim != 1 or activations.shape != (len(steps), len(pictures)):
        raise ValueError("its arrays do not belong together")
    if not len(steps) or activations.dtype.kind != "f" or not np.isfinite(activations).all():
        raise ValueError("its activations are missing or no numbers")
    return read


def build(name: str, layers: Sequence[str] = (), say: Callable[[str], object] = print) -> None:
    """Make and store the pictures of checkpoint `name`, or of some of its layers, unless they are there already.

    Raises:
        ConvscopeError: there is no such checkpoint or layer, or the disk is full.
    """
    trained = checkpoints.load(name)
    known = [*tape.layers(trained.model), CLASSES]
    for layer in layers or layers_of(trained):
        if layer not in known:
            raise ConvscopeError(f"{name} has no layer {layer!r}: choose among {', '.join(known)}.")
        for chosen in standard(trained, [layer]):
            ends = _stored_or_made(trained, chosen).activations[-1]
            above = int((ends > _strongest(trained, chosen).values[list(chosen.channels), 0]).sum())
            say(f"{layer}, {chosen.preset}: {above} of {chosen.count} above every test image")


def _strongest(trained: Trained, chosen: MaximizationSettings) -> TopPatches:
    """The test images that excite the channels most, by the same objective; searched for if they are not stored."""
    index = patches.load(trained)
    top = None if index is None else index.of(chosen.layer, chosen.objective)
    if top is None:
        index = patches.search(trained)
        patches.save(index, trained.card.name)
        top = index.tops[chosen.layer, chosen.objective]
    return top


def _stored_or_made(trained: Trained, chosen: MaximizationSettings) -> Maximization:
    path, weights = path_of(chosen), trained.card.weights_sha256
    maximization = load(path, weights)
    if maximization is None:
        *_, maximization = pictures(trained, chosen)
        save(maximization, path, weights)
    return maximization
