"""What excites each channel, kept with its checkpoint: the pictures that were made, and the images that were found.

A maximisation takes seconds, and a lecture has none. So the pictures of a layer's first sixteen channels and of the
classes are stored in the checkpoint's folder, with the activations on the way there:

    maximization/conv5_x_0-15_whole-map_Fourier_128_seed0_64px.npz     pictures, activations
    maximization/conv5_x_strongest.npz                                 of each channel, the nine strongest images

The images are those of a data set on which the same objective is largest, which takes one pass over all of them. Only
with the same objective on both sides does "this picture excites the channel more than any image" mean anything.

Each file says which weights it is of, and is ignored by others. `python -m engine.maximization CHECKPOINT` writes them;
to have them made again, delete the folder.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine import checkpoints, data, deconv, settings, tape
from engine.checkpoints import Trained
from engine.errors import ConvscopeError
from engine.evaluation import images_at_once
from engine.files import write_atomically
from engine.maximization import OBJECTIVES, PRESETS, excitation, maximize
from engine.maximization.fourier import Canvas
from engine.weights import Weights

CLASSES = "classes"
"""In place of a layer: the network's output, whose units are the class scores before the softmax."""

AT_ONCE, STEPS, SEED = 16, 128, 0
"""What is stored: so many channels, after so many steps, from this noise."""

PER_CHANNEL = 9
_BATCH, _PLAYED_AT_ONCE = 250, 16


