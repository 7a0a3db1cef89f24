"""Learning curves: what a training wrote down after each epoch, and what can be read from it.

A network learns from the training images and is measured, after each epoch, on them and on validation images that it
never learns from. The gap between the two curves is what it has learned by heart:

    gap = validation loss - training loss

While both losses fall, more training helps. When the validation loss has stopped falling, the training has converged.
When it rises while the training loss goes on falling, the network learns by heart what does not carry over.

Limits: one run is one draw of many; another seed moves the best epoch by several. Losses at different image sizes
cannot be compared, so the best epoch and the verdict look at the epochs at the final size only.

References: Prechelt (1998), "Early stopping - but when?"; Kingma & Ba (2015), "Adam", section 3, for the bias
correction of a moving mean.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine import checkpoints, settings
from engine.checkpoints import Card
from engine.errors import ConvscopeError
from engine.training import recipe as recipes

SOURCES = ("checkpoints", "experiments", "runs")
"""Whose histories there are: the names of their folders in `engine.settings`."""

SHARES = ("train_accuracy", "val_accuracy")
NUMBERS = ("epoch", "train_loss", *SHARES, "val_loss", "learning_rate", "pixels", "seconds")
COLUMNS = (*NUMBERS, "optimizer")
"""What a history must have in each line; see `engine.training.run.EpochRecord`."""


@dataclass(frozen=True)
class Place:
    """Where a history lies: `source` is one of `SOURCES`."""

    source: str
    name: str
    path: Path

    @property
    def key(self) -> str:
        """What links call it: a checkpoint's bare name, or "experiments/NAME", "runs/NAME"."""
        return self.name if self.source == "checkpoints" else f"{self.source}/{self.name}"


@dataclass(frozen=True)
class Budget:
    """What a training was given; only histories of one budget can be compared arm against arm.

    Attributes:
        epochs: how many it was trained for; of a run, which may still go on, how many are planned.
        images: the training images, in words.
        pixels: the side of the images at the end.
        seed: of weights, order and augmentation.
    """

    epochs: int
    images: str
    pixels: int
    seed: int


@dataclass(frozen=True)
class History:
    """One training, epoch by epoch.

    Attributes:
        key, source, name: see `Place`.
        group: the experiment that it is an arm of, as its recipe says; "" for none.
        architecture: a key of `engine.models.ARCHITECTURES`; "" where neither card nor recipe is left.
        budget: None where neither card nor recipe is left.
        table: one row per epoch, with `COLUMNS`; losses in nats, accuracies in 0-1.
        test_loss, test_accuracy: of the stored weights, from the card; NaN where there is none.
    """

    key: str
    source: str
    name: str
    group: str
    architecture: str
    budget: Budget | None
    table: pd.DataFrame = field(repr=False, compare=False)
    test_loss: float
    test_accuracy: float


# Reading -------------------------------------------------------------------------------------------------------


def find() -> dict[str, Place]:
    """All histories on disk by key: checkpoints first, then experiments, then runs; none of them is read."""
    places = [
        Place(source, file.parent.name, file.parent)
        for source in SOURCES
        for file in sorted(getattr(settings.folders, source).glob("*/history.csv"))
        if not file.parent.name.startswith(".")
    ]
    return {place.key: place for place in places}


def read(place: Place) -> History:
    """The history at `place`, with its card's test figures if it has a card.

    Raises:
        ConvscopeError: history.csv is missing or damaged, or has no epoch yet.
    """
    table = read_table(place.path / "history.csv")
    card = _card(place)
    recipe = _recipe(place, card)
    return History(
        key=place.key,
        source=place.source,
        name=place.name,
        group=str(recipe.get("group", "")),
        architecture=card.architecture if card else str(recipe.get("architecture", "")),
        budget=_budget(card, recipe),
        table=table,
        test_loss=card.test_loss if card else math.nan,
        test_accuracy=card.test_accuracy if card else math.nan,
    )


def read_table(file: Path) -> pd.DataFrame:
    """The lines of a history.csv, one per epoch.

    Raises:
        ConvscopeError: the file is missing or damaged, or has no epoch yet.
    """
    try:
        table = pd.read_csv(file)
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        for column in NUMBERS:
            table[column] = pd.to_numeric(table[column]).astype(float)
        _check(table)
    except OSError as error:
        raise ConvscopeError(_damaged(file, f"it cannot be read, {error.strerror or error}")) from error
    except (ValueError, TypeError) as error:
        raise ConvscopeError(_damaged(file, str(error).splitlines()[0])) from error
    return table.astype({"epoch": int, "pixels": int, "optimizer": str})


