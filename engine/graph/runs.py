"""One run through the graph: forward, operation by operation, and the playback of what was recorded."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from engine.errors import ConvscopeError
from engine.graph.structure import Graph, Nodes
from engine.operations import Call, Operation, Record, Rules
from engine.operations.base import is_differentiable
from engine.operations.other import VectorJacobian


@dataclass(frozen=True)
class Step:
    """One operation of a forward pass: its node's `name`, the nodes it read, by name, and what its reversal needs."""

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    record: Record = field(repr=False)


# ----------------------------------------------------------------------------------------------- forward run

Values = dict[Node, Any]
Compute = Callable[[Call, Operation, Values], Any]


def forward(
    model: nn.Module, graph: Graph, targets: Collection[Node], x: Tensor, compute: Compute, known: Values | None = None
) -> Values:
    """The values of `targets`: computes what they need, in order, and forgets each other value after its last use.

    Args:
        known: values that are not computed again, and not forgotten.
    """
    known = known or {}
    path = [node for node in graph.path_to(*targets, known=known) if node not in known]
    targets = {*targets, *known}
    last_reader = {source: node for node in path for source in node.all_input_nodes}
    values: Values = dict(known)
    for node in path:
        try:
            values[node] = (
                x if node is graph.input else compute(graph.call(model, node), graph.operations[node], values)
            )
        except RuntimeError as error:
            reason = _misfit(str(error), x, graph.names[node])
            if reason is None:
                raise
            raise ConvscopeError(reason) from error
        for source in node.all_input_nodes:
            if last_reader[source] is node and source not in targets:
                del values[source]
    return values


def compute(call: Call, operation: Operation, values: Mapping[Node, Any]) -> Any:
    args, kwargs = map_arg((call.node.args, call.node.kwargs), values.__getitem__)
    return operation.run(call, *args, **kwargs)


def check_images(x: Tensor) -> None:
    """Raises ConvscopeError: `x` is not of shape [N, 3, H, W]."""
    if x.dim() != 4 or x.shape[1] != 3 or x.shape[0] < 1:
        shape = " x ".join(map(str, x.shape)) or "a single number"
        raise ConvscopeError(f"The images must have shape [N, 3, H, W], not {shape}: stack RGB images.")


def _misfit(message: str, x: Tensor, name: str) -> str | None:
    """In words for whoever chose the image, what torch says about a size; None if it says something else."""
    image = f"An image of {x.shape[2]} x {x.shape[3]} px"
    if re.search("too small|can't be greater than actual input size", message):
        return f"{image} is too small for this network: nothing is left of it at {name!r}; use a larger one."
    if re.search(_OTHER_SIZE, message):
        return f"{image} does not fit this network at {name!r}: use the size that it was built for."
    return None


_OTHER_SIZE = "cannot be multiplied|invalid for input of size|must match the size of tensor|Sizes of tensors must match"


# -------------------------------------------------------------------------------------------------- recorder


class Recorder:
    """Computes one operation after the other and writes the steps down.

    Every step leads from tensors to one tensor. So an operation that gives a list of tensors (`chunk`, say) is no step:
    it waits in `_lists`, and each operation that reads the list is recorded as a function of what the list was made of.
    """

    def __init__(self, graph: Graph) -> None:
        self.steps: list[Step] = []
        self._names = graph.names
        self._recorded: set[Node] = {graph.input}
        self._lists: dict[Node, tuple[Nodes, VectorJacobian]] = {}

    def compute(self, call: Call, operation: Operation, values: Values) -> Any:
        """The operation's value; a step is recorded if it is a tensor that depends on the image."""
        node = call.node
        args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
        value, record = operation.record(call, *args, **kwargs)
        sources = tuple(source for source in node.args if isinstance(source, Node))
        if record is None or not self._recorded.issuperset(node.all_input_nodes):
            sources, record = self._vector_jacobian(call, operation, values)
        if sources and is_differentiable(value):
            self._recorded.add(node)
            names = tuple(self._names[source] for source in sources)
            self.steps.append(Step(self._names[node], operation, names, record.without_values()))
        elif sources and isinstance(value, tuple | list) and any(is_differentiable(part) for part in value):
            self._lists[node] = sources, record
        return value

    def _vector_jacobian(self, call: Call, operation: Operation, values: Values) -> tuple[Nodes, VectorJacobian]:
        """The operation as a function of all recorded tensors that it depends on."""
        read = call.node.all_input_nodes
        direct = [source for source in read if source in self._recorded]
        lists = {source: self._lists[source] for source in read if source in self._lists}
        inputs = {source: values[source] for source in direct}
        for sources, record in lists.values():
            inputs.update(zip(sources, record.inputs, strict=True))
        constants = {source: values[source] for source in read if source not in inputs and source not in lists}
        linear = operation.is_linear(call, direct) and all(record.linear for _, record in lists.values())
        # Of the lists only their functions go in: their inputs would stay in memory for as long as the tape.
        makers = {source: (sources, record.function) for source, (sources, record) in lists.items()}
        order = tuple(inputs)

        def function(*tensors: Tensor) -> Any:
            known = constants | dict(zip(order, tensors, strict=True))
            for source, (sources, make) in makers.items():
                known[source] = make(*(known[tensor] for tensor in sources))
            return compute(call, operation, known)

        return order, VectorJacobian(function, tuple(inputs.values()), linear)


# -------------------------------------------------------------------------------------------------- playback

Cut = Mapping[str, str]
"""Residual add -> the one of its inputs that gets no signal."""
Played = tuple[Tensor, list[Tensor], list[str]]
"""The pixels, and after each reversed step the norms `[K]` and the node's name."""


def play_back(
    steps: Sequence[Step], signals: Mapping[str, Tensor], image: str, shape: torch.Size, rules: Rules, cut: Cut
) -> Played:
    """Play `signals`, by the nodes at whose outputs they arrive, back to the `image` of this `shape`."""
    batch, arriving = shape[0], dict(signals)
    norms: list[Tensor] = []
    nodes: list[str] = []
    for step in reversed(steps):
        if step.name not in arriving:
            continue
        here = arriving.pop(step.name)
        sent = _send(step, here, rules, cut)
        for source, part in sent:
            arriving[source] = arriving[source] + part if source in arriving else part
        copies = step.record.copies
        norms.append(norm_of_each(here, batch) if copies else _joint_norm([part for _, part in sent], batch))
        nodes.append(step.name)
    pixels = arriving.get(image)
    return (next(iter(signals.values())).new_zeros(shape) if pixels is None else pixels), norms, nodes


def _send(step: Step, signal: Tensor, rules: Rules, cut: Cut) -> list[tuple[str, Tensor]]:
    """The signal that the step passes on to each node that it read."""
    parts = zip(step.inputs, step.record.reverse(signal, rules), strict=True)
    return [(source, part) for source, part in parts if source != cut.get(step.name)]


def norm_of_each(signal: Tensor, batch: int) -> Tensor:
    """`[batch]`: the norm of each image's part of `signal`."""
    signal = signal.abs() if signal.is_complex() else signal
    # In double precision: leaving batch norm out may take a signal's square beyond what a float can hold.
    each = signal.reshape(batch, -1) if signal.numel() % batch == 0 else signal.reshape(1, -1).expand(batch, -1)
    return torch.linalg.vector_norm(each, dim=1, dtype=torch.float64)


def _joint_norm(signals: list[Tensor], batch: int) -> Tensor:
    norms = [norm_of_each(signal, batch) for signal in signals]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)
