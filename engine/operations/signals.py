"""What is played back: K signals at once, each kept only where it may differ from zero.

The signal of a unit reaches the pixels of its receptive field and no others. So of each feature map only a window is
kept, and it grows on its way to the pixels. Where units read `extent` rows each, `stride` apart, h of them, from row t
on, read

    (h - 1) * stride + extent rows, from row t * stride - padding on

What would lie beyond the border is cut off. All windows have one shape, since they are played back as one batch; one
that loses more at a border than the others is moved into its map instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
import torch
from torch import Tensor

from engine.operations.windows import Windows

Pair = tuple[int, int]
Slices = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Place:
    """Where in each of B maps of one size its window lies.

    Attributes:
        corners: `[B, 2]`: the first row and column of each window.
        shape, size: height and width of the windows, and of the maps.
    """

    corners: np.ndarray
    shape: Pair
    size: Pair

    @classmethod
    def around(cls, first: np.ndarray, end: np.ndarray, size: Pair) -> Self:
        """The smallest windows within the maps that hold what lies there from `first` up to `end`, both `[B, 2]`."""
        first, end = (np.minimum(np.maximum(edge, 0), size) for edge in (first, end))
        height, width = np.maximum((end - first).max(axis=0), 1).tolist()
        return cls(np.minimum(first, (size[0] - height, size[1] - width)), (height, width), size)

    def read(self, windows: Windows, size: Pair) -> Self:
        """What the units here read of maps of this `size`; it may lie beyond their border."""
        down, across = windows
        corners = self.corners * (down.stride, across.stride) - (down.padding, across.padding)
        return type(self)(corners, (down.reach(self.shape[0]), across.reach(self.shape[1])), size)

    def within(self) -> Self:
        """What of this lies within the maps."""
        return self.around(self.corners, self.corners + self.shape, self.size)

    def union(self, other: Self) -> Self:
        """What lies here or there."""
        ends = np.maximum(self.corners + self.shape, other.corners + other.shape)
        return self.around(np.minimum(self.corners, other.corners), ends, self.size)

    def everything(self) -> Self:
        """The maps."""
        return type(self)(np.zeros_like(self.corners), self.size, self.size)

    def slices(self) -> list[Slices]:
        """Rows and columns of each window; of one only, if all lie at the same place."""
        corners = self.corners[:1] if _same(self.corners) else self.corners
        return [_slices(corner, self.shape) for corner in corners.tolist()]


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
        maps = values.flatten(0, 1)
        anywhere = ((maps.amax(dim=1) != 0) | (maps.amin(dim=1) != 0)).numpy(force=True)
        lines = anywhere.any(axis=2), anywhere.any(axis=1)
        first = np.stack([line.argmax(axis=1) for line in lines], axis=1)
        size = anywhere.shape[1:]
        end = size - np.stack([line[:, ::-1].argmax(axis=1) for line in lines], axis=1)
        end[~lines[0].any(axis=1)] = 0
        return cls(values)._at(Place.around(first, end, size))

    @property
    def where(self) -> Place:
        """The place of feature maps, also where it is everything."""
        if self.place is not None:
            return self.place
        size = tuple(self.values.shape[-2:])
        return Place(np.zeros((prod(self.values.shape[:-3]), 2), dtype=int), size, size)

    @property
    def maps(self) -> Tensor:
        """The K signals and N images in one batch: `[K * N, C, h, w]`."""
        return self.values.flatten(0, -4)

    def with_maps(self, maps: Tensor, place: Place | None = None) -> Self:
        """Others in their stead: `maps` `[K * N, C, h, w]`, or windows of them, less what lies beyond the border."""
        values = maps.reshape(*self.values.shape[:-3], *maps.shape[1:])
        return type(self)(values) if place is None else type(self)(values, place)._at(place.within())

    def everything(self) -> Tensor:
        """`[K, *shape of the output]`: zero outside of the windows."""
        return self.values if self.place is None else self._at(self.place.everything()).values

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
        maps = _moved(self.maps, self.where, place)
        values = maps.reshape(*self.values.shape[:-3], *maps.shape[1:])
        return type(self)(values, None if place.shape == place.size else place)


def _moved(maps: Tensor, here: Place, there: Place) -> Tensor:
    """The windows `there`, with what the windows `here`, `maps` `[B, C, h, w]`, hold of them; else zero."""
    offsets = there.corners - here.corners
    each = [slice(None)] if _same(offsets) else range(len(offsets))
    overlaps = [_overlap(offset, here.shape, there.shape) for offset in offsets[: len(each)].tolist()]
    if len(each) == 1 and overlaps[0][1] == _slices((0, 0), there.shape):
        return maps[..., *overlaps[0][0]]
    moved = _zeros(maps, there.shape)
    for index, (source, target) in zip(each, overlaps, strict=True):
        moved[index, ..., *target] = maps[index, ..., *source]
    return moved


def _overlap(offset: Sequence[int], here: Pair, there: Pair) -> tuple[Slices, Slices]:
    """Where two windows overlap, as slices of either; the second begins `offset` units behind the first."""
    first = [max(units, 0) for units in offset]
    ends = [min(units + length, limit) for units, length, limit in zip(offset, there, here, strict=True)]
    shape = [max(end - start, 0) for start, end in zip(first, ends, strict=True)]
    return _slices(first, shape), _slices([max(-units, 0) for units in offset], shape)


def _slices(corner: Sequence[int], shape: Sequence[int]) -> Slices:
    (top, left), (height, width) = corner, shape
    return slice(top, top + height), slice(left, left + width)


def _same(rows: np.ndarray) -> bool:
    return len(rows) == 1 or bool((rows == rows[0]).all())


def _zeros(like: Tensor, shape: Pair) -> Tensor:
    """`[B, C, *shape]`, laid out in memory like `like`."""
    layout = torch.channels_last if like.stride(1) == 1 else torch.contiguous_format
    size = (*like.shape[:2], *shape)
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=layout).zero_()