def _check(table: pd.DataFrame) -> None:
    """Raise a ValueError for what no training writes."""
    if table.empty:
        raise ValueError("it has no epoch yet")
    epochs = table["epoch"]
    if not (np.isfinite(epochs).all() and (epochs % 1 == 0).all() and epochs.iloc[0] >= 1):
        raise ValueError("its epochs are not whole numbers from 1 on")
    if not (epochs.diff().dropna() > 0).all():
        raise ValueError("its epochs do not rise from line to line")
    if not (np.isfinite(table["pixels"]).all() and (table["pixels"] >= 1).all()):
        raise ValueError("an image size is missing")
    if ((table[list(SHARES)] < 0) | (table[list(SHARES)] > 1)).any().any():
        raise ValueError("an accuracy lies outside 0 to 1")
    if not (table["seconds"] >= 0).all():
        raise ValueError("a duration is missing or negative")


def _damaged(file: Path, reason: str) -> str:
    return (
        f"The learning curve in {file.parent.parent.name}/{file.parent.name}/{file.name} cannot be shown: {reason}. "
        "Choose another one, or get the file again."
    )


def _card(place: Place) -> Card | None:
    try:
        return checkpoints.read_card(place.path)
    except ConvscopeError:
        return None


def _recipe(place: Place, card: Card | None) -> dict[str, Any]:
    """The recipe as plain values: a run keeps its own, the others' lie in `recipes/`; empty where there is none."""
    try:
        if (place.path / "recipe.json").exists():
            stored = json.loads((place.path / "recipe.json").read_text())
            return stored if isinstance(stored, dict) else {}
        files = sorted(settings.folders.recipes.rglob(f"{card.recipe}.toml")) if card else []
        return recipes.to_dict(recipes.read(files[0])) if files else {}
    except (OSError, ValueError, ConvscopeError):
        return {}


def _budget(card: Card | None, recipe: Mapping[str, Any]) -> Budget | None:
    try:
        images = _images(card.dataset if card else recipe["dataset"], int(recipe.get("sample", 0)))
        if card:
            return Budget(card.epochs, images, card.input_size, card.seed)
        epochs = sum(int(phase["epochs"]) for phase in recipe["phases"])
        return Budget(epochs, images, int(recipe["input_size"]), int(recipe["seed"]))
    except (KeyError, TypeError, ValueError):
        return None


def _images(dataset: str, sample: int) -> str:
    known = {"cifar10": "CIFAR-10's 45,000 training images", "cifar10_bundled": "4,500 bundled training images"}
    whole = known.get(dataset, f"the images of {dataset}")
    return f"{sample:,} per class of {whole}" if sample else whole


# Comparisons ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Histories that belong on one chart: `keys` as in `find`, and the question that they answer."""

    name: str
    question: str
    keys: tuple[str, ...]


READY_MADE = (
    Comparison("optimizer", "Does Adam, SGD, or first one and then the other train the same network best?", (
        "experiments/optimizer_sgd", "experiments/optimizer_adam", "experiments/optimizer_adam_then_sgd")),
    Comparison("depth", "How many convolutions should a ConvNet have?", (
        "experiments/depth_2", "experiments/depth_3", "experiments/depth_4", "experiments/depth_5")),
    Comparison("dropout", "What does more dropout do to the same network?", (
        "experiments/depth_4", "experiments/dropout_30")),
    Comparison("element", "Can strided convolutions take the place of pooling?", (
        "experiments/depth_4", "experiments/strided_convolutions")),
    Comparison("ablation", "What does Model 2 lose without one of its ideas?", (
        "experiments/ablation_base", "experiments/ablation_no_batch_norm", "experiments/ablation_dropout_30",
        "experiments/ablation_sgd")),
    Comparison("networks", "How do the reports' networks learn, from LeNet to ResNet-18?", (
        "lenet", "model_one", "model_two", "resnet18")),
)  # fmt: skip
"""The reports' questions."""


