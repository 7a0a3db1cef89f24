"""ReLU and ReLU6, under the three rules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.deconv import reconstruct
from engine.operations.relu import ReLURecord
from engine.tape import logits, record
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    last_row,
)
from tests.oracles import Lambda, noise

EACH = [
    chain(nn.ReLU()),
    chain(nn.ReLU(inplace=True)),
    chain(nn.ReLU6(inplace=True)),
    Lambda(lambda net, x: F.relu(x, inplace=True)).eval(),
    Lambda(lambda net, x: F.relu6(x)).eval(),
    Lambda(lambda net, x: torch.relu(x)).eval(),
    Lambda(lambda net, x: x.relu()).eval(),
    Lambda(lambda net, x: x.relu_()).eval(),
]


@pytest.mark.parametrize("model", EACH)
def test_each_kind_is_recorded_as_one_and_reversed_like_autograd(model: nn.Module) -> None:
    x = 6 * noise((1, 3, 5, 4))
    (step,) = record(model, x, logits(model)).steps
    assert isinstance(step.record, ReLURecord)
    assert_reversed_like_autograd(model, x)
    assert_window_is_the_gradients_support(model, (7, 8))
    assert (last_row(model).title, last_row(model).multiply_adds) == ("ReLU", 0)


@pytest.mark.parametrize(
    ("rule", "pixels"),
    [
        ("deconvnet", [1, 1, 1, 0, 0, 0]),
        ("gradient", [0, 1, 0, 0, -1, 0]),
        ("guided", [0, 1, 0, 0, 0, 0]),
    ],
)
def test_the_rules_of_relu6(rule: str, pixels: list[float]) -> None:
    model, x = nn.Sequential(nn.ReLU6()).eval(), torch.tensor([-1.0, 3, 9]).reshape(1, 3, 1, 1)
    tape, signal = record(model, x, "0"), torch.tensor([[1.0, 1, 1], [-1, -1, -1]]).reshape(2, 3, 1, 1)
    assert reconstruct(tape, signal, relu=rule).pixels.flatten().tolist() == pixels
