"""What makes a vector of feature maps: their averages, or all their values in a row. All of it is linear."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from engine.operations.base import Call, Operation, Shapes
from engine.operations.windows import HERE, Windows, sides_in_words


class Flattening(Operation):
    """Flatten, reshape, mean, and the average over whatever is there."""

    modules = (nn.AdaptiveAvgPool2d, nn.Flatten)
    functions = (F.adaptive_avg_pool2d, torch.flatten, torch.reshape, torch.mean)
    methods = ("view", "reshape", "flatten", "mean")
    linear = True
    ends_maps = True

    def window(self, call: Call) -> Windows | None:
        return HERE if _reshapes_channels(call) else None

    def title(self, call: Call, shapes: Shapes) -> str:
        if call.name in ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"):
            before, after = (shapes[node][2:] for node in (call.node.args[0], call.node))
            sides = sides_in_words(before if after == (1, 1) else after)
            return f"average of {sides}" if after == (1, 1) else f"average pool to {sides}"
        return "mean" if call.name == "mean" else "flatten"


def _reshapes_channels(call: Call) -> bool:
    """`x.view(..., height, width)` with the last two read from a tensor, as channel shuffling does."""
    sizes = call.node.args[-2:]
    return call.node.op == "call_method" and len(call.node.args) > 3 and all(isinstance(size, Node) for size in sizes)
