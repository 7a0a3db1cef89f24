"""What all `python -m engine...` commands share: one parser, one exit status, one progress bar."""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from engine.errors import ConvscopeError

Main = Callable[[Sequence[str] | None], int]


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """An empty parser of the command `python -m MODULE`."""
    return argparse.ArgumentParser(prog=f"python -m {module}", description=description)


def count(text: str) -> int:
    """The type of an option that counts something.

    Raises:
        argparse.ArgumentTypeError: `text` is no whole number from 1 on.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1 on")
    return int(text)


def exit_status(stopped: str = "Stopped.") -> Callable[[Callable[[Sequence[str] | None], int | None]], Main]:
    """Decorates a command's `main`, which gets the arguments (those of the command line if None).

    It gives 0 where `main` gives nothing; 1 after a ConvscopeError, whose sentence is printed; 130 after Ctrl-C, when
    `stopped` is printed.
    """

    def decorate(main: Callable[[Sequence[str] | None], int | None]) -> Main:
        @functools.wraps(main)
        def guarded(arguments: Sequence[str] | None = None) -> int:
            try:
                return main(arguments) or 0
            except ConvscopeError as error:
                print(error)
                return 1
            except KeyboardInterrupt:
                print(stopped)
                return 130

        return guarded

    return decorate


class Progress(Protocol):
    """How much is done, and of how much, if that has become known."""

    def __call__(self, done: int, total: int | None = None) -> None: ...


@contextmanager
def progress(unit: str, total: int | None = None, description: str | None = None) -> Iterator[Progress]:
    """A progress bar of tqdm, which vanishes when it is done."""
    from tqdm import tqdm

    scale = unit == "B"
    with tqdm(total=total, desc=description, unit=unit, unit_scale=scale, leave=False) as bar:

        def show(done: int, total: int | None = None) -> None:
            bar.total = total or bar.total
            bar.update(done - bar.n)

        yield show
