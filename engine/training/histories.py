"""The histories on disk: what each training noted after each epoch, with its card and its recipe.

A network learns from the training images and is measured, after each epoch, on them and on validation images that it
never learns from. The difference of the two curves is the generalisation gap:

    gap = validation loss - training loss

While both losses fall, more training helps. When the validation loss has stopped falling, the training has converged.
When it rises while the training loss goes on falling, the network memorises what does not carry over: it
overfits (verdicts.py).

Limits: one run is one draw of many; another seed moves the best epoch by several. Losses at different image sizes
cannot be compared, so best epoch and verdict look at the epochs at the final size only.

Reference: Prechelt (1998), "Early stopping - but when?".
"""

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from engine import checkpoints, settings
from engine.checkpoints import Card
from engine.errors import ConvscopeError
from engine.names import is_name
from engine.stored import read_text
from engine.training import recipe as recipes
from engine.training import run
from engine.training.recipe import Recipe
from engine.training.records import from_csv
from engine.training.run import RunFolder

SOURCES = ("checkpoints", "experiments", "runs")
"""The folders of `settings.folders` in which histories lie: one folder each, with a history.csv in it."""


@dataclass(frozen=True)
class HistoryFolder:
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
        key, source, name: see `HistoryFolder`.
        group: the experiment that it is an arm of, as its recipe says; "" for none.
        architecture: a key of `engine.models.ARCHITECTURES`; "" where neither card nor recipe is left.
        budget: None where neither card nor recipe is left.
        table: one row per epoch, with a column for each field of `EpochRecord`.
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


def find() -> dict[str, HistoryFolder]:
    """Where all histories lie, by key: checkpoints first, then experiments, then runs; none is read."""
    places = [
        HistoryFolder(source, file.parent.name, file.parent)
        for source in SOURCES
        for file in sorted(getattr(settings.folders, source).glob("*/history.csv"))
        if not file.parent.name.startswith(".")
    ]
    return {place.key: place for place in places}


def read(place: HistoryFolder) -> History:
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
        group=recipe.group if recipe and is_name(recipe.group) else "",  # it becomes a button
        architecture=card.architecture if card else recipe.architecture if recipe else "",
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
        history = from_csv(read_text(file))
        if not history:
            raise ValueError("it has no epoch yet")
    except OSError as error:
        raise ConvscopeError(_damaged(file, f"it cannot be read, {error.strerror or error}")) from error
    except ValueError as error:
        raise ConvscopeError(_damaged(file, str(error).splitlines()[0])) from error
    return pd.DataFrame([asdict(record) for record in history])


def _damaged(file: Path, reason: str) -> str:
    return (
        f"The learning curve in {file.parent.parent.name}/{file.parent.name}/{file.name} cannot be shown: {reason}. "
        "Choose another one, or get the file again."
    )


def _card(place: HistoryFolder) -> Card | None:
    try:
        return checkpoints.read_card(place.path)
    except ConvscopeError:
        return None


def _recipe(place: HistoryFolder, card: Card | None) -> Recipe | None:
    """The recipe: a run keeps its own, the others' lie in `recipes/`; None where there is none."""
    if (place.path / "recipe.json").exists():
        return run.stored_recipe(RunFolder(place.path))
    files = sorted(settings.folders.recipes.rglob(f"{card.recipe}.toml")) if card and is_name(card.recipe) else []
    with suppress(ConvscopeError):
        return recipes.read(files[0]) if files else None


def _budget(card: Card | None, recipe: Recipe | None) -> Budget | None:
    if card:
        return Budget(card.epochs, _images(card.dataset, recipe.sample if recipe else 0), card.input_size, card.seed)
    return recipe and Budget(recipe.epochs, _images(recipe.data_name, recipe.sample), recipe.input_size, recipe.seed)


def _images(dataset: str, sample: int) -> str:
    known = {"cifar10": "CIFAR-10's 45,000 training images", "cifar10_bundled": "4,500 bundled training images"}
    whole = known.get(dataset, f"the images of {dataset}")
    return f"{sample:,} per class of {whole}" if sample else whole
