"""What makes a vector of feature maps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.operations.flattening import Flattening
from tests.engine.operations.checks import assert_reversed_like_autograd, chain, last_row, operation_at_the_end
from tests.oracles import Lambda, noise

EACH = [
    (chain(nn.AdaptiveAvgPool2d(1)), "average of 8×8"),
    (chain(nn.AdaptiveAvgPool2d((3, 2))), "average pool to 3×2"),
    (Lambda(lambda net, x: F.adaptive_avg_pool2d(x, (1, 1))).eval(), "average of 8×8"),
    (chain(nn.Flatten()), "flatten"),
    (Lambda(lambda net, x: torch.flatten(x, 1)).eval(), "flatten"),
    (Lambda(lambda net, x: x.view(x.size(0), -1)).eval(), "flatten"),
    (Lambda(lambda net, x: x.mean((2, 3))).eval(), "mean"),
]


@pytest.mark.parametrize(("model", "title"), EACH)
def test_reversed_it_is_the_gradient_and_a_unit_may_see_all(model: nn.Module, title: str) -> None:
    assert isinstance(operation_at_the_end(model), Flattening)
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    row = last_row(model)
    assert row.receptive_field.whole
    assert (row.title, row.multiply_adds) == (title, 0)


def test_shuffling_channels_keeps_places() -> None:
    def shuffled(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.size()
        return x.view(batch, 3, channels // 3, height, width).transpose(1, 2).reshape(batch, channels, height, width)

    model = Lambda(shuffled).eval()
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    assert last_row(model).receptive_field.size == (1, 1)
