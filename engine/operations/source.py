"""What a network starts from: the image, and its own parameters and constants where `forward` uses them directly."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from engine.operations.base import Call, Operation, Shapes


class Image(Operation):
    """The network's one input."""

    def recognises(self, call: Call) -> bool:
        return call.node.op == "placeholder" and not call.node.args

    def title(self, call: Call, shapes: Shapes) -> str:
        return "image"


class Constant(Operation):
    """A parameter, a buffer, a tensor that `forward` makes up, or an argument that has a default."""

    def recognises(self, call: Call) -> bool:
        return call.node.op == "get_attr" or (call.node.op == "placeholder" and bool(call.node.args))

    def run(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return call.constant(call.node) if call.node.op == "get_attr" else args[0]

    def parameters(self, call: Call) -> Iterable[nn.Parameter]:
        value = call.constant(call.node) if call.node.op == "get_attr" else None
        return [value] if isinstance(value, nn.Parameter) else []

    def title(self, call: Call, shapes: Shapes) -> str:
        return "weights"
