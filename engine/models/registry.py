"""Which networks there are, and how each is built."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.errors import ConvscopeError
from engine.models import torchvision_models
from engine.models.convnet import ConvNet
from engine.models.efficientnet_lite0 import PLAYED_BACK_FROM, EfficientNetLite0
from engine.models.lenet import LeNet
from engine.models.model_one import ModelOne
from engine.models.model_two import ModelTwo
from engine.models.resnet import StridedResNet, resnet18

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation that take pixels to -1 ... 1."""


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        name: what recipes, cards and links call it.
        title: what a page calls it.
        summary: its layers in one line.
        builder: `builder(num_classes=..., **options)` gives a fresh network in training mode.
        input_size: the side in pixels of the square images that it is trained on by default.
        fixed_input: whether its dense layer ties it to the input size it was built for (`input_size` is an option).
        mean, std: per channel, of pixels in 0-1.
        torchvision: the classifier of torchvision whose weights fit this one; empty for none.
        played_back_from: the layer that a reconstruction begins with where the last one tells nothing of the image;
            empty for the last one.
    """

    name: str
    title: str
    summary: str
    builder: Callable[..., nn.Module] = field(repr=False)
    input_size: int
    fixed_input: bool
    mean: tuple[float, float, float] = CIFAR10_MEAN
    std: tuple[float, float, float] = CIFAR10_STD
    torchvision: str = ""
    played_back_from: str = ""


def _convnet(depth: int) -> Architecture:
    return Architecture(
        name=f"convnet{depth}",
        title=f"ConvNet-{depth}",
        summary=f"{depth} x (conv, ReLU, pool, dropout), dense 512, dense 10",
        builder=partial(ConvNet, depth=depth),
        input_size=128,
        fixed_input=True,
    )


def _torchvisions(name: str) -> Architecture:
    return Architecture(
        name=f"{torchvision_models.PREFIX}{name}",
        title=f"{name} (torchvision)",
        summary=f"{name} as torchvision builds it",
        builder=partial(torchvision_models.build, name),
        input_size=torchvision_models.usual_size(name),
        fixed_input=torchvision_models.has_fixed_input(name),
        mean=torchvision_models.IMAGENET_MEAN,
        std=torchvision_models.IMAGENET_STD,
        torchvision=name,
    )


class Registry(Mapping[str, Architecture]):
    """Architectures by name: the app's own, which it lists, and torchvision's, which it makes when asked."""

    def __init__(self, own: dict[str, Architecture]) -> None:
        self.own = own

    def __getitem__(self, name: str) -> Architecture:
        if name in self.own:
            return self.own[name]
        prefix, known = torchvision_models.PREFIX, torchvision_models.names()
        if not isinstance(name, str) or not name.startswith(prefix) or name.removeprefix(prefix) not in known:
            raise KeyError(name)
        return _torchvisions(name.removeprefix(prefix))

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)


_RESIDUAL = "7x7 stem, max-pool, 4 stages of 2 residual blocks, global average, dense 10"
_MODEL_ONE = "5 convs 3x3 (32 to 512) with BN before 3 pools, dense 2048, dense 64, dense 10"
_MODEL_TWO = "3 x (conv 5x5, BN, ReLU, pool) 32-64-128, dense 64 with BN, dense 10"
_STRIDED = "7x7 stem, no max-pool, all 4 stages stride 2, dense 10"
_LITE = "3x3 stem, 16 inverted residual blocks, global average, dense"

_OWN = (
    Architecture("lenet", "LeNet", "3 x (conv 5x5, ReLU, pool) 32-64-128, dense 64, dense 10", LeNet, 32, True),
    Architecture("model_one", "Model 1", _MODEL_ONE, ModelOne, 32, True),
    Architecture("model_two", "Model 2", _MODEL_TWO, ModelTwo, 32, True),
    *(_convnet(depth) for depth in (2, 3, 4, 5)),
    Architecture("resnet18", "ResNet-18", _RESIDUAL, resnet18, 64, False, torchvision="resnet18"),
    Architecture("resnet18_strided", "ResNet-18, strided", _STRIDED, StridedResNet, 32, False),
    Architecture(
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        _LITE,
        EfficientNetLite0,
        input_size=224,
        fixed_input=False,
        mean=HALF,
        std=HALF,
        played_back_from=PLAYED_BACK_FROM,
    ),
)

ARCHITECTURES = Registry({architecture.name: architecture for architecture in _OWN})
OR_TORCHVISIONS = f"or one of torchvision's such as {torchvision_models.PREFIX}vgg16"
"""How a sentence goes on that lists `ARCHITECTURES` to choose from."""


def architecture(name: str) -> Architecture:
    """The entry of that name.

    Raises:
        ConvscopeError: there is none.
    """
    if name not in ARCHITECTURES:
        raise ConvscopeError(
            f"There is no architecture {name!r}: choose one of {', '.join(ARCHITECTURES)}, {OR_TORCHVISIONS}."
        )
    return ARCHITECTURES[name]


def build(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    """A fresh network with random weights, in training mode.

    Raises:
        ConvscopeError: there is no such architecture, it has no such option, or no such value of it.
    """
    spec = architecture(name)
    try:
        return spec.builder(num_classes=num_classes, **options)
    except ConvscopeError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ConvscopeError(f"The architecture {name!r} cannot take the options {options}: {error}.") from error


def blank(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    """A network without numbers, on PyTorch's "meta" device, to which weights are assigned next.

    It takes no memory, and draws no random numbers that others may be drawing at the same time.

    Raises:
        ConvscopeError: as `build`.
    """
    with torch.device("meta"), _NoDraws():
        return build(name, num_classes, **options)


MOST_ZEROS = 50_000_000
"""How many parameters a network may have that is only made to see its shapes: 200 MB, for a moment."""


def for_shapes(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    """A network of which only the shapes are wanted: of zeros, or `blank` if it is too large for that.

    The first forward pass without numbers loads PyTorch's compiler: two seconds, and 170 MB.

    Raises:
        ConvscopeError: as `build`.
    """
    model = blank(name, num_classes, **options)
    return model if parameter_count(model) > MOST_ZEROS else _undrawn(name, num_classes, **options)


def _undrawn(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    """A network with zeros where its first weights would be drawn at random."""
    with _NoDraws():
        return build(name, num_classes, **options)


DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
"""What draws first weights: PyTorch lets these be intercepted, and what else it has for that calls one of them."""


class _NoDraws(TorchFunctionMode):
    """First weights are not drawn: without numbers, PyTorch would load its compiler to imitate the draws."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func not in DRAWS:
            return func(*args, **(kwargs or {}))
        tensor = args[0] if args else kwargs["tensor"]
        return tensor if tensor.is_meta else nn.init.zeros_(tensor)


def parameter_count(model: nn.Module) -> int:
    """How many numbers training adjusts (weights and biases; batch norm's running statistics do not count)."""
    return sum(parameter.numel() for parameter in model.parameters())
