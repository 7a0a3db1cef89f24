"""Batch norm, in eval mode: a fixed affine map of each channel (Ioffe & Szegedy 2015, section 3.1).

    y = gamma (x - mean) / sqrt(var + eps) + beta

Its reversal multiplies by gamma / sqrt(var + eps), or leaves the signal as it is: see `engine.batch_norm`. It learns a
factor and an offset per channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shapes
from engine.operations.frozen_weights import FROZEN
from engine.operations.signals import Signals


@dataclass(frozen=True)
class BatchNormRecord(Record):
    """`scale`: gamma / sqrt(var + eps), shaped to multiply the map; `of_convolution`: it alone reads one."""

    scale: Tensor
    of_convolution: bool

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        if not rules.batch_norm:
            return (signals,)
        scaled = rules.weight_scale != 1 and self.of_convolution
        scale = self.scale / rules.weight_scale if scaled else self.scale
        return (Signals(signals.values * scale, signals.place),)


def _affine(module: nn.modules.batchnorm._BatchNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """The factor and the offset of each channel, shaped to go with maps like `x`, `[N, C, ...]`."""
    mean, variance, weight, bias = module.running_mean, module.running_var, module.weight, module.bias

    def make() -> tuple[Tensor, Tensor]:
        scale = (variance + module.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        offset = -mean * scale if bias is None else bias - mean * scale
        shape = (-1, *[1] * (x.dim() - 2))
        return scale.reshape(shape), offset.reshape(shape)

    sources = [each for each in (variance, mean, weight, bias) if each is not None]
    return FROZEN.derived(module, f"factor and offset in {x.dim()} dimensions", sources, make)


def _applied(call: Call, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    fits = FROZEN.holds(call.module) and x.dtype is scale.dtype
    # PyTorch's batch norm takes three times as long with maps in channels-last.
    return torch.addcmul(offset, x, scale) if fits else call(x)


class BatchNorm(Operation):
    """With running statistics: without, it takes them from the very image and is no fixed map."""

    modules = (nn.modules.batchnorm._BatchNorm,)
    keeps_places = True
    words = "batch norm"

    def recognises(self, call: Call) -> bool:
        return super().recognises(call) and call.module.running_var is not None

    def run(self, call: Call, x: Tensor) -> Tensor:
        return _applied(call, x, *_affine(call.module, x)) if FROZEN.holds(call.module) else call(x)

    def record(self, call: Call, x: Tensor) -> Recorded:
        scale, offset = _affine(call.module, x)
        value = _applied(call, x, scale, offset)
        return value, BatchNormRecord(scale, call.normalised)

    def arithmetic(self, call: Call, parameters: Sequence[nn.Parameter], shapes: Shapes) -> str:
        both = len(parameters) == 2
        return f"2 × {parameters[0].numel()}" if both else super().arithmetic(call, parameters, shapes)
