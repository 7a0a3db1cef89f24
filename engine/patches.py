"""What a feature map looks for: the nine test images that excite it most, and the patches that its unit sees there.

Zeiler & Fergus (2014, figure 2) show, for one feature map, the images with its nine largest activations, each cropped
to what the strongest unit can see (its receptive field), and beside each crop what a deconvnet sends back from that
very unit. Over images x, with A(x) the maps [C, H, W] of a layer:

    value(c, x) = max over (i, j) of A(x)[c, i, j]        one maximum per image and map
    top(c)      = the nine images with the largest value(c, x); of equal ones, the earlier image

One pass over the images finds this for all layers at once: each batch is merged with the nine best so far. The index
is stored with the checkpoint (`top9.npz`) and bound to its weights by their SHA-256: if they change, it is made anew.

    python -m engine.patches CHECKPOINT

Limits: nine strongest responses say little of the many weaker ones. Where the receptive field covers the whole image,
the patch is the image; what the unit made use of there is nearer to where its reconstruction lies (`support`).

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 4.1 and figure 2.
"""

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import checkpoints, settings
from engine.checkpoints import Trained
from engine.data import bundled, prepare
from engine.deconv import reconstruct
from engine.errors import ConvscopeError
from engine.evaluation import images_at_once
from engine.feature_maps import all_maps
from engine.files import write_atomically
from engine.graph.receptive_field import Box, Pair, ReceptiveField
from engine.tape import Tape, layers

COUNT = 9
FILE = "top9.npz"
BATCH = 100
PIXELS_AT_ONCE = 100 * 64 * 64
"""All layers' maps are held at once, so that a batch of larger images has to be smaller."""


@dataclass(frozen=True)
class TopPatches:
    """The strongest images of each of C maps of one layer, K per map, strongest first.

    Attributes:
        images: int64 `[C, K]`, indices into the images that were searched.
        rows, columns: int64 `[C, K]`, the strongest unit in the map.
        values: float32 `[C, K]`, its activation.
    """

    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def boxes(self, channel: int, field: ReceptiveField, image: Pair) -> tuple[Box, ...]:
        """What the K strongest units of a map see of images of (height, width) pixels, padding included."""
        places = zip(self.rows[channel].tolist(), self.columns[channel].tolist(), strict=True)
        return tuple(field.box(row, column, image) for row, column in places)


@dataclass(frozen=True)
class Index:
    """`{layer: its strongest patches}`, the side of the input that they were found at, and of which weights."""

    layers: Mapping[str, TopPatches]
    input_size: int
    weights_sha256: str


def top_patches(
    model: nn.Module,
    images: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    count: int = COUNT,
    on_batch: Callable[[int], object] | None = None,
) -> dict[str, TopPatches]:
    """The `count` strongest images of every map of several layers, from one pass over the images.

    Args:
        model: a network in eval mode; it is only read.
        images: uint8 `[N, H, W, 3]`.
        names: friendly names or node names; None for all of `engine.tape.layers`.
        input_size: the side in pixels that the network is fed with.
        mean, std: per channel, of pixels in 0-1.
        count: how many images per map; all of them if there are fewer.
        on_batch: called with the number of images done; raise from it to stop.

    Raises:
        ConvscopeError: there are no images, an unknown layer, a model that cannot be traced.
    """
    if len(images) == 0:
        raise ConvscopeError("There are no images to search for strong patches: give at least one.")
    wanted = list(layers(model) if names is None else names)
    best: dict[str, _Best] = {}
    at_once = images_at_once(BATCH, input_size, PIXELS_AT_ONCE)
    for start in range(0, len(images), at_once):
        x = prepare(images[start : start + at_once], input_size, mean, std)
        for name, maps in all_maps(model, x, wanted).items():
            found = _of_batch(maps, start)
            best[name] = found.first(count) if name not in best else best[name].merged(found).first(count)
        if on_batch is not None:
            on_batch(min(start + at_once, len(images)))
    return {name: best[name].as_patches() for name in wanted}


@dataclass(frozen=True)
class _Best:
    """Candidates `[C, K]`: value, image and the unit's place; `width` of the map."""

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


def _of_batch(maps: Tensor, start: int) -> _Best:
    """One candidate per image and map of `[N, C, H, W]`, as `[C, N]`."""
    values, places = F.adaptive_max_pool2d(maps, 1, return_indices=True)
    numbers = torch.arange(start, start + len(maps)).expand(maps.shape[1], -1)
    return _Best(values.flatten(1).T, numbers, places.flatten(1).T, maps.shape[3])


# ---------------------------------------------------------------------------------------------- the stored index


