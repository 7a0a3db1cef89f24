"""The values of the Train page's controls, and the recipe that they describe.

A control's key is the recipe's own name for the setting, and its name in the link; a phase's settings end in its
number: `learning_rate1`. A recipe gives all controls their values, and the values give a recipe again. What has no
control (momentum, growing images, ...) is taken over from the recipe to begin with.
"""

import inspect
import json
from dataclasses import replace
from typing import Any

from engine import settings
from engine.models import ARCHITECTURES
from engine.training import estimate
from engine.training import recipe as recipes
from engine.training.recipe import Phase, Recipe, Resolution

Values = dict[str, Any]

FIRST_LESSON = Recipe(
    "first_lesson", "lenet", (Phase(10, 0.02),), dataset="cifar10_bundled", input_size=32, batch_size=64
)
"""Where the page begins: small enough to be trained while a class looks on."""
NEXT_PHASE = Phase(5, 0.01, schedule="cosine")
"""What a phase is at first that the starting point does not have."""

CONVNET = "ConvNet"
DATA = {"5,000 shipped images": "cifar10_bundled", "all of CIFAR-10": "cifar10"}
SIZES = (32, 64, 96, 128, 224)
PHASES = 3
SCHEDULES = {name.replace("_", " "): name for name in recipes.SCHEDULES}
OWN_KERNELS = "3, then 4"
"""Each layer of a ConvNet has the kernel size of the report."""
KERNELS = (OWN_KERNELS, "3", "4", "5", "7")
UNCHANGED = (
    "batch_size",
    "flip",
    "crop_padding",
    "cutout",
    "initialisation",
    "precision",
    "seed",
    "random_labels",
    "keep_states",
)
FRACTIONS = ("label_smoothing", "mixup", "ema")
"""The settings of a recipe that a control shows as they are; a recipe may have whole numbers for fractions."""
OPTIONS = ("dropout", "kernel_size", "pool_size", "width", "strided", "batch_norm")
"""The options of architectures that have a control, of the same name."""


# Starting points -----------------------------------------------------------------------------------------------


def starting_points() -> list[str]:
    """The first lesson, and the recipes in `recipes/` and below it."""
    folder = settings.folders.recipes
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml"))
    return [FIRST_LESSON.name, *sorted(names, key=lambda name: name.count("/"))]


def starting_point(name: str) -> Recipe:
    """The recipe of a starting point; what is trained on the page is nobody's experiment, and its weights are kept.

    Raises:
        ConvscopeError: its file cannot be understood.
    """
    recipe = FIRST_LESSON if name == FIRST_LESSON.name else recipes.read(settings.folders.recipes / f"{name}.toml")
    return replace(recipe, group="", keep_weights=True)


# Networks ------------------------------------------------------------------------------------------------------


def networks() -> list[str]:
    """The networks' titles; the ConvNets are one, with a depth."""
    return list(dict.fromkeys(_title(name) for name in ARCHITECTURES))


def depths() -> list[str]:
    """The depths of the ConvNets."""
    return [name.removeprefix("convnet") for name in ARCHITECTURES if _is_convnet(name)]


def architecture(settings: Values) -> str:
    """The registry's name of the chosen network."""
    if settings["architecture"] == CONVNET:
        return f"convnet{settings['depth']}"
    return next(name for name, spec in ARCHITECTURES.items() if spec.title == settings["architecture"])


def usual_options(name: str) -> dict[str, Any]:
    """The options of architecture `name` that have a control, with their usual values."""
    parameters = inspect.signature(ARCHITECTURES[name].builder).parameters
    return {option: parameters[option].default for option in OPTIONS if option in parameters}


def _title(name: str) -> str:
    return CONVNET if _is_convnet(name) else ARCHITECTURES[name].title


def _is_convnet(name: str) -> bool:
    return name.removeprefix("convnet").isdecimal()


# From a recipe to the controls ---------------------------------------------------------------------------------


def settings_of(recipe: Recipe) -> Values:
    """The value of every control."""
    phases = {"phases": str(len(recipe.phases))}
    for number in range(1, max(PHASES, len(recipe.phases)) + 1):
        phases |= _settings_of_phase(_phase(recipe, number), number)
    images = {"dataset": data_title(recipe.dataset), "input_size": str(recipe.input_size)}
    unchanged = {key: getattr(recipe, key) for key in UNCHANGED}
    fractions = {key: float(getattr(recipe, key)) for key in FRACTIONS}
    return {**network_settings(recipe.architecture, recipe.options), **phases, **images, **unchanged, **fractions}


def network_settings(name: str, options: dict[str, Any]) -> Values:
    """The values of the controls that describe a network."""
    depth = name.removeprefix("convnet") if _is_convnet(name) else depths()[-2]
    chosen = {option: value for option, value in {**usual_options(name), **options}.items() if option in OPTIONS}
    sizes = {key: str(chosen[key] or OWN_KERNELS) for key in ("kernel_size", "pool_size") if key in chosen}
    return {"architecture": _title(name), "depth": depth, **chosen, **sizes}


