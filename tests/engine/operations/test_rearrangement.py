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
    "permute by name": lambda net, x: torch.permute(net.a(x), dims=(0, 2, 3, 1)).permute(dims=(0, 3, 1, 2)),
    "unsqueeze": lambda net, x: net.a(x).unsqueeze(1)[:, 0],
    "groups exchanged": lambda net, x: net.a(x).unsqueeze(1).transpose(1, 2)[:, 0],
    "groups exchanged by name": lambda net, x: torch.transpose(net.a(x).unsqueeze(1), dim0=-3, dim1=-4)[:, 0],
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


@pytest.mark.parametrize(
    "exchanged",
    [
        lambda x: x.transpose(1, 2),
        lambda x: x.transpose(-2, 1),
        lambda x: torch.transpose(x, dim0=2, dim1=3),
        lambda x: x.transpose(1, x.dim() - 1),
    ],
)
def test_no_pixel_outside_its_field_moves_a_unit_whose_rows_or_columns_are_exchanged(exchanged: Callable) -> None:
    model = randomised(Lambda(lambda net, x: net.a(exchanged(net.b(x))), a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(3, 4, 1)))
    x = noise((1, 3, 4, 4)).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, :, 1, 2].sum(), x)
    box = last_row(model, 4).receptive_field.box(1, 2, (4, 4))
    gradient[..., box.top : box.bottom, box.left : box.right] = 0
    assert not gradient.any()


def test_lists_of_tensors() -> None:
    assert_reversed_like_autograd(randomised(Chunked()), noise((2, 3, 9, 9)))


def test_their_titles() -> None:
    assert last_row(built(KEEPING_PLACES["cat"])).title == "concatenate"
    assert last_row(built(lambda net, x: net.a(x).transpose(1, 2))).title == "transpose"
