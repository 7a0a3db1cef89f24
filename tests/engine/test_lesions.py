"""Lesions against copies whose weights are set to zero so that they do the same."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import lesions, tape
from engine.errors import ConvscopeError
from engine.lesions import RESIDUAL, SHORTCUT, blocks, evaluate_without, evaluate_without_branch, prepare
from tests.oracles import fingerprint, images, network

NAME = "app:resnet18_strided"
LABELS = np.arange(3) % 10


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network(NAME)


@pytest.fixture(scope="module")
def several() -> Tensor:
    return images(NAME, 3)


def same(found: lesions.Predictions, expected: Tensor) -> None:
    assert np.allclose(found.logits, expected.float().numpy(), rtol=1e-5, atol=1e-6)


def silenced(batch_norm: nn.BatchNorm2d, channels: list[int]) -> None:
    batch_norm.weight.data[channels] = 0
    batch_norm.bias.data[channels] = 0


def test_channels_at_zero_are_those_of_a_copy_with_weights_at_zero(model: nn.Module, several: Tensor) -> None:
    channels = [0, 3, 17]
    twin = copy.deepcopy(model)
    silenced(twin.bn1, channels)
    before = fingerprint(model)
    same(evaluate_without(model, several, LABELS, "conv1_relu", channels), twin(several))
    assert fingerprint(model) == before
    # Within a block, past which the shortcut carries what it carried.
    twin = copy.deepcopy(model)
    silenced(twin.layer2[0].bn1, channels)
    same(evaluate_without(model, several, LABELS, "layer2.0.relu", channels), twin(several))
    # The classifier no longer reads the last maps of these channels.
    twin = copy.deepcopy(model)
    twin.fc.weight.data[:, channels] = 0
    same(evaluate_without(model, several, LABELS, "conv5_x", channels), twin(several))


def test_no_channels_leave_the_network_as_it_is(model: nn.Module, several: Tensor) -> None:
    same(evaluate_without(model, several, LABELS, "conv3_x", []), model(several))


def test_a_block_without_a_branch_is_one_whose_branch_gives_zero(model: nn.Module, several: Tensor) -> None:
    twin = copy.deepcopy(model)
    everything = list(range(128))
    silenced(twin.layer2[0].bn2, everything)
    same(evaluate_without_branch(model, several, LABELS, "layer2.0", RESIDUAL), twin(several))
    twin = copy.deepcopy(model)
    silenced(twin.layer2[0].downsample[1], everything)
    same(evaluate_without_branch(model, several, LABELS, "layer2.0", SHORTCUT), twin(several))
    # An identity shortcut also feeds the residual, which goes on.
    twin = copy.deepcopy(model)
    block = twin.layer3[1]
    block.forward = lambda x: torch.relu(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))))
    same(evaluate_without_branch(model, several, LABELS, "layer3.1", SHORTCUT), twin(several))
    assert blocks(model)[:2] == ("layer1.0", "layer1.1")


def test_a_prepared_network_gives_the_same_whether_it_keeps_its_activations_or_not(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lesions, "AT_ONCE", 2)
    many, labels = images(NAME, 5), np.arange(5)
    done: list[int] = []
    kept = prepare(model, many, labels, "conv4_x", on_batch=done.append)
    assert (kept.channels, done) == (256, [2, 4, 5])
    expected = evaluate_without(model, many, labels, "conv4_x", [1, 2])
    assert np.array_equal(kept.without([1, 2]).logits, expected.logits)
    calls = 0
    halt = tape.halt

    def counted(*arguments: object, **options: object) -> tape.Halt:
        nonlocal calls
        calls += 1
        return halt(*arguments, **options)

    monkeypatch.setattr(tape, "halt", counted)
    kept.without([5])
    assert calls == 0
    monkeypatch.setattr(lesions, "KEPT_BYTES", 1.5 * 2 * many.new_zeros(256, 2, 2).nbytes)
    partly = prepare(model, many, labels, "conv4_x")
    calls = 0
    assert np.array_equal(partly.without([1, 2]).logits, expected.logits)
    assert calls == 2
    assert np.array_equal(expected.labels, labels)


def test_what_does_not_fit_is_refused(model: nn.Module, several: Tensor) -> None:
    with pytest.raises(ConvscopeError, match="no channel 64: conv1_relu has channels 0 to 63"):
        evaluate_without(model, several, LABELS, "conv1_relu", [64])
    with pytest.raises(ConvscopeError, match="3 images and 2 labels"):
        evaluate_without(model, several, LABELS[:2], "conv1_relu", [0])
    with pytest.raises(ConvscopeError, match="no residual of a block"):
        evaluate_without_branch(model, several, LABELS, "layer9.0", RESIDUAL)
