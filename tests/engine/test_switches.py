"""Unpooling without a recording: what max-pooling hands back goes to the middle of each window."""

import pytest
import torch
from torch import nn

from engine.deconv import all_channels, reconstruct
from engine.tape import record
from tests.oracles import assert_same, images, network, noise, relative_error


def middle_by_hand(kernel: int, stride: int, padding: int, dilation: int, size: int, index: int) -> int:
    """Walks over the pixels that the window reads and takes the middle one, or the one before."""
    window = [index * stride - padding + dilation * step for step in range(kernel)]
    return min(max(window[(kernel - 1) // 2], 0), size - 1)


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((3, 2), (2, 1)), nn.MaxPool2d(2, 2, dilation=3)],
    ids=["2", "3/2/1", "3x2", "dilated"],
)
def test_at_the_centres_the_signal_goes_to_the_middle_of_each_window(pool: nn.MaxPool2d) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), pool).double().eval().requires_grad_(False)
    nn.init.dirac_(model[0].weight)
    tape = record(model, noise((1, 3, 11, 13)), "1")
    signal = noise(tuple(tape.activation.shape))
    expected = torch.zeros(1, 3, 11, 13, dtype=torch.float64)
    geometry = [
        [
            value if isinstance(value, int) else value[axis]
            for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        ]
        for axis in (0, 1)
    ]
    for row in range(signal.shape[2]):
        for column in range(signal.shape[3]):
            place = [middle_by_hand(*geometry[axis], (11, 13)[axis], (row, column)[axis]) for axis in (0, 1)]
            expected[:, :, place[0], place[1]] += signal[:, :, row, column]
    assert_same(reconstruct(tape, signal, switches="centre").pixels, expected)


def test_switches_matter_only_where_there_is_a_max_pool() -> None:
    tapes = [record(network("resnet18"), images("resnet18"), layer) for layer in ("conv1_relu", "conv2_x")]
    pictures = [
        [reconstruct(tape, all_channels(tape.activation), switches=choice).pixels for choice in ("recorded", "centre")]
        for tape in tapes
    ]
    assert torch.equal(*pictures[0])
    assert relative_error(*pictures[1]) > 0.1
