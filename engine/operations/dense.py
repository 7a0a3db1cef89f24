"""Dense (fully connected) layer: each output is a weighted sum of all inputs.

It learns D_in x D_out weights and D_out biases and uses each weight once per output position. Behind flattened maps it
is a convolution that fills its input, and its weights are counted like one's: H x W x C x D_out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from engine.operations.base import Call, Operation, Shape, Shapes, product_in_words


class Dense(Operation):
    """As a module or as a function."""

    modules = (nn.Linear,)
    functions = (F.linear,)
    ends_maps = True
    keeps_places = True  # on maps with their channels last; flattened ones see the whole image already

    def is_linear(self, call: Call, inputs: Sequence[Node]) -> bool:
        return list(inputs) == list(call.node.args[:1])  # not if the weights depend on the image as well

    def multiply_adds(self, call: Call, shapes: Shapes) -> int:
        weights = shapes[_weight(call)] if call.module is None else call.module.weight.shape
        return weights[-1] * math.prod(shapes[call.node])  # of one image, wherever its axis is

    def arithmetic(self, call: Call, parameters: Sequence[nn.Parameter], shapes: Shapes) -> str:
        maps = _flattened_maps(call, shapes)
        return " + ".join(product_in_words(_factors(parameter, maps)) for parameter in parameters)

    def title(self, call: Call, shapes: Shapes) -> str:
        return f"dense {shapes[call.node][-1]}"


def _weight(call: Call) -> Node:
    return call.settings(("weight",))["weight"]


def _factors(parameter: nn.Parameter, maps: Shape) -> Iterable[int]:
    """Inputs x outputs; the inputs as height x width x channels where they are flattened maps."""
    if parameter.dim() < 2:
        return parameter.shape
    outputs, inputs = parameter.shape
    return (*maps[1:], maps[0], outputs) if maps and math.prod(maps) == inputs else (inputs, outputs)


def _flattened_maps(call: Call, shapes: Shapes) -> Shape:
    """(C, H, W) if it reads maps of more than one pixel that were flattened, else ()."""
    source = call.node.args[0]
    while isinstance(source, Node) and len(shapes.get(source, ())) == 2:
        if Dense().recognises(replace(call, node=source)):
            break
        source = source.args[0] if source.args else None
    shape = shapes.get(source, ()) if isinstance(source, Node) else ()
    return shape[1:] if len(shape) == 4 and math.prod(shape[2:]) > 1 else ()
