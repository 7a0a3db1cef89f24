"""Whose turn it is: of all runs in one folder one trains at a time, in the order in which they were asked for.

    runs/.queue        the names of the runs that wait, the next one first
    runs/.changing     locked for the moment in which somebody reads or changes that
    runs/.dispatcher   locked by the process that starts the next run (queue/dispatcher.py)
    runs/.turn         locked by the process that trains

Where a class shares a server the lecturer's runs go before the students' that wait (queue/jobs.py).

To wait takes no process and no time: a waiting run is a line in a file. The first one that joins the queue starts the
dispatcher, which ends when nobody waits any more. The locks end with the processes that hold them, however they end
(see lock.py); what stands in the queue of a dispatcher that was killed does not wait any more, and can be resumed.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import not_writable, write_text
from engine.names import RULE, is_name
from engine.training import lock

QUEUE, CHANGING, DISPATCHER, TURN = ".queue", ".changing", ".dispatcher", ".turn"
LOCK = "lock"
"""In a run's folder: held by the process that trains there."""
PATIENCE = 0.1
"""Seconds for which a locked file is tried: somebody who only looks holds the lock for an instant."""

Check = Callable[[Sequence[Path]], None]
"""Looks at the queue, and raises a ConvscopeError if nobody may join it."""


def anybody(queue: Sequence[Path]) -> None:
    """The check that lets every run join."""


def none_of_them(_folder: Path) -> bool:
    """What a run goes before that has no precedence."""
    return False


def queue(root: Path) -> list[Path]:
    """The folders in `root` whose runs wait, the next one first."""
    if not (root / QUEUE).exists():
        return []
    try:
        with lock.for_a_moment(root / CHANGING, shared=True):
            return _waiting(root) if lock.is_held(root / DISPATCHER) else []
    except OSError:  # somebody else's folder
        return []


def waiting(folder: Path) -> bool:
    """Whether the run in `folder` waits for its turn."""
    return folder in queue(folder.parent)


def join(folder: Path, check: Check = anybody, goes_before: Callable[[Path], bool] = none_of_them) -> int | None:
    """Let the run in `folder` wait behind all others, but for those that it goes before.

    Returns:
        the locked file of the dispatcher, if there is none: it must be started with it. None if one is at work.

    Raises:
        ConvscopeError: the run waits already, its folder cannot be listed, `check` refuses it, or the folder of runs
            cannot be written.
    """
    root = folder.parent
    try:
        with lock.for_a_moment(root / CHANGING):
            dispatcher = os.open(root / DISPATCHER, os.O_RDWR | os.O_CREAT, 0o644)
            is_first = lock.locked(dispatcher)
            try:
                _insert(folder, [] if is_first else _waiting(root), check, goes_before)
            except BaseException:
                os.close(dispatcher)
                raise
            if is_first:
                return dispatcher
            os.close(dispatcher)
            return None
    except OSError as error:
        raise ConvscopeError(not_writable(root / QUEUE, error)) from error


def _insert(folder: Path, others: list[Path], check: Check, goes_before: Callable[[Path], bool]) -> None:
    if not is_name(folder.name):  # the queue would give it back as another run, or as none
        raise ConvscopeError(f"The folder of the run {folder.name!r} needs another name before it can go on: {RULE}.")
    if folder in others:
        raise ConvscopeError(f"The run {folder.name!r} waits for its turn already.")
    check(others)
    place = next((index for index, other in enumerate(others) if goes_before(other)), len(others))
    _write(folder.parent, [*others[:place], folder, *others[place:]])


def leave(folder: Path) -> bool:
    """Let the run in `folder` wait no longer; whether it did.

    Raises:
        ConvscopeError: the folder of runs cannot be written.
    """
    root = folder.parent
    if not waiting(folder):
        return False
    with lock.for_a_moment(root / CHANGING):
        others = _waiting(root)
        if folder not in others:  # its turn has come
            return False
        _write(root, [other for other in others if other != folder])
        return True


def take_next(root: Path, dispatcher: int) -> tuple[Path, int] | None:
    """The run whose turn it is, and the lock of its folder, which is taken; for the dispatcher.

    None if nobody waits: then its own lock is given up, and whoever comes next starts another dispatcher.
    """
    with lock.for_a_moment(root / CHANGING):
        others = _waiting(root)
        while others:
            folder = others.pop(0)
            try:
                held = lock.take(folder / LOCK, "somebody trains there", PATIENCE)
            except ConvscopeError:  # it was begun from a shell, or its folder is gone
                continue
            _write(root, others)
            return folder, held
        (root / QUEUE).unlink(missing_ok=True)
        os.close(dispatcher)
        return None


def _waiting(root: Path) -> list[Path]:
    try:
        names = (root / QUEUE).read_text().split()
    except (OSError, ValueError):
        return []
    return [root / name for name in names if is_name(name) and (root / name).is_dir()]


def _write(root: Path, folders: Sequence[Path]) -> None:
    write_text(root / QUEUE, "".join(f"{folder.name}\n" for folder in folders))
