"""The optimizers take PyTorch's own steps; Adam's are those of the paper's algorithm written out."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, optim
from torch.optim import Optimizer

from engine import optimizers

RATES = (0.05, 0.05, 0.01, 0.02, 0.02)
PAIRS = {
    "sgd": (optimizers.SGD, optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (optimizers.Adam, optim.Adam, {"weight_decay": 0.1}),
    "upward": (optimizers.Adam, optim.Adam, {"maximize": True}),
    "adamw": (optimizers.AdamW, optim.AdamW, {"weight_decay": 0.1}),
}


def gradients(values: Tensor) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(values.shape, generator=random, dtype=values.dtype) for _ in RATES]


def step(optimizer: Optimizer, values: Tensor, rate: float, gradient: Tensor) -> None:
    optimizer.zero_grad()
    assert values.grad is None
    optimizer.param_groups[0]["lr"], values.grad = rate, gradient
    optimizer.step()


@pytest.mark.parametrize("number_type", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "of_pytorch", "settings"), PAIRS.values(), ids=PAIRS)
def test_each_step_is_the_one_of_pytorch(
    kind: type[Optimizer], of_pytorch: type[Optimizer], settings: dict[str, Any], number_type: torch.dtype
) -> None:
    ours = torch.linspace(-1, 1, 24, dtype=number_type).view(2, 3, 4).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    optimizer, peer = (make([values], RATES[0], **settings) for make, values in ((kind, ours), (of_pytorch, theirs)))
    assert isinstance(optimizer, of_pytorch)
    for rate, gradient in zip(RATES, gradients(ours), strict=True):
        step(optimizer, ours, rate, gradient)
        step(peer, theirs, rate, gradient)
        assert torch.equal(ours, theirs)
    assert ours.is_leaf


@pytest.mark.parametrize(("kind", "of_pytorch", "settings"), PAIRS.values(), ids=PAIRS)
def test_either_goes_on_from_the_others_state(
    kind: type[Optimizer], of_pytorch: type[Optimizer], settings: dict[str, Any]
) -> None:
    reached = []
    for first, then in ((kind, of_pytorch), (of_pytorch, kind), (of_pytorch, of_pytorch)):
        values = torch.linspace(-1, 1, 24)
        before, after = (partial(make, [values], RATES[0], **settings) for make in (first, then))
        optimizer = before()
        for number, (rate, gradient) in enumerate(zip(RATES, gradients(values), strict=True)):
            if number == 2:
                state, optimizer = optimizer.state_dict(), after()
                optimizer.load_state_dict(state)
            step(optimizer, values, rate, gradient)
        reached.append(values)
    assert torch.equal(reached[0], reached[2])
    assert torch.equal(reached[1], reached[2])


def test_adams_steps_follow_the_paper() -> None:
    values = torch.linspace(-1, 1, 24, dtype=torch.float64)
    expected, first, second = values.clone(), torch.zeros(24), torch.zeros(24)
    adam = optimizers.Adam([values], RATES[0])
    for number, (rate, gradient) in enumerate(zip(RATES, gradients(values), strict=True), 1):
        step(adam, values, rate, gradient)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        expected -= rate * (first / (1 - 0.9**number)) / ((second / (1 - 0.999**number)).sqrt() + 1e-8)
        assert torch.allclose(values, expected, rtol=1e-12, atol=1e-12)