def comparisons(groups: Mapping[str, str]) -> list[Comparison]:
    """The comparisons with at least two arms among the histories at hand.

    Args:
        groups: the `group` of each history at hand, by key; arms of a group that is not ready-made form one of its own.
    """
    ready = [
        Comparison(known.name, known.question, tuple(key for key in groups if _is_arm(key, groups[key], known)))
        for known in READY_MADE
    ]
    names = {known.name for known in READY_MADE}
    others = sorted({group for group in groups.values() if group} - names)
    own = [Comparison(name, "", tuple(key for key in groups if groups[key] == name)) for name in others]
    return [comparison for comparison in ready + own if len(comparison.keys) > 1]


def _is_arm(key: str, group: str, comparison: Comparison) -> bool:
    return key in comparison.keys or group == comparison.name


def budget_in_words(budgets: Iterable[Budget | None]) -> str:
    """Whether all arms had the same budget, and which; or in what they differ."""
    known = list(budgets)
    if not known or None in known:
        return "What budget every arm had is not known: a card or a recipe is missing."
    facets = {
        "epochs": [f"{budget.epochs} epochs" for budget in known],
        "images": [budget.images for budget in known],
        "image size": [f"{budget.pixels} px" for budget in known],
        "seed": [f"seed {budget.seed}" for budget in known],
    }
    shared = [values[0] for values in facets.values() if len(set(values)) == 1]
    differing = [f"{name} ({', '.join(values)})" for name, values in facets.items() if len(set(values)) > 1]
    if not differing:
        return f"All had the same budget: {', '.join(shared)}."
    same = f" They share {', '.join(shared)}." if shared else ""
    return f"These did not have the same budget; they differ in {' and in '.join(differing)}.{same}"


# Figures -------------------------------------------------------------------------------------------------------


def final_stretch(table: pd.DataFrame) -> pd.DataFrame:
    """The last epochs, as far back as the images have the final size."""
    other = np.flatnonzero(table["pixels"].to_numpy() != table["pixels"].iloc[-1])
    return table.iloc[other[-1] + 1 :] if len(other) else table


def size_changes(table: pd.DataFrame) -> list[tuple[int, int]]:
    """(epoch, pixels) of each epoch whose images have another size than the epoch's before."""
    changed = table[table["pixels"].diff().fillna(0) != 0]
    return [(int(epoch), int(pixels)) for epoch, pixels in zip(changed["epoch"], changed["pixels"], strict=True)]


def best_epochs(table: pd.DataFrame) -> tuple[int | None, int | None]:
    """The epochs of the lowest validation loss and of the highest validation accuracy at the final image size.

    The first of equals; None where all values are not numbers.
    """
    last = final_stretch(table).set_index("epoch")
    loss, accuracy = (last[column].replace([np.inf, -np.inf], np.nan).dropna() for column in ("val_loss", SHARES[1]))
    return (
        int(loss.idxmin()) if len(loss) else None,
        int(accuracy.idxmax()) if len(accuracy) else None,
    )


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Per epoch: "loss", validation's minus training's, and "accuracy", training's minus validation's."""
    return pd.DataFrame(
        {
            "epoch": table["epoch"],
            "loss": table["val_loss"] - table["train_loss"],
            "accuracy": table["train_accuracy"] - table["val_accuracy"],
        }
    )


def elapsed(table: pd.DataFrame) -> np.ndarray:
    """float64 `[N]`: the seconds from the start of the training to the end of each epoch."""
    return table["seconds"].cumsum().to_numpy()


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """The exponential moving mean of `values` `[N]`, corrected for its start at zero:

        m_t = weight * m_(t-1) + (1 - weight) * x_t,    shown: m_t / (1 - weight^t)

    `weight` is 0 (no smoothing) to below 1. A value that is not finite is shown as it is and left out of the mean.
    """
    if not 0 <= weight < 1:
        raise ConvscopeError(f"The weight of smoothing must lie between 0 and below 1, not {weight:g}.")
    mean, count = 0.0, 0
    shown = np.array(values, dtype=np.float64)
    for index, value in enumerate(shown):
        if math.isfinite(value):
            mean, count = weight * mean + (1 - weight) * value, count + 1
            shown[index] = mean / (1 - weight**count)
    return shown


def smoothed_by_size(table: pd.DataFrame, column: str, weight: float) -> np.ndarray:
    """`smoothed`, begun afresh wherever the image size changes, so that the jump there stays a jump."""
    stretch = (table["pixels"].diff().fillna(0) != 0).cumsum()
    parts = [smoothed(part.to_numpy(), weight) for _, part in table[column].groupby(stretch, sort=True)]
    return np.concatenate(parts)
