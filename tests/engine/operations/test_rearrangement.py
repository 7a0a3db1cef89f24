"""Concatenation, cutting apart, reordering."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    last_row,
)
from tests.oracles import Chunked, Lambda, noise, randomised

KEEPING_PLACES = {
    "cat": lambda net, x: torch.cat([net.a(x), net.b(x)], 1),
    "chunk": lambda net, x: net.a(x).chunk(2, dim=1)[1],
    "split": lambda net, x: torch.split(net.a(x), [1, 3], dim=1)[1],
    "channels": lambda net, x: net.a(x)[:, 1:3],
    "permute": lambda net, x: torch.permute(net.a(x), (0, 1, 2, 3)).contiguous(),
    "unsqueeze": lambda net, x: net.a(x).unsqueeze(1)[:, 0],
}


def built(operation: Callable) -> nn.Module:
    return randomised(Lambda(operation, a=nn.Conv2d(3, 4, 3, padding=(1, 0)), b=nn.Conv2d(3, 2, 5, padding=(2, 1))))


@pytest.mark.parametrize("name", KEEPING_PLACES)
def test_values_move_back_and_places_stay(name: str) -> None:
    model = built(KEEPING_PLACES[name])
    assert_reversed_like_autograd(model, noise((1, 3, 9, 8)))
    assert_window_is_the_gradients_support(model, (9, 8))


@pytest.mark.parametrize(
    "operation",
    [lambda net, x: net.a(x)[:, :, 1:3, 2:4], lambda net, x: net.a(x).unbind(2)[0]],
    ids=["cut in space", "unbind"],
)
def test_what_moves_places_may_see_everything(operation: Callable) -> None:
    model = built(operation)
    assert_reversed_like_autograd(model, noise((1, 3, 9, 8)))
    assert last_row(model).receptive_field.whole


def test_lists_of_tensors() -> None:
    assert_reversed_like_autograd(randomised(Chunked()), noise((2, 3, 9, 9)))


def test_their_titles() -> None:
    assert last_row(built(KEEPING_PLACES["cat"])).title == "concatenate"
    assert last_row(built(lambda net, x: net.a(x).transpose(1, 2))).title == "transpose"
