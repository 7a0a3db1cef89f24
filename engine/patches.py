"""The nine test images that excite each channel most, and the patches that the channel's strongest unit sees there.

Zeiler & Fergus (2014, figure 2) show, for one feature map, the images with its nine largest activations, each cropped
to the receptive field of the strongest unit, and beside each crop the deconvnet reconstruction from that very unit.
Over images x, with A(x) the maps [C, H, W] of a layer:

    value(c, x) = max over (i, j) of A(x)[c, i, j]        one maximum per image and channel
    top(c)      = the nine images with the largest value(c, x); of equal ones, the earlier image

Activation maximisation compares its pictures with the images on which its own objective is largest, so the same pass
ranks the images by every objective of `engine.objectives`, for all layers and for the class scores. Each batch is
merged with the nine best so far. The index is stored with the checkpoint (`top9.npz`) and bound to its weights by their
SHA-256: an index of other weights is ignored. One that was stored before there were other objectives holds
"strongest unit" only.

    python -m engine.patches CHECKPOINT

Limits: nine strongest responses say little of the many weaker ones. Where the receptive field covers the whole image,
the patch is the image; which part of it the unit answered to is nearer to its reconstruction (`support`).

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 4 and figure 2.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import checkpoints, command, objectives, settings, tape
from engine.checkpoints import Trained
from engine.data import bundled, prepare
from engine.deconv import reconstruct
from engine.errors import ConvscopeError
from engine.evaluation import images_at_once
from engine.feature_maps import all_maps
from engine.files import write_atomically
from engine.graph.receptive_field import Box, Pair, ReceptiveField
from engine.objectives import STRONGEST_UNIT, excitation
from engine.stored import read_arrays
from engine.tape import Tape

COUNT = 9
FILE = "top9.npz"
CLASSES = "classes"
"""In place of a layer: the network's output, whose channels are the class scores before the softmax."""

BATCH = 100
SEARCHED = 10_000
"""How many images are searched, the bundled test images."""
PIXELS_AT_ONCE = 100 * 64 * 64
"""All layers' maps are held at once, so that a batch of larger images has to be smaller."""
PLAYED_AT_ONCE = 16
"""How many images are recorded and played back together."""


@dataclass(frozen=True)
class TopPatches:
    """The strongest images of each of C channels of one layer, K per channel, strongest first.

    Attributes:
        images: int64 `[C, K]`, indices into the images that were searched.
        rows, columns: int64 `[C, K]`, the strongest unit of the channel's map in that image.
        values: float32 `[C, K]`, the objective that the images are ranked by.
    """

    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def boxes(self, channel: int, field: ReceptiveField, image: Pair) -> tuple[Box, ...]:
        """The receptive fields of the K units in images of (height, width) pixels, padding included."""
        places = zip(self.rows[channel].tolist(), self.columns[channel].tolist(), strict=True)
        return tuple(field.box(row, column, image) for row, column in places)


Tops = Mapping[tuple[str, str], TopPatches]
"""`{(layer, objective): the strongest images of its channels}`."""


@dataclass(frozen=True)
class Index:
    """The strongest images of a network, the side of the input that they were fed at, and the network's weights."""

    tops: Tops
    input_size: int
    weights_sha256: str

    def of(self, layer: str, objective: str = STRONGEST_UNIT) -> TopPatches | None:
        """The strongest images of a layer's channels (or of `CLASSES`); None if the index does not hold them."""
        return self.tops.get((layer, objective))


def top_patches(
    model: nn.Module, images: np.ndarray, names: Sequence[str] | None = None, **arguments: Any
) -> dict[str, TopPatches]:
    """The strongest images of every channel of several layers, by strongest unit, from one pass over the images.

    Arguments and errors are those of `rank`; `names`: None for all of `engine.tape.layers`.
    """
    wanted = tape.layers(model) if names is None else names
    tops = rank(model, images, wanted, (STRONGEST_UNIT,), **arguments)
    return {name: tops[name, STRONGEST_UNIT] for name in wanted}


