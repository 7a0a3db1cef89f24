"""What students may do where a class shares one server, so that nobody is in another's way.

Each has one run that waits, and there are so many runs and waiting ones in all; a training may take so long, as it was
timed on this machine's processor; and so many models can be kept. The lecturer's own are not limited, and where nobody
shares the server nobody's are.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from engine import checkpoints, settings
from engine.errors import ConvscopeError
from engine.training import run
from engine.training.estimate import in_words
from engine.training.queue import jobs, owners

WAITING_EACH, WAITING, RUNS = 1, 20, 300
"""Runs of one student that wait; waiting ones of all; and runs that there are, whatever they do."""
KEPT_EACH = 2
"""Models that one student can keep."""


def check_training(seconds: float | None) -> None:
    """Nothing, if a student may start a training of so many seconds (None: nobody has timed it).

    Raises:
        ConvscopeError: it takes too long, or students cannot train here.
    """
    most = 60.0 * settings.use.minutes
    if not most:
        raise ConvscopeError("Only the lecturer trains on this server: ask for the training that you want.")
    if seconds is None:
        raise ConvscopeError(
            "How long this training takes is not known yet: press Start again in a moment, or choose a smaller network."
        )
    if seconds > most:
        raise ConvscopeError(
            f"This training would take the processor about {in_words(seconds)}, and {in_words(most)} are allowed on "
            "this server, as measured beside whatever else it does now: choose fewer epochs, smaller images or a "
            "smaller network, or try again in some minutes."
        )


def of_queue(root: Path, rights: Collection[str]) -> Callable[[Sequence[Path]], None]:
    """The check of a student with these rights for `turns.join`."""

    def check(queue: Sequence[Path]) -> None:
        if sum(owners.belongs(folder, rights) for folder in queue) >= WAITING_EACH:
            raise ConvscopeError("Your last run still waits for its turn: let it begin, or cancel it first.")
        if len(queue) >= WAITING:
            raise ConvscopeError(f"{len(queue)} runs wait for their turn already: try again when some have ended.")
        if len(run.runs(root)) > RUNS:
            raise ConvscopeError(f"There are {RUNS} runs already: delete one of yours, or ask the lecturer to.")

    return check


def check_keeping(target: Path, root: Path, rights: Collection[str]) -> None:
    """Nothing, if a student with these rights may keep another model of the runs in `root` in `target`.

    Raises:
        ConvscopeError: students cannot keep models here, or enough are kept.
    """
    if not settings.use.models:
        raise ConvscopeError("Only the lecturer keeps models on this server: ask for it.")
    begun = [folder.path for folder in run.runs(root) if (now := jobs.keeping(folder)) and now.state == "working"]
    kept = [folder for folder in (*checkpoints.kept(target), *begun) if owners.of(folder)]
    if sum(owners.belongs(folder, rights) for folder in kept) >= KEPT_EACH:
        raise ConvscopeError(f"You keep {KEPT_EACH} models already: remove one of them first.")
    if len(kept) >= settings.use.models:
        raise ConvscopeError(f"Students keep {len(kept)} models already: remove one of yours, or ask the lecturer to.")
