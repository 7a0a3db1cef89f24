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
from engine.operations.signals import Signals


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
    values: Values = dict(known or {})
    for node, read_last in graph.plan(frozenset(targets), frozenset(values)):
        try:
            values[node] = (
                x if node is graph.input else compute(graph.call(model, node), graph.operations[node], values)
            )
        except RuntimeError as error:
            reason = _misfit(str(error), x, graph.names[node])
            if reason is None:
                raise
            raise ConvscopeError(reason) from error
        for source in read_last:
            del values[source]
    return values


def compute(call: Call, operation: Operation, values: Mapping[Node, Any]) -> Any:
    args, kwargs = map_arg((call.node.args, call.node.kwargs), values.__getitem__)
    return operation.run(call, *args, **kwargs)


def check_images(x: Tensor) -> None:
    """Raises ConvscopeError: `x` is not of shape [N, 3, H, W]."""
    if not isinstance(x, Tensor) or x.dim() != 4 or x.shape[1] != 3 or x.shape[0] < 1:
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


def play_back(
    steps: Sequence[Step],
    signals: Mapping[str, Signals],
    image: str,
    shape: torch.Size,
    rules: Rules,
    cut: Cut,
    norms: dict[str, Tensor] | None = None,
) -> Tensor:
    """Play K signals, by the nodes at whose outputs they arrive, back to the `image`: its pixels `[K * N, 3, H, W]`.

    Args:
        shape: of the image, `[N, 3, H, W]`.
        norms: where given, takes the norms `[K * N]` after each reversed step, by its node's name.
    """
    arriving = dict(signals)
    for step in reversed(steps):
        if step.name not in arriving:
            continue
        here = arriving.pop(step.name)
        sent = _send(step, here, rules, cut)
        for source, part in sent:
            arriving[source] = arriving[source] + part if source in arriving else part
        if norms is not None:
            norms[step.name] = _joint_norm([here] if step.record.copies else [part for _, part in sent], shape[0])
    if image in arriving:
        return arriving[image].everything().flatten(0, 1)
    values = next(iter(signals.values())).values
    return values.new_zeros((len(values) * shape[0], *shape[1:]))


def _send(step: Step, signals: Signals, rules: Rules, cut: Cut) -> list[tuple[str, Signals]]:
    """What the step passes on to each node that it read."""
    parts = zip(step.inputs, step.record.reverse_windows(signals, rules), strict=True)
    return [(source, part) for source, part in parts if source != cut.get(step.name)]


_HOLDS = 1e-15, 1e18
"""Norms whose squares single precision holds well."""


def norm_of_each(values: Tensor, images: int = 1) -> Tensor:
    """`[K]` norms of `values` `[K, ...]`; of `[1, N, ...]` with N `images` those of each image's part, `[N]`."""
    each = _image_by_image(values.abs() if values.is_complex() else values, images)
    dimensions = tuple(range(1, each.dim()))
    norms = torch.linalg.vector_norm(each, dim=dimensions).double()
    if all(_HOLDS[0] < norm < _HOLDS[1] for norm in norms.tolist()):
        return norms
    # Leaving batch norm out may take a signal's square beyond what a float can hold.
    return torch.linalg.vector_norm(each, dim=dimensions, dtype=torch.float64)


def _image_by_image(values: Tensor, images: int) -> Tensor:
    """`values` of K signals, or of one signal and N images, as K or N rows of any shape."""
    rows = len(values) if images == 1 else images
    values = values if images == 1 else values[0]
    if values.numel() % rows:  # no image has a part of its own
        return values.reshape(1, -1).expand(rows, -1)
    return values if values.dim() > 1 and len(values) == rows else values.reshape(rows, -1)


def _joint_norm(signals: list[Signals], images: int) -> Tensor:
    norms = [norm_of_each(each.values, images) for each in signals]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)