def rank(
    model: nn.Module,
    images: np.ndarray,
    names: Sequence[str],
    by: Sequence[str] = objectives.ALL,
    *,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    count: int = COUNT,
    on_batch: Callable[[int], object] | None = None,
) -> Tops:
    """The `count` strongest images of every channel of several layers, by several objectives, from one pass.

    Args:
        model: a network in eval mode; it is only read.
        images: uint8 `[N, H, W, 3]`.
        names: friendly names or node names, or `CLASSES`.
        by: some of `engine.objectives.ALL`.
        input_size: the side in pixels that the network is fed with.
        mean, std: per channel, of pixels in 0-1.
        count: how many images per channel; all of them if there are fewer.
        on_batch: called with the number of images done; raise from it to stop.

    Raises:
        ConvscopeError: there are no images, an unknown layer, a model that cannot be traced.
    """
    if len(images) == 0:
        raise ConvscopeError("There are no images to search for strong patches: give at least one.")
    nodes = {name: node_of(model, name) for name in names}
    best: dict[tuple[str, str], _Best] = {}
    at_once = images_at_once(BATCH, input_size, PIXELS_AT_ONCE)
    for start in range(0, len(images), at_once):
        maps = all_maps(model, prepare(images[start : start + at_once], input_size, mean, std), list(nodes.values()))
        for name, node in nodes.items():
            for objective, candidates in _of_batch(maps[node], by, start):
                key = name, objective
                best[key] = (best[key].merged(candidates) if key in best else candidates).first(count)
        if on_batch is not None:
            on_batch(min(start + at_once, len(images)))
    return {key: candidates.as_patches() for key, candidates in best.items()}


def node_of(model: nn.Module, layer: str) -> str:
    """The node of the network's output for `CLASSES`; any other layer as it is."""
    return tape.logits(model) if layer == CLASSES else layer


