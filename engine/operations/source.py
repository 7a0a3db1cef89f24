"""What a network starts from: the image, and its own parameters and constants where `forward` uses them directly."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from engine.operations.base import Call, Operation


class Image(Operation):
    """The network's one input."""

    words = "image"

    def recognises(self, call: Call) -> bool:
        return call.node.op == "placeholder"


class Constant(Operation):
    """A parameter, a buffer, or a tensor that `forward` makes up."""

    words = "weights"

    def recognises(self, call: Call) -> bool:
        return call.node.op == "get_attr"

    def run(self, call: Call, *_: Any, **__: Any) -> Any:
        return call.constant(call.node)

    def parameters(self, call: Call) -> Iterable[nn.Parameter]:
        value = call.constant(call.node)
        return [value] if isinstance(value, nn.Parameter) else []
