"""A network of ones: what a unit of it depends on is its receptive field, seen from the outside.

All weights are equal and positive, nothing is normalised, maxima are averages: then no term cancels another, and the
gradient of a unit is zero exactly where the unit cannot look.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.graph.receptive_field import Box, Pair
from tests.oracles import SlowTwin

SMALL = 1e-3  # the image's grey: small enough to stay below ReLU6's ceiling


class OnesConvolution(nn.Module):
    """A convolution whose weights are all equal and positive."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        given = self.convolution
        geometry = (given.stride, given.padding, given.dilation)
        if given.groups > 1:
            return F.conv2d(x, torch.full_like(given.weight, 0.1), None, *geometry, given.groups)
        kernel = x.new_ones(1, 1, *given.kernel_size) / (given.kernel_size[0] * given.kernel_size[1])
        one = F.conv2d(x.mean(1, keepdim=True), kernel, None, *geometry)
        return one.repeat(1, given.out_channels, 1, 1)  # all of them are equal


OnesConvolution.__module__ = "torch.nn"  # a tracer takes it for one operation


class NetworkOfOnes(SlowTwin):
    """The network with all weights equal and positive, no normalisation, and averages for maxima."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(_of_ones(copy.deepcopy(model)))

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return _average(*args, **kwargs) if target in (F.max_pool2d, torch.max_pool2d) else target(*args, **kwargs)


def _average(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


def _of_ones(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        return OnesConvolution(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
        return nn.Identity()
    if isinstance(module, nn.ReLU6):  # its ceiling would hide what a unit reads
        return nn.ReLU()
    if isinstance(module, nn.MaxPool2d):
        return nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
    for name, child in list(module.named_children()):
        setattr(module, name, _of_ones(child))
    return module


def support(ones: NetworkOfOnes, node: str, size: Pair, unit: str) -> tuple[Pair, Box | None]:
    """Where a unit ("first", "middle" or "last") is, and the box around the pixels it depends on; None: none."""
    x = torch.full((1, 3, *size), SMALL, dtype=torch.float64, requires_grad=True)
    maps = ones.run_to(x, node)
    place = {"first": (0, 0), "middle": (maps.shape[2] // 2, maps.shape[3] // 2)}
    row, column = place.get(unit, (maps.shape[2] - 1, maps.shape[3] - 1))
    (gradient,) = torch.autograd.grad(maps[0, :, row, column].sum(), x)
    rows, columns = (gradient.abs().sum(axes).nonzero().flatten().tolist() for axes in ((0, 1, 3), (0, 1, 2)))
    seen = Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None
    return (row, column), seen
