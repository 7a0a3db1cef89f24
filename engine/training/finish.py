"""The end of a run: its best weights become a checkpoint, measured as it is stored; or those of a run that goes on.

The weights are rounded to half precision if the validation images tell no loss of accuracy. The test images are touched
here and nowhere else, once, by the network as the app will load it. Of an experiment (`keep_weights = false`)
everything is kept but the weights.

    keep              a run's best state under a name of one's choice
    check_target      before a training: may its result have the recipe's name?
    store             what a finished training does
    make_checkpoint   what both do
"""

import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from engine import checkpoints
from engine.accuracy.figures import accuracy, cross_entropy
from engine.accuracy.predictions import Predictions
from engine.checkpoints import Card, Contents, StoredPredictions, freeze, half_precision, states
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.models import parameter_count
from engine.names import checked_name
from engine.training import live_files
from engine.training.continuation import recipe_of
from engine.training.datasets import Dataset
from engine.training.recipe import Recipe, to_dict
from engine.training.records import RunProgress
from engine.training.run import RunFolder, check_classes, progress_of
from engine.training.start import fresh_network, trained_keys
from engine.weights import check_free, is_pretrained

AS_IN_RECIPE = ("name", "architecture", "input_size", "seed", "initialisation", "group", "base", "base_sha256")
"""The entries of a card that its recipe has under the same name."""
PATIENCE = 60.0
"""Seconds within which a run that goes on has written its state, once it has written its best weights."""


def keep(run: RunFolder, name: str, folder: Path, place: Path | None = None, owner: str = "") -> Card:
    """Make the best state of a run, which may go on, the new checkpoint `name` in `folder`; returns its card.

    Args:
        place: where its images lie; see `Dataset`.
        owner: of the checkpoint, which can be removed; see `Contents`.

    Raises:
        ConvscopeError: the name is taken or impossible, or one of the errors of `make_checkpoint`.
    """
    recipe = replace(run.recipe(), keep_weights=True, name=checked_name(name))
    check_free(name, folder, " with --as")
    return store(recipe, run, Dataset(recipe, place), folder, owner)


def check_target(recipe: Recipe, folder: Path, how: str = "") -> None:
    """Nothing, if the result of `recipe` may be stored in `folder`: its name is free, or that of its earlier result.

    Args:
        how: see `check_free`.

    Raises:
        ConvscopeError: another network is called so.
    """
    if is_pretrained(recipe.name) or not _is_its_own(recipe, folder):
        check_free(recipe.name, folder, how)


def _is_its_own(recipe: Recipe, folder: Path) -> bool:
    """Whether the checkpoint of the recipe's name is what a training by this recipe has stored, and nobody has kept.

    Seed, precision and the weights of its base may be others: then it is the same training, repeated.
    """
    known = recipe_of(recipe.name, folder)
    is_kept = folder / recipe.name in checkpoints.kept(folder)
    repeated = {key: getattr(recipe, key) for key in ("seed", "precision", "base_sha256")}
    return known is not None and not is_kept and replace(known, **repeated) == recipe


def store(recipe: Recipe, run: RunFolder, dataset: Dataset, folder: Path, owner: str | None = None) -> Card:
    """`make_checkpoint` with the images of `dataset`; the run notes that it was kept."""
    card = make_checkpoint(recipe, run, dataset.splits.validation, dataset.test, folder, owner)
    live_files.note(run, "kept", summary(card))
    return card


def summary(card: Card) -> str:
    """One line for a person: accuracy, and the epoch whose weights were kept."""
    return f"{card.name}: {card.test_accuracy:.2%} of {card.test_images:,} test images, epoch {card.best_epoch} kept"


