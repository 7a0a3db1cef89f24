"""A lecturer's own network: the weights of a registered architecture, trained anywhere, become a checkpoint.

    python -m engine.own_checkpoint FILE --architecture lenet [--name NAME] [--classes a,b,c ...]

The file is what `torch.save(model.state_dict(), FILE)` or safetensors writes; what training programs put around the
weights and before their names is taken off, and the command says what (`engine.checkpoints.weight_files`). A file from
a stranger can run nothing.

A file of weights does not tell how the pixels were normalised that it was trained on. If the mean and the standard
deviation were not the architecture's own (`engine.models.registry`), they have to be given, or all predictions are
wrong.

If the classes are CIFAR-10's, the network is tested on the bundled test images and the card gets the accuracy: it is
honest as far as the network has not been trained on those. Of other classes no test images are shipped: such a
checkpoint has neither stored predictions nor an accuracy. Nothing is known of its training: it has no learning curve.

It is nobody's, like a model that was kept where there are no owners: the Train page can remove it again.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from engine import checkpoints, filters, settings
from engine.accuracy.figures import accuracy, cross_entropy
from engine.accuracy.predictions import Predictions
from engine.checkpoints import Card, Contents, StoredPredictions, foreign_card, weight_files
from engine.checkpoints.card import SIZES
from engine.checkpoints.reading import with_versions
from engine.command import exit_status, parser, progress
from engine.data import CIFAR10_CLASSES, LONGEST_CLASS, LabelledImages, bundled
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.files import not_writable
from engine.models import ARCHITECTURES, architecture, build, parameter_count
from engine.models.torchvision_models import TRANSFORM_INPUT
from engine.names import name_of
from engine.network.convolution import first_convolution
from engine.weights import check_free

OnBatch = Callable[[int], object]
OnRemark = Callable[[str], object]


@dataclass(frozen=True)
class Origin:
    """What a file of weights does not tell about itself.

    Attributes:
        architecture: a key of `engine.models.ARCHITECTURES`.
        name: of the new checkpoint.
        classes: in the order of the logits.
        input_size: the side in pixels of its input; None for the architecture's own.
        mean, std: per channel, of pixels in 0-1; None for the architecture's own.
        transform_input: whether it is torchvision's GoogLeNet or Inception with the step that turns pixels normalised
            for ImageNet into -1 to 1, as those have that torchvision itself has trained.
    """

    architecture: str
    name: str
    classes: tuple[str, ...] = CIFAR10_CLASSES
    input_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    transform_input: bool = False


def add(
    file: Path,
    origin: Origin,
    folder: Path | None = None,
    test: LabelledImages | None = None,
    on_batch: OnBatch | None = None,
    on_remark: OnRemark = lambda remark: None,
) -> Card:
    """Make checkpoint `origin.name` in `folder` of the weights in `file`; gives its card.

    Args:
        test: images to test it on, if its classes are those; the bundled test images if None.
        on_batch: called with the number of images done.
        on_remark: called with each sentence on what was taken off or left out.

    Raises:
        ConvscopeError: one sentence on what does not fit; nothing is left on the disk then.
    """
    folder = folder or settings.folders.checkpoints
    card, model = _network(origin)
    check_free(origin.name, folder, " with --name")
    network = f"a {card.architecture} for {len(card.classes)} classes at {card.input_size} px"
    fitted = weight_files.fitted(file, model.state_dict(), network)
    model.load_state_dict(with_versions(fitted.weights, model), strict=False)
    for remark in fitted.remarks:
        on_remark(remark)
    checkpoints.freeze(model)
    predictions = _tested(model, card, test, on_batch)
    return _write(_with_figures(card, predictions), model, predictions, folder)


# The network ---------------------------------------------------------------------------------------------------


def _network(origin: Origin) -> tuple[Card, nn.Module]:
    """The card, still without figures, and a fresh network of its kind."""
    classes = origin.classes
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise ConvscopeError("The classes must be two or more different names, in the order of the network's outputs.")
    if max(map(len, classes)) > LONGEST_CLASS:
        raise ConvscopeError(f"The classes must have names of at most {LONGEST_CLASS} letters.")
    spec = architecture(origin.architecture)
    size = spec.input_size if origin.input_size is None else origin.input_size
    if size not in SIZES:
        raise ConvscopeError(
            f"An image cannot be {size} px wide: give --input-size, {SIZES[0]} to {SIZES[-1]:,}, as the network was "
            "trained."
        )
    options: dict[str, Any] = {"input_size": size} if spec.fixed_input else {}
    if origin.transform_input:
        options[TRANSFORM_INPUT] = True
    model = build(origin.architecture, num_classes=len(classes), **options)
    mean, std = (_channels(given, own) for given, own in ((origin.mean, spec.mean), (origin.std, spec.std)))
    scale = "give those of pixels in 0 to 1 (divide by 255)"
    if min(mean) < 0 or max(mean) > 1:
        raise ConvscopeError(f"The means must lie in 0 to 1, not {_numbers(mean)}: {scale}.")
    if min(std) <= 0 or max(std) > 1:
        raise ConvscopeError(
            f"The standard deviations must be greater than zero and at most 1, not {_numbers(std)}: {scale}."
        )
    versions = {module.__name__: module.__version__.partition("+")[0] for module in (torch, torchvision)}
    kind = {"name": origin.name, "architecture": origin.architecture, "options": options, "classes": classes}
    dataset = "cifar10" if classes == CIFAR10_CLASSES else "own"
    pixels = {"input_size": size, "mean": mean, "std": std}
    card = foreign_card(**kind, dataset=dataset, **pixels, parameters=parameter_count(model), versions=versions)
    return card, model


def _channels(given: tuple[float, ...] | None, own: tuple[float, ...]) -> tuple[float, ...]:
    values = own if given is None else given
    if len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise ConvscopeError("Mean and standard deviation are three numbers each: one for red, green and blue.")
    return tuple(values)


def _numbers(values: tuple[float, ...]) -> str:
    """As the options take them."""
    return " ".join(f"{value:g}" for value in values)


# Its figures ---------------------------------------------------------------------------------------------------


def _tested(model: nn.Module, card: Card, test: LabelledImages | None, on_batch: OnBatch | None) -> Predictions | None:
    """Its predictions of the test images; None if those are of other classes."""
    if card.classes != CIFAR10_CLASSES:
        return None
    images = test or bundled("test")
    how = {"input_size": card.input_size, "mean": card.mean, "std": card.std}
    return evaluate(model, images.images, images.labels, **how, on_batch=on_batch)


def _with_figures(card: Card, test: Predictions | None) -> Card:
    if test is None:
        return card
    return replace(card, test_images=len(test), test_accuracy=accuracy(test).value, test_loss=cross_entropy(test))


def _kernels(model: nn.Module) -> dict[str, np.ndarray]:
    """The first layer's kernels as they are: the only moment of the training that is known."""
    kernels = filters.kernels(model, first_convolution(model)).numpy()
    return {"filters": kernels[np.newaxis].astype(np.float16), "epochs": np.zeros(1, dtype=np.int64)}