def data_title(dataset: str) -> str:
    """What the page calls a recipe's dataset."""
    return next((title for title, known in DATA.items() if known == dataset), dataset)


def _phase(recipe: Recipe, number: int) -> Phase:
    """The phase of that number, counted from 1, or what a further one is at first."""
    return recipe.phases[number - 1] if number <= len(recipe.phases) else NEXT_PHASE


def _settings_of_phase(phase: Phase, number: int) -> Values:
    return {
        f"optimizer{number}": phase.optimizer,
        f"learning_rate{number}": float(phase.learning_rate),
        f"epochs{number}": phase.epochs,
        f"schedule{number}": phase.schedule.replace("_", " "),
    }


# From the controls to a recipe ---------------------------------------------------------------------------------


def recipe_of(settings: Values, base: Recipe) -> Recipe:
    """The recipe that the controls describe; of what `base` says besides, that which still fits (see `remarks`).

    Raises:
        ConvscopeError: no training can use these settings.
    """
    phases = tuple(_phase_of(settings, base, number) for number in range(1, int(settings["phases"]) + 1))
    name, dataset = architecture(settings), settings["dataset"]
    images = {"dataset": DATA.get(dataset, dataset), "input_size": int(settings["input_size"])}
    unchanged = {key: settings[key] for key in UNCHANGED + FRACTIONS}
    options = _options_of(settings, name, base)
    recipe = replace(base, architecture=name, options=options, phases=phases, **images, **unchanged)
    if name != base.architecture:  # the base's weights are another network's
        recipe = replace(recipe, base="", base_sha256="", train_last=0, keep_frozen=False, views=0)
    recipe = replace(recipe, resolutions=_fitting(recipe))
    return recipes.from_dict(json.loads(json.dumps(recipes.to_dict(recipe))), "these settings")


def _fitting(recipe: Recipe) -> tuple[Resolution, ...]:
    """The growing image sizes, if they still end at the final one; none for a network that takes one size only."""
    within = tuple(entry for entry in recipe.resolutions if entry.from_epoch < recipe.epochs)
    reached = replace(recipe, resolutions=within)
    grow = reached.pixels_at(0) < reached.pixels_at(recipe.epochs - 1) == recipe.input_size
    return within if grow and not ARCHITECTURES[recipe.architecture].fixed_input else ()


def remarks(recipe: Recipe, base: Recipe) -> list[str]:
    """Sentences on what has no control: growing images and first weights, or that the base's do not fit `recipe`."""
    sentences = []
    if recipe.keep_states:
        sentences.append(_kept_states(recipe))
    if recipe.resolutions:
        sizes = [f"{entry.pixels} px from epoch {entry.from_epoch + 1} on" for entry in recipe.resolutions]
        sentences.append(f"The images grow: {', '.join(sizes)}.")
    elif base.resolutions:
        sentences.append(f"All epochs see {recipe.input_size} px: the growing images of {base.name} do not fit here.")
    if recipe.base:
        trained = f", and only the last {recipe.train_last} convolutions and what follows them learn"
        sentences.append(f"It begins with the weights {recipe.base}{trained if recipe.train_last else ''}.")
        if recipe.keep_frozen:
            what = f"of {recipe.views} versions of each image" if recipe.views else "so images cannot be shifted"
            sentences.append(f"What the layers before them answer is computed once, {what}.")
    elif base.base:
        sentences.append(f"It begins with random weights: those of {base.name} belong to another network.")
    return sentences


def _kept_states(recipe: Recipe) -> str:
    kept = estimate.kept_states(recipe)
    epochs = ", ".join(map(str, kept.epochs))
    if not epochs:
        return "A run of one epoch has no state between its ends to keep."
    return f"States kept: after epochs {epochs}, about {kept.bytes / 1e6:.1f} MB."


def _phase_of(settings: Values, base: Recipe, number: int) -> Phase:
    unchanged = {key: settings[f"{key}{number}"] for key in ("optimizer", "learning_rate", "epochs")}
    return replace(_phase(base, number), schedule=SCHEDULES[settings[f"schedule{number}"]], **unchanged)


def _options_of(settings: Values, name: str, base: Recipe) -> dict[str, Any]:
    """The options that are not the usual ones, or that the starting point names."""
    named = base.options if name == base.architecture else {}
    options = {option: value for option, value in named.items() if option not in OPTIONS}
    for option, usual in usual_options(name).items():
        value = settings[option]
        if isinstance(value, str):
            value = None if value == OWN_KERNELS else int(value)
        if value != usual or option in named:
            options[option] = value
    return options
