"""Whose turn it is: of all runs in one folder one trains at a time, in the order in which they were asked for.

Two files do it, with locks that end with the process that holds them, however it ends (see lock.py):

    runs/NAME/ticket   when the run was asked for; locked from that moment on, until its training begins
    runs/.turn         locked by the process that trains

A process trains when its ticket is the oldest locked one and it gets the lock of `.turn`. The ticket of a process that
died is no longer locked, and is skipped. Nothing has to be cleared up after a crash.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import not_writable
from engine.training import lock

TICKET = "ticket"
TURN = ".turn"
PATIENCE = 0.1
"""Seconds for which a locked file is tried: somebody who only looks holds the lock for an instant."""
INTERVAL = 0.2
"""Seconds between two looks at the queue."""


def take_ticket(folder: Path) -> int:
    """Join the queue for the run in `folder`; returns the locked ticket, an open file.

    Raises:
        ConvscopeError: the run waits already, or its folder cannot be written.
    """
    ticket = lock.take(folder / TICKET, f"The run {folder.name!r} waits for its turn already.", PATIENCE)
    try:
        os.truncate(ticket, 0)
        os.write(ticket, str(time.time_ns()).encode())
    except OSError as error:
        os.close(ticket)
        raise ConvscopeError(not_writable(folder / TICKET, error)) from error
    return ticket


def waiting(folder: Path) -> bool:
    """Whether the run in `folder` waits for its turn."""
    return lock.is_held(folder / TICKET)


def queue(root: Path) -> list[Path]:
    """The folders in `root` whose runs wait, the next one first."""
    folders = [ticket.parent for ticket in root.glob(f"*/{TICKET}") if lock.is_held(ticket)]
    return sorted(folders, key=lambda folder: (_asked_at(folder), folder.name))


def wait(folder: Path, ticket: int, wanted: Callable[[], bool]) -> int | None:
    """Wait until the run in `folder` may train; returns the lock (an open file) to hold while it does.

    None once `wanted()` is no longer true. The ticket is given up in either case.
    """
    turn = os.open(folder.parent / TURN, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while wanted():
            if queue(folder.parent)[:1] == [folder] and lock.locked(turn):
                return turn
            time.sleep(INTERVAL)
    finally:
        os.close(ticket)
    os.close(turn)
    return None


def _asked_at(folder: Path) -> int:
    try:
        return int((folder / TICKET).read_text())
    except (OSError, ValueError):  # written this very moment, so by the last one
        return time.time_ns()