# Writing -------------------------------------------------------------------------------------------------------


def _write(card: Card, model: nn.Module, test: Predictions | None, folder: Path) -> Card:
    """Put the checkpoint together in a hidden folder; it gets its name when it is complete."""
    count = len(card.classes)
    nothing = Predictions(np.zeros((0, count), np.float32), np.zeros(0, np.int64))
    predictions = StoredPredictions(test or nothing, nothing)
    contents = Contents(model.state_dict(), predictions, _kernels(model), history="", owner="")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{card.name}.") as hidden:
            made = checkpoints.save(card, contents, Path(hidden))
            # What nobody knows has no file, so that no page shows it as a training or a test of no images.
            (made / "history.csv").unlink()
            if test is None:
                (made / "predictions.npz").unlink()
            made.rename(folder / card.name)
    except OSError as error:
        raise ConvscopeError(not_writable(folder / card.name, error)) from error
    return checkpoints.load(card.name, folder).card


# The command ---------------------------------------------------------------------------------------------------


@exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.own_checkpoint FILE --architecture NAME ...`: exit status 1 after a message."""
    chosen = _options().parse_args(arguments)
    origin, remarks = _origin(chosen), list[str]()
    with progress(" images", description="Testing") as show:
        card = add(chosen.file, origin, chosen.checkpoints, on_batch=show, on_remark=remarks.append)
    print(*remarks, sep="\n", end="\n" if remarks else "")
    print(f"{card.name} is in the sidebar now: {_measured(card)}")
    print(f"It takes images of {_input(card, origin)}.")


def _measured(card: Card) -> str:
    if not card.test_images:
        return "no accuracy, since no test images of its classes are shipped."
    share = card.test_share
    measured = f"accuracy {share.value:.2%} on {share.total:,} test images."
    if share.low > 1 / len(card.classes):
        return measured
    return f"{measured} That is no better than guessing: check --classes, their order, --mean and --std."


def _input(card: Card, origin: Origin) -> str:
    """The images that it takes, and which of that nobody has said."""
    given = {"--input-size": origin.input_size, "--mean": origin.mean, "--std": origin.std}
    usual = ", ".join(option for option, value in given.items() if value is None)
    source = f"{usual} as usual for {card.architecture}" if usual else "as given"
    return f"{card.input_size} px with mean {_numbers(card.mean)} and std {_numbers(card.std)}: {source}"


def _options() -> argparse.ArgumentParser:
    options = parser("engine.own_checkpoint", "Add your own network.")
    options.add_argument("file", type=Path, help="its state dict: .pt, .pth, .ckpt or .safetensors")
    options.add_argument("--architecture", required=True, help=f"{', '.join(ARCHITECTURES)}, or torchvision:NAME")
    options.add_argument("--name", help="what the app calls it; the file's name if left out")
    options.add_argument("--classes", help="a,b,c,... in the order of its outputs; CIFAR-10's if left out")
    usual = "the architecture's own if left out"
    options.add_argument("--input-size", type=int, metavar="PX", help=f"the side of its images; {usual}")
    for key, what in (("mean", "subtracted from"), ("std", "divided by for")):
        options.add_argument(
            f"--{key}",
            type=float,
            nargs=3,
            help=f"what was {what} red, green and blue, pixels in 0-1; {usual}: ImageNet's for torchvision:NAME, "
            f"{_numbers(getattr(ARCHITECTURES['resnet18'], key))} for resnet18",
        )
    options.add_argument(
        "--transform-input", action="store_true", help="of a GoogLeNet or Inception made from torchvision's weights"
    )
    options.add_argument("--checkpoints", type=Path, help="where the checkpoint goes")
    return options


def _origin(options: argparse.Namespace) -> Origin:
    classes = CIFAR10_CLASSES if options.classes is None else tuple(map(str.strip, options.classes.split(",")))
    mean, std = (tuple(value) if value else None for value in (options.mean, options.std))
    name = options.name or name_of(options.file.name)
    return Origin(options.architecture, name, classes, options.input_size, mean, std, options.transform_input)


if __name__ == "__main__":
    raise SystemExit(main())
