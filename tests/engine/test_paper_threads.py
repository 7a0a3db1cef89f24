"""The experiments of Zeiler & Fergus and their controls share one network with many sessions, and change nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import adversarial, batch_statistics, effective_field, evidence, invariance, lesions, occlusion, sanity
from engine.models import build
from engine.network import deconvnet_layer
from tests.engine.test_threads import in_threads, one_core_per_operation
from tests.oracles import fingerprint, randomised

__all__ = ["one_core_per_operation"]

SIZE = 16


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return randomised(build("model_two", input_size=SIZE)).float()


def of_class(model: nn.Module, image: Tensor) -> Tensor:
    return torch.stack([*evidence.heats_of_class(model, image, 2).values()])


LOOKS: list[Callable[[nn.Module, Tensor], Tensor]] = [
    lambda model, image: occlusion.occlude(model, image, patch=6, stride=4).logits,
    lambda model, image: evidence.grad_cam(model, image, "conv2_relu", 3),
    of_class,
    lambda model, image: adversarial.perturb(
        model, image, 4, epsilon=0.03, steps=3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    ),
    lambda model, image: invariance.curve(model, image, "rotate", [0, 20, 40], ["conv1", "conv3_relu"]).distances,
    lambda model, image: torch.from_numpy(
        lesions.evaluate_without(model, image, np.array([1]), "conv2_relu", [0, 1, 2]).logits
    ),
    lambda model, image: torch.stack(
        [step["of class"].heat for step in sanity.cascade(model, lambda it: {"of class": of_class(it, image)[0]})]
    ),
    lambda model, image: sanity.check_signals(model, image, image.flip(3), "pool2").noise.pixels,
    lambda model, image: deconvnet_layer.deconvnet_layer(model, image, "conv3").filtered,
    lambda model, image: effective_field.measure(model, image, ["conv2_relu"])["conv2_relu"].influence,
    lambda model, image: batch_statistics.among_others(model, image, torch.cat([image, image.flip(3)]), 2, 3),
]


def test_many_threads_get_what_one_thread_gets(model: nn.Module) -> None:
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    before, untouched = fingerprint(model), image.clone()
    alone = [look(model, image) for look in LOOKS]
    together = in_threads(len(LOOKS), lambda index: LOOKS[index](model, image))
    for expected, found in zip(alone, together, strict=True):
        assert torch.equal(expected, found)
    assert fingerprint(model) == before
    assert torch.equal(image, untouched)
    assert not image.requires_grad
