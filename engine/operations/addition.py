"""Sums of two tensors. Of a plain sum both terms get the whole signal: so it takes both paths of a residual block."""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shapes
from engine.operations.signals import Signals


@dataclass(frozen=True)
class AdditionRecord(Record):
    """The sum of two tensors of the same shape: nothing is needed."""

    copies = True

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        return signals, signals


class Addition(Operation):
    """x + y."""

    functions = (operator.add, operator.iadd, torch.add)
    methods = ("add", "add_")
    words = "sum"
    linear = True
    keeps_places = True

    def recognises(self, call: Call) -> bool:
        return super().recognises(call) and _is_plain(call)

    def record(self, call: Call, first: Any, second: Any) -> Recorded:
        same = isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape
        return (first + second, AdditionRecord()) if same else (self.run(call, first, second), None)


class LinearCombination(Operation):
    """x - y, and x + alpha y."""

    functions = (*Addition.functions, operator.sub, operator.isub, torch.sub)
    methods = (*Addition.methods, "sub", "sub_")
    linear = True
    keeps_places = True

    def recognises(self, call: Call) -> bool:
        is_sum = call.node.target in (*Addition.functions, *Addition.methods)
        return super().recognises(call) and not (is_sum and _is_plain(call))

    def title(self, call: Call, shapes: Shapes) -> str:
        return "sum" if call.name in ("add", "add_") else super().title(call, shapes)


def _is_plain(call: Call) -> bool:
    return len(call.node.args) == 2 and not call.node.kwargs
