"""What is played back: K signals at once, each kept only where it may differ from zero.

The signal of a unit reaches the pixels of its receptive field and no others. So of each feature map only a window is
kept, and it grows on its way to the pixels. Where units read `extent` rows each, `stride` apart, h of them, from row t
on, read

    (h - 1) * stride + extent rows, from row t * stride - padding on

What would lie beyond the border is cut off. All windows have one shape, since they are played back as one batch; one
that loses more at a border than the others is moved into its map instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Self

import torch
from torch import Tensor

from engine.operations.windows import Window, Windows

Slices = tuple[slice, slice]
_REMEMBERED = lru_cache(maxsize=4096)
"""The next image has its windows at the same places, and what follows from them again."""


@dataclass(frozen=True)
class Span:
    """Along one axis, in each of B maps of `size` units, a window of `length` units from its `first` unit on."""

    first: tuple[int, ...]
    length: int
    size: int

    @classmethod
    def around(cls, first: Iterable[int], end: Iterable[int], size: int) -> Self:
        """The shortest windows within the maps that hold what lies there from `first` up to, not including, `end`."""
        firsts, ends = ([min(max(edge, 0), size) for edge in edges] for edges in (first, end))
        length = max(1, *(behind - begin for begin, behind in zip(firsts, ends, strict=True)))
        return cls(tuple(min(begin, size - length) for begin in firsts), length, size)

    @property
    def end(self) -> list[int]:
        """Behind the last unit of each window."""
        return [first + self.length for first in self.first]

    def read(self, window: Window, size: int) -> Self:
        """What the units here read of maps of this `size`; it may lie beyond their border."""
        return type(self)(tuple(map(window.first, self.first)), window.reach(self.length), size)

    def within(self) -> Self:
        """What of this lies within the maps."""
        inside = min(self.first) >= 0 and max(self.first) + self.length <= self.size
        return self if inside else self.around(self.first, self.end, self.size)

    def union(self, other: Self) -> Self:
        """What lies here or there."""
        return self.around(map(min, self.first, other.first), map(max, self.end, other.end), self.size)


@dataclass(frozen=True)
class Place:
    """Where in each of B maps its window lies."""

    rows: Span
    columns: Span

    @classmethod
    def everything(cls, count: int, size: Sequence[int]) -> Self:
        """The whole of `count` maps of this size."""
        return cls(*(Span((0,) * count, length, length) for length in size))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the windows."""
        return self.rows.length, self.columns.length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.rows.size, self.columns.size

    @_REMEMBERED
    def read(self, windows: Windows, size: tuple[int, int]) -> Self:
        """What the units here read of maps of this `size`; it may lie beyond their border."""
        return type(self)(self.rows.read(windows[0], size[0]), self.columns.read(windows[1], size[1]))

    @_REMEMBERED
    def within(self) -> Self:
        """What of this lies within the maps."""
        return type(self)(self.rows.within(), self.columns.within())

    @_REMEMBERED
    def union(self, other: Self) -> Self:
        """What lies here or there."""
        return self if self == other else type(self)(self.rows.union(other.rows), self.columns.union(other.columns))

    @_REMEMBERED
    def slices(self) -> list[Slices]:
        """Rows and columns of each window; of one only, if all lie at the same place."""
        corners = list(zip(self.rows.first, self.columns.first, strict=True))
        return [_slices(corner, self.shape) for corner in (corners[:1] if _same(corners) else corners)]


