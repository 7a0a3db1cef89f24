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

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Node
from torch.nn.modules.utils import _pair

from engine.errors import ConvscopeError
from engine.graph import Graph, Kind, constant, trace

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

    def through(self, window: "Window") -> "Extent":
        """The extent of a layer whose units read windows of this one."""
        reach = window.dilation * (window.length - 1) * self.stride
        return Extent(self.start - window.padding * self.stride, window.stride * self.stride, self.size + reach)


@dataclass(frozen=True)
class Window:
    """What a unit reads along one axis: `length` units, `dilation` apart, moved by `stride`, `padding` in front."""

    length: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1


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


def receptive_fields(model: nn.Module) -> dict[str, ReceptiveField]:
    """`{node name: receptive field}` of every operation that depends on the image, in order of execution.

    Raises:
        ConvscopeError: the model cannot be traced.
    """
    graph = trace(model)
    return {graph.names[node]: field for node, field in _fields(model, graph, graph.nodes).items()}


# ---------------------------------------------------------------------------------------------- walk the graph


def _fields(model: nn.Module, graph: Graph, nodes: Iterable[Node]) -> dict[Node, ReceptiveField]:
    found: dict[Node, ReceptiveField] = {graph.input: PIXELS}
    for node in nodes:
        below = [found[source] for source in node.all_input_nodes if source in found]
        if below and node.target not in ("size", "dim", getattr):  # what is read there is a shape, not pixels
            found[node] = _field(model, graph, node, below)
    return found


def _field(model: nn.Module, graph: Graph, node: Node, below: list[ReceptiveField]) -> ReceptiveField:
    seen = _union(below)
    if seen.height is None or seen.width is None:
        return WHOLE
    windows = _windows(model, graph, node)
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


# --------------------------------------------------------------------------------------------------- windows

Windows = tuple[Window, Window]
HERE: Windows = (Window(), Window())


def _windows(model: nn.Module, graph: Graph, node: Node) -> Windows | None:
    """What a unit of this operation reads, down and across; None for everything that there is."""
    kind = graph.kinds[node]
    if kind is Kind.CONVOLUTION:
        return _of_convolution(_convolution(model, graph, node))
    if kind in (Kind.MAX_POOL, Kind.AVERAGE_POOL):
        return _of_pool(_pool(model, node, dilated=kind is Kind.MAX_POOL))
    if kind in (Kind.RECTIFIER, Kind.BATCH_NORM, Kind.IDENTITY, Kind.ADDITION):
        return HERE
    padding = _padding(model, node)
    if padding is not None:
        return Window(padding=padding[0]), Window(padding=padding[1])
    return HERE if _keeps_places(model, node) else None


def _zipped(length: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
    down, across = zip(*map(_pair, (length, stride, padding, dilation)), strict=True)
    return Window(*down), Window(*across)


def _convolution(model: nn.Module, graph: Graph, node: Node) -> dict[str, Any]:
    """Its geometry by name; empty if it is not to be had."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        plain = isinstance(module, nn.Conv2d) and module.padding_mode != "circular"
        names = ("kernel_size", "stride", "padding", "dilation")
        return {name: getattr(module, name) for name in names} if plain else {}
    given = _arguments(node, ("input", "weight", "bias", "stride", "padding", "dilation"))
    weight = given["weight"]
    if node.target is not F.conv2d or not isinstance(weight, Node) or weight.op != "get_attr":
        return {}
    return given | {"kernel_size": tuple(constant(model, graph, weight).shape[-2:])}


def _of_convolution(given: dict[str, Any]) -> Windows | None:
    if not given:
        return None
    padding, dilation = given.get("padding", 0), given.get("dilation", 1)
    if isinstance(padding, str):
        sides = zip(_pair(given["kernel_size"]), _pair(dilation), strict=True)
        padding = tuple(apart * (length - 1) // 2 if padding == "same" else 0 for length, apart in sides)
    return _zipped(given["kernel_size"], given.get("stride", 1), padding, dilation)


def _pool(model: nn.Module, node: Node, dilated: bool) -> dict[str, Any]:
    names = ("kernel_size", "stride", "padding", *(("dilation",) if dilated else ()))
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return {name: getattr(module, name) for name in names}
    return _arguments(node, ("input", *names))


def _of_pool(given: dict[str, Any]) -> Windows:
    stride = given.get("stride")
    stride = given["kernel_size"] if stride is None or stride == [] else stride
    return _zipped(given["kernel_size"], stride, given.get("padding", 0), given.get("dilation", 1))


def _arguments(node: Node, names: tuple[str, ...]) -> dict[str, Any]:
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _padding(model: nn.Module, node: Node) -> Pair | None:
    """Rows on top and columns on the left that the operation adds; None if it is no padding."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        given = module.padding if isinstance(module, nn.ZeroPad2d) else None
    else:
        given = _arguments(node, ("input", "pad")).get("pad") if node.target is F.pad else None
    return None if given is None or len(given) < 2 else (given[2] if len(given) > 2 else 0, given[0])


# ---------------------------------------------------------------------------- operations on each place alone

_MODULES = (
    nn.Linear,  # on maps with their channels last; flattened ones have become whole before
    *(nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.GELU, nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Tanh),
    *(nn.Softplus, nn.Mish, nn.CELU, nn.SELU, nn.Hardtanh, nn.LocalResponseNorm),
)
_FUNCTIONS = {
    *(torch.cat, torch.concat, torch.chunk, torch.split, torch.permute, torch.transpose, torch.unsqueeze),
    *(operator.mul, operator.imul, operator.sub, operator.isub, operator.truediv, operator.neg, operator.add),
    *(torch.mul, torch.add, torch.sub, torch.div, torch.sigmoid, torch.tanh),
    *(F.silu, F.hardswish, F.hardsigmoid, F.sigmoid, F.gelu, F.elu, F.leaky_relu, F.tanh, F.softplus, F.mish),
    *(F.linear,),
}
_METHODS = {
    *("chunk", "split", "permute", "transpose", "contiguous", "unsqueeze", "clone"),
    *("add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_", "sigmoid", "tanh"),
}


def _keeps_places(model: nn.Module, node: Node) -> bool:
    """Whether each unit of the operation reads the place where it is itself, and no other."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        over_channels = isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1
        return over_channels or isinstance(module, _MODULES)
    special = _SPECIAL.get(node.target)
    if special is not None:
        return special(node)
    return node.target in (_METHODS if node.op == "call_method" else _FUNCTIONS)


def _slices_channels(node: Node) -> bool:
    """An entry of a list, or a part of a tensor that is cut along images and channels only."""
    index = node.args[1]
    return isinstance(index, int) or (isinstance(index, tuple) and len(index) <= 2)


def _reshapes_channels(node: Node) -> bool:
    """`view(..., height, width)` with the last two read from a tensor, as channel shuffling does."""
    return len(node.args) > 3 and all(isinstance(size, Node) for size in node.args[-2:])


def _normalises_channels(node: Node) -> bool:
    shape = _arguments(node, ("input", "normalized_shape"))["normalized_shape"]
    return isinstance(shape, list | tuple) and len(shape) == 1


_SPECIAL: dict[Any, Callable[[Node], bool]] = {
    operator.getitem: _slices_channels,
    "view": _reshapes_channels,
    "reshape": _reshapes_channels,
    F.layer_norm: _normalises_channels,
}
