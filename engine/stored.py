"""Reading files that may be damaged, or made to do harm: nothing is read beyond a limit, or taken for what it is not.

Every reader raises a ValueError or an OSError, with one clause for a person; who knows what the file is makes a
sentence of it.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np
import torch
from torch import Tensor

MOST_JSON, MOST_TEXT, MOST_ARRAYS, MOST_TENSORS = 1 << 22, 1 << 26, 1 << 28, 1 << 32
"""Bytes. A card with the 1,000 classes of ImageNet has 20,000, a night's steps 30 million, the logits of ImageNet's
50,000 validation images 100 million, and the state of a VGG-19 that Adam trains 3 billion."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How arrays are packed; other ways cannot be unpacked in parts."""


def read_bytes(file: Path, most: int) -> bytes:
    """The content of `file`, of at most `most` bytes."""
    with file.open("rb") as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most >> 20:,} MB")
    return content


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


def read_tensors(file: Path | io.BytesIO, most: int = MOST_TENSORS) -> Any:
    """What `torch.save` has written, on the CPU: tensors and plain values; nothing in it is run.

    See `check_unpacked` and `check_tensors` for what is refused.
    """
    try:
        check_unpacked(file, most)
        content = torch.load(file, map_location="cpu", weights_only=True)
        check_tensors(content, most)
        return content
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged file shows itself as a pickle, zip, runtime or end-of-file error
        raise ValueError("it is damaged") from error


def check_unpacked(file: Path | io.BytesIO, most: int = MOST_TENSORS) -> None:
    """Raise a ValueError if a file of `torch.save` has more than `most` bytes, or would have more once it is unpacked.

    PyTorch packs nothing, and writes each part once; in a made-up file parts may be packed, or lie on each other.
    """
    size = file.getbuffer().nbytes if isinstance(file, io.BytesIO) else file.stat().st_size
    if size > most:
        raise ValueError(f"it has more than {most >> 20:,} MB")
    if zipfile.is_zipfile(file):  # older versions wrote none
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError("it unpacks to more than it has")
    if isinstance(file, io.BytesIO):
        file.seek(0)


def check_tensors(content: Any, most: int = MOST_TENSORS) -> None:
    """Raise a ValueError unless the tensors in nested dictionaries and sequences are ordinary ones, all of them stored.

    A tensor can claim more numbers than its file holds, as a view that repeats them; whoever copies it takes the
    memory. So no tensor may be larger than what is stored of it, nor all together than `most` bytes.
    """
    tensors = list(_tensors_in(content, set()))
    if not all(_is_whole(tensor) for tensor in tensors) or sum(tensor.nbytes for tensor in tensors) > most:
        raise ValueError("its tensors claim more than it holds, or are of an unusual kind")


def _tensors_in(content: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in nested dictionaries and sequences, each once, however often it stands there."""
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _tensors_in(part, seen)


def _is_whole(tensor: Tensor) -> bool:
    """Whether a tensor is an ordinary one, all of whose numbers are stored."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return (
        dense
        and not tensor.is_quantized
        and not tensor.is_complex()
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    )


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
