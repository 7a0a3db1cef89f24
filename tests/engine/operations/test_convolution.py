"""Convolutions of every geometry, as modules and as functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.graph.receptive_field import Box, receptive_field
from engine.network import describe
from engine.operations.convolution import Convolution
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    counted_by_torch,
    last_row,
    operation_at_the_end,
)
from tests.oracles import Lambda, noise, randomised

GEOMETRIES = [
    {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 5, "padding": 2},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": 3, "stride": 3, "dilation": 2, "padding": 2},
    {"kernel_size": 3, "stride": 2, "groups": 3},
    {"kernel_size": (3, 5), "stride": (2, 3), "padding": (1, 0)},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("options", GEOMETRIES)
@pytest.mark.parametrize("size", [(12, 12), (13, 13), (14, 11)])
def test_reversed_it_is_the_gradient(options: dict, size: tuple[int, int]) -> None:
    assert_reversed_like_autograd(chain(nn.Conv2d(3, 6, **options)), noise((1, 3, *size)))


@pytest.mark.parametrize("size", [(23, 26), (26, 23)])
@pytest.mark.parametrize(
    "model",
    [
        chain(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, dilation=3), nn.MaxPool2d(2)),
        chain(nn.Conv2d(3, 2, (3, 5), (2, 3), (1, 0)), nn.MaxPool2d((2, 1), (1, 2))),
        chain(nn.Conv2d(3, 2, 5, padding="same"), nn.Conv2d(2, 2, 4, padding="same", dilation=2)),
    ],
    ids=["dilation", "oblong", "same"],
)
def test_its_window_is_what_a_unit_depends_on(model: nn.Module, size: tuple[int, int]) -> None:
    assert_window_is_the_gradients_support(model, size)


@pytest.mark.parametrize("options", GEOMETRIES)
def test_it_costs_what_torch_counts(options: dict) -> None:
    model = chain(nn.Conv2d(3, 6, **options))
    assert describe(model, 13).multiply_adds == counted_by_torch(model, 13)


class ConvolutionFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3, 5, 3, dtype=torch.float64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=2, padding=(2, 1))


def test_as_a_function_of_a_parameter() -> None:
    model = ConvolutionFunction().eval()
    field = receptive_field(model, "conv2d")
    assert (field.size, field.stride) == ((5, 3), (2, 2))
    assert field.box(0, 1, (9, 9)) == Box(-2, 1, 3, 4)
    assert_reversed_like_autograd(model, noise((1, 3, 9, 9)))
    assert describe(model, 9).multiply_adds == counted_by_torch(model, 9)


def test_kernels_that_depend_on_the_image() -> None:
    model = Lambda(lambda net, x: F.conv2d(x, x[:, :, 2:5, 2:5])).eval()
    assert isinstance(operation_at_the_end(model), Convolution)
    assert_reversed_like_autograd(model, noise((1, 3, 9, 9)))


def test_transposed_it_multiplies_at_its_inputs_positions() -> None:
    model = randomised(Lambda(lambda net, x: net.up(x), up=nn.ConvTranspose2d(3, 5, (2, 3), stride=2)))
    row = last_row(model)
    assert row.multiply_adds == counted_by_torch(model, 8) == 64 * 3 * 5 * 6
    assert row.arithmetic == "2 × 3 × 3 × 5 + 5"
    assert row.receptive_field.whole
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))


@pytest.mark.parametrize(
    ("module", "title", "arithmetic"),
    [
        (nn.Conv2d(3, 64, 7, 2, 3), "conv 7×7, 64, stride 2", "7 × 7 × 3 × 64 + 64"),
        (nn.Conv2d(3, 6, (3, 1), (1, 2), groups=3, bias=False), "conv 3×1, 6, stride 1×2, 3 groups", "3 × 1 × 1 × 6"),
    ],
)
def test_its_title_and_arithmetic(module: nn.Module, title: str, arithmetic: str) -> None:
    row = last_row(chain(module))
    assert (row.title, row.arithmetic) == (title, arithmetic)
