"""What a network starts from: the image, and its own parameters and constants where `forward` uses them directly."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from engine.operations.base import Call, Operation


class Image(Operation):
    """The network's one input."""

    words = "image"

    def recognises(self, call: Call) -> bool:
        return call.node.op == "placeholder" and not call.node.args


class Constant(Operation):
    """A parameter, a buffer, a tensor that `forward` makes up, or an argument that has a default."""

    words = "weights"

    def recognises(self, call: Call) -> bool:
        return call.node.op == "get_attr" or (call.node.op == "placeholder" and bool(call.node.args))

    def run(self, call: Call, *default: Any, **_: Any) -> Any:
        return default[0] if default else call.constant(call.node)

    def parameters(self, call: Call) -> Iterable[nn.Parameter]:
        value = call.constant(call.node) if call.node.op == "get_attr" else None
        return [value] if isinstance(value, nn.Parameter) else []
