"""Max-pooling: each unit passes on the largest value in its window.

Where that value was is all that its reversal needs: Zeiler & Fergus (2014, section 2.1) call these places the switches.
The signal goes back to the switches; where windows overlap and share a maximum, what meets there is added. (PyTorch's
`MaxUnpool2d` writes instead, and loses signal.)
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shapes
from engine.operations.windows import Windows, pool_in_words, pool_windows

_SETTINGS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


@dataclass(frozen=True)
class MaxPoolRecord(Record):
    """`switches` `[N, C, h, w]`: where each window's maximum is, as an index into the flattened input map.

    `centres` `[h, w]`: where each window's middle is, likewise.
    """

    switches: Tensor
    centres: Tensor
    input_size: tuple[int, int]

    def reverse(self, signal: Tensor, rules: Rules) -> tuple[Tensor, ...]:
        height, width = self.input_size
        maps = signal.new_zeros((*signal.shape[:2], height * width))
        places = self.switches if rules.switches == "recorded" else self.centres.expand_as(signal)
        maps = maps.scatter_add(2, places.flatten(2), signal.flatten(2))
        return (maps.unflatten(2, (height, width)),)


class MaxPool(Operation):
    """Not one that gives its switches away as well: that is no single map."""

    modules = (nn.MaxPool2d,)
    functions = (F.max_pool2d, torch.max_pool2d)

    def recognises(self, call: Call) -> bool:
        return super().recognises(call) and not call.settings(_SETTINGS).get("return_indices")

    def record(self, call: Call, x: Tensor, *args: Any, **kwargs: Any) -> Recorded:
        settings = call.settings(_SETTINGS, args, kwargs)
        value, switches = F.max_pool2d(x, **{**settings, "return_indices": True})
        size = tuple(x.shape[-2:])
        rows, columns = (
            window.middle(torch.arange(count)).clamp(0, length - 1)
            for window, count, length in zip(pool_windows(settings), value.shape[-2:], size, strict=True)
        )
        return value, MaxPoolRecord(switches, rows[:, None] * size[1] + columns, size)

    def window(self, call: Call) -> Windows | None:
        return pool_windows(call.settings(_SETTINGS))

    def title(self, call: Call, shapes: Shapes) -> str:
        return pool_in_words("max-pool", self.window(call))