@dataclass(frozen=True)
class _Best:
    """Candidates `[C, K]`: value, image and the place of the strongest unit; `width` of the map."""

    values: Tensor
    images: Tensor
    places: Tensor
    width: int

    def merged(self, later: "_Best") -> "_Best":
        """These and those of later images, which stay behind."""
        pairs = ((self.values, later.values), (self.images, later.images), (self.places, later.places))
        return _Best(*(torch.cat(pair, dim=1) for pair in pairs), self.width)

    def first(self, count: int) -> "_Best":
        """The strongest; of equal ones the earlier image, since the sort is stable."""
        order = self.values.sort(dim=1, descending=True, stable=True).indices[:, :count]
        return _Best(*(of.gather(1, order) for of in (self.values, self.images, self.places)), self.width)

    def as_patches(self) -> TopPatches:
        places = self.places.numpy()
        return TopPatches(self.images.numpy(), places // self.width, places % self.width, self.values.float().numpy())


def _of_batch(maps: Tensor, by: Sequence[str], start: int) -> Iterator[tuple[str, _Best]]:
    """For each objective, one candidate per image and channel of `[N, C, H, W]` (or `[N, C]`), as `[C, N]`."""
    peaks, places = F.adaptive_max_pool2d(maps if maps.dim() == 4 else maps[:, :, None, None], 1, return_indices=True)
    numbers = torch.arange(start, start + len(maps)).expand(maps.shape[1], -1)
    width = maps.shape[3] if maps.dim() == 4 else 1
    for objective in by:
        values = peaks.flatten(1) if objective == STRONGEST_UNIT else excitation(maps, objective)
        yield objective, _Best(values.T, numbers, places.flatten(1).T, width)


# ---------------------------------------------------------------------------------------------- the stored index


def search(trained: Trained, on_batch: Callable[[int], object] | None = None) -> Index:
    """The index of a network over the bundled test images, at the input size of its card.

    Raises:
        ConvscopeError: the bundled images are damaged, or the model cannot be traced.
    """
    card, model = trained.card, trained.model
    names = [*tape.layers(model), CLASSES]
    normalisation = {"input_size": card.input_size, "mean": card.mean, "std": card.std}
    tops = rank(model, bundled("test").images, names, **normalisation, on_batch=on_batch)
    return Index(tops, card.input_size, card.weights_sha256)


def path_of(name: str, folder: Path | None = None) -> Path:
    """Where the index of checkpoint `name` is stored."""
    return (folder or settings.folders.checkpoints) / name / FILE


def save(index: Index, name: str, folder: Path | None = None) -> Path:
    """Store the index with checkpoint `name`, atomically.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable.
    """
    path = path_of(name, folder)
    arrays: dict[str, Any] = {"weights_sha256": np.array(index.weights_sha256), "input_size": index.input_size}
    for key, top in index.tops.items():
        small = (top.images.astype(np.uint16), top.rows.astype(np.uint16), top.columns.astype(np.uint16), top.values)
        arrays |= dict(zip(_entries(*key), small, strict=True))
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
    return path


def _entries(layer: str, objective: str) -> list[str]:
    """The names of the arrays of one layer and objective in the file."""
    parts = ("images", "rows", "columns", "values")
    return [f"{layer}/{part}" if objective == STRONGEST_UNIT else f"{layer}/{objective}/{part}" for part in parts]


def load(trained: Trained, folder: Path | None = None) -> Index | None:
    """The stored index of a checkpoint; None if it is missing, damaged or of other weights."""
    try:
        stored = read_arrays(path_of(trained.card.name, folder))
        names = list(tape.layers(trained.model))
        required = {(layer, STRONGEST_UNIT) for layer in names}
        keys = itertools.product([*names, CLASSES], objectives.ALL)
        kept = [key for key in keys if key in required or _entries(*key)[0] in stored]
        tops = {key: _read(stored, *key) for key in kept}
        index = Index(tops, int(stored["input_size"]), str(stored["weights_sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = (index.weights_sha256, index.input_size) == (trained.card.weights_sha256, trained.card.input_size)
    return index if fits else None


def _read(stored: Mapping[str, np.ndarray], layer: str, objective: str) -> TopPatches:
    images, rows, columns, values = (stored[entry] for entry in _entries(layer, objective))
    are_numbers = values.dtype.kind == "f" and all(part.dtype.kind in "iu" for part in (images, rows, columns))
    alike = are_numbers and images.ndim == 2 and images.shape == rows.shape == columns.shape == values.shape
    if not alike or 0 in images.shape or not 0 <= images.min() <= images.max() < SEARCHED:
        raise ValueError("its parts do not belong together")
    return TopPatches(*(part.astype(np.int64) for part in (images, rows, columns)), values.astype(np.float32))


def build(name: str, folder: Path | None = None, on_batch: Callable[[int], object] | None = None) -> Path:
    """Search the bundled test images for checkpoint `name` and store the index; gives its file.

    Raises:
        ConvscopeError: there is no such checkpoint, it is damaged, or the folder is not writable.
    """
    folder = folder or settings.folders.checkpoints
    return save(search(checkpoints.load(name, folder), on_batch), name, folder)


# ------------------------------------------------------------------------------------- reconstructions and crops


def reconstructions(
    trained: Trained,
    layer: str,
    images: np.ndarray,
    channels: Sequence[int],
    rows: Sequence[int],
    columns: Sequence[int],
    **rules: Any,
) -> Tensor:
    """The deconvnet reconstruction from one unit of each of K images: `[K, 3, S, S]` at the network's input size.

    Args:
        layer: a layer's name, or `CLASSES`.
        images: uint8 `[K, H, W, 3]`.
        channels, rows, columns: the unit, one per image.
        rules: those of `engine.deconv.reconstruct`.

    Raises:
        ConvscopeError: there is no such layer or unit, or an unknown rule.
    """
    x = prepare(images, trained.card.input_size, trained.card.mean, trained.card.std)
    node = node_of(trained.model, layer)
    pixels = []
    for start in range(0, len(x), PLAYED_AT_ONCE):
        group = slice(start, start + PLAYED_AT_ONCE)
        recorded = tape.record(trained.model, x[group], node)
        pixels.append(unit_pictures(recorded, channels[group], rows[group], columns[group], **rules))
    return torch.cat(pixels)


def unit_pictures(
    recorded: Tape, channels: Sequence[int], rows: Sequence[int], columns: Sequence[int], **rules: Any
) -> Tensor:
    """The same of a tape of K images; arguments and errors as of `reconstructions`."""
    return reconstruct(recorded, unit_seeds(recorded.activation, channels, rows, columns), gains=False, **rules).pixels


def unit_seeds(activation: Tensor, channels: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """`[K, C, H, W]` (or `[K, C]`) of the activation's values at one unit per image, zero elsewhere.

    Raises:
        ConvscopeError: there is no such unit, or not one unit per image.
    """
    maps = activation.reshape(*activation.shape[:2], *(activation.shape[2:] or (1, 1)))
    unit = [torch.as_tensor(places, dtype=torch.long) for places in (channels, rows, columns)]
    inside = all(
        len(places) == len(maps) and bool(((places >= 0) & (places < size)).all())
        for places, size in zip(unit, maps.shape[1:], strict=True)
    )
    if not inside:
        _, count, height, width = maps.shape
        raise ConvscopeError(f"There is no such unit: the layer has {count} maps of {height} x {width}.")
    at = torch.arange(len(maps)), *unit
    seeds = torch.zeros_like(maps)
    seeds[at] = maps[at]
    return seeds.reshape(activation.shape)


def trimmed(images: Tensor) -> Tensor:
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


def support(pixels: Tensor, share: float = 0.9) -> Box:
    """Where a picture `[3, H, W]` is: along each axis, the stretch that holds the middle `share` of its energy.

    The energy is the sum of squares; what lies outside is half of the rest on either side. An empty picture: all of it.
    """
    energy = pixels.detach().double().square().sum(dim=0)
    if not energy.sum() > 0:
        return Box(0, 0, *energy.shape)
    (top, bottom), (left, right) = (_middle(energy.sum(dim=axis), share) for axis in (1, 0))
    return Box(top, left, bottom, right)


def _middle(energy: Tensor, share: float) -> Pair:
    """The first and one beyond the last position of the middle `share` of `energy` `[L]`."""
    up_to, tail = energy.cumsum(0) / energy.sum(), (1 - share) / 2
    first = int((up_to <= tail).sum())
    return first, min(int((up_to < 1 - tail).sum()) + 1, len(energy))


def squared(box: Box, image: Pair) -> Box:
    """The smallest square around `box` that lies in an image of (height, width) pixels, as far as there is room."""
    side = min(max(box.height, box.width), *image)
    top = min(max(box.top - (side - box.height) // 2, 0), image[0] - side)
    left = min(max(box.left - (side - box.width) // 2, 0), image[1] - side)
    return Box(top, left, top + side, left + side)


def crop(picture: np.ndarray, box: Box, fill: int) -> np.ndarray:
    """uint8 `[h, w, 3]`: the part of `[H, W, 3]` in the box; pixels outside the picture are `fill`."""
    cut = np.full((box.height, box.width, 3), fill, dtype=np.uint8)
    inside = box.clipped(picture.shape[:2])
    rows = slice(inside.top - box.top, inside.bottom - box.top)
    columns = slice(inside.left - box.left, inside.right - box.left)
    cut[rows, columns] = picture[inside.top : inside.bottom, inside.left : inside.right]
    return cut


@command.exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.patches CHECKPOINT`: finds and stores the index."""
    parser = command.parser("engine.patches", "Find the nine strongest images of every channel.")
    parser.add_argument("checkpoint", help="a folder in checkpoints/, such as resnet18")
    name = parser.parse_args(arguments).checkpoint
    with command.progress(" images", SEARCHED) as show:
        path = build(name, on_batch=show)
    print(f"{path} is stored, {path.stat().st_size / 1000:.0f} kB.")


if __name__ == "__main__":
    raise SystemExit(main())