@dataclass(frozen=True)
class Request:
    """Pictures to be made; small enough to be a key.

    Attributes:
        network: which weights of which network.
        layer: a friendly name, or `CLASSES`.
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
    """Pictures that were made.

    Attributes:
        pictures: uint8 `[K, H, W, 3]`, as they are drawn.
        steps: int `[S]`, after which steps the activations were measured.
        activations: float32 `[S, K]`, of the best picture so far.
    """

    pictures: np.ndarray
    steps: np.ndarray
    activations: np.ndarray


@dataclass(frozen=True)
class Strongest:
    """Of each channel the images with the largest activation, strongest first, among `total` images.

    Attributes:
        images: int64 `[C, n]`, their indices.
        activations: float32 `[C, n]`.
    """

    images: np.ndarray
    activations: np.ndarray
    total: int


# Making --------------------------------------------------------------------------------------------------------


def node_of(model: nn.Module, layer: str) -> str:
    """What the engine calls a layer or `CLASSES`."""
    return tape.logits(model) if layer == CLASSES else layer


def canvas_of(trained: Trained, size: int) -> Canvas:
    """Pictures of `size` pixels for a network."""
    return Canvas(size, trained.card.mean, trained.card.std)


def pictures(trained: Trained, request: Request) -> Iterator[Maximization]:
    """The pictures as they form, with all activations so far; errors as of `engine.maximization.maximize`."""
    preset, canvas = PRESETS[request.preset], canvas_of(trained, request.size)
    steps: list[int] = []
    activations: list[np.ndarray] = []
    for step in maximize(
        trained.model, node_of(trained.model, request.layer), request.channels,
        canvas=canvas, preset=preset, objective=request.objective, steps=request.steps, seed=request.seed,
    ):  # fmt: skip
        steps.append(step.number)
        activations.append(step.activations.float().cpu().numpy())
        drawn = (preset.drawn(step.images, canvas) * 255).round().byte()
        yield Maximization(drawn.permute(0, 2, 3, 1).cpu().numpy(), np.array(steps), np.stack(activations))


@torch.no_grad()
def strongest(
    trained: Trained, layer: str, images: np.ndarray, on_batch: Callable[[int], object] | None = None
) -> dict[str, Strongest]:
    """`{objective: Strongest}` of every channel of a layer (or `CLASSES`), at the network's own input size.

    Args:
        images: uint8 `[N, H, W, 3]`.
        on_batch: called with the number of images done; raise from it to stop.
    """
    card, node = trained.card, node_of(trained.model, layer)
    found: dict[str, list[Tensor]] = {objective: [] for objective in OBJECTIVES}
    at_once = images_at_once(_BATCH, card.input_size)
    for start in range(0, len(images), at_once):
        x = data.prepare(images[start : start + at_once], card.input_size, card.mean, card.std)
        maps = tape.features(trained.model, x, node)
        for objective, values in found.items():
            values.append(excitation(maps, objective))
        if on_batch is not None:
            on_batch(min(start + at_once, len(images)))
    return {objective: _top(torch.cat(values)) for objective, values in found.items()}


def _top(values: Tensor) -> Strongest:
    """Of `[N, C]`; of equal images, the first comes first."""
    ordered = values.sort(dim=0, descending=True, stable=True)
    first = slice(0, PER_CHANNEL)
    return Strongest(ordered.indices[first].T.numpy(), ordered.values[first].T.float().numpy(), len(values))


def deconvnet(trained: Trained, layer: str, images: np.ndarray, channels: Sequence[int]) -> Tensor:
    """`[K, 3, H, W]`, signed: the strongest unit of `channels[k]` on image k, sent back to its pixels.

    `images`: uint8 `[K, H, W, 3]`. See `engine.deconv`.
    """
    card, node = trained.card, node_of(trained.model, layer)
    x = data.prepare(images, card.input_size, card.mean, card.std)
    played: list[Tensor] = []
    for start in range(0, len(x), _PLAYED_AT_ONCE):
        group = slice(start, start + _PLAYED_AT_ONCE)
        recorded = tape.record(trained.model, x[group], node)
        seeds = [
            deconv.strongest_unit(recorded.activation[index : index + 1], channel)
            for index, channel in enumerate(channels[group])
        ]
        played.append(deconv.reconstruct(recorded, torch.cat(seeds)).pixels)
    return torch.cat(played)


def cropped(images: Tensor) -> Tensor:
    """`[K, 3, s, s]` of `[K, 3, H, W]`: the smallest squares, all of one size, outside which each picture is zero."""
    ends = [_extent(images.abs().amax(dim=(1, other))) for other in (3, 2)]
    side = max(int((last - first).max()) for first, last in ends)
    if side <= 0 or side > min(images.shape[-2:]):
        return images
    corners = [first.clamp(max=length - side) for (first, _), length in zip(ends, images.shape[-2:], strict=True)]
    places = zip(images, *(corner.tolist() for corner in corners), strict=True)
    return torch.stack([image[:, top : top + side, left : left + side] for image, top, left in places])


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """`[K]` each: of `[K, L]` where the first value is that is not zero, and the place after the last one."""
    present = (profile > 0).int()
    first, from_behind = present.argmax(dim=1), present.flip(1).argmax(dim=1)
    last = torch.where(present.any(dim=1), profile.shape[1] - from_behind, first)
    return first, last


# On disk -------------------------------------------------------------------------------------------------------


def folder_of(checkpoint: str, folder: Path | None = None) -> Path:
    """Where a checkpoint's pictures are."""
    return (folder or settings.folders.checkpoints) / checkpoint / "maximization"


def is_stored(request: Request, trained: Trained) -> bool:
    """Whether the request is one of those that are stored for its checkpoint."""
    own = request.network == Weights.of(trained.card) and request.layer in layers_of(trained)
    return own and request in standard(trained, [request.layer])


def layers_of(trained: Trained) -> list[str]:
    """The layers that are stored: those that end a stage or are convolved first, and the classes."""
    known = list(tape.layers(trained.model))
    stages = [layer for layer in known if layer.endswith("_x")]
    return [known[0], *(stages or [layer for layer in known if layer.endswith("_relu")]), CLASSES]


def standard(trained: Trained, layers: Sequence[str]) -> list[Request]:
    """The requests whose pictures are stored, of `layers`: both presets, the whole map, the network's own size."""
    requests = []
    for layer in layers:
        count = min(AT_ONCE, channel_count(trained, layer))
        for preset in PRESETS:
            fixed = (OBJECTIVES[0], preset, STEPS, SEED, trained.card.input_size)
            requests.append(Request(Weights.of(trained.card), layer, 0, count, *fixed))
    return requests


def channel_count(trained: Trained, layer: str) -> int:
    """How many channels a layer has, or how many classes there are."""
    if layer == CLASSES:
        return len(trained.card.classes)
    size = trained.card.input_size
    like = next(trained.model.parameters())
    with torch.no_grad():
        return tape.features(trained.model, torch.zeros(1, 3, size, size).to(like), layer).shape[1]


