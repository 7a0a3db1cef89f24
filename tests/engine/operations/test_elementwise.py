"""Operations on each place alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.operations.elementwise import Elementwise
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    last_row,
    operation_at_the_end,
)
from tests.oracles import Lambda, noise, randomised


@pytest.mark.parametrize("module", [module() for module in Elementwise.modules if module is not nn.LocalResponseNorm])
def test_modules(module: nn.Module) -> None:
    model = chain(module)
    assert isinstance(operation_at_the_end(model), Elementwise)
    assert_reversed_like_autograd(model, noise((1, 3, 5, 4)))
    assert last_row(model).receptive_field.size == (1, 1)


@pytest.mark.parametrize(
    ("operation", "title"),
    [
        (lambda net, x: net.a(x) * net.b(x), "product"),
        (lambda net, x: net.a(x).mul_(net.b(x)), "mul"),
        (lambda net, x: net.a(x) / 3, "truediv"),
        (lambda net, x: F.silu(net.a(x), inplace=True), "silu"),
        (lambda net, x: torch.tanh(net.a(x)), "tanh"),
        (lambda net, x: net.a(x).sigmoid(), "sigmoid"),
    ],
)
def test_functions_and_methods(operation: Callable, title: str) -> None:
    model = randomised(Lambda(operation, a=nn.Conv2d(3, 4, 3, padding=1), b=nn.Conv2d(3, 4, 1)))
    assert isinstance(operation_at_the_end(model), Elementwise)
    assert_reversed_like_autograd(model, noise((1, 3, 9, 8)))
    assert_window_is_the_gradients_support(model, (9, 8))
    assert last_row(model).title == title


def test_layer_norm_over_channels_keeps_places_and_over_maps_does_not() -> None:
    over_channels = Lambda(lambda net, x: net.norm(x.permute(0, 2, 3, 1)), norm=nn.LayerNorm(3)).double().eval()
    over_maps = chain(nn.LayerNorm((3, 8, 8)))
    for model, whole in ((over_channels, False), (over_maps, True)):
        assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
        assert last_row(model).receptive_field.whole is whole
