"""Dropout does nothing in eval mode, unless a function is told to drop all the same."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.deconv import reconstruct
from engine.graph import trace
from engine.operations import Operation
from engine.operations.identity import Identity
from engine.operations.other import Other
from engine.seeding import seeded
from engine.tape import record
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    chain,
    last_row,
    operation_at_the_end,
)
from tests.oracles import Lambda, noise, randomised


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (lambda net, x: F.dropout(x), Other),  # drops even in eval mode
        (lambda net, x: F.dropout2d(x, 0.2), Other),
        (lambda net, x: F.dropout(x, 0.2, True), Other),
        (lambda net, x: F.alpha_dropout(x, training=True), Other),
        (lambda net, x: F.dropout(x, training=net.training), Identity),
        (lambda net, x: F.dropout2d(x, 0.2, False), Identity),
        (lambda net, x: F.alpha_dropout(x), Identity),
    ],
)
def test_a_dropout_function_is_the_identity_only_where_it_does_not_drop(
    operation: Callable, kind: type[Operation]
) -> None:
    assert type(operation_at_the_end(Lambda(operation).eval())) is kind


@pytest.mark.parametrize("seed", [24, 37, 59])  # where two draws are alike and a third is not
def test_a_network_that_draws_at_random_is_not_refused_where_two_draws_are_alike_by_chance(seed: int) -> None:
    with seeded(seed):
        trace(Lambda(lambda net, x: F.dropout2d(x, 0.2)).eval())


def test_one_draw_of_dropout_is_played_back_for_all_signals() -> None:
    model = randomised(Lambda(lambda net, x: F.dropout(net.conv(x), 0.5), conv=nn.Conv2d(3, 4, 3)))
    tape = record(model, noise((1, 3, 9, 9)), "dropout")
    assert reconstruct(tape, noise((1, 4, 7, 7)).expand(3, -1, -1, -1)).pixels.diff(dim=0).abs().max() == 0


@pytest.mark.parametrize(
    ("module", "title"), [(nn.Dropout(), "dropout"), (nn.Dropout2d(), "dropout"), (nn.Identity(), "nothing")]
)
def test_the_signal_passes_as_it_is(module: nn.Module, title: str) -> None:
    model, x = chain(module), noise((1, 3, 5, 4))
    tape = record(model, x, "0")
    assert torch.equal(tape.activation, x)
    assert_reversed_like_autograd(model, x)
    assert_window_is_the_gradients_support(model, (5, 4))
    assert last_row(model).title == title
