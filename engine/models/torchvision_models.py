"""Torchvision's classifiers as architectures: "torchvision:vgg16" is VGG-16 as torchvision builds it.

They are built only when somebody asks for them, with random weights and as many outputs as there are classes. Most end
in an average over whatever map is left, so they take images of any size from a few dozen pixels on; those with a fixed
number of patches (ViT, MaxViT) are built for one size.

Weights that were trained on ImageNet's 1.3 million pictures (Deng et al. 2009) come through torchvision: downloaded
once, with a progress bar, into PyTorch's own cache.
"""

from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.errors import ConvscopeError
from engine.files import sha256

PREFIX = "torchvision:"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Second classifiers half-way up GoogLeNet and Inception, which are not built here."""
TRANSFORM_INPUT = "transform_input"
"""Their option to take images that are normalised for ImageNet and turn them into -1 to 1; torchvision's weights for
them were trained with it."""
SIZE_OPTION = {"vit_": "image_size", "maxvit_": "input_size"}


@cache
def names() -> tuple[str, ...]:
    """The names of torchvision's classifiers."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def has_fixed_input(name: str) -> bool:
    """Whether the network is built for one input size."""
    return name.startswith(tuple(SIZE_OPTION))


def takes_imagenet(name: str) -> bool:
    """Whether the network has the option `TRANSFORM_INPUT`."""
    return name in ("googlenet", "inception_v3")


def build(name: str, num_classes: int = 10, input_size: int | None = None, **options: Any) -> nn.Module:
    """Torchvision's classifier `name` with random weights: logits `[N, num_classes]` of images `[N, 3, H, W]`.

    Args:
        input_size: of those that `has_fixed_input`.
    """
    if takes_imagenet(name):
        options = {"aux_logits": False, "init_weights": True, **options}
    if input_size is not None:
        option = next((option for start, option in SIZE_OPTION.items() if name.startswith(start)), None)
        if option is None:
            raise TypeError(f"{name} takes images of any size")
        options[option] = input_size if option == "image_size" else (input_size, input_size)
    with _Values() if name.startswith("regnet_") else nullcontext():
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)


class _Values(TorchFunctionMode):
    """RegNet computes its widths with tensors and reads them: those need values, where parameters may have none."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        on_cpu = {"device": "cpu"} if func in (torch.arange, torch.tensor) else {}
        return func(*args, **{**on_cpu, **(kwargs or {})})


def usual_size(name: str) -> int:
    """The side in pixels that torchvision evaluates it at."""
    first = next(iter(torchvision.models.get_model_weights(name)))
    return int(first.transforms.keywords["crop_size"])


def pretrained(name: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """The state dict of torchvision's `weights` (such as "IMAGENET1K_V1") for its classifier `name`, and its SHA-256.

    Raises:
        ConvscopeError: there are no such weights, they cannot be downloaded, or the file is damaged.
    """
    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        choice = ", ".join(entry.name for entry in known)
        raise ConvscopeError(f"Torchvision has no weights {weights!r} for {name}: choose one of {choice}.")
    chosen = known[weights]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(chosen.url).name
    try:
        state = chosen.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # no network, or a damaged file: it shows itself as a pickle, zip or end-of-file error
        raise ConvscopeError(_not_available(f"{PREFIX}{weights}", name, file, error)) from error
    return {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}, sha256(file)


def _not_available(weights: str, name: str, file: Path, error: Exception) -> str:
    if file.exists():
        return f"{file} is damaged: delete it, and it is downloaded again."
    return (
        f"The weights {weights} of {name} could not be downloaded ({type(error).__name__}): connect to the network and "
        f"try again, or copy {file.name} from another machine into the folder {file.parent}."
    )
