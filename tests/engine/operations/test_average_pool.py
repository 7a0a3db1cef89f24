"""Average pooling."""

import pytest
import torch.nn.functional as F
from torch import nn

from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    last_row,
)
from tests.oracles import Lambda, noise

POOLS = [
    chain(nn.AvgPool2d(2)),
    chain(nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    Lambda(lambda net, x: F.avg_pool2d(x, (3, 2), (1, 2))).eval(),
]


@pytest.mark.parametrize("model", POOLS)
@pytest.mark.parametrize("size", [8, 9])
def test_reversed_it_is_the_gradient(model: nn.Module, size: int) -> None:
    assert_reversed_like_autograd(model, noise((1, 3, size, size)))


@pytest.mark.parametrize("size", [(23, 26), (26, 23)])
@pytest.mark.parametrize("model", [*POOLS, chain(nn.Conv2d(3, 2, 3), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 2, 1))])
def test_its_window_is_what_a_unit_depends_on(model: nn.Module, size: tuple[int, int]) -> None:
    assert_window_is_the_gradients_support(model, size)


def test_its_title() -> None:
    titles = [last_row(model).title for model in POOLS]
    assert titles == ["average pool 2×2, stride 2", "average pool 3×3, stride 2", "average pool 3×2, stride 1×2"]
