"""The window that a unit reads: the geometry of convolutions and poolings, along one axis at a time.

Unit i of the output reads `length` units of the input, `dilation` apart, the first of which is

    i * stride - padding

so that windows begin before the input where there is padding. (Dumoulin & Visin 2016, "A guide to convolution
arithmetic for deep learning".)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from torch.fx import Node
from torch.nn.modules.utils import _pair


@dataclass(frozen=True)
class Window:
    """What a unit reads along one axis: `length` units, `dilation` apart, moved by `stride`, `padding` in front."""

    length: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """From its first unit to its last, holes included."""
        return self.dilation * (self.length - 1) + 1

    def first(self, position: int) -> int:
        """The first unit of the input that the unit at `position` reads; negative in the padding."""
        return position * self.stride - self.padding

    def middle(self, position: int) -> int:
        """The middle one of the units that it reads; of an even number, the one before the middle."""
        return self.first(position) + self.dilation * ((self.length - 1) // 2)

    def reach(self, count: int) -> int:
        """How many units in a row `count` neighbours read together."""
        return (count - 1) * self.stride + self.extent

    def unread(self, size: int) -> int:
        """How many of the last units of an input of `size` units no window reaches (padding behind it included)."""
        return (size + 2 * self.padding - self.extent) % self.stride

    def inside(self, size: int) -> slice:
        """The positions whose windows lie inside an input of `size` units; all, if none does."""
        first, last = math.ceil(self.padding / self.stride), (size + self.padding - self.extent) // self.stride
        return slice(first, last + 1) if first <= last else slice(None)


Windows = tuple[Window, Window]
"""Down and across."""
HERE: Windows = (Window(), Window())
"""Of an operation whose units read their own place alone."""


def windows(settings: Mapping[str, Any]) -> Windows | None:
    """The windows of a convolution or pooling, by PyTorch's names for the settings; None if they are only computed.

    Where no stride is set, it is 1 unless `settings` says otherwise; padding may be "same" or "valid".
    """
    length, dilation = _pair(settings["kernel_size"]), _pair(settings.get("dilation", 1))
    padding = settings.get("padding", 0)
    if isinstance(padding, str):
        reach = zip(length, dilation, strict=True)
        padding = tuple(apart * (many - 1) // 2 if padding == "same" else 0 for many, apart in reach)
    numbers = (length, _pair(settings.get("stride", 1)), _pair(padding), dilation)
    return None if Node in map(type, chain(*numbers)) else _windows(numbers)


@lru_cache(maxsize=256)
def _windows(numbers: tuple[tuple[int, int], ...]) -> Windows:
    down, across = zip(*numbers, strict=True)
    return Window(*down), Window(*across)


def sides_in_words(sides: Sequence[int]) -> str:
    """(3, 3) as "3×3"."""
    return "×".join(map(str, sides))


def stride_in_words(stride: Sequence[int]) -> str:
    """(2, 2) as "2", (2, 1) as "2×1"."""
    return str(stride[0]) if len(set(stride)) == 1 else sides_in_words(stride)


def pool_windows(settings: Mapping[str, Any]) -> Windows | None:
    """`windows` of a pooling, whose windows lie side by side where no stride is set."""
    stride = settings.get("stride")
    return windows({**settings, "stride": settings["kernel_size"] if stride is None or stride == [] else stride})


def pool_in_words(name: str, windows: Windows | None) -> str:
    """A pooling's title: "max-pool 2×2, stride 2"."""
    if windows is None:
        return name
    sides, stride = ([getattr(window, name) for window in windows] for name in ("length", "stride"))
    return f"{name} {sides_in_words(sides)}, stride {stride_in_words(stride)}"