def make_checkpoint(
    recipe: Recipe,
    run: RunFolder,
    held_out: LabelledImages,
    test: LabelledImages,
    folder: Path,
    owner: str | None = None,
) -> Card:
    """Store the run's best weights as checkpoint `recipe.name` in `folder`; returns its card, with measured figures.

    Args:
        held_out: the validation images, which decide whether half precision is good enough.
        owner: of a kept one, which replaces no other; see `Contents`. None for what a finished training stores, which
            replaces an earlier result of the same recipe only.

    Raises:
        ConvscopeError: the run has no best weights or learned other classes, or the checkpoint cannot be stored.
    """
    state, best = state_and_best(run)
    check_classes(state, test.classes)
    progress = progress_of(state)
    model = freeze(fresh_network(recipe, len(test.classes)))
    # What was not trained is not stored if it can be read from the base again.
    has_known_base = bool(recipe.base_sha256) and recipe.base != recipe.name
    trained = trained_keys(model, recipe.train_last if has_known_base else 0)
    weights, validation = _stored_weights(model, recipe, best, trained, held_out)
    predictions = StoredPredictions(_predict(model, recipe, weights, test), validation)
    card = _card(recipe, progress, predictions.test, test.classes, parameter_count(model))
    filters = {"filters": np.stack(progress.filters), "epochs": np.arange(len(progress.filters))}
    stored = {key: value for key, value in weights.items() if key in trained} if recipe.keep_weights else None
    has_states = recipe.keep_weights and (recipe.keep_states or card.parameters <= states.MOST_PARAMETERS)
    earlier = states.of_run(run.path, card, trained) if has_states else ()
    contents = Contents(stored, predictions, filters, progress.history_csv, to_dict(recipe), owner, earlier)
    overwrite = owner is None and _is_its_own(recipe, folder)
    return checkpoints.read_card(checkpoints.save(card, contents, folder, overwrite))


def state_and_best(run: RunFolder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The state of the last whole epoch, and the best weights that it speaks of; the run may go on meanwhile.

    Raises:
        ConvscopeError: there are none yet, or the run was killed after it had written new ones, and before its state.
    """
    end = time.monotonic() + PATIENCE
    while True:
        # Asked first: a run that ends in between has written both by then.
        waits = run.alive and time.monotonic() < end
        state = run.load()
        if state is None or not state["best"][1]:
            raise ConvscopeError(
                f"The run {run.name!r} has nothing to keep yet: let it finish an epoch at its final image size first."
            )
        epoch, weights = run.best()
        if epoch in (None, state["best"][1]):
            return state, weights
        if not waits:
            raise ConvscopeError(f"The run {run.name!r} broke off while it saved epoch {epoch}: let it go on first.")
        time.sleep(0.2)


def _stored_weights(
    model: nn.Module, recipe: Recipe, best: dict[str, Tensor], trained: set[str], held_out: LabelledImages
) -> tuple[dict[str, Tensor], Predictions]:
    """The weights to be stored, and their predictions of `held_out`.

    In half precision if the accuracy stays within the interval of the exact weights': an image or two may turn.
    """
    weights = {key: value.float() if value.dtype == torch.float64 else value for key, value in best.items()}
    rounded = {**weights, **half_precision({key: weights[key] for key in trained})}
    exact, from_rounded = (_predict(model, recipe, state, held_out) for state in (weights, rounded))
    if accuracy(from_rounded).value >= accuracy(exact).low:
        return rounded, from_rounded
    return weights, exact


def _predict(model: nn.Module, recipe: Recipe, weights: dict[str, Tensor], data: LabelledImages) -> Predictions:
    """The predictions of `model`, which takes these weights."""
    model.load_state_dict(weights)
    mean, std = recipe.statistics
    return evaluate(model, data.images, data.labels, input_size=recipe.input_size, mean=mean, std=std)


def _card(recipe: Recipe, progress: RunProgress, test: Predictions, classes: tuple[str, ...], parameters: int) -> Card:
    packages = {module.__name__: module.__version__.split("+")[0] for module in (torch, torchvision)}
    return Card(
        **{key: getattr(recipe, key) for key in AS_IN_RECIPE},
        options=recipe.build_options,
        dataset=recipe.data_name,
        classes=classes,
        mean=recipe.statistics[0],
        std=recipe.statistics[1],
        recipe=recipe.name,
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        parameters=parameters,
        test_images=len(test),
        test_accuracy=accuracy(test).value,
        test_loss=cross_entropy(test),
        weights_sha256="",
        versions={"python": platform.python_version(), **packages},
    )
