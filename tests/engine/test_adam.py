"""Adam's steps: those of PyTorch's own optimizer, and of the paper's algorithm written out."""

import pytest
import torch
from torch import Tensor

from engine.adam import Adam

RATES = (0.05, 0.05, 0.01, 0.02, 0.02)


def gradients(values: Tensor) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(values.shape, generator=random, dtype=values.dtype) for _ in RATES]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("number_type", [torch.float32, torch.float64])
def test_each_step_is_the_one_of_pytorch(number_type: torch.dtype, maximize: bool) -> None:
    ours = torch.linspace(-1, 1, 24, dtype=number_type).view(2, 3, 4)
    theirs = ours.clone()
    adam, peer = Adam(ours, RATES[0], maximize), torch.optim.Adam([theirs], RATES[0], maximize=maximize)
    for rate, gradient in zip(RATES, gradients(ours), strict=True):
        adam.rate = peer.param_groups[0]["lr"] = rate
        theirs.grad = gradient
        adam.step(gradient)
        peer.step()
        assert torch.equal(ours, theirs)


def test_the_steps_follow_the_paper() -> None:
    values = torch.linspace(-1, 1, 24, dtype=torch.float64)
    expected, first, second = values.clone(), torch.zeros(24), torch.zeros(24)
    adam = Adam(values, RATES[0])
    for step, (rate, gradient) in enumerate(zip(RATES, gradients(values), strict=True), 1):
        adam.rate = rate
        adam.step(gradient)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        expected -= rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        assert torch.allclose(values, expected, rtol=1e-12, atol=1e-12)


def test_values_that_require_a_gradient_are_moved_in_place() -> None:
    values = torch.zeros(3, requires_grad=True)
    Adam(values, 0.1).step(torch.tensor([2.0, -3.0, 0.0]))
    assert values.is_leaf
    assert torch.allclose(values.detach(), torch.tensor([-0.1, 0.1, 0.0]))
