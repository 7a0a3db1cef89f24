"""Trains recipes in processes of their own that are killed, again and again, at seeded random moments.

    python -m tests.killing FOLDER

makes FOLDER/NAME-whole, trained in one go, and FOLDER/NAME-killed, for each recipe, and prints how many processes were
killed. The processes are forked, so that PyTorch is loaded once.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from engine.data import bundled
from engine.training import control
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.recipe import Phase, Recipe
from engine.training.run import RunFolder
from engine.training.telemetry import StepReport

AVERAGED = Recipe(
    "averaged",
    "model_two",
    (Phase(5, 0.05), Phase(3, 0.001, "adam")),
    input_size=32,
    batch_size=32,
    ema=0.9,
    cutout=8,
    options={"dropout": 0.3},
    seed=2,
)
# Its second phase moves nothing, so the validation loss stands still: early stopping ends it after two more epochs.
COMMANDED = Recipe(
    "commanded",
    "lenet",
    (Phase(9, 0.02), Phase(20, 1e-12, schedule="constant")),
    input_size=32,
    batch_size=24,
    early_stopping=2,
    initialisation="kaiming",
    sample=9,
    seed=3,
)
KILLS = 14
"""Attempts per recipe; the last ones may find the run at its end."""
SAVES = ("recipe.json", "cuts.json", "best.pt", "history.csv", "filters.npz", "state.pt")

Observer = Callable[[StepReport], object]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at_move(n: int, before: bool) -> None:
    """Die right before or after the n-th file of a save takes its name."""
    moves, move = [0], os.replace

    def counted(source: str, target: Path) -> None:
        moves[0] += target.name in SAVES
        if moves[0] == n and before:
            die()
        move(source, target)
        if moves[0] == n:
            die()

    os.replace = counted


def dying_at_sync(n: int) -> None:
    """Die when the n-th file is written, but has not taken its name."""
    syncs, sync = [0], os.fsync

    def counted(descriptor: int) -> None:
        syncs[0] += 1
        if syncs[0] == n:
            die()
        sync(descriptor)

    os.fsync = counted


def splits() -> Splits:
    data = bundled("train")
    return Splits(data.subset(np.arange(96)), data.subset(np.arange(4_000, 4_032)))


def train(recipe: Recipe, folder: RunFolder, seen: Splits, observe: Observer) -> None:
    """Train to the end; the recipe "commanded" is told in its fifth epoch to end the first phase."""

    def observed(report: StepReport) -> None:
        observe(report)
        if recipe is COMMANDED and (report.epoch, report.step) == (4, 0) and not (folder.path / "cuts.json").exists():
            (folder.path / "command").write_text("next_phase")

    with folder.held():
        folder.begin(recipe)
        Training(recipe, seen, folder, torch.device("cpu"), observed).run()


def child(recipe: Recipe, folder: RunFolder, seen: Splits, prepare: Callable[[], None], observe: Observer = id) -> int:
    """The number of a process that trains."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        control.INTERVAL = 0.0
        prepare()
        train(recipe, folder, seen, observe)
        status = 0
    finally:
        os._exit(status)


def end_of(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_in_a_save(recipe: Recipe, folder: RunFolder, seen: Splits, dice: random.Random) -> int:
    n, kind = dice.randint(1, 8), dice.choice(("before", "after", "sync"))
    prepare = (lambda: dying_at_sync(n)) if kind == "sync" else (lambda: dying_at_move(n, kind == "before"))
    return end_of(child(recipe, folder, seen, prepare))


def killed_at_a_moment(recipe: Recipe, folder: RunFolder, seen: Splits, dice: random.Random) -> int:
    reader, writer = os.pipe()
    process = child(recipe, folder, seen, lambda: None, lambda report: os.write(writer, b"."))
    os.close(writer)
    for _ in range(dice.randint(1, 4)):
        os.read(reader, 1)  # returns at once when the child is done
    time.sleep(dice.uniform(0, 0.03))
    os.kill(process, signal.SIGKILL)
    os.close(reader)
    return end_of(process)


def kill_again_and_again(recipe: Recipe, root: Path, seen: Splits) -> int:
    """Train whole and killed; gives how often."""
    whole, killed = (RunFolder(root / f"{recipe.name}-{kind}") for kind in ("whole", "killed"))
    assert end_of(child(recipe, whole, seen, lambda: None)) == 0
    dice = random.Random(recipe.seed)
    kinds = (killed_in_a_save, killed_at_a_moment)
    ends = [kinds[attempt % 2](recipe, killed, seen, dice) for attempt in range(KILLS)]
    assert end_of(child(recipe, killed, seen, lambda: None)) == 0
    return ends.count(-signal.SIGKILL)


if __name__ == "__main__":
    data = splits()
    print("killed", sum(kill_again_and_again(recipe, Path(sys.argv[1]), data) for recipe in (AVERAGED, COMMANDED)))
