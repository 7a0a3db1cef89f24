"""Images and their labels, and what a network is fed with.

CIFAR-10 (Krizhevsky 2009) has 50,000 training and 10,000 test images of 32 x 32 pixels in ten classes. Shipped with
the app, and enough for every page, are the test images and the first 500 training images of each class, both in their
official order. The whole training set is downloaded once, and only for training.

The validation images are the last tenth of each class's training images in official order. They choose epochs and
settings; the test images are touched once, at the end.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from engine import settings
from engine.command import exit_status, parser
from engine.errors import ConvscopeError
from engine.files import write_atomically, write_text

MANIFEST = "cifar10.json"

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
SHEET_COLUMNS = 100
BUNDLED_TRAINING_PER_CLASS = 500
VALIDATION_SHARE = 0.1
MOST_CLASSES, LONGEST_CLASS = 30_000, 200
"""Classes that a network may tell apart, and letters of a class's name."""


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size with their classes.

    Attributes:
        images: uint8 `[N, H, W, 3]`, RGB.
        labels: int64 `[N]`, indices into `classes`.
        classes: the classes' names.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = CIFAR10_CLASSES

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: np.ndarray) -> "LabelledImages":
        """The images at `indices`, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices], self.classes)


# Bundled images ------------------------------------------------------------------------------------------------


def bundled(split: str, folder: Path | None = None) -> LabelledImages:
    """The shipped images of `split`: "test" (10,000) or "train" (5,000).

    Raises:
        ConvscopeError: a file is missing, damaged or not the one that was shipped.
    """
    folder = folder or settings.folders.bundled
    entry = _manifest_entry(folder / MANIFEST, split)
    path = folder / entry["file"]
    labels = _labels(entry)
    images = read_sheet(path, len(labels))
    if _fingerprint(images, labels) != entry["sha256"]:
        raise ConvscopeError(_damaged(path, "its pixels or labels are not the ones that were shipped"))
    return LabelledImages(images, labels)


def bundled_indices(split: str, folder: Path | None = None) -> tuple[np.ndarray, ...]:
    """For each class, where its shipped images lie in `split`: int64 each, from the manifest, so nothing is unpacked.

    Raises:
        ConvscopeError: the manifest is missing, damaged or without images of a class.
    """
    path = (folder or settings.folders.bundled) / MANIFEST
    labels = _labels(_manifest_entry(path, split))
    indices = tuple(np.flatnonzero(labels == label) for label in range(len(CIFAR10_CLASSES)))
    if not all(map(len, indices)):
        raise ConvscopeError(_damaged(path, f"not every class has images in {split!r}"))
    return indices


def write_bundled(split: str, data: LabelledImages, folder: Path | None = None) -> None:
    """Store `data` as one lossless WebP sheet, and its labels and SHA-256 in the manifest."""
    folder = folder or settings.folders.bundled
    file = f"{split}.webp"
    sheet = _to_sheet(data.images)
    write_atomically(folder / file, lambda out: sheet.save(out, "WEBP", lossless=True, quality=100, method=6))
    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) if path.exists() else {"classes": list(data.classes), "splits": {}}
    manifest["splits"][split] = {
        "file": file,
        "sha256": _fingerprint(data.images, data.labels),
        "labels": "".join(str(label) for label in data.labels),
    }
    write_text(path, json.dumps(manifest, indent=1) + "\n")


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first `count` images of each class, in their original order."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def _manifest_entry(path: Path, split: str) -> dict[str, str]:
    try:
        entry = json.loads(path.read_text())["splits"][split]
        return {key: str(entry[key]) for key in ("file", "sha256", "labels")}
    except FileNotFoundError:
        raise ConvscopeError(_damaged(path, "it is missing")) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConvscopeError(_damaged(path, f"it has no readable entry {split!r}")) from error


def _labels(entry: dict[str, str]) -> np.ndarray:
    return np.frombuffer(entry["labels"].encode(), dtype=np.uint8).astype(np.int64) - ord("0")


def _damaged(path: Path, reason: str) -> str:
    return (
        f"The bundled images in {path.name} cannot be used: {reason}. "
        f"Get the file again with `git checkout -- data/bundled/{path.name}`, or from a fresh copy of the app."
    )


def read_sheet(path: Path, count: int) -> np.ndarray:
    try:
        with Image.open(path) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
    except FileNotFoundError:
        raise ConvscopeError(_damaged(path, "it is missing")) from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise ConvscopeError(_damaged(path, "it is damaged or incomplete")) from error
    rows, columns = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
    if rows * columns < count or pixels.shape != (rows * SIDE, columns * SIDE, 3):
        raise ConvscopeError(_damaged(path, f"it does not hold {count:,} images"))
    tiles = pixels.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    return np.ascontiguousarray(tiles[:count])


def _to_sheet(images: np.ndarray) -> Image.Image:
    rows = -(-len(images) // SHEET_COLUMNS)
    tiles = np.zeros((rows * SHEET_COLUMNS, SIDE, SIDE, 3), dtype=np.uint8)
    tiles[: len(images)] = images
    sheet = tiles.reshape(rows, SHEET_COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2)
    return Image.fromarray(sheet.reshape(rows * SIDE, SHEET_COLUMNS * SIDE, 3))


def _fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()


# The whole of CIFAR-10 -----------------------------------------------------------------------------------------


def cifar10(split: str, folder: Path | None = None) -> LabelledImages:
    """The official images of `split` ("train": 50,000, "test": 10,000) from the cache that `download_cifar10` wrote.

    Raises:
        ConvscopeError: the cache is missing or damaged.
    """
    path = (folder or settings.folders.cifar10) / f"{split}.npz"
    how = "get it with `python -m engine.data download`"
    try:
        with np.load(path) as stored:
            images, labels = stored["images"], stored["labels"].astype(np.int64)
    except FileNotFoundError:
        raise ConvscopeError(f"The whole of CIFAR-10 is not on this machine ({path} is missing): {how}.") from None
    except Exception as error:  # a damaged archive shows itself as a zip, zlib, value, key or end-of-file error
        raise ConvscopeError(f"{path} is damaged: delete it and {how}.") from error
    expected = {"train": 50_000, "test": 10_000}[split]
    if images.shape != (expected, SIDE, SIDE, 3) or images.dtype != np.uint8 or labels.shape != (expected,):
        raise ConvscopeError(f"{path} does not hold the {expected:,} official images: delete it and {how}.")
    return LabelledImages(images, labels)


def download_cifar10(folder: Path | None = None) -> None:
    """Download CIFAR-10 through torchvision (progress bar, MD5 check) and write `train.npz` and `test.npz`.

    Raises:
        ConvscopeError: the official server cannot be reached or the archive is damaged.
    """
    from http.client import HTTPException

    from torchvision.datasets import CIFAR10 as Official

    folder = folder or settings.folders.cifar10
    for split in ("train", "test"):
        try:
            official = Official(str(folder), train=split == "train", download=True)
        except (OSError, HTTPException, RuntimeError) as error:
            raise ConvscopeError(
                f"CIFAR-10 could not be downloaded ({error}): check the network and start again; "
                "everything but training on the full set works with the bundled images."
            ) from error
        write_cache(split, LabelledImages(official.data, np.array(official.targets)), folder)


def write_cache(split: str, data: LabelledImages, folder: Path | None = None) -> None:
    """Write `folder/split.npz` with `images` uint8 `[N, 32, 32, 3]` and `labels` uint8 `[N]`."""
    labels = data.labels.astype(np.uint8)
    path = (folder or settings.folders.cifar10) / f"{split}.npz"
    write_atomically(path, lambda file: np.savez(file, images=data.images, labels=labels))


def split_validation(data: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """Training and validation images: the last tenth of each class, in official order, is for validation."""
    held_out = np.concatenate([_last_share(np.flatnonzero(data.labels == label)) for label in np.unique(data.labels)])
    validation = np.zeros(len(data), dtype=bool)
    validation[held_out] = True
    return data.subset(np.flatnonzero(~validation)), data.subset(np.flatnonzero(validation))


def _last_share(indices: np.ndarray) -> np.ndarray:
    return indices[len(indices) - round(len(indices) * VALIDATION_SHARE) :]


# What a network is fed with ------------------------------------------------------------------------------------


def prepare(images: np.ndarray | Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Network input float32 `[N, 3, size, size]` of uint8 images `[N, H, W, 3]`: `(pixel / 255 - mean) / std`, resized.

    The result is channels-last in memory, as the images are. Shrinking averages (antialiasing), enlarging is bilinear.
    """
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    # One multiply and one add: (p / 255 - m) / s = p / (255 s) - m / s.
    scale = 1 / (255 * torch.tensor(std, device=pixels.device).view(1, 3, 1, 1))
    offset = torch.tensor(mean, device=pixels.device).view(1, 3, 1, 1) * 255 * scale
    values = pixels.float().mul_(scale).sub_(offset)
    if values.shape[-2:] == (size, size):
        return values
    shrinks = max(values.shape[-2:]) > size  # antialiasing leaves a direction that does not shrink as it is
    return F.interpolate(values, size=(size, size), mode="bilinear", antialias=shrinks, align_corners=False)


def denormalised(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels in 0-1 of network input `[N, 3, H, W]`: `x * std + mean`, clipped."""
    shape = (1, 3, 1, 1)
    return (x * x.new_tensor(std).view(shape) + x.new_tensor(mean).view(shape)).clamp(0, 1)


def to_bytes(pixels: Tensor) -> np.ndarray:
    """uint8 `[N, H, W, 3]` of pixels in 0-1 `[N, 3, H, W]`, rounded."""
    return (pixels * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def pixels_of(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """uint8 `[N, H, W, 3]` of network input `[N, 3, H, W]`: undoes `prepare`, except for its resizing."""
    return to_bytes(denormalised(x, mean, std))


@exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.data download | bundle`."""
    options = parser("engine.data", "Get or bundle CIFAR-10.")
    options.add_argument("action", choices=("download", "bundle"), help="bundle: make data/bundled from the full set")
    actions: dict[str, Callable[[], Any]] = {"download": download_cifar10, "bundle": _bundle}
    actions[options.parse_args(arguments).action]()


def _bundle() -> None:
    write_bundled("test", cifar10("test"))
    training = cifar10("train")
    write_bundled("train", training.subset(first_of_each_class(training.labels, BUNDLED_TRAINING_PER_CLASS)))
