"""ReLU, max(x, 0), and ReLU6, which is cut off at 6 as well.

Its forward pass decides which units are passed on; the three ways to look inside a network differ in what they do here:

    "deconvnet"    max(s, 0)                    (Zeiler & Fergus 2014)
    "gradient"     s * (forward > 0)            (Simonyan et al. 2013)
    "guided"       max(s, 0) * (forward > 0)    (Springenberg et al. 2015)
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.operations.base import Call, Operation, Record, Recorded, Rules
from engine.operations.signals import Signals


@dataclass(frozen=True)
class ReLURecord(Record):
    """`mask`: where it passed its input on unchanged."""

    mask: Tensor

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        values = signals.values if rules.relu == "gradient" else signals.values.clamp(min=0)
        if rules.relu != "deconvnet":
            values = values * signals.of_record(self.mask)
        return (Signals(values, signals.place),)


class ReLU(Operation):
    """As a module, function or method, in place or not."""

    modules = (nn.ReLU, nn.ReLU6)
    functions = (F.relu, F.relu6, torch.relu, torch.relu_)
    methods = ("relu", "relu_")
    keeps_places = True
    words = "ReLU"

    def run(self, call: Call, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return F.relu6(x) if _is_relu6(call) else F.relu(x)

    def record(self, call: Call, x: Tensor, *_: Any, **__: Any) -> Recorded:
        value = self.run(call, x)
        positive = value.bool()  # none is negative, and a comparison takes six times as long
        return value, ReLURecord(positive & (value < 6) if _is_relu6(call) else positive)


def _is_relu6(call: Call) -> bool:
    return isinstance(call.module, nn.ReLU6) or call.node.target is F.relu6
