"""Concatenation, cutting apart, reordering: values move, none changes. All of it is linear."""

import operator

import torch
from torch import nn

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
        if call.node.target is operator.getitem:
            return HERE if _cuts_channels(call.node.args[1]) else None
        return None if call.module is not None or call.name == "unbind" else HERE

    def title(self, call: Call, shapes: Shapes) -> str:
        return "concatenate" if call.name in ("cat", "concat") else super().title(call, shapes)


def _cuts_channels(index: object) -> bool:
    """Whether it is an entry of a list, or a part of a tensor that is cut along images and channels only."""
    return isinstance(index, int) or (isinstance(index, tuple) and len(index) <= 2)
