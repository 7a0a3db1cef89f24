"""Where a training computes: on a GPU, if there is one, or on the processor; and what it computes slowly there."""

import torch

from engine.errors import ConvscopeError
from engine.training.recipe import Recipe
from engine.training.team import ALONE, Team

SLOW_BFLOAT16 = (
    "This processor has no instructions for bfloat16 and takes about ten times as long with it as with float32"
)
"""Of five of the app's networks, on two cores with AVX2: 3 to 13 times."""


def best_device() -> torch.device:
    """The fastest one that this machine has."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_named(name: str, team: Team = ALONE) -> torch.device:
    """The device of that name: "cpu", "cuda" or "mps".

    Raises:
        ConvscopeError: this machine does not have it.
    """
    try:
        device = torch.device(name, team.local_rank) if name == "cuda" else torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConvscopeError(f"This machine cannot compute on {name!r}: use --device cpu.") from error
    return device


def slow_precision(recipe: Recipe, device: torch.device) -> str:
    """A sentence, without its full stop, if `device` takes long for the recipe's precision; otherwise ""."""
    slow = recipe.precision == "bfloat16" and device.type == "cpu" and not has_bfloat16()
    return SLOW_BFLOAT16 if slow else ""


def has_bfloat16() -> bool:
    """Whether PyTorch's convolutions on this processor compute in bfloat16 without a detour."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
