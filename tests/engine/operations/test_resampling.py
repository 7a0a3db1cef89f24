"""Padding and enlarging maps."""

from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    last_row,
)
from tests.oracles import Lambda, noise, randomised

PADDED = [
    chain(nn.ZeroPad2d((1, 2, 3, 4)), nn.Conv2d(3, 2, 3, 2), nn.Conv2d(2, 2, 1, 2), nn.SiLU()),
    randomised(Lambda(lambda net, x: net.c(F.pad(F.max_pool2d(x, 3, padding=1), (2, 1, 0, 1))), c=nn.Conv2d(3, 2, 3))),
    randomised(Lambda(lambda net, x: net.c(F.pad(x, (2, 1))), c=nn.Conv2d(3, 2, 3))),
]


@pytest.mark.parametrize("model", PADDED)
@pytest.mark.parametrize("size", [(23, 26), (26, 23)])
def test_padding(model: nn.Module, size: tuple[int, int]) -> None:
    assert_reversed_like_autograd(model, noise((1, 3, *size)))
    assert_window_is_the_gradients_support(model, size)


def test_sides_that_are_computed_may_move_everything() -> None:
    def padded(net: Any, x: Tensor) -> Tensor:
        rest = x.shape[2] % 3
        return F.pad(net.c(x), (rest, 0, 1, rest))

    model = randomised(Lambda(padded, c=nn.Conv2d(3, 2, 3)))
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    assert last_row(model).receptive_field.whole


@pytest.mark.parametrize(
    "model",
    [chain(nn.Upsample(scale_factor=2)), Lambda(lambda net, x: F.interpolate(x, (5, 7), mode="bilinear")).eval()],
)
def test_enlarging(model: nn.Module) -> None:
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    assert last_row(model).receptive_field.whole
