"""What a person asks of a run: between two steps the trainer looks into the run's folder.

A page writes one word into the file `command`; Ctrl-C in a terminal asks for the same as the word "stop".
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.training.records import COMMANDS

INTERVAL = 0.2
"""Seconds between two looks: a look costs about 10 microseconds, a step of the smallest network milliseconds."""


class StopRequested(Exception):
    """Somebody has asked the run to stop; the last whole epoch is safe on disk."""


class Control:
    """The commands that arrive in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "command"
        # Not an Event: its lock could be held by the very thread that a signal interrupts.
        self.stop_asked = False
        self.looked = 0.0

    def ask_to_stop(self) -> None:
        """End the run after the present step; safe in a signal handler."""
        self.stop_asked = True

    def forget(self) -> None:
        """Remove a command that was meant for a process that has ended."""
        self.file.unlink(missing_ok=True)

    def command(self) -> str | None:
        """The command that has arrived since the last look, and is removed; None in most cases."""
        if self.stop_asked:
            return "stop"
        now = time.monotonic()
        if now < self.looked + INTERVAL:
            return None
        self.looked = now
        return self._look()

    def wait(self) -> str:
        """The first command that ends a pause."""
        while (command := self.command()) not in ("resume", "stop", "next_phase"):
            time.sleep(INTERVAL)
        return command

    def _look(self) -> str | None:
        try:
            command = self.file.read_text().strip()
            # A command that cannot be removed would be obeyed for ever.
            self.file.unlink()
        except (OSError, ValueError):
            return None
        return command if command in COMMANDS else None


@contextmanager
def stopping_on_signals(ask_to_stop: Callable[[], object]) -> Iterator[list[int]]:
    """While inside, Ctrl-C and a polite kill call `ask_to_stop`; a second one ends the program at once.

    Gives the list of the signals that came. Python lets only the main thread do this; elsewhere nothing changes.
    """
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        ask_to_stop()

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
