"""Every operation that no other file knows: reversed by its vector-Jacobian product at the recorded input.

That is what automatic differentiation does with it, so every network that can be traced can be played backwards.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from engine.operations.base import Call, Operation, Record, Rules, inner_product
from engine.operations.signals import Signals


@dataclass(frozen=True)
class VectorJacobian(Record):
    """A pure function of `inputs`.

    `linear`: whether its derivative is the same at every input; then zeros of their shape do as well.
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    linear: bool

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        each = signals.everything()
        inputs = tuple(tensor.detach().requires_grad_() for tensor in self.inputs)
        with torch.enable_grad():
            output = self.function(*(tensor.clone() for tensor in inputs))  # it may overwrite what it is given
        found = _pull_back(output, inputs, each) if output.requires_grad else [None] * len(inputs)
        pairs = zip(found, inputs, strict=True)
        return tuple(Signals(x.new_zeros(len(each), *x.shape) if part is None else part) for part, x in pairs)

    def without_values(self) -> "VectorJacobian":
        """The same, if it is linear with zeros for inputs, which take no memory."""
        if not self.linear:
            return self
        return replace(self, inputs=tuple(tensor.new_zeros(()).expand(tensor.shape) for tensor in self.inputs))


class Other(Operation):
    """It recognises nothing by itself: it is what is left."""

    def recognises(self, call: Call) -> bool:
        return False


def _pull_back(output: Tensor, inputs: Sequence[Tensor], signals: Tensor) -> Sequence[Tensor | None]:
    """For each of `inputs` the gradients of <signal, output>, one for each of `signals`; None where all are zero."""
    gradients = partial(torch.autograd.grad, inputs=inputs, retain_graph=True, allow_unused=True)
    if len(signals) > 1:
        with suppress(RuntimeError):  # not every operation can be batched
            return gradients(output, grad_outputs=signals, is_grads_batched=True)
    parts = zip(*(gradients(inner_product(signal, output)) for signal in signals), strict=True)
    return [None if each[0] is None else torch.stack(each) for each in parts]
