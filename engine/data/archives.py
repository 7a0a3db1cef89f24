"""A lecturer's own test set: a ZIP archive of folders, one for each class, named after it.

    my-images.zip
        cat/  tom.jpg  felix.png
        dog/  rex.jpg

Only folders named like one of the network's classes can be judged, in capitals or not. Every picture becomes a square
as any photograph does (`engine.photographs.read`), then one of the network's input size. An archive is somebody's file:
how many pictures it holds and how large each unpacks to are limited before anything is unpacked.

A few pictures of one's own say little about a network, and the interval says how little; but they often come from a
world that its training images do not know, and that shows.
"""

import io
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from engine.data import LabelledImages
from engine.data.photographs import read
from engine.errors import ConvscopeError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MOST_IMAGES = 500
MOST_BYTES = 20_000_000


def class_folders(archive: bytes, name: str, classes: Sequence[str], side: int) -> LabelledImages:
    """The pictures of a ZIP archive with a folder per class, uint8 `[N, side, side, 3]`, labels indices into `classes`.

    Args:
        archive: its content; `name`: what an error calls it.

    Raises:
        ConvscopeError: it is no ZIP archive, holds no pictures in folders, too many or too large ones, a damaged one,
            or a folder that is named like none of the classes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = [entry for entry in opened.infolist() if _is_picture(entry)]
            labels = _labels(entries, name, classes)
            images = [_picture(opened, entry, side) for entry in entries]
    except ConvscopeError:  # a ValueError itself, and already a sentence
        raise
    except _DAMAGED as error:
        raise ConvscopeError(f"{name} is not a readable ZIP archive: pack the class folders again.") from error
    return LabelledImages(np.stack(images), labels, tuple(classes))


_UNPACKING = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)
_DAMAGED = (*_UNPACKING, RuntimeError, EOFError, OSError, ValueError)
"""How a damaged archive shows itself, depending on where it is damaged and how it was packed."""


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a picture; what file managers add of their own begins with a dot or underscores."""
    path = PurePosixPath(entry.filename)
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return not entry.is_dir() and not hidden and path.suffix.lower() in SUFFIXES


def _labels(entries: Sequence[zipfile.ZipInfo], name: str, classes: Sequence[str]) -> np.ndarray:
    if not entries:
        raise ConvscopeError(f"{name} holds no pictures: pack one folder of PNG, JPEG or WebP files for each class.")
    if len(entries) > MOST_IMAGES:
        raise ConvscopeError(f"{name} holds {len(entries):,} pictures: leave at most {MOST_IMAGES} of them.")
    known = {label.lower(): number for number, label in enumerate(classes)}
    folders = [PurePosixPath(entry.filename).parent.name for entry in entries]
    unknown = sorted({folder for folder in folders if folder.lower() not in known})
    if unknown:
        raise ConvscopeError(
            f"{name} has pictures in {', '.join(repr(folder) for folder in unknown[:3])}, which is no class of this "
            f"network: name the folders after its classes ({', '.join(classes)})."
        )
    return np.array([known[folder.lower()] for folder in folders], dtype=np.int64)


def _picture(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, side: int) -> np.ndarray:
    if entry.file_size > MOST_BYTES:
        raise ConvscopeError(f"{entry.filename} is larger than {MOST_BYTES // 1_000_000} MB: make it smaller.")
    square = Image.fromarray(read(opened.read(entry), entry.filename))
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
