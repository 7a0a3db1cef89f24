"""A learning-rate range test in a process of its own: what trains does not train in the server.

    python -m engine.training.queue.rates

reads a recipe (JSON) and a number of steps from its standard input, and then does one step for each further line; it
answers each with a line: a point, or a sentence that says why there is none. So it works no faster than it is asked,
and ends with whoever has started it, since then there is no more input.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

import torch

from engine.errors import ConvscopeError
from engine.settings import ROOT
from engine.training import estimate, recipe
from engine.training.datasets import Dataset
from engine.training.memory import OUT_OF_MEMORY, give_way_when_memory_ends, is_out_of_memory, keep_freed_memory
from engine.training.range_test import RangeTestPoint, range_test
from engine.training.recipe import Recipe

COMMAND = [sys.executable, "-m", "engine.training.queue.rates"]


def points(tried: Recipe, steps: int) -> Iterator[RangeTestPoint]:
    """The points of `engine.training.range_test.range_test`, on the CPU; the process ends with this iterator.

    Raises:
        ConvscopeError: it does not fit into the free memory, which is asked before it begins; it has run out of memory
            all the same; or it cannot be trained.
    """
    estimate.check_memory(tried)
    try:
        process = subprocess.Popen(
            COMMAND, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise ConvscopeError(f"The trial could not be started ({error.strerror or error}).") from error
    try:
        _say(process, json.dumps({"recipe": recipe.to_dict(tried), "steps": steps}))
        while (point := _next(process)) is not None:
            yield point
    finally:
        process.kill()
        process.communicate()


def _next(process: "subprocess.Popen[str]") -> RangeTestPoint | None:
    """The next point; None after the last one."""
    _say(process, "")
    line = process.stdout.readline()
    if not line:
        raise ConvscopeError(OUT_OF_MEMORY if process.wait() < 0 else "The trial has failed: try other settings.")
    answer = json.loads(line)
    if "error" in answer:
        raise ConvscopeError(answer["error"])
    return RangeTestPoint(**answer) if answer else None


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    with suppress(BrokenPipeError):  # it has ended: what it has answered says why
        process.stdin.write(line + "\n")
        process.stdin.flush()


# The process ---------------------------------------------------------------------------------------------------


def main() -> None:
    """Answer the lines of standard input."""
    give_way_when_memory_ends()
    keep_freed_memory()
    asked = json.loads(sys.stdin.readline())
    try:
        tried = recipe.from_dict(asked["recipe"])
        for point in range_test(tried, Dataset(tried).splits, torch.device("cpu"), asked["steps"]):
            _answer(asdict(point))
        _answer({})
    except ConvscopeError as error:
        _answer({"error": str(error)})
    except Exception as error:
        why = f"The trial has failed ({type(error).__name__}: {error}): try other settings."
        _answer({"error": OUT_OF_MEMORY if is_out_of_memory(error) else why})


def _answer(answer: dict[str, object]) -> None:
    """Answer the next line; where none comes, nobody listens any more."""
    if not sys.stdin.readline():
        raise SystemExit
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
