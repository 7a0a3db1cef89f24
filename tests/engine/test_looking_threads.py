"""Every way of looking shares one network with eight sessions, and leaves it as it was."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine import feature_maps, inversion, maximization, tape
from engine.inversion import PRIORS
from engine.maximization import PRESETS, Canvas
from engine.models import build
from tests.engine.test_threads import in_threads, one_core_per_operation
from tests.oracles import fingerprint, randomised

__all__ = ["one_core_per_operation"]

SIZE = 16
CANVAS = Canvas(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return randomised(build("model_two", input_size=SIZE)).float()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def inverted(model: nn.Module, image: Tensor, prior: str) -> Tensor:
    target = tape.features(model, image, "conv2_relu").detach()
    steps = inversion.invert(model, "conv2_relu", target, size=SIZE, prior=PRIORS[prior], steps=4, seed=3)
    return list(steps)[-1].image


def maximized(model: nn.Module, image: Tensor, preset: str) -> Tensor:
    steps = maximization.maximize(model, "conv3_relu", [0, 5], canvas=CANVAS, preset=PRESETS[preset], steps=4, seed=3)
    return list(steps)[-1].images


def mapped(model: nn.Module, image: Tensor, _: str) -> Tensor:
    return torch.cat([maps.flatten() for maps in feature_maps.all_maps(model, image).values()])


LOOKS: list[tuple[Callable[[nn.Module, Tensor, str], Tensor], str]] = [
    *((inverted, name) for name in PRIORS),
    *((maximized, name) for name in PRESETS),
    (mapped, ""),
    (inverted, "none"),
    (maximized, "pixels"),
]


def test_eight_threads_get_what_one_thread_gets(model: nn.Module, image: Tensor) -> None:
    before = fingerprint(model)
    alone = [look(model, image, name) for look, name in LOOKS]
    together = in_threads(8, lambda index: LOOKS[index][0](model, image, LOOKS[index][1]))
    for expected, found in zip(alone, together, strict=True):
        assert torch.equal(expected, found)
    assert fingerprint(model) == before


@pytest.mark.parametrize("way", ["inversion", "maximisation"])
def test_stopping_in_the_middle_leaves_nothing_behind(model: nn.Module, image: Tensor, way: str) -> None:
    before = fingerprint(model)
    target = tape.features(model, image, "conv2_relu").detach()
    steps = {
        "inversion": lambda: inversion.invert(model, "conv2_relu", target, size=SIZE, steps=50),
        "maximisation": lambda: maximization.maximize(model, "conv3_relu", [1], canvas=CANVAS, steps=50),
    }[way]()
    next(steps)
    next(steps)
    steps.close()
    assert fingerprint(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())
