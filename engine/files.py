"""Writing files so that a reader never sees half of one.

The new content goes to a temporary file beside the old one, is forced to disk, and takes the old one's name in one
step (`os.replace`). A kill, a full disk or a pulled plug leaves either the old file or the new one, never a mixture.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.errors import ConvscopeError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a binary file, which becomes `path` once it is complete.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable; `path` is as it was.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ConvscopeError(not_writable(path, error)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def not_writable(path: Path, error: OSError) -> str:
    """The sentence for a person whose disk is full or whose folder is read-only."""
    return (
        f"{path} could not be written ({error.strerror or error}): free some space or choose a folder that you "
        "may write to; what was stored before is unharmed."
    )


@contextmanager
def damage_as(message: str) -> Iterator[None]:
    """Raise a ConvscopeError with `message` for whatever goes wrong inside while an archive is read.

    A damaged archive shows itself as a pickle, zip, zlib, value, key, runtime or end-of-file error.
    """
    try:
        yield
    except Exception as error:
        raise ConvscopeError(message) from error


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for text in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
