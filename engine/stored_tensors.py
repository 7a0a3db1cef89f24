"""Reading what `torch.save` has written, as `engine.stored` reads other files: within limits; nothing in it is run."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MOST = 1 << 32
"""Bytes. The state of a VGG-19 that Adam trains has 3 billion."""


def read_tensors(file: Path | io.BytesIO, most: int = MOST) -> Any:
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


def check_unpacked(file: Path | io.BytesIO, most: int = MOST) -> None:
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


def check_tensors(content: Any, most: int = MOST) -> None:
    """Raise a ValueError unless the tensors in nested dictionaries and sequences are ordinary ones, all of them stored.

    A tensor can claim more numbers than its file holds, as a view that repeats them; whoever copies it takes the
    memory. So no tensor may be larger than what is stored of it, nor all together than `most` bytes.
    """
    tensors = list(_tensors_in(content, set()))
    if not all(_is_whole(tensor) for tensor in tensors) or sum(tensor.nbytes for tensor in tensors) > most:
        raise ValueError("its tensors claim more than it holds, or are of an unusual kind, such as sparse or quantised")


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
