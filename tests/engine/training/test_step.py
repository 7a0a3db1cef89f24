"""The loss of a batch, against PyTorch's own of class probabilities."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional as F

from engine.training.step import losses
from tests.runs import lenet

LABELS = torch.tensor([3, 0, 1, 3, 2])


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4)).double()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_mixup_asks_for_the_classes_of_both_images(
    images: Tensor, network: nn.Module, strength: float, smoothing: float
) -> None:
    torch.manual_seed(7)
    recipe = lenet(mixup=strength, label_smoothing=smoothing, precision="float64")
    loss, plain = losses(network, images, LABELS, recipe)
    loss.backward()

    torch.manual_seed(7)
    share = Beta(strength, strength).sample().double()
    assert 0 < share < 1
    partner = [4, 3, 2, 1, 0]
    logits = network(share * images + (1 - share) * images[partner])
    asked = share * F.one_hot(LABELS, 4) + (1 - share) * F.one_hot(LABELS[partner], 4)
    expected = F.cross_entropy(logits, asked, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(plain, F.cross_entropy(logits, asked).detach(), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(expected, network[1].weight)
    torch.testing.assert_close(network[1].weight.grad, gradient, rtol=1e-6, atol=1e-9)


def test_without_mixup_no_random_number_is_drawn(images: Tensor, network: nn.Module) -> None:
    before = torch.get_rng_state()
    loss, plain = losses(network, images, LABELS, lenet(label_smoothing=0.1, precision="float64"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(loss, F.cross_entropy(network(images), LABELS, label_smoothing=0.1))
    torch.testing.assert_close(plain, F.cross_entropy(network(images), LABELS).detach())
