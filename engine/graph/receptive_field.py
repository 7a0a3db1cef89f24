"""Which pixels of the image a unit can see: its receptive field.

A convolution's unit reads a small window of the layer below, whose units read windows themselves; so from layer to
layer a unit sees more of the image. Along one axis three whole numbers say which pixels unit i sees:

    start + i * stride   up to, but not including,   start + i * stride + size

The pixels themselves have start 0, stride 1, size 1. A window of k units, d apart, moved by s, with p units of padding
in front of the first, makes of a layer's (start, stride, size)

    start - p * stride,    s * stride,    size + d * (k - 1) * stride

A sum or a concatenation sees what any of its terms sees; what works on each place alone (ReLU, batch norm, dropout)
changes nothing; a global average, a dense layer on flattened maps and a squeeze-and-excitation gate see all of it.

Near the border a field reaches into the padding: a box may begin before the image's first pixel, and `Box.clipped`
is what is left of it. Windows with holes (dilation, 1x1 kernels with stride 2) do not see every pixel of their box, and
where a stride leaves the last rows unread (a 2x2 pool on 15 rows), a box at that border counts them all the same.

Limits: the field is where a unit *can* look; what it makes use of is mostly the middle of it (Luo et al. 2016). An
operation that is not known here (attention, upsampling, slicing in space) is said to see the whole image, which is an
upper bound. No operation is expected to exchange height and width.

References: Araujo, Norris & Sim (2019), "Computing receptive fields of convolutional neural networks", Distill,
equations 2 and 5; Luo et al. (2016), "Understanding the effective receptive field".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.fx import Node

from engine.errors import ConvscopeError
from engine.graph import Graph, ImageShape, trace
from engine.operations.windows import Window

Pair = tuple[int, int]


@dataclass(frozen=True)
class Box:
    """Pixels `[top, bottom)` x `[left, right)`; before clipping, edges may lie outside the image."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def clipped(self, image: Pair) -> "Box":
        """The part of the box inside an image of (height, width) pixels; of height or width 0 if it lies outside."""
        rows = [min(max(edge, 0), image[0]) for edge in (self.top, self.bottom)]
        columns = [min(max(edge, 0), image[1]) for edge in (self.left, self.right)]
        return Box(rows[0], columns[0], rows[1], columns[1])

    def covers(self, image: Pair) -> bool:
        """Whether the box holds every pixel of an image of (height, width) pixels."""
        return self.clipped(image) == Box(0, 0, *image)


@dataclass(frozen=True)
class Extent:
    """What the units of a layer see along one axis, in pixels: unit i `[start + i * stride, ... + size)`."""

    start: int = 0
    stride: int = 1
    size: int = 1

    def through(self, window: Window) -> "Extent":
        """The extent of a layer whose units read windows of this one."""
        size = self.size + (window.extent - 1) * self.stride
        return Extent(self.start + window.first(0) * self.stride, window.stride * self.stride, size)


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of one layer see; `height` and `width` are None if each sees the whole image."""

    height: Extent | None
    width: Extent | None

    @property
    def whole(self) -> bool:
        """Whether each unit sees the whole image, however large."""
        return self.height is None

    @property
    def size(self) -> Pair | None:
        """(height, width) in pixels; None if each unit sees the whole image."""
        return None if self.height is None or self.width is None else (self.height.size, self.width.size)

    @property
    def stride(self) -> Pair | None:
        """How many pixels down and to the right the next unit's field begins; None as for `size`."""
        return None if self.height is None or self.width is None else (self.height.stride, self.width.stride)

    def holds(self, side: int) -> bool:
        """Whether the field of a unit in the middle is as large as an image of `side` pixels, or larger."""
        return self.size is None or min(self.size) >= side

    def box(self, row: int, column: int, image: Pair) -> Box:
        """What the unit at (row, column) sees of an image of (height, width) pixels, padding included."""
        if self.height is None or self.width is None:
            return Box(0, 0, *image)
        top = self.height.start + row * self.height.stride
        left = self.width.start + column * self.width.stride
        return Box(top, left, top + self.height.size, left + self.width.size)


WHOLE = ReceptiveField(None, None)
PIXELS = ReceptiveField(Extent(), Extent())


def receptive_field(model: nn.Module, layer: str) -> ReceptiveField:
    """The receptive field of a layer's units.

    Args:
        model: a network in eval mode; it is only read.
        layer: a friendly name (see `engine.tape.layers`) or the name of a graph's node.

    Raises:
        ConvscopeError: the model cannot be traced, or there is no such layer, or it does not depend on the image.
    """
    graph = trace(model)
    field = _fields(model, graph, graph.path_to(graph.resolve(layer))).get(graph.resolve(layer))
    if field is None:
        raise ConvscopeError(f"The layer {layer!r} does not depend on the image: choose another one.")
    return field


def receptive_fields(model: nn.Module, shape: ImageShape | None = None) -> dict[str, ReceptiveField]:
    """`{node name: receptive field}` of every operation that depends on the image, in order of execution.

    Args:
        shape: of the images, as of `engine.graph.trace`.

    Raises:
        ConvscopeError: the model cannot be traced.
    """
    graph = trace(model, shape)
    return {graph.names[node]: field for node, field in _fields(model, graph, graph.nodes).items()}


# ---------------------------------------------------------------------------------------------- walk the graph


def _fields(model: nn.Module, graph: Graph, nodes: Iterable[Node]) -> dict[Node, ReceptiveField]:
    found: dict[Node, ReceptiveField] = {graph.input: PIXELS}
    for node in nodes:
        below = [found[source] for source in node.all_input_nodes if source in found]
        if below and graph.call(model, node).dimensions:  # else what is read there is a shape, not pixels
            found[node] = _field(model, graph, node, below)
    return found


def _field(model: nn.Module, graph: Graph, node: Node, below: list[ReceptiveField]) -> ReceptiveField:
    seen = _union(below)
    if seen.height is None or seen.width is None:
        return WHOLE
    windows = graph.operations[node].window(graph.call(model, node))
    if windows is None:
        return WHOLE
    return ReceptiveField(seen.height.through(windows[0]), seen.width.through(windows[1]))


def _union(fields: list[ReceptiveField]) -> ReceptiveField:
    """What a unit sees that sees what any of these see; all units are taken to lie on one grid."""
    strides = {field.stride for field in fields}
    if None in strides or len(strides) > 1:
        return WHOLE
    return ReceptiveField(_hull([field.height for field in fields]), _hull([field.width for field in fields]))


def _hull(extents: list[Extent]) -> Extent:
    start = min(extent.start for extent in extents)
    return Extent(start, extents[0].stride, max(extent.start + extent.size for extent in extents) - start)
