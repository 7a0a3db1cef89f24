"""Batch norm in eval mode, and what is not a fixed map."""

import pytest
import torch
from torch import nn

from engine.deconv import reconstruct
from engine.operations.other import Other
from engine.tape import record
from tests.engine.operations.checks import (
    assert_reversed_like_autograd,
    assert_window_is_the_gradients_support,
    last_row,
    operation_at_the_end,
)
from tests.oracles import noise, randomised


@pytest.mark.parametrize("affine", [True, False])
def test_reversed_it_is_the_gradient(affine: bool) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, affine=affine)).double().eval()
    nn.init.uniform_(model[0].running_var, 0.5, 2)
    assert_reversed_like_autograd(model, noise((1, 3, 5, 4)))


def test_left_out_the_signal_passes_as_it_is() -> None:
    model, signal = randomised(nn.Sequential(nn.BatchNorm2d(3))), noise((1, 3, 5, 4))
    tape = record(model, noise((1, 3, 5, 4)), "0")
    assert torch.equal(reconstruct(tape, signal, batch_norm=False).pixels, signal)
    assert not torch.equal(reconstruct(tape, signal).pixels, signal)


def test_without_running_statistics_it_is_another_operation() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).double().eval()
    assert isinstance(operation_at_the_end(model), Other)
    assert last_row(model).receptive_field.whole
    assert_reversed_like_autograd(model, noise((1, 3, 5, 4)))


def test_its_window_title_and_parameters() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    assert_window_is_the_gradients_support(model, (9, 8))
    row = last_row(model)
    assert (row.title, row.parameters, row.arithmetic, row.multiply_adds) == ("batch norm", 8, "2 × 4", 0)