def search(trained: Trained, on_batch: Callable[[int], object] | None = None) -> Index:
    """The index of a network over the bundled test images, at the input size of its card.

    Raises:
        ConvscopeError: the bundled images are damaged, or the model cannot be traced.
    """
    card = trained.card
    found = top_patches(
        trained.model, bundled("test").images, input_size=card.input_size, mean=card.mean, std=card.std,
        on_batch=on_batch,
    )  # fmt: skip
    return Index(found, card.input_size, card.weights_sha256)


def save(index: Index, name: str, folder: Path | None = None) -> Path:
    """Store the index with checkpoint `name`, atomically.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable.
    """
    path = (folder or settings.folders.checkpoints) / name / FILE
    arrays: dict[str, Any] = {"weights_sha256": np.array(index.weights_sha256), "input_size": index.input_size}
    for layer, top in index.layers.items():
        of_layer = (top.images.astype(np.uint16), top.rows.astype(np.uint16), top.columns.astype(np.uint16), top.values)
        arrays |= dict(zip((f"{layer}/{part}" for part in _PARTS), of_layer, strict=True))
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
    return path


_PARTS = ("images", "rows", "columns", "values")


def load(trained: Trained, folder: Path | None = None) -> Index | None:
    """The stored index of a checkpoint; None if it is missing, damaged or of other weights: then it has to be made."""
    path = (folder or settings.folders.checkpoints) / trained.card.name / FILE
    try:
        with np.load(path) as stored:
            read = {name: _read_layer(stored, name) for name in layers(trained.model)}
            index = Index(read, int(stored["input_size"]), str(stored["weights_sha256"]))
    except Exception:  # a damaged archive shows itself as a zip, zlib, value, key or end-of-file error
        return None
    fits = (index.weights_sha256, index.input_size) == (trained.card.weights_sha256, trained.card.input_size)
    return index if fits else None


def _read_layer(stored: Mapping[str, np.ndarray], name: str) -> TopPatches:
    images, rows, columns, values = (stored[f"{name}/{part}"] for part in _PARTS)
    return TopPatches(*(part.astype(np.int64) for part in (images, rows, columns)), values.astype(np.float32))


def build(name: str, folder: Path | None = None, on_batch: Callable[[int], object] | None = None) -> Path:
    """Search the bundled test images for checkpoint `name` and store the index; gives its file.

    Raises:
        ConvscopeError: there is no such checkpoint, it is damaged, or the folder is not writable.
    """
    folder = folder or settings.folders.checkpoints
    return save(search(checkpoints.load(name, folder), on_batch), name, folder)


# ------------------------------------------------------------------------------------- reconstructions and crops


def unit_pictures(tape: Tape, channel: int, rows: Sequence[int], columns: Sequence[int], **rules: Any) -> Tensor:
    """What a deconvnet sends back from one unit of each of K images: pixels `[K, 3, H, W]`.

    Args:
        tape: a recording of K images.
        channel: the map; `rows`, `columns`: its unit, one per image.
        rules: those of `engine.deconv.reconstruct`.

    Raises:
        ConvscopeError: there is no such map or unit, or an unknown rule.
    """
    return reconstruct(tape, unit_seeds(tape.activation, channel, rows, columns), **rules).pixels


def unit_seeds(activation: Tensor, channel: int, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """`[K, C, H, W]` of the activation's values at one unit per image, zero elsewhere.

    Raises:
        ConvscopeError: there is no such map or unit, or not one unit per image.
    """
    units = torch.arange(len(activation)), torch.as_tensor(rows), torch.as_tensor(columns)
    _, channels, height, width = activation.shape
    inside = channel in range(channels) and all(
        len(places) == len(activation) and bool(((places >= 0) & (places < size)).all())
        for places, size in zip(units[1:], (height, width), strict=True)
    )
    if not inside:
        raise ConvscopeError(f"There is no such unit: the layer has {channels} maps of {height} x {width}.")
    seed = torch.zeros_like(activation)
    seed[units[0], channel, units[1], units[2]] = activation[units[0], channel, units[1], units[2]]
    return seed


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


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m engine.patches CHECKPOINT`: exit status 0 when the index is stored."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(prog="python -m engine.patches", description="Find each map's nine best images.")
    parser.add_argument("checkpoint", help="a folder in checkpoints/, such as resnet18")
    name = parser.parse_args(arguments).checkpoint
    try:
        with tqdm(total=10_000, unit=" images", leave=False) as bar:
            path = build(name, on_batch=functools.partial(_show, bar))
    except ConvscopeError as error:
        print(error)
        return 1
    print(f"{path} is stored, {path.stat().st_size / 1000:.0f} kB.")
    return 0


def _show(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


if __name__ == "__main__":
    raise SystemExit(main())
