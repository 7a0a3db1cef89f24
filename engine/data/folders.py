"""Any folder of pictures as a dataset: one folder for each class, named after it.

    my-images/                  imagenette2-160/
        cat/   tom.jpg ...          train/  n01440764/ ...
        dog/   rex.png ...          val/    n01440764/ ...

With `train` and `val` or `test` inside, these are the parts: of two, the second is the test set, and the last tenth of
each class of `train` picks epochs; of all three, `val` does. Without them each class is split 80 / 10 / 10, in the
order of the SHA-256 of its files' names: the same on every machine, and pictures in a row (of one film, say) are apart.

Every picture is turned upright (EXIF), its shorter side resized to the side that is asked for, and the middle square
cut out. All of them are kept in memory as bytes: 10,000 pictures of 224 pixels take 1.5 GB, and twice
that for a moment.
"""

import hashlib
import os
import struct
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.data import LabelledImages, split_validation
from engine.errors import ConvscopeError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
FEWEST = 10
"""Pictures that a class needs to learn from: 8, 1 and 1 for the three parts."""
FILTER = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Report:
    """What was left out.

    Attributes:
        unreadable: files that are no pictures, or damaged ones, relative to the folder.
        too_few: classes with fewer than `FEWEST` readable pictures to learn from, and how many they have.
        unknown: class folders of the validation or test pictures that nothing was learned of.
    """

    unreadable: tuple[str, ...] = ()
    too_few: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same for a person; none if nothing was left out."""
        said = []
        if self.unreadable:
            said.append(f"Files that are no readable pictures ({len(self.unreadable)}): {_few(self.unreadable)}.")
        if self.too_few:
            named = [f"{name} ({count})" for name, count in self.too_few]
            said.append(f"Classes with fewer than {FEWEST} pictures, which are left out ({len(named)}): {_few(named)}.")
        if self.unknown:
            said.append(f"Classes with no pictures to learn from ({len(self.unknown)}): {_few(self.unknown)}.")
        return tuple(said)


@dataclass(frozen=True)
class FolderImages:
    """The three parts of a folder's pictures, all with the same classes, and what was left out."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    report: Report


@dataclass(frozen=True)
class _Part:
    """The pictures of one part, uint8 `[N, S, S, 3]` by class, and files that could not be read."""

    images: dict[str, list[np.ndarray]]
    unreadable: tuple[str, ...]


def read(folder: Path, side: int) -> FolderImages:
    """The pictures in `folder`, `side` x `side` pixels, and their classes in alphabetical order.

    Raises:
        ConvscopeError: there is no such folder, or it has no two classes with enough pictures.
    """
    if not folder.is_dir():
        raise ConvscopeError(f"There is no folder {str(folder)!r}: name one with a folder of pictures for each class.")
    names = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
    if "train" in names and len(names) > 1:
        return _given(folder, names, side)
    only_train = [entry.name for entry in _class_folders(folder)] == ["train"]
    return _split(folder / "train" if only_train else folder, side)


# The parts -----------------------------------------------------------------------------------------------------


def _given(folder: Path, names: Sequence[str], side: int) -> FolderImages:
    parts = {name: _part(folder / name, folder, side) for name in names}
    classes, too_few = _enough(parts["train"], folder)
    labelled = {name: _labelled(part.images, classes, side) for name, part in parts.items()}
    for name in names:
        if not len(labelled[name]):
            raise ConvscopeError(f"{folder} has no pictures of its classes in {name!r}: put some there.")
    train, validation = labelled["train"], labelled.get("val")
    if len(names) == 2:
        train, validation = split_validation(train)
    unreadable = [name for part in parts.values() for name in part.unreadable]
    unknown = {name for part in parts.values() for name in part.images} - set(parts["train"].images)
    report = Report(tuple(unreadable), too_few, tuple(sorted(unknown)))
    return FolderImages(train, validation, labelled[names[-1]], report)


def _split(folder: Path, side: int) -> FolderImages:
    part = _part(folder, folder, side)
    classes, too_few = _enough(part, folder)
    shares: list[dict[str, list[np.ndarray]]] = [{}, {}, {}]
    for name in classes:
        tenth = len(part.images[name]) // 10
        cuts = [0, len(part.images[name]) - 2 * tenth, len(part.images[name]) - tenth, len(part.images[name])]
        for share, start, stop in zip(shares, cuts, cuts[1:], strict=False):
            share[name] = part.images[name][start:stop]
    train, validation, test = (_labelled(share, classes, side) for share in shares)
    return FolderImages(train, validation, test, Report(part.unreadable, too_few))


def _enough(part: _Part, folder: Path) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """The classes that can be learned, and those with too few pictures."""
    counts = {name: len(images) for name, images in part.images.items()}
    classes = tuple(name for name, count in counts.items() if count >= FEWEST)
    too_few = tuple((name, count) for name, count in counts.items() if count < FEWEST)
    if len(classes) < 2:
        found = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none at all"
        raise ConvscopeError(
            f"{folder} needs at least two folders, one for each class, with at least {FEWEST} pictures each; "
            f"it has {found}."
        )
    return classes, too_few


def _labelled(images: dict[str, list[np.ndarray]], classes: tuple[str, ...], side: int) -> LabelledImages:
    counts = [len(images.get(name, [])) for name in classes]
    pixels = np.zeros((sum(counts), side, side, 3), dtype=np.uint8)
    for index, image in enumerate(image for name in classes for image in images.get(name, [])):
        pixels[index] = image
    return LabelledImages(pixels, np.repeat(np.arange(len(classes), dtype=np.int64), counts), classes)


# Files ---------------------------------------------------------------------------------------------------------


def _part(folder: Path, root: Path, side: int) -> _Part:
    images: dict[str, list[np.ndarray]] = {}
    unreadable: list[str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # odd EXIF entries, and transparency in palettes
        for class_folder in _class_folders(folder):
            files = _files(class_folder)
            squares = list(pool.map(partial(_square, side=side), files))
            images[class_folder.name] = [square for square in squares if square is not None]
            unreadable += [
                file.relative_to(root).as_posix() for file, square in zip(files, squares, strict=True) if square is None
            ]
    return _Part(images, tuple(sorted(unreadable)))


def _class_folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _files(folder: Path) -> list[Path]:
    """The class's pictures, in an order that depends on their names and on nothing else."""
    files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    return sorted(files, key=lambda file: hashlib.sha256(file.relative_to(folder).as_posix().encode()).digest())


def _square(file: Path, side: int) -> np.ndarray | None:
    """uint8 `[side, side, 3]`, or None if the file is no readable picture."""
    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * side, 2 * side))  # a JPEG of many megapixels is unpacked at a fraction of its size
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(ImageOps.fit(upright, (side, side), FILTER))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError):
        return None
    except struct.error:  # of damaged EXIF entries
        return None


def _few(names: Iterable[str], most: int = 5) -> str:
    """The first names, and how many there are besides."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
