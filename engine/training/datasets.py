"""The images of a recipe: for training, for validation (which picks the epoch), and for the test of the result."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from engine import data
from engine.data import LabelledImages, first_of_each_class, folders
from engine.errors import ConvscopeError
from engine.training.recipe import Recipe

TRAIN_SAMPLE = 5_000
"""Training images that are measured after each epoch, at most."""


@dataclass(frozen=True)
class Splits:
    """What a run sees: it learns from `train`, and `validation` picks the epoch that is kept."""

    train: LabelledImages
    validation: LabelledImages


def to_learn_from(splits: Splits, recipe: Recipe) -> Splits:
    """`splits` with those training images that `recipe` uses, and the labels that it gives them."""
    train = splits.train
    if recipe.sample:
        train = train.subset(first_of_each_class(train.labels, recipe.sample))
    if recipe.random_labels:
        drawn = np.random.default_rng(recipe.seed).integers(len(train.classes), size=len(train))
        train = replace(train, labels=drawn.astype(train.labels.dtype))
    return replace(splits, train=train)


def measured(recipe: Recipe, count: int) -> np.ndarray:
    """Indices of the training images, of `count`, that are measured after each epoch: the first ones.

    The pictures of a folder lie class by class, so there every n-th one is measured: no class is left out.
    """
    first = np.arange(min(TRAIN_SAMPLE, count))
    return first * count // len(first) if recipe.dataset == "folder" else first


@dataclass(frozen=True)
class Dataset:
    """The images of `recipe`, read when they are first asked for.

    Args:
        place: where they lie: the whole CIFAR-10, or the folder of class folders; None for the usual place, or what
            the recipe says.

    Raises:
        ConvscopeError: they are not there, or not as they should be.
    """

    recipe: Recipe
    place: Path | None = None

    @cached_property
    def splits(self) -> Splits:
        """Training and validation images."""
        if self.recipe.dataset == "folder":
            return Splits(self._folder.train, self._folder.validation)
        if self.recipe.dataset == "cifar10_bundled":
            return Splits(*data.split_validation(data.bundled("train")))
        return Splits(*data.split_validation(data.cifar10("train", self.place)))

    @cached_property
    def test(self) -> LabelledImages:
        """The test images, to be touched once."""
        return self._folder.test if self.recipe.dataset == "folder" else data.bundled("test")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of a folder: what is taken as what, and pictures and classes that were left out."""
        if self.recipe.dataset != "folder":
            return ()
        parts = self._folder
        counts = (
            f"{len(parts.train.classes)} classes: {len(parts.train):,} pictures to learn from, "
            f"{len(parts.validation):,} to pick the epoch, {len(parts.test):,} to test."
        )
        return (*parts.report.sentences, counts)

    @cached_property
    def _folder(self) -> folders.FolderImages:
        if self.place is None and not self.recipe.data_folder:
            raise ConvscopeError(
                "The recipe learns from a folder and does not say which: write data_folder into it, or add --data."
            )
        return folders.read(self.place or Path(self.recipe.data_folder), self.recipe.input_size)