@dataclass(frozen=True)
class Signals:
    """K signals at one node, whose output holds N images.

    Attributes:
        values: `[K, *shape of the output]`; of feature maps with a `place` the windows only: `[K, N, C, h, w]`.
        place: where these K * N windows lie.
    """

    values: Tensor
    place: Place | None = None

    @classmethod
    def narrowed(cls, values: Tensor) -> Self:
        """All that differs from zero: of feature maps `[K, N, C, H, W]` windows, else everything."""
        if values.dim() != 5 or not values.is_floating_point():
            return cls(values)
        largest = values.flatten(0, 1).abs().amax(dim=1)
        place = Place(*(_span(largest.amax(dim=across).tolist()) for across in (2, 1)))
        if place.shape == place.size:
            return cls(values)
        slices = place.slices()
        return cls(values[..., *slices[0]], place) if len(slices) == 1 else cls(values)._at(place)

    @property
    def where(self) -> Place:
        """The place of feature maps, also where it is everything."""
        if self.place is not None:
            return self.place
        return Place.everything(prod(self.values.shape[:-3]), self.values.shape[-2:])

    @property
    def maps(self) -> Tensor:
        """The K signals and N images in one batch: `[K * N, C, h, w]`."""
        return self.values.flatten(0, -4)

    def with_maps(self, maps: Tensor, place: Place | None = None) -> Self:
        """Others in their stead: `maps` `[K * N, C, h, w]`, or windows of them, less what lies beyond the border."""
        inside = None if place is None else place.within()
        moved = maps if place is None or inside is None else _moved(maps, place, inside)
        values = moved.reshape(*self.values.shape[:-3], *moved.shape[1:])
        return type(self)(values, None if inside is None or inside.shape == inside.size else inside)

    def everything(self) -> Tensor:
        """`[K, *shape of the output]`: zero outside of the windows."""
        if self.place is None:
            return self.values
        everywhere = Place.everything(len(self.place.rows.first), self.place.size)
        return _moved(self.maps, self.place, everywhere).unflatten(0, self.values.shape[:-3])

    def of_record(self, recorded: Tensor) -> Tensor:
        """What is recorded where the windows are: of `[N, C, H, W]`, in a shape that goes with `values`."""
        if self.place is None:
            return recorded
        slices = self.place.slices()
        if len(slices) == 1:
            return recorded[..., *slices[0]]
        windows = [recorded[index % len(recorded), :, *window] for index, window in enumerate(slices)]
        return torch.stack(windows).unflatten(0, self.values.shape[:2])

    def __add__(self, other: Self) -> Self:
        """The sum of two that meet at a node."""
        if self.place is None and other.place is None:
            return type(self)(self.values + other.values)
        place = self.where.union(other.where)
        ours, theirs = self._at(place), other._at(place)
        return type(self)(ours.values + theirs.values, ours.place)

    def _at(self, place: Place) -> Self:
        """The same, of which other windows are kept."""
        return self if place == self.place else self.with_maps(_moved(self.maps, self.where, place), place)


def _span(largest: list[list[float]]) -> Span:
    """The units that are not zero, of each of B maps the largest value of each; where all are, the first one."""
    counting = [[unit for unit, value in enumerate(units) if value] or [-1] for units in largest]
    first, behind = [units[0] for units in counting], [units[-1] + 1 for units in counting]
    return Span.around(first, behind, len(largest[0]))


def _moved(maps: Tensor, here: Place, there: Place) -> Tensor:
    """The windows `there`, with what the windows `here`, `maps` `[B, C, h, w]`, hold of them; else zero."""
    if here == there:
        return maps
    overlaps = _overlaps(here, there)
    together = len(overlaps) == 1
    if together and overlaps[0][1] == _slices((0, 0), there.shape):
        return maps[..., *overlaps[0][0]]
    moved = _zeros(maps, there.shape)
    for index, (source, target) in zip([slice(None)] if together else range(len(maps)), overlaps, strict=True):
        moved[index, ..., *target] = maps[index, ..., *source]
    return moved


@_REMEMBERED
def _overlaps(here: Place, there: Place) -> list[tuple[Slices, Slices]]:
    """Of each pair of windows where they overlap, as slices of either; of one only, if it is the same for all."""
    offsets = list(zip(_offsets(here.rows, there.rows), _offsets(here.columns, there.columns), strict=True))
    return [_overlap(offset, here.shape, there.shape) for offset in (offsets[:1] if _same(offsets) else offsets)]


def _offsets(here: Span, there: Span) -> list[int]:
    return [new - old for old, new in zip(here.first, there.first, strict=True)]


def _overlap(offset: Sequence[int], here: Sequence[int], there: Sequence[int]) -> tuple[Slices, Slices]:
    """Where two windows overlap, as slices of either; the second begins `offset` units behind the first."""
    first = [max(units, 0) for units in offset]
    ends = [min(units + length, limit) for units, length, limit in zip(offset, there, here, strict=True)]
    shape = [max(end - start, 0) for start, end in zip(first, ends, strict=True)]
    return _slices(first, shape), _slices([max(-units, 0) for units in offset], shape)


def _slices(corner: Sequence[int], shape: Sequence[int]) -> Slices:
    (top, left), (height, width) = corner, shape
    return slice(top, top + height), slice(left, left + width)


def _same(places: Sequence[tuple[int, int]]) -> bool:
    return len(set(places)) == 1


def _zeros(like: Tensor, shape: tuple[int, int]) -> Tensor:
    """`[B, C, *shape]`, laid out in memory like `like`."""
    layout = torch.channels_last if like.stride(1) == 1 else torch.contiguous_format
    size = (*like.shape[:2], *shape)
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=layout).zero_()