def save(made: Maximization, path: Path, weights_sha256: str) -> None:
    """Store pictures, atomically.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable.
    """
    arrays = {"pictures": made.pictures, "steps": made.steps, "activations": made.activations}
    _write(path, arrays, weights_sha256)


def load(path: Path, weights_sha256: str) -> Maximization | None:
    """The stored pictures; None if there are none, or they are damaged or of other weights."""
    arrays = _read(path, ("pictures", "steps", "activations"), weights_sha256)
    return None if arrays is None else Maximization(*arrays)


def save_strongest(found: dict[str, Strongest], path: Path, weights_sha256: str) -> None:
    """Store what `strongest` found; errors as of `save`."""
    arrays = {"total": np.array(next(iter(found.values())).total)}
    for objective, top in found.items():
        arrays[f"images {objective}"] = top.images.astype(np.uint16)
        arrays[f"activations {objective}"] = top.activations
    _write(path, arrays, weights_sha256)


def load_strongest(path: Path, weights_sha256: str) -> dict[str, Strongest] | None:
    """What `strongest` found; None if it is not there, damaged, or of other weights."""
    keys = [f"{kind} {objective}" for objective in OBJECTIVES for kind in ("images", "activations")]
    arrays = _read(path, (*keys, "total"), weights_sha256)
    if arrays is None:
        return None
    *pairs, total = arrays
    tops = zip(pairs[::2], pairs[1::2], strict=True)
    return {
        objective: Strongest(images.astype(np.int64), activations, int(total))
        for objective, (images, activations) in zip(OBJECTIVES, tops, strict=True)
    }


def _write(path: Path, arrays: dict[str, np.ndarray], weights_sha256: str) -> None:
    arrays = {**arrays, "weights": np.array(weights_sha256)}
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def _read(path: Path, keys: Sequence[str], weights_sha256: str) -> list[np.ndarray] | None:
    try:
        with np.load(path) as stored:
            return [stored[key] for key in keys] if str(stored["weights"]) == weights_sha256 else None
    except Exception:  # a missing or damaged file shows itself in many ways, and all of them mean: make it again
        return None


# The command ---------------------------------------------------------------------------------------------------


def build(name: str, layers: Sequence[str] | None = None, say: Callable[[str], object] = print) -> None:
    """Make and store what is stored of checkpoint `name`, or of some of its layers; what is there already stays.

    Raises:
        ConvscopeError: there is no such checkpoint or layer, or the disk is full.
    """
    trained = checkpoints.load(name)
    for layer in layers or layers_of(trained):
        found = _found(trained, layer)
        for request in standard(trained, [layer]):
            made = _made(trained, request)
            top = found[request.objective].activations[request.first : request.first + request.count, 0]
            above = int((made.activations[-1] > top).sum())
            say(f"{layer}, {request.preset}: {above} of {request.count} above every test image")


def _found(trained: Trained, layer: str) -> dict[str, Strongest]:
    path, weights = folder_of(trained.card.name) / f"{layer}_strongest.npz", trained.card.weights_sha256
    found = load_strongest(path, weights)
    if found is None:
        found = strongest(trained, layer, data.bundled("test").images)
        save_strongest(found, path, weights)
    return found


def _made(trained: Trained, request: Request) -> Maximization:
    path, weights = folder_of(trained.card.name) / request.file_name, trained.card.weights_sha256
    made = load(path, weights)
    if made is None:
        *_, made = pictures(trained, request)
        save(made, path, weights)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m engine.maximization CHECKPOINT [LAYER ...]`: makes and stores its pictures."""
    parser = argparse.ArgumentParser(prog="python -m engine.maximization", description="Store a checkpoint's pictures.")
    parser.add_argument("checkpoint", help="a folder in checkpoints/, such as resnet18")
    parser.add_argument("layer", nargs="*", help="only these layers, such as conv5_x or classes")
    chosen = parser.parse_args(arguments)
    try:
        build(chosen.checkpoint, chosen.layer)
    except ConvscopeError as error:
        print(error)
        return 1
    return 0
