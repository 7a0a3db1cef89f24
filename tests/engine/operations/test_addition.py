"""Sums, differences, sums with a factor."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from engine.operations.addition import Addition, AdditionRecord, LinearCombination
from engine.tape import logits, record
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    last_row,
    operation_at_the_end,
)
from tests.oracles import Lambda, noise, randomised


def in_place(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = net.a(x)
    y += net.b(x)
    return y


SUMS = {
    "operator": (lambda net, x: net.a(x) + net.b(x), Addition),
    "in place": (in_place, Addition),
    "function": (lambda net, x: torch.add(net.a(x), net.b(x)), Addition),
    "method": (lambda net, x: net.a(x).add(net.b(x)), Addition),
    "method in place": (lambda net, x: net.a(x).add_(net.b(x)), Addition),
    "twice the same": (lambda net, x: x + x, Addition),
    "number": (lambda net, x: 2 + net.a(x), Addition),
    "factor": (lambda net, x: torch.add(net.a(x), net.b(x), alpha=3), LinearCombination),
    "difference": (lambda net, x: net.a(x) - net.b(x), LinearCombination),
    "difference of methods": (lambda net, x: net.a(x).sub(net.b(x), alpha=2), LinearCombination),
}


def built(sum_: Callable) -> nn.Module:
    return randomised(Lambda(sum_, a=nn.Conv2d(3, 3, 3, padding=1), b=nn.Conv2d(3, 3, 1)))


@pytest.mark.parametrize("name", SUMS)
def test_each_is_known_and_reversed_like_autograd(name: str) -> None:
    sum_, kind = SUMS[name]
    assert type(operation_at_the_end(built(sum_))) is kind
    assert_reversed_like_autograd(built(sum_), noise((1, 3, 5, 4)))


@pytest.mark.parametrize("name", ["operator", "factor", "number"])
def test_a_unit_sees_what_its_terms_see(name: str) -> None:
    model = built(SUMS[name][0])
    assert_window_is_the_gradients_support(model, (9, 8))
    assert last_row(model).title == "sum"


def test_the_sum_of_tensors_of_different_shapes_is_no_plain_sum() -> None:
    model = randomised(Lambda(lambda net, x: x + x.mean((2, 3), keepdim=True)))
    x = noise((1, 3, 5, 4))
    assert not isinstance(record(model, x, logits(model)).steps[-1].record, AdditionRecord)
    assert_reversed_like_autograd(model, x)
