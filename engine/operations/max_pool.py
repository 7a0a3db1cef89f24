"""Max-pooling: each unit passes on the largest value in its window.

Where that value was is all that its reversal needs: Zeiler & Fergus (2014, section 2.1) call these places the switches.
The signal goes back to the switches; where windows overlap and share a maximum, what meets there is added. (PyTorch's
`MaxUnpool2d` writes instead, and loses signal.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shapes
from engine.operations.signals import Place, Signals
from engine.operations.windows import Windows, pool_in_words, pool_windows

_SETTINGS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


@dataclass(frozen=True)
class MaxPoolRecord(Record):
    """`switches` `[N, C, h, w]`: where each window's maximum is, as an index into the flattened input map.

    `centres` `[h, w]`: where each window's middle is, likewise.
    """

    switches: Tensor
    centres: Tensor
    windows: Windows
    input_size: tuple[int, int]

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        values = signals.values
        switches = self.switches if rules.switches == "recorded" else self.centres.expand_as(self.switches)
        places = signals.of_record(switches)
        read, shape = None, self.input_size
        if signals.place is not None:
            read = signals.place.read(self.windows, self.input_size).within()
            shape = read.shape
            places = self._within(places, read, values.shape[:2])
        # Channels last, `[..., H * W, C]`: the convolution in front of it takes its maps like this.
        values, places = values.flatten(-2).mT, places.flatten(-2).mT
        unpooled = values.new_zeros((*values.shape[:-2], prod(shape), values.shape[-1]))
        unpooled.scatter_add_(-2, places.expand(values.shape), values)
        return (Signals(unpooled.mT.unflatten(-1, shape), read),)

    def _within(self, places: Tensor, read: Place, batch: Sequence[int]) -> Tensor:
        """Indices into the flattened maps as indices into the flattened windows that are `read`."""
        top, left = (places.new_tensor(span.first).reshape(*batch, 1, 1, 1) for span in (read.rows, read.columns))
        return (places // self.input_size[1] - top) * read.columns.length + places % self.input_size[1] - left


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
        read = pool_windows(settings)
        rows, columns = (
            window.middle(torch.arange(count)).clamp(0, length - 1)
            for window, count, length in zip(read, value.shape[-2:], size, strict=True)
        )
        return value, MaxPoolRecord(switches, rows[:, None] * size[1] + columns, read, size)

    def window(self, call: Call) -> Windows | None:
        return pool_windows(call.settings(_SETTINGS))

    def title(self, call: Call, shapes: Shapes) -> str:
        return pool_in_words("max-pool", self.window(call))
