"""Batch norm, in eval mode: a fixed affine map of each channel (Ioffe & Szegedy 2015, section 3.1).

    y = gamma (x - mean) / sqrt(var + eps) + beta

Its reversal multiplies by gamma / sqrt(var + eps), or leaves the signal as it is: see `engine.batch_norm`. It learns a
factor and an offset per channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shapes
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


class BatchNorm(Operation):
    """With running statistics: without, it takes them from the very image and is no fixed map."""

    modules = (nn.modules.batchnorm._BatchNorm,)
    keeps_places = True
    words = "batch norm"

    def recognises(self, call: Call) -> bool:
        return super().recognises(call) and call.module.running_var is not None

    def record(self, call: Call, x: Tensor) -> Recorded:
        module = call.module
        scale = (module.running_var + module.eps).rsqrt()
        scale = scale if module.weight is None else scale * module.weight
        shaped = scale.reshape(-1, *[1] * (x.dim() - 2))
        return self.run(call, x), BatchNormRecord(shaped, call.normalised)

    def arithmetic(self, call: Call, parameters: Sequence[nn.Parameter], shapes: Shapes) -> str:
        both = len(parameters) == 2
        return f"2 × {parameters[0].numel()}" if both else super().arithmetic(call, parameters, shapes)
