"""Dense layers, on vectors, on flattened maps and on maps with their channels last."""

import pytest
import torch.nn.functional as F
from torch import nn

from engine.network import describe
from engine.operations.dense import Dense
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    counted_by_torch,
    last_row,
    operation_at_the_end,
)
from tests.oracles import Lambda, noise, randomised

FLATTENED = randomised(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
NETWORKS = [
    FLATTENED,
    randomised(nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))),
    randomised(Lambda(lambda net, x: net.dense(x.permute(0, 2, 3, 1)), dense=nn.Linear(3, 5))),
    randomised(Lambda(lambda net, x: F.linear(x.flatten(1), net.dense.weight), dense=nn.Linear(192, 5))),
    randomised(nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 4))),
]


@pytest.mark.parametrize("model", NETWORKS)
def test_reversed_it_is_the_gradient_and_it_costs_what_torch_counts(model: nn.Module) -> None:
    assert isinstance(operation_at_the_end(model), Dense)
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    assert describe(model, 8).multiply_adds == counted_by_torch(model, 8)


def test_weights_that_depend_on_the_image() -> None:
    model = Lambda(lambda net, x: F.linear(x.flatten(1), x.flatten(1))).eval()
    assert_reversed_like_autograd(model, noise((1, 3, 4, 4)))


def test_each_place_is_read_alone_where_there_are_places() -> None:
    assert last_row(NETWORKS[2]).receptive_field.size == (1, 1)
    assert last_row(FLATTENED).receptive_field.whole


def test_behind_flattened_maps_its_weights_are_counted_like_a_convolutions() -> None:
    row = last_row(FLATTENED)
    assert (row.title, row.arithmetic, row.parameters) == ("dense 5", "8 × 8 × 3 × 5 + 5", 965)
    assert last_row(NETWORKS[1]).arithmetic == "5 × 4"
