"""Reading files that may be damaged, or made to do harm: nothing is read beyond a limit, or taken for what it is not.

Every reader raises a ValueError or an OSError, with one clause for a person; who knows what the file is makes a
sentence of it.
"""

import json
import os
import zipfile
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np

MOST_JSON, MOST_TEXT, MOST_ARRAYS = 1 << 22, 1 << 26, 1 << 28
"""Bytes. A card with the 1,000 classes of ImageNet has 20,000, a night's steps 30 million, and the logits of
ImageNet's 50,000 validation images 100 million."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How arrays are packed; other ways cannot be unpacked in parts."""


def read_bytes(file: Path, most: int) -> bytes:
    """The content of `file`, of at most `most` bytes."""
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > most:
            raise ValueError(f"it has more than {most >> 20:,} MB")
        return opened.read(size)  # asked for more, Python sets aside as much memory before it reads


def read_text(file: Path, most: int = MOST_TEXT) -> str:
    """The text in `file`, in UTF-8, of at most `most` bytes."""
    return read_bytes(file, most).decode()


def read_json(file: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(read_text(file, MOST_JSON))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays in an NPZ file; their size is known before one is unpacked, and kept to while it is."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > MOST_ARRAYS:
            raise ValueError(f"it unpacks to more than {MOST_ARRAYS >> 20} MB")
        if any(entry.compress_type not in PACKED for entry in entries):
            raise ValueError("it is packed in an unusual way")
        with np.load(file) as stored:
            arrays = dict(stored)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds something else than arrays")
        return arrays
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged archive shows itself as a zip, zlib, key, memory or end-of-file error
        raise ValueError("it is damaged") from error


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from a JSON or TOML file is of the type that a field of a dataclass asks for."""
    kind = get_origin(hint) or hint
    if kind is UnionType:
        return any(fits(value, part) for part in get_args(hint))
    if kind is tuple:
        return isinstance(value, list | tuple) and all(fits(entry, get_args(hint)[0]) for entry in value)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)
