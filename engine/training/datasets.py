"""The images of a recipe: those that it learns from, those that pick the epoch, and those that judge the result."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine import data
from engine.data import LabelledImages, folders
from engine.errors import ConvscopeError
from engine.training.loop import Splits
from engine.training.recipe import Recipe


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
        """What a person should know of them: pictures and classes that were left out."""
        return self._folder.report.sentences if self.recipe.dataset == "folder" else ()

    @cached_property
    def _folder(self) -> folders.FolderImages:
        place = self.place or Path(self.recipe.data_folder)
        if place == Path():
            raise ConvscopeError(
                "The recipe learns from a folder and does not say which: write data_folder into it, or add --data."
            )
        return folders.read(place, self.recipe.input_size)
