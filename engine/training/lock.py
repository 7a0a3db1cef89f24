"""Who trains in a run's folder: the process that holds the lock on its file `lock`.

The kernel frees a `flock` when its process ends, however it ends; so a lock that can be had means that nobody trains,
and no file has to be tidied up after a crash.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import not_writable

PATIENCE = 1.0
"""Seconds for which a process that wants to train tries: somebody who only looks holds the lock for an instant."""

_held: dict[Path, int] = {}
"""How many times this process holds which lock."""


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the lock `file`. A process that holds it already may take it again.

    Raises:
        ConvscopeError: another process holds it, or the folder cannot be written.
    """
    key = file.resolve()
    descriptor = _taken(file) if not _held.get(key) else None
    _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        _held[key] -= 1
        if descriptor is not None:
            os.close(descriptor)


def is_held(file: Path) -> bool:
    """Whether a living process, this one included, holds the lock `file`."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _taken(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConvscopeError(not_writable(file, error)) from error
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() > end:
                os.close(descriptor)
                raise ConvscopeError(
                    f"{file.parent} is in use: another process trains there; wait for its end, or stop it first."
                ) from None
            time.sleep(0.02)
