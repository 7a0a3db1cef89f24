"""Adversarial images against autograd, with exact bounds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adversarial import accuracy_curve, as_input_of_another, perturb
from engine.errors import ConvscopeError
from tests.oracles import assert_same, noise, randomised

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SCALE = {"mean": MEAN, "std": STD}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
    return randomised(nn.Sequential(*layers, nn.Linear(8 * 4 * 4, 5)))


def column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)


def pixels(x: Tensor) -> Tensor:
    return x * column(STD) + column(MEAN)


@pytest.fixture
def image() -> Tensor:
    """Some pixels are black and some white, where one direction is closed."""
    grey = torch.rand(3, 3, 10, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return ((grey * 1.4 - 0.2).clamp(0, 1) - column(MEAN)) / column(STD)


def by_autograd(model: nn.Module, start: Tensor, classes: Tensor, epsilon: float, steps: int, way: int) -> Tensor:
    """Plain PGD on pixels in 0-1."""
    x0 = pixels(start)
    x, stride = x0.clone(), epsilon if steps == 1 else min(epsilon, 2.5 * epsilon / steps)
    for _ in range(steps):
        x = x.clone().requires_grad_()
        loss = F.cross_entropy(model((x - column(MEAN)) / column(STD)), classes, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach() + way * stride * gradient.sign()
        x = torch.max(torch.min(x, x0 + epsilon), x0 - epsilon).clamp(0, 1)
    return (x - column(MEAN)) / column(STD)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("target", [None, 3])
@pytest.mark.parametrize("epsilon", [1 / 255, 0.1])
def test_it_is_autograds_and_stays_in_bounds(
    model: nn.Module, image: Tensor, steps: int, target: int | None, epsilon: float
) -> None:
    before, labels = image.clone(), [0, 2, 4]
    found = perturb(model, image, labels, epsilon=epsilon, steps=steps, target=target, **SCALE)
    classes = torch.tensor(labels if target is None else [target] * 3)
    assert_same(found, by_autograd(model, image, classes, epsilon, steps, 1 if target is None else -1))
    shown = pixels(found)
    assert float((shown - pixels(image)).abs().max()) <= epsilon + 1e-15
    assert float(shown.min()) >= -1e-15
    assert float(shown.max()) <= 1 + 1e-15
    assert torch.equal(image, before)
    assert not found.requires_grad
    loss = [F.cross_entropy(model(x), classes) for x in (image, found)]
    assert (loss[1] > loss[0]) == (target is None)


def test_one_label_serves_all_and_nothing_changes_at_epsilon_zero(model: nn.Module, image: Tensor) -> None:
    one = perturb(model, image, 2, epsilon=0.05, **SCALE)
    assert torch.equal(one, perturb(model, image, torch.tensor([2, 2, 2]), epsilon=0.05, **SCALE))
    assert torch.allclose(perturb(model, image, 2, epsilon=0, **SCALE), image, rtol=0, atol=1e-15)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_curve_is_made_of_single_perturbations(model: nn.Module, steps: int) -> None:
    images, labels = noise((120, 3, 10, 10)) * 0.2, np.arange(120) % 5
    done: list[int] = []
    epsilons = (0.0, 0.02, 0.1)
    curve = accuracy_curve(model, images, labels, epsilons, steps=steps, on_batch=done.append, **SCALE)
    assert done == [50, 100, 120]
    for epsilon, found in zip(epsilons, curve, strict=True):
        changed = perturb(model, images, labels, epsilon=epsilon, steps=steps, **SCALE)
        assert np.allclose(found.logits, model(changed).numpy(), rtol=1e-5, atol=1e-5)
        assert np.array_equal(found.labels, labels)


def test_another_network_sees_the_same_picture_at_its_own_size() -> None:
    grey = torch.arange(12).view(1, 3, 2, 2) * 20 / 255
    x = (grey - column(MEAN)) / column(STD)
    found = as_input_of_another(x, **SCALE, size=4, other_std=(0.5,) * 3, other_mean=(0.5,) * 3)
    assert found.shape == (1, 3, 4, 4)
    same = as_input_of_another(x, **SCALE, size=2, other_std=(1, 1, 1), other_mean=(0, 0, 0))
    assert torch.allclose(same, grey.float(), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -0.1}, "at least 0"),
        ({"epsilon": float("nan")}, "at least 0"),
        ({"steps": 0}, "at least one step"),
        ({"label": 5}, "classes 0 to 4"),
        ({"target": -1}, "classes 0 to 4"),
        ({"label": [0, 1]}, "3 images but 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused(model: nn.Module, image: Tensor, options: dict, message: str) -> None:
    arguments = {"label": 0, "epsilon": 0.1, **SCALE, **options}
    with pytest.raises(ConvscopeError, match=message):
        perturb(model, image, arguments.pop("label"), **arguments)
