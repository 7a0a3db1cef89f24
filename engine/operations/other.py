"""Every operation that no other file knows: reversed by its vector-Jacobian product at the recorded input.

That is what automatic differentiation does with it, so every network that can be traced can be played backwards.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.operations.base import Call, Operation, Record, Rules


@dataclass(frozen=True)
class VectorJacobian(Record):
    """A pure function of `inputs`.

    `linear`: whether its derivative is the same at every input; then zeros of their shape do as well.
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    linear: bool

    def reverse(self, signal: Tensor, rules: Rules) -> tuple[Tensor, ...]:
        _, pull_back = torch.func.vjp(self.function, *self.inputs)
        return pull_back(signal)

    def without_values(self) -> "VectorJacobian":
        """The same, if it is linear with zeros for inputs, which take no memory."""
        if not self.linear:
            return self
        return replace(self, inputs=tuple(tensor.new_zeros(()).expand(tensor.shape) for tensor in self.inputs))


class Other(Operation):
    """It recognises nothing by itself: it is what is left."""

    def recognises(self, call: Call) -> bool:
        return False
