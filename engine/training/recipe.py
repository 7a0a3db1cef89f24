"""A recipe says everything that a training run depends on; it is a small TOML file that a person can read.

    architecture = "lenet"
    dataset = "cifar10"
    [[phases]]
    epochs = 40
    optimizer = "sgd"
    learning_rate = 0.05

Phases follow one another, each with an optimizer and a learning-rate schedule of its own, so "Adam for 6 epochs, then
SGD" is one recipe. `[[resolutions]]` lets the images grow while training goes on.
"""

import math
import tomllib
from collections import Counter
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from engine import settings
from engine.errors import ConvscopeError, quoted
from engine.models import ARCHITECTURES
from engine.models.initialisation import INITIALISATIONS
from engine.models.registry import CIFAR10_MEAN, CIFAR10_STD, OR_TORCHVISIONS
from engine.models.torchvision_models import IMAGENET_MEAN, IMAGENET_STD, PREFIX, TRANSFORM_INPUT, takes_imagenet
from engine.names import RULE, is_name, name_of
from engine.stored import fits

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "one_cycle")
DATASETS = ("cifar10", "cifar10_bundled", "folder")
PRECISIONS = ("float32", "bfloat16", "float64")
NORMALISATIONS = {"cifar10": (CIFAR10_MEAN, CIFAR10_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
"""Mean and standard deviation per channel, of pixels in 0-1."""
LEAST_MIXUP = 0.01
"""Below it the shares that PyTorch draws are too small for its numbers, and it takes one half for them."""

Table = tuple[str, int]
"""The n-th (from 0) of the tables of one name in a recipe's text."""
TOP: Table = ("", 0)
"""What stands before the first table."""


def _within(low: float, high: float, usual: Any = MISSING) -> Any:
    """A setting from `low` to `high`."""
    return field(default=usual, metadata={"limits": (low, high)})


def _one_of(choices: tuple[str, ...], usual: str) -> Any:
    """A setting that is one of `choices`."""
    return field(default=usual, metadata={"choices": choices})


@dataclass(frozen=True)
class Phase:
    """Some epochs with one optimizer.

    Attributes:
        learning_rate: the highest of the phase.
        schedule: "constant"; "cosine" from the highest to zero; "one_cycle": linearly up, then linearly to zero.
        warmup: the share of the phase's steps that "one_cycle" rises.
        momentum, nesterov: of SGD only.
        weight_decay: of weights; batch norm's parameters and biases have none.
    """

    epochs: int = _within(1, 100_000)
    learning_rate: float = _within(1e-12, 1e3)
    optimizer: str = _one_of(OPTIMIZERS, usual="sgd")
    schedule: str = _one_of(SCHEDULES, usual="one_cycle")
    warmup: float = _within(0, 1, usual=0.2)
    momentum: float = _within(0, 0.9999, usual=0.9)
    nesterov: bool = True
    weight_decay: float = _within(0, 10, usual=5e-4)


@dataclass(frozen=True)
class Resolution:
    """From epoch `from_epoch` on (the first is 0) the network is fed images of `pixels` x `pixels`."""

    from_epoch: int
    pixels: int = _within(8, 1024)


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on, besides the machine.

    Attributes:
        name: of the checkpoint that it makes; unless the recipe names itself, the file's without its ending, with _ in
            place of what no name may have.
        dataset: "cifar10", its bundled part, or a "folder" of class folders (engine/data/folders.py).
        data_folder: that folder.
        options: of the architecture, which may be one of torchvision's, such as "torchvision:vgg16".
        input_size: the side in pixels at the end of training, and of every evaluation; 0 takes the architecture's.
        resolutions: smaller sides for earlier epochs.
        crop_padding: mirrored pixels on each side of an image, before it is cropped again at random.
        flip: mirror half of the images.
        cutout: the side in pixels of a grey square put at random into each image; 0 for none.
        label_smoothing: 0 to 1; only of the loss that is minimised, never of the one that is recorded.
        mixup: how strongly images, and what is asked of the network, are blended in pairs; 0 for not at all. At 1 all
            shares are equally likely, below 1 (and down to 0.01) most pairs keep nearly one image.
        ema: decay per step of the averaged weights, which are then evaluated and kept; 0 for none.
        precision: "bfloat16" computes convolutions in 16 bits (autocast), weights stay in 32; "float64" is for tests.
        normalisation: of pixels, by the statistics of "cifar10" or "imagenet"; an empty one takes ImageNet's with
            torchvision's weights, and the architecture's otherwise.
        seed: of weights, order, augmentation and dropout.
        initialisation: "default" is the architecture's own; "xavier" or "kaiming" for all its weights.
        early_stopping: stop after this many epochs at the final image size without a lower validation loss; 0: never.
        sample: how many training images of each class are used, the first ones; 0 for all.
        random_labels: give each training image a class at random, and keep it: what a network then learns it knows by
            heart (Zhang et al. 2017, "Understanding deep learning requires rethinking generalization").
        keep_weights: false for an experiment, of which only history, filters and predictions are kept.
        keep_states: keep the network after epochs 1, 2, 4, 8 ... too, not only halfway (engine/checkpoints/states.py).
        group: experiments of one group are meant to be compared.
        base, base_sha256: the checkpoint whose weights it starts from, and the SHA-256 of its `weights.pt` (an empty
            one means: as it is when the run starts); or torchvision's weights, as "torchvision:IMAGENET1K_V1".
        train_last: how many of the last convolutions are trained, with all that follows the first of them; 0 for all.
        keep_frozen: what the other layers answer is computed once per image (and mirror image) and kept on disk.
        views: of each image so many versions that are shifted, mirrored and covered at random are kept beside it; 0
            for its mirror image only.
    """

    name: str
    architecture: str
    phases: tuple[Phase, ...]
    dataset: str = _one_of(DATASETS, usual="cifar10")
    data_folder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    input_size: int = _within(8, 1024, usual=0)
    resolutions: tuple[Resolution, ...] = ()
    batch_size: int = _within(2, 65_536, usual=128)
    crop_padding: int = _within(0, 16, usual=4)
    flip: bool = True
    cutout: int = _within(0, 32, usual=0)
    label_smoothing: float = _within(0, 0.99, usual=0.0)
    mixup: float = _within(0, 100, usual=0.0)
    ema: float = _within(0, 0.99999, usual=0.0)
    precision: str = _one_of(PRECISIONS, usual="float32")
    normalisation: str = ""
    seed: int = _within(0, 1_000_000_000, usual=0)
    initialisation: str = _one_of(INITIALISATIONS, usual="default")
    early_stopping: int = _within(0, 100_000, usual=0)
    sample: int = _within(0, 1_000_000, usual=0)
    random_labels: bool = False
    keep_weights: bool = True
    keep_states: bool = False
    group: str = ""
    base: str = ""
    base_sha256: str = ""
    train_last: int = _within(0, 10_000, usual=0)
    keep_frozen: bool = False
    views: int = _within(0, 100, usual=0)

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel that pixels in 0-1 are normalised with."""
        usual = "imagenet" if self.base.startswith(PREFIX) else ""
        spec = ARCHITECTURES[self.architecture]
        return NORMALISATIONS.get(self.normalisation or usual, (spec.mean, spec.std))

    @property
    def data_name(self) -> str:
        """What it learns from, as a card says it: "cifar10", or "folder:flowers"."""
        return f"folder:{Path(self.data_folder).name}" if self.dataset == "folder" else self.dataset

    @property
    def build_options(self) -> dict[str, Any]:
        """The options that `engine.models.build` takes."""
        fixed = ARCHITECTURES[self.architecture].fixed_input
        return {"input_size": self.input_size, **self.options} if fixed else self.options

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    def pixels_at(self, epoch: int) -> int:
        """The side of the training images in `epoch` (the first is 0)."""
        reached = [entry for entry in self.resolutions if entry.from_epoch <= epoch]
        return max(reached, key=lambda entry: entry.from_epoch).pixels if reached else self.input_size


def read(path: str | Path) -> Recipe:
    """The recipe in a TOML file, or the one of that name in `recipes/`.

    Raises:
        ConvscopeError: the file is missing, or a line of it cannot be understood; the message names the line.
    """
    folder, file = settings.folders.recipes, Path(path)
    try:
        if not file.is_file() and (folder / f"{path}.toml").exists():
            file = folder / f"{path}.toml"
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConvscopeError(f"{file.name} is not written in UTF-8: save it again with that encoding.") from None
    except PermissionError as error:
        raise ConvscopeError(f"{file.name} cannot be read ({error.strerror}): name a TOML file that can.") from None
    except (OSError, ValueError):  # none of that name, or no name of a file at all
        known = ", ".join(sorted(entry.stem for entry in folder.glob("*.toml")))
        raise ConvscopeError(
            f"There is no recipe {quoted(str(path), 300)}: name a TOML file or one of {known}."
        ) from None
    return parse(text, name_of(file.stem), source=file.name)


def parse(text: str, name: str, source: str = "recipe") -> Recipe:
    """The recipe that `text` (TOML) describes, under the name `name`."""
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ConvscopeError(f"{source} is no valid TOML: its brackets are nested too deeply.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConvscopeError(f"{source} is no valid TOML: {error}.") from error
    reader = _Reader(text, source)
    if "name" in values and not is_name(values["name"]):
        raise reader.refuse("name", f"{quoted(values['name'])} cannot be a name: {RULE}.")
    return reader.recipe({"name": name, **values})


def from_dict(values: dict[str, Any], source: str = "recipe.json") -> Recipe:
    """The recipe that `to_dict` turned into plain values; settings that are not among them have their defaults.

    Raises:
        ConvscopeError: `values` are no recipe.
    """
    if not isinstance(values, dict):
        raise ConvscopeError(f"{source} is no table of settings.")
    return _Reader("", source).recipe(values)


def checked_recipe(recipe: Recipe) -> Recipe:
    """`recipe`, if a training can use its values.

    Raises:
        ConvscopeError: it cannot.
    """
    return from_dict(to_dict(recipe), "The recipe")


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, as they come back from JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}


class _Reader:
    """Turns TOML tables into dataclasses; every refusal names the file and the line."""

    def __init__(self, text: str, source: str) -> None:
        self.lines = text.splitlines()
        self.source = source

    def refuse(self, key: str, reason: str, table: Table = TOP) -> ConvscopeError:
        number = self.line_of(key, table)
        place = f", line {number}" if number else ""
        return ConvscopeError(f"{self.source}{place}: {reason}")

    def line_of(self, key: str, table: Table) -> int | None:
        """The number of the line that sets `key` in `table`, or of the header of the table `key` (at the top)."""
        inside, headers = TOP, Counter[str]()
        for number, line in enumerate(self.lines, 1):
            left = line.split("#")[0].split("=")[0].strip()
            if left.startswith("["):
                name = left.strip("[] ")
                inside = (name, headers[name])
                headers[name] += 1
                if (table == TOP and name == key) or (key == "" and inside == table):
                    return number
            elif left and left.split(".")[0].strip().strip("\"'") == key and inside == table:
                return number
        return None

    def tables(self, values: dict[str, Any], key: str) -> list[dict[str, Any]]:
        tables = values.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self.refuse(key, f"{key} must be written as [[{key}]] tables.")
        return tables

    def recipe(self, values: dict[str, Any]) -> Recipe:
        """The whole recipe, checked."""
        nested = {
            key: tuple(self.make(kind, entry, (key, n)) for n, entry in enumerate(self.tables(values, key)))
            for key, kind in (("phases", Phase), ("resolutions", Resolution))
        }
        recipe = self.make(Recipe, {**values, **nested})
        if recipe.architecture not in ARCHITECTURES:
            names = f"{', '.join(ARCHITECTURES)}, {OR_TORCHVISIONS}"
            reason = f"architecture must be one of {names}, not {quoted(recipe.architecture)}."
            raise self.refuse("architecture", reason)
        if recipe.input_size == 0:
            recipe = replace(recipe, input_size=ARCHITECTURES[recipe.architecture].input_size)
        if recipe.base.startswith(PREFIX) and takes_imagenet(recipe.architecture.removeprefix(PREFIX)):
            recipe = replace(recipe, options={TRANSFORM_INPUT: True, **recipe.options})
        self.check(recipe)
        return recipe

    def make(self, kind: type, values: dict[str, Any], table: Table = TOP) -> Any:
        """An instance of the dataclass `kind`, after checking names and types."""
        hints = get_type_hints(kind)
        for key, value in values.items():
            if key not in hints:
                raise self.refuse(
                    key, f"there is no setting {quoted(key)}: the settings are {', '.join(hints)}.", table
                )
            if not fits(value, hints[key]):
                raise self.refuse(key, f"{key} must be {_in_words(hints[key])}, not {quoted(value)}.", table)
        for entry in fields(kind):
            if entry.name not in values and entry.default is entry.default_factory is MISSING:
                raise self.refuse("", f"the setting {entry.name!r} is missing.", table)
        return kind(**values)

    def check(self, recipe: Recipe) -> None:
        """Refuse values that no training could use."""
        self.check_each(recipe)
        self.one_of("normalisation", recipe.normalisation or "cifar10", tuple(NORMALISATIONS))
        if 0 < recipe.mixup < LEAST_MIXUP:
            raise self.refuse("mixup", f"mixup must be 0 or at least {LEAST_MIXUP:g}, not {recipe.mixup:g}.")
        if recipe.base_sha256 and not recipe.base:
            raise self.refuse("base_sha256", "base_sha256 needs base, the checkpoint that it belongs to.")
        if recipe.base and recipe.initialisation != "default":
            raise self.refuse("initialisation", "weights come from base or from an initialisation, not from both.")
        if recipe.train_last and not recipe.base:
            raise self.refuse("train_last", "train_last needs base, the weights that the other layers keep.")
        if recipe.keep_frozen and not recipe.train_last:
            raise self.refuse("keep_frozen", "keep_frozen needs train_last, which says what is frozen.")
        if recipe.keep_frozen and not recipe.views and (recipe.crop_padding or recipe.cutout):
            reason = (
                "keep_frozen needs images that stay as they are: crop_padding = 0 and cutout = 0, or a number of views."
            )
            raise self.refuse("keep_frozen", reason)
        if recipe.keep_frozen and recipe.resolutions:
            raise self.refuse("keep_frozen", "keep_frozen needs images of one size: no resolutions.")
        if recipe.views and not recipe.keep_frozen:
            raise self.refuse("views", "views needs keep_frozen: otherwise each epoch has views of its own.")
        if recipe.data_folder and recipe.dataset != "folder":
            raise self.refuse("data_folder", 'data_folder needs dataset = "folder".')
        if recipe.dataset == "folder" and recipe.crop_padding >= recipe.input_size:
            reason = f"crop_padding must be smaller than the images, which have {recipe.input_size} pixels."
            raise self.refuse("crop_padding", reason)
        self.check_options(recipe.options)
        if not recipe.phases:
            raise self.refuse("phases", "a recipe needs at least one [[phases]] table.")
        for number, phase in enumerate(recipe.phases):
            self.check_each(phase, ("phases", number))
        if recipe.resolutions and recipe.pixels_at(recipe.epochs - 1) != recipe.input_size:
            raise self.refuse("resolutions", f"the last one must be input_size, {recipe.input_size} pixels.")
        smallest = min([recipe.input_size, *(resolution.pixels for resolution in recipe.resolutions)])
        if recipe.precision == "bfloat16" and smallest <= 16 and not ARCHITECTURES[recipe.architecture].fixed_input:
            # PyTorch 2.15's weight gradient of a 3x3 convolution with stride 2 on a 1x1 map reads memory that nobody
            # has written (oneDNN, AVX-512 BF16): training then depends on chance, or ends in NaN.
            raise self.refuse("precision", f"bfloat16 computes wrong gradients at {smallest} pixels: use float32.")
        for number, resolution in enumerate(recipe.resolutions):
            self.check_resolution(resolution, recipe, ("resolutions", number))

    def check_each(self, entry: Recipe | Phase | Resolution, table: Table = TOP) -> None:
        """Refuse a value that its own field does not allow, whatever the others are."""
        for setting in fields(entry):
            value = getattr(entry, setting.name)
            if "choices" in setting.metadata:
                self.one_of(setting.name, value, setting.metadata["choices"], table)
            if "limits" in setting.metadata:
                self.within(setting.name, value, *setting.metadata["limits"], table)

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse options that are not the architecture's own, or that no file keeps as they are."""
        if "input_size" in options:
            raise self.refuse("options", "input_size is a setting of the recipe, not one of its options.")
        if "num_classes" in options:
            raise self.refuse("options", "num_classes is that of the dataset: leave it out of the options.")
        for key, value in options.items():
            if not _is_plain(value):
                reason = f"{key} must be a number, a text, true, false, or a list of these, not {quoted(value)}."
                raise self.refuse("options", reason)

    def check_resolution(self, resolution: Resolution, recipe: Recipe, table: Table) -> None:
        self.within("from_epoch", resolution.from_epoch, 0, recipe.epochs - 1, table)
        self.check_each(resolution, table)
        if ARCHITECTURES[recipe.architecture].fixed_input and resolution.pixels != recipe.input_size:
            reason = f"{recipe.architecture} takes images of one size only, {recipe.input_size} pixels."
            raise self.refuse("pixels", reason, table)

    def one_of(self, key: str, value: str, allowed: tuple[str, ...], table: Table = TOP) -> None:
        if value not in allowed:
            raise self.refuse(key, f"{key} must be one of {', '.join(allowed)}, not {quoted(value)}.", table)

    def within(self, key: str, value: float, low: float, high: float, table: Table = TOP) -> None:
        if not low <= value <= high:
            raise self.refuse(key, f"{key} must lie between {low:g} and {high:g}, not {value:g}.", table)


def _is_plain(value: Any) -> bool:
    """Whether a value comes back from JSON as it is; what is not a number is not even equal to itself."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes"}
    return words.get(hint, "a table")
