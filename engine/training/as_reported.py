"""What the reports measured, beside our training by the same recipe, and beside our best.

The recipes in recipes/as_reported/ say what a report says, and in a comment what it leaves open. Their trainings are
stored as experiments of the same names. So each figure has two neighbours: what the same recipe gave us tells whether
it can be repeated, and our checkpoint of that network what was still to be gained.

Training and validation accuracies of ours are those of the epoch of the highest validation accuracy, whose weights were
tested; most reports give the last epoch's.
"""

import math
from dataclasses import dataclass

from engine import reports
from engine.reports import Reported
from engine.training import histories
from engine.training.curves import kept_epoch
from engine.training.histories import History


@dataclass(frozen=True)
class BesideReported:
    """A reported accuracy and ours on the same kind of images, 0-1.

    Attributes:
        figure: what a report says.
        same_recipe: of our training by the recipe of that figure.
        best: of our checkpoint of that network; NaN if there is none.
    """

    figure: Reported
    same_recipe: float
    best: float


def beside_reported() -> list[BesideReported]:
    """Those reported accuracies whose recipe was trained, in the order of the reports."""
    places = histories.find()
    found = []
    for figure in reports.FIGURES:
        ours, best = (places.get(key) for key in (f"experiments/{figure.recipe}", figure.network))
        if ours is not None and figure.dataset == reports.CIFAR10:
            of_best = accuracy(histories.read(best), figure.split) if best else math.nan
            found.append(BesideReported(figure, accuracy(histories.read(ours), figure.split), of_best))
    return found


def accuracy(history: History, split: str) -> float:
    """On which images: "test" (from the card), or "train" or "validation" at the epoch that was kept."""
    if split == "test":
        return history.test_accuracy
    return float(kept_epoch(history.table)["train_accuracy" if split == "train" else "val_accuracy"])
