"""What each operation promises, against oracles: autograd, a network of ones, PyTorch's counter."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from engine import checkpoints
from engine.deconv import reconstruct
from engine.graph import trace
from engine.graph.receptive_field import Pair, receptive_field, receptive_fields
from engine.network import OperationRow, describe
from engine.operations import Operation
from engine.tape import logits, record
from tests.ones import NetworkOfOnes, support
from tests.oracles import assert_same, noise


def chain(*modules: nn.Module) -> nn.Module:
    """The modules one after the other, in double precision, frozen like every network that the app opens."""
    return checkpoints.freeze(nn.Sequential(*modules).double())


def operation_at_the_end(model: nn.Module) -> Operation:
    """What the network's last operation is taken for."""
    graph = trace(model)
    return graph.operations[graph.output]


def assert_reversed_like_autograd(model: nn.Module, x: Tensor) -> None:
    """Recorded and played back with the rule "gradient", it is the gradient."""
    tape = record(model, x, logits(model))
    inner = x.clone().requires_grad_(True)
    value = model(inner * 1)
    torch.testing.assert_close(tape.activation, value.detach(), rtol=1e-13, atol=1e-15)
    signal = noise(value.shape)
    assert_same(reconstruct(tape, signal, relu="gradient").pixels, torch.autograd.grad(value, inner, signal)[0])


def assert_window_is_the_gradients_support(model: nn.Module, size: Pair) -> None:
    """The receptive field of the last operation holds just the pixels that the unit depends on."""
    ones = NetworkOfOnes(model)
    last = list(receptive_fields(model))[-1]
    for unit in ("first", "middle", "last"):
        place, seen = support(ones, last, size, unit)
        clipped = receptive_field(model, last).box(*place, size).clipped(size)
        assert clipped == seen or (seen is None and clipped.height == 0), unit


def counted_by_torch(model: nn.Module, size: int) -> float:
    """Multiply-adds of one image; PyTorch counts two operations for each."""
    like = next(model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size, dtype=like.dtype, device=like.device))
    return counter.get_total_flops() / 2


def last_row(model: nn.Module, size: int = 8) -> OperationRow:
    """What the layer table says of the last operation."""
    return describe(model, size).operations[-1]
