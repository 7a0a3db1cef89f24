"""Who trains in a run's folder: the process that holds the lock on its file `lock`.

The system frees the lock when its process ends, however it ends; so a lock that can be had means that nobody trains,
and no file has to be tidied up after a crash. Linux and macOS have `flock` for it. Windows has `msvcrt.locking`, which
knows no shared lock and keeps others from reading the locked byte: so a byte is locked that is far behind the end of
the file. (That half is untested: nobody has trained on Windows yet.)
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

from engine.errors import ConvscopeError
from engine.files import not_writable

PATIENCE = 1.0
"""Seconds for which a process that wants to train tries: somebody who only looks holds the lock for an instant."""
FAR = 1 << 30
"""The byte that is locked on Windows."""

_held: Counter[Path] = Counter()
"""How many times this process holds which lock."""
_open: dict[Path, int] = {}
"""The open file of each lock that it holds."""
_changing = threading.Lock()
"""Held by the thread that changes these two."""


@contextmanager
def held(file: Path) -> Iterator[bool]:
    """Hold the lock `file`. A process that holds it already may take it again; returns whether this is the first time.

    Raises:
        ConvscopeError: another process holds it, or the folder cannot be written.
    """
    key = file.resolve()
    busy = f"{file.parent} is in use: another process trains there; wait for its end, or stop it first."
    first = _enter(key, lambda: take(file, busy))
    try:
        yield first
    finally:
        _leave(key)


@contextmanager
def inherited(file: Path, descriptor: int) -> Iterator[None]:
    """Hold the lock `file`, which this process was started with as the open file `descriptor`."""
    key = file.resolve()
    _enter(key, lambda: descriptor)
    try:
        yield
    finally:
        _leave(key)


def _enter(key: Path, lock: Callable[[], int]) -> bool:
    """Hold a lock once more, the first time by the file that `lock` opens; returns whether this is the first time."""
    with _changing:
        if first := not _held[key]:
            _open[key] = lock()
        _held[key] += 1
        return first


def _leave(key: Path) -> None:
    """Hold a lock once less; whoever leaves last frees it, which need not be the thread that took it."""
    with _changing:
        _held[key] -= 1
        if not _held[key]:
            os.close(_open.pop(key))


@contextmanager
def for_a_moment(file: Path, shared: bool = False) -> Iterator[None]:
    """Hold the lock `file` for an instant, which is waited for; `shared`: together with others who only look.

    Raises:
        OSError: its folder cannot be written.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        wait_for(descriptor, shared)
        yield
    finally:
        os.close(descriptor)


def wait_for(descriptor: int, shared: bool = False) -> None:
    """Lock an open file as soon as nobody else has it; to wait takes no processor time where the system has `flock`."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        return
    while not locked(descriptor, shared):
        time.sleep(0.02)


def take(file: Path, busy: str, patience: float | None = None) -> int:
    """Lock `file`, creating it if need be; returns the open file, which a child process may inherit with its lock.

    Args:
        busy: the sentence for a person if somebody else holds it.
        patience: seconds to try for; None for `PATIENCE`.

    Raises:
        ConvscopeError: somebody else holds it, or the folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConvscopeError(not_writable(file, error)) from error
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    while not locked(descriptor):
        if time.monotonic() > end:
            os.close(descriptor)
            raise ConvscopeError(busy)
        time.sleep(0.02)
    return descriptor


def is_held(file: Path) -> bool:
    """Whether a living process, this one included, holds the lock `file`."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not locked(descriptor, shared=True)
    finally:
        os.close(descriptor)


def locked(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file until it is closed, alone or with others who only look; False if somebody else has locked it.

    Where the system has no shared locks, those who look keep each other out for an instant.
    """
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            _lock_far_byte(descriptor)
    except OSError:
        return False
    return True


def _lock_far_byte(descriptor: int) -> None:
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)
