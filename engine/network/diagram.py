"""A network as boxes and arrows, laid out like the drawings in papers.

Operations that only pass a map on (batch norm, ReLU, dropout, flattening) share the box of what they follow. A box
stands in the column of the longest way to it, so that the two branches of a residual block begin in the same column
and meet again at the sum; boxes of one column stand in lanes below each other. The columns are cut into rows like the
words of a text, between stages where possible.

Limits: made for chains and residual networks. Where many branches run side by side, arrows may cross.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.network import NetworkTable, OperationRow, Shape, shape_in_words
from engine.operations import Addition, BatchNorm, Identity, Image, Operation, ReLU

COLUMNS = 9
"""As many columns as a row holds at most before the next row begins."""

_PASSING_ON = (BatchNorm, ReLU, Identity)
_SHORT = {"batch norm": "BN"}
_FLATTEN = "flatten"
_UNSAID = (_FLATTEN, "nothing")


@dataclass(frozen=True)
class DiagramBox:
    """Operations drawn as one.

    Attributes:
        name: the first operation's; `operation`: what it is; `stage`: its stage.
        words: what it does, part by part: ("conv 3×3", "64", "BN", "ReLU").
        output: the shape of what it puts out.
        inputs: the names of the boxes that it reads; the image is a box as well.
        nodes: the names of all its operations.
    """

    name: str
    operation: Operation
    stage: str
    words: tuple[str, ...]
    output: Shape
    inputs: tuple[str, ...]
    nodes: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The output's shape in words."""
        return shape_in_words(self.output)


@dataclass(frozen=True)
class Place:
    """Where a box stands: which row, which column in it, which lane (0 is the topmost); all from 0."""

    row: int
    column: int
    lane: int


@dataclass(frozen=True)
class Diagram:
    """Boxes in the order of execution, and the place of each by its name."""

    boxes: tuple[DiagramBox, ...]
    places: dict[str, Place]


def diagram(table: NetworkTable, columns: int = 0) -> Diagram:
    """The boxes of a network, in rows of at most `columns` columns; 0: about twice as wide as high, to be read afar."""
    image = DiagramBox(table.image, Image(), "", ("image",), table.input, ())
    boxes = (image, *_boxes(table.operations))
    depths = _depths(boxes)
    starts = _row_starts(boxes, depths, columns or _fitting(max(depths.values()) + 1))
    return Diagram(boxes, _places(boxes, depths, starts))


# Boxes ---------------------------------------------------------------------------------------------------------


def has_projection(drawn: Diagram) -> bool:
    """Whether a shortcut has operations of its own, which bring the block's input to the shape of its output."""
    before: dict[str, set[str]] = {}
    for box in drawn.boxes:
        before[box.name] = set(box.inputs).union(*(before[name] for name in box.inputs))
    sums = [box for box in drawn.boxes if isinstance(box.operation, Addition) and len(box.inputs) == 2]
    return any(one not in before[other] and other not in before[one] for one, other in (box.inputs for box in sums))


def _boxes(operations: Sequence[OperationRow]) -> tuple[DiagramBox, ...]:
    """Merge what only passes a map on into the box it follows, if nothing else reads that box before it."""
    readers = _reader_counts(operations)
    box_of: dict[str, str] = {}
    merged: dict[str, list[OperationRow]] = {}
    for operation in operations:
        box = _box_to_join(operation, box_of, merged, readers)
        box_of[operation.name] = box or operation.name
        merged.setdefault(box_of[operation.name], []).append(operation)
    return tuple(_box(group, box_of) for group in merged.values())


def _reader_counts(operations: Sequence[OperationRow]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for operation in operations:
        for source in operation.inputs:
            counts[source] = counts.get(source, 0) + 1
    return counts


def _box_to_join(
    operation: OperationRow, box_of: dict[str, str], merged: dict[str, list[OperationRow]], readers: dict[str, int]
) -> str | None:
    source = operation.inputs[0] if len(operation.inputs) == 1 else None
    box = box_of.get(source or "")
    if box is None or merged[box][-1].name != source:
        return None
    if operation.title == _FLATTEN:
        return box
    return box if isinstance(operation.operation, _PASSING_ON) and readers[source or ""] == 1 else None


def _box(group: list[OperationRow], box_of: dict[str, str]) -> DiagramBox:
    first, *others = group
    passing = [_SHORT.get(operation.title, operation.title) for operation in others]
    words = (*first.title.split(", "), *(word for word in passing if word not in _UNSAID))
    output = next(
        operation.output for operation in reversed(group) if operation.title != _FLATTEN or operation is first
    )
    inputs = tuple(dict.fromkeys(box_of.get(source, source) for source in first.inputs))
    nodes = tuple(operation.name for operation in group)
    return DiagramBox(first.name, first.operation, first.stage, words, output, inputs, nodes)


# Places --------------------------------------------------------------------------------------------------------


def _depths(boxes: Sequence[DiagramBox]) -> dict[str, int]:
    """The length of the longest way from the image to each box."""
    depths: dict[str, int] = {}
    for box in boxes:
        depths[box.name] = 1 + max((depths.get(source, -1) for source in box.inputs), default=-1)
    return depths


def _fitting(depth: int) -> int:
    """How many columns make the drawing of so many boxes in a chain about twice as wide as high."""
    return min(COLUMNS, math.ceil(math.sqrt(2.3 * depth)))


def _row_starts(boxes: Sequence[DiagramBox], depths: dict[str, int], columns: int) -> list[int]:
    """The depth at which each row begins: where a stage does, if that keeps the row short enough."""
    stage_starts: dict[str, int] = {}
    for box in boxes:
        stage_starts[box.stage] = min(stage_starts.get(box.stage, depths[box.name]), depths[box.name])
    end = max(depths.values(), default=0) + 1
    cuts = sorted({*stage_starts.values(), end})
    starts = [0]
    for cut, next_cut in pairwise(cuts):
        while next_cut - starts[-1] > columns:
            starts.append(cut if cut > starts[-1] else starts[-1] + columns)
    return starts


def _places(boxes: Sequence[DiagramBox], depths: dict[str, int], starts: list[int]) -> dict[str, Place]:
    taken: dict[int, int] = {}
    places: dict[str, Place] = {}
    for box in boxes:
        depth = depths[box.name]
        row = sum(start <= depth for start in starts) - 1
        places[box.name] = Place(row, depth - starts[row], taken.get(depth, 0))
        taken[depth] = taken.get(depth, 0) + 1
    return places
