"""Max-pooling: the switches, overlapping windows, and what `MaxUnpool2d` gets wrong."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.deconv import reconstruct
from engine.operations.max_pool import MaxPool
from engine.operations.other import Other
from engine.tape import record
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    last_row,
    operation_at_the_end,
)
from tests.oracles import Lambda, noise, relative_error


def function_pool(_: nn.Module, x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        function_pool,
    ],
)
@pytest.mark.parametrize("size", [8, 9])
def test_reversed_it_adds_where_windows_overlap(pool: nn.Module | Callable, size: int) -> None:
    model = (nn.Sequential(pool) if isinstance(pool, nn.Module) else Lambda(pool)).eval()
    assert_reversed_like_autograd(model, noise((1, 3, size, size)))


def test_max_unpool_is_not_the_adjoint() -> None:
    model, x = nn.Sequential(nn.MaxPool2d(3, 2, 1)).eval(), noise((1, 3, 16, 16))
    signal = noise((1, 3, 8, 8))
    ours = reconstruct(record(model, x, "0"), signal).pixels
    value, switches = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    unpooled = nn.MaxUnpool2d(3, 2, 1)(signal, switches, output_size=x.shape)
    assert relative_error(unpooled, ours) > 0.1
    torch.testing.assert_close((value * signal).sum(), (x * ours).sum())


@pytest.mark.parametrize("size", [(23, 26), (26, 23)])
@pytest.mark.parametrize(
    "model",
    [
        chain(nn.Conv2d(3, 2, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2)),
        Lambda(lambda net, x: F.max_pool2d(torch.max_pool2d(x, 3, 2), (2, 3))).double().eval(),
    ],
)
def test_its_window_is_what_a_unit_depends_on(model: nn.Module, size: tuple[int, int]) -> None:
    assert_window_is_the_gradients_support(model, size)


@pytest.mark.parametrize(
    ("pool", "kind"),
    [
        (lambda net, x: F.max_pool2d(x, 2), MaxPool),
        (lambda net, x: F.max_pool2d(x, 2, return_indices=False), MaxPool),
        (lambda net, x: F.max_pool2d(x, 2, return_indices=True), Other),
    ],
)
def test_one_that_gives_its_switches_away_is_another_operation(pool: Callable, kind: type) -> None:
    assert isinstance(operation_at_the_end(Lambda(pool).eval()), kind)


def test_its_title() -> None:
    assert last_row(chain(nn.MaxPool2d(3, 2, 1))).title == "max-pool 3×3, stride 2"
    assert last_row(Lambda(lambda net, x: F.max_pool2d(x, (2, 1))).eval()).title == "max-pool 2×1, stride 2×1"
