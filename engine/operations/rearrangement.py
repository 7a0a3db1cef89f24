"""Concatenation, cutting apart, reordering: values move, none changes. All of it is linear."""

import operator

import torch
from torch import nn
from torch.fx import Node

from engine.operations.base import Call, Operation, Shapes
from engine.operations.windows import HERE, Windows


class Rearrangement(Operation):
    """Of channels or axes; each unit stays in its place, where that can be told."""

    modules = (nn.Unflatten,)
    functions = (
        *(torch.cat, torch.concat, torch.chunk, torch.split, torch.unbind, operator.getitem),
        *(torch.permute, torch.transpose, torch.unsqueeze),
    )
    methods = ("permute", "transpose", "contiguous", "chunk", "split", "unbind", "unsqueeze", "clone")
    linear = True

    def window(self, call: Call) -> Windows | None:
        return HERE if call.module is None and _keeps_places(call) else None

    def title(self, call: Call, shapes: Shapes) -> str:
        return "concatenate" if call.name in ("cat", "concat") else super().title(call, shapes)


def _keeps_places(call: Call) -> bool:
    """Whether rows and columns of a map stay what they are."""
    name, axes = call.name, call.node.args[1:]
    if name == "getitem" and isinstance(axes[0], int):
        return True  # an entry of a list
    if name == "permute":
        order = _order(call.node)
        if order in (_CHANNELS_LAST, _AND_BACK):
            return _is_channels_last(call.node.args[0]) is (order == _AND_BACK)
        return order[-2:] == (len(order) - 2, len(order) - 1)
    if any(map(_is_channels_last, call.node.all_input_nodes)):
        return name not in ("getitem", "transpose", "cat", "concat", "chunk", "split", "unbind")
    if name == "getitem":
        return _cuts_channels(axes[0])
    if name == "transpose":
        (count,) = call.dimensions  # channels are shuffled as [N, groups, C, H, W]
        exchanged = call.settings(("dim0", "dim1")).values()
        return all(isinstance(axis, int) and axis % count < count - 2 for axis in exchanged)
    if name in ("cat", "concat", "chunk", "split"):
        (axis, *_) = *axes[0 if name in ("cat", "concat") else 1 :], 0
        given = call.node.kwargs
        return given.get("dim", given.get("axis", axis)) in (0, 1, -3, -4)
    return name != "unbind"


_CHANNELS_LAST, _AND_BACK = (0, 2, 3, 1), (0, 3, 1, 2)


def _order(node: Node) -> tuple[int, ...]:
    """The axes of a `permute`, one by one or as one argument."""
    axes = node.args[1:] or (node.kwargs["dims"],)
    return tuple(axes) if len(axes) > 1 else tuple(*axes)


def _is_channels_last(node: Node) -> bool:
    """Whether the last permutation on the way there put the channels last."""
    while isinstance(node, Node) and node.target not in ("permute", torch.permute):
        node = node.args[0] if node.args else None
    return isinstance(node, Node) and _order(node) == _CHANNELS_LAST


def _cuts_channels(index: object) -> bool:
    """Whether it is a part of a tensor that is cut along images and channels only."""
    return isinstance(index, tuple) and len(index) <= 2 and ... not in index
