"""What does nothing in eval mode: dropout, stochastic depth, `nn.Identity`. The signal passes as it is."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import nn
from torchvision.ops import stochastic_depth

from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shapes
from engine.operations.signals import Signals


@dataclass(frozen=True)
class IdentityRecord(Record):
    """Nothing is needed."""

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        return (signals,)


class Identity(Operation):
    """Not a dropout function that drops even in eval mode: `F.dropout(x)` does, unless an argument forbids it."""

    modules = (nn.Identity, nn.modules.dropout._DropoutNd)
    functions = (F.dropout, F.dropout2d, F.alpha_dropout, stochastic_depth)
    linear = True
    keeps_places = True

    def recognises(self, call: Call) -> bool:
        return super().recognises(call) and not _drops(call)

    def run(self, call: Call, x: Any, *_: Any, **__: Any) -> Any:
        return x

    def record(self, call: Call, x: Any, *_: Any, **__: Any) -> Recorded:
        return x, IdentityRecord()

    def title(self, call: Call, shapes: Shapes) -> str:
        return "nothing" if isinstance(call.module, nn.Identity) else "dropout"


def _drops(call: Call) -> bool:
    if call.module is not None or call.node.target is stochastic_depth:
        return False
    default = inspect.signature(call.node.target).parameters["training"].default
    return bool(call.settings(("p", "training")).get("training", default))
