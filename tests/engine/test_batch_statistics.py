"""Batch norm in training mode against the formula written out, and against its own running statistics."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.batch_statistics import among_others, in_training_mode, in_words, norms, watch_in_steps
from engine.errors import ConvscopeError
from engine.models import build
from tests.oracles import assert_same, fingerprint, noise, randomised


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(4 * 16, 5)]
    return randomised(nn.Sequential(*parts, nn.BatchNorm1d(5)))


IMAGES, LABELS = noise((12, 3, 6, 6)), np.arange(12) % 5


def normalised(x: Tensor, norm: nn.Module, statistics: tuple[Tensor, Tensor]) -> Tensor:
    shape = (1, -1, *[1] * (x.dim() - 2))
    mean, variance, gamma, beta = (value.reshape(shape) for value in (*statistics, norm.weight, norm.bias))
    return gamma * (x - mean) / (variance + norm.eps).sqrt() + beta


def of_batch(x: Tensor) -> tuple[Tensor, Tensor]:
    axes = [0, *range(2, x.dim())]
    return x.mean(axes), ((x - x.mean(axes, keepdim=True)) ** 2).mean(axes)


def by_hand(model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and what the first batch norm reads; dropout is off."""
    convolved = model[0](batch)
    maps = normalised(convolved, model[1], of_batch(convolved)).clamp(min=0)
    dense = model[5](maps.flatten(1))
    return normalised(dense, model[6], of_batch(dense)), convolved


def test_batches_are_normalised_by_their_own_statistics_which_the_running_ones_follow(model: nn.Module) -> None:
    before, untouched = fingerprint(model), IMAGES.clone()
    *_, found = watch_in_steps(model, IMAGES, LABELS, IMAGES[:1], 2, "1", sizes=(2, 5), steps=4, draws=3, seed=7)
    assert fingerprint(model) == before
    assert torch.equal(IMAGES, untouched)
    assert [one.size for one in found] == [2, 5]
    for one in found:
        generator = np.random.default_rng((7, one.size))
        mean, variance = torch.zeros(4).double(), torch.ones(4).double()
        assert_same(one.variances[0], variance)
        assert not one.means[0].any()
        for step in range(4):
            drawn = generator.choice(12, one.size, replace=False)
            logits, read = by_hand(model, IMAGES[drawn])
            part = slice(step * one.size, (step + 1) * one.size)
            assert np.allclose(one.training.logits[part], logits.numpy(), rtol=1e-5, atol=1e-5)
            assert np.allclose(one.evaluation.logits[part], model(IMAGES[drawn]).numpy(), rtol=1e-5, atol=1e-5)
            assert (one.training.labels[part] == LABELS[drawn]).all()
            (batch_mean, batch_variance), count = of_batch(read), read[:, 0].numel()
            mean = 0.9 * mean + 0.1 * batch_mean
            variance = 0.9 * variance + 0.1 * batch_variance * count / (count - 1)
            assert_same(one.means[step + 1], mean)
            assert_same(one.variances[step + 1], variance)
        assert 0 <= one.changed <= 1
        assert one.probabilities.shape == (3,)


def test_an_image_is_answered_among_others(model: nn.Module) -> None:
    found = among_others(model, IMAGES[:1], IMAGES[1:], 3, 2, seed=4)
    generator = np.random.default_rng((4, 3, 1))
    for answer in found:
        drawn = generator.choice(11, 2, replace=False)
        logits, _ = by_hand(model, torch.cat([IMAGES[:1], IMAGES[1:][drawn]]))
        assert_same(answer, logits[0].softmax(0))


def test_with_the_statistics_of_the_batch_both_modes_agree(model: nn.Module) -> None:
    copied = in_training_mode(model)
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    trained = copied(IMAGES)
    copied.eval()
    for module, count in ((copied[1], 12 * 16), (copied[6], 12)):
        module.running_var.mul_((count - 1) / count)  # PyTorch keeps the unbiased variance
    assert_same(copied(IMAGES), trained)
    assert norms(model) == {"1": 4, "6": 5}


def test_words_and_refusals(model: nn.Module) -> None:
    *_, found = watch_in_steps(model, IMAGES, LABELS, IMAGES[:1], 2, "1", sizes=(2, 12), steps=1, draws=2)
    words = in_words(found)
    assert words.startswith(
        "Accuracy in training mode, and in evaluation mode on the same images: in batches of 2 images: "
    )
    low, high = float(found[0].probabilities.min()), float(found[0].probabilities.max())
    assert words.endswith(f"goes from {low:.2f} to {high:.2f}, with the other images.")

    def refused(match: str, network: nn.Module = model, norm: str = "1", size: int = 2, label: int = 0) -> None:
        with pytest.raises(ConvscopeError, match=match):
            next(watch_in_steps(network, IMAGES, LABELS, IMAGES[:1], label, norm, sizes=(size,), steps=1))

    refused("no batch norm '2'", norm="2")
    refused("Batches of 1 cannot be drawn from 12 images", size=1)
    refused("Batches of 13", size=13)
    refused("no class 5", label=5)
    with pytest.raises(ConvscopeError, match="has no batch norm"):
        in_training_mode(build("lenet"))
