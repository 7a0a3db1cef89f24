"""The end of a run: its best weights become a checkpoint, measured as it is stored; or those of a run that goes on.

The weights are rounded to half precision if that costs no accuracy on the validation images. The test images are
touched here and nowhere else, once, by the network as the app will load it. Of an experiment (`keep_weights = false`)
everything is kept but the weights.
"""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from engine import checkpoints
from engine.accuracy.figures import accuracy, cross_entropy
from engine.accuracy.predictions import Predictions
from engine.checkpoints import Card, Contents, StoredPredictions, half_precision, halfway
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.models import ARCHITECTURES, parameter_count
from engine.training.network import fresh_network, trained_keys
from engine.training.recipe import Recipe, to_dict
from engine.training.records import Progress
from engine.training.run import RunFolder, check_classes, progress_of

PATIENCE = 60.0
"""Seconds within which a run that goes on has written its state, once it has written its best weights."""


def make_checkpoint(
    recipe: Recipe,
    run: RunFolder,
    held_out: LabelledImages,
    test: LabelledImages,
    folder: Path,
    put: Callable[[Path, Path], Path] = checkpoints.replacing,
) -> Card:
    """Store the run's best weights as checkpoint `recipe.name` in `folder`; gives its card, with measured figures.

    Args:
        held_out: the validation images, which decide whether half precision is good enough.
        put: `checkpoints.replacing` or `checkpoints.refusing`, where there is such a checkpoint already.

    Raises:
        ConvscopeError: the run has no best weights or learned other classes, or the checkpoint cannot be stored.
    """
    state, best = state_and_best(run)
    check_classes(state, test.classes)
    progress = progress_of(state)
    weights = {key: value.float() if value.dtype == torch.float64 else value for key, value in best.items()}
    trained = _kept(recipe, len(test.classes))
    validation = _predict(recipe, weights, held_out)
    # What was not trained is not stored: it stays as the base has it.
    rounded = {**weights, **half_precision({key: weights[key] for key in trained})}
    from_rounded = _predict(recipe, rounded, held_out)
    if accuracy(from_rounded).value >= accuracy(validation).value:
        weights, validation = rounded, from_rounded
    predictions = StoredPredictions(_predict(recipe, weights, test), validation)
    card = _card(recipe, progress, predictions.test, test.classes)
    epochs = np.arange(len(progress.filters))
    filters = {"filters": np.stack(progress.filters), "epochs": epochs}
    stored = {key: value for key, value in weights.items() if key in trained}
    contents = Contents(
        stored if recipe.keep_weights else None, predictions, filters, progress.history_csv, to_dict(recipe)
    )
    path = checkpoints.save(card, contents, folder, put)
    if recipe.keep_weights:
        halfway.copy(run.path, path)
    return checkpoints.read_card(path)


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


def _kept(recipe: Recipe, classes: int) -> set[str]:
    """The weights that are stored: those that were trained, or all of them if the rest could not be found again."""
    can_be_found = recipe.base_sha256 and recipe.base != recipe.name
    return trained_keys(fresh_network(recipe, classes), recipe.train_last if can_be_found else 0)


def _predict(recipe: Recipe, weights: dict[str, Tensor], data: LabelledImages) -> Predictions:
    mean, std = recipe.statistics
    model = fresh_network(recipe, len(data.classes))
    model.load_state_dict(weights)
    frozen = checkpoints.freeze(model)
    return evaluate(frozen, data.images, data.labels, input_size=recipe.input_size, mean=mean, std=std)


def _dataset(recipe: Recipe) -> str:
    return f"folder:{Path(recipe.data_folder).name}" if recipe.dataset == "folder" else recipe.dataset


def _card(recipe: Recipe, progress: Progress, test: Predictions, classes: tuple[str, ...]) -> Card:
    spec = ARCHITECTURES[recipe.architecture]
    size = {"input_size": recipe.input_size} if spec.fixed_input else {}
    return Card(
        name=recipe.name,
        architecture=recipe.architecture,
        options={**size, **recipe.options},
        dataset=_dataset(recipe),
        classes=classes,
        input_size=recipe.input_size,
        mean=recipe.statistics[0],
        std=recipe.statistics[1],
        recipe=recipe.name,
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        seed=recipe.seed,
        parameters=parameter_count(fresh_network(recipe, len(classes))),
        test_images=len(test),
        test_accuracy=accuracy(test).value,
        test_loss=cross_entropy(test),
        weights_sha256="",
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "torchvision": torchvision.__version__.split("+")[0],
        },
        base=recipe.base,
        base_sha256=recipe.base_sha256,
        initialisation=recipe.initialisation,
        group=recipe.group,
    )
