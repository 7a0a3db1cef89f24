"""Training a finished checkpoint for some more epochs: the recipe of the run that goes on where it ended.

The new run starts with the checkpoint's weights and repeats the last phase of its recipe, for as many epochs as one
likes, at the final image size. The optimizer starts afresh, since its momentum is not part of a checkpoint.
"""

from dataclasses import replace
from pathlib import Path

from engine import checkpoints, settings
from engine.errors import ConvscopeError
from engine.models.torchvision_models import PREFIX
from engine.names import is_name
from engine.stored import read_json
from engine.training.recipe import Recipe, checked_recipe, from_dict, read


def continued(
    checkpoint: str, name: str, epochs: int, learning_rate: float | None = None, folder: Path | None = None
) -> Recipe:
    """The recipe `name` that trains `checkpoint` (in `folder`, or in the folder of all checkpoints) for `epochs` more.

    Args:
        learning_rate: the highest; None for that of the last phase.

    Raises:
        ConvscopeError: there is no such checkpoint, its recipe is not known, or a value is impossible.
    """
    folder = folder or settings.folders.checkpoints
    card = checkpoints.load(checkpoint, folder).card
    recipe = recipe_of(checkpoint, folder)
    if recipe is None:
        why = f"its recipe {card.recipe!r} is not known" if card.recipe else "nothing is known of its training"
        raise ConvscopeError(
            f"The checkpoint {checkpoint!r} cannot be continued, since {why}: name it as `base` in a recipe of "
            "your own."
        )
    last = replace(recipe.phases[-1], epochs=epochs)
    if learning_rate is not None:
        last = replace(last, learning_rate=learning_rate)
    start = {"base": checkpoint, "base_sha256": card.weights_sha256, "initialisation": "default"}
    images = {"resolutions": (), "normalisation": _normalisation(recipe)}
    return checked_recipe(replace(recipe, name=name, phases=(last,), keep_weights=True, **start, **images))


def recipe_of(checkpoint: str, folder: Path) -> Recipe | None:
    """The recipe that is stored with the checkpoint in `folder`, or the one in `recipes/` that its card names.

    None if neither is known, or there is no such checkpoint.
    """
    file = folder / checkpoint / "recipe.json"
    try:
        if file.exists():
            return from_dict(read_json(file))
        name = checkpoints.read_card(folder / checkpoint).recipe
        return read(name) if is_name(name) else None
    except (OSError, ValueError):  # a ConvscopeError is a ValueError
        return None


def _normalisation(recipe: Recipe) -> str:
    """Whatever it starts from, its pixels are normalised as they were before."""
    return recipe.normalisation or ("imagenet" if recipe.base.startswith(PREFIX) else "")
