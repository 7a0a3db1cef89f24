"""The reports' figures beside ours: read from the stored trainings, and left out where nothing was trained."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from engine import checkpoints, reports, settings
from engine.training.as_reported import beside_reported
from engine.training.recipe import from_dict, read


def test_each_figure_stands_beside_the_same_recipes_and_the_best(use_folders: Callable, tmp_path: Path) -> None:
    experiments = settings.folders.experiments
    shutil.copytree(experiments / "report4_lenet", tmp_path / "experiments" / "report4_lenet")
    table = pd.read_csv(experiments / "report4_lenet" / "history.csv")
    kept = table.loc[table["val_accuracy"].idxmax()]
    card = checkpoints.read_card(experiments / "report4_lenet")
    ours = {"train": kept["train_accuracy"], "validation": kept["val_accuracy"], "test": card.test_accuracy}
    use_folders(experiments=tmp_path / "experiments")
    found = {each.figure.split: each for each in beside_reported()}
    assert {split: each.same_recipe for split, each in found.items()} == ours
    assert all(each.figure.report == 4 and each.figure.network == "lenet" for each in found.values())
    assert found["test"].best == checkpoints.available()["lenet"].test_accuracy
    use_folders(experiments=tmp_path / "experiments", checkpoints=tmp_path)
    assert all(math.isnan(each.best) for each in beside_reported())
    use_folders(experiments=tmp_path)
    assert beside_reported() == []


def test_a_stored_training_is_by_the_recipe_of_the_same_name() -> None:
    for folder in settings.folders.experiments.glob("report*"):
        recipe, stored = read(f"as_reported/{folder.name}"), from_dict(json.loads((folder / "recipe.json").read_text()))
        assert stored == recipe


def test_every_figure_on_cifar10_has_a_recipe() -> None:
    for figure in reports.FIGURES:
        if figure.dataset == reports.CIFAR10:
            assert read(f"as_reported/{figure.recipe}").architecture == figure.network
