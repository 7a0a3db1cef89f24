"""A forward pass to one layer that keeps what playing it backwards needs, and nothing else.

A network is a chain of operations. To send a signal back through one, little of its forward pass matters:

    convolution     its weights, and how large its input was
    max-pooling     where each window's maximum was (Zeiler & Fergus call these the switches)
    ReLU            which units were positive
    batch norm      the factor gamma / sqrt(var + eps); in eval mode it is a fixed affine map
    a sum, dropout  nothing
    anything else   its input, to take the vector-Jacobian product there; if it is linear, its input's shape

`record` runs the traced graph operation by operation, stops at the layer, and lets go of each activation
after its last use. It reads the model and writes nothing: no hook, no mode, no parameter; what the network
does in place is done on a copy. So any number of threads can record from one shared model at once.

Limits: eval mode only; an operation that draws random numbers even then is played back at a new draw.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 2.1.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from engine.errors import ConvscopeError
from engine.graph import Block, Graph, Nodes, trace
from engine.operations import Call, Operation, Record
from engine.operations.base import is_real
from engine.operations.other import VectorJacobian


@dataclass(frozen=True)
class Step:
    """One operation of a forward pass: its node's `name`, the nodes it read, by name, and what its reversal needs."""

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    record: Record = field(repr=False)


@dataclass(frozen=True)
class Tape:
    """A recorded forward pass.

    Attributes:
        activation: what the layer computed: `[N, C, H, W]` for feature maps, `[N, C]` for a dense layer.
        layer: the name that `record` was called with; `node`: the name of its node.
        steps: the operations that led there, in order.
        input: the name of the image's node; `input_shape`: the images' `[N, 3, H, W]`.
        blocks: every residual add of the network, also those behind the layer.
    """

    activation: Tensor = field(repr=False)
    layer: str
    node: str
    steps: tuple[Step, ...] = field(repr=False)
    input: str
    input_shape: torch.Size
    blocks: Mapping[str, Block] = field(repr=False)


# ---------------------------------------------------------------------------------------------- public calls


def layers(model: nn.Module) -> dict[str, str]:
    """`{friendly name: node name}` of the layers with feature maps, in order.

    Raises:
        ConvscopeError: the model cannot be traced (see `engine.graph.trace`).
    """
    return dict(trace(model).layers)


def logits(model: nn.Module) -> str:
    """The node name of the network's output, for reconstructing a class.

    Raises:
        ConvscopeError: the model cannot be traced, or does not return a single tensor.
    """
    graph = trace(model)
    if graph.output is None:
        raise ConvscopeError(f"{type(model).__name__} does not return a single tensor: name a layer.")
    return graph.names[graph.output]


def stages(model: nn.Module) -> dict[str, str]:
    """`{stage: the layer that is its output}`, in order: `{"conv1": "conv1_relu", "conv2_x": "conv2_x", ...}`.

    Raises:
        ConvscopeError: the model cannot be traced (see `engine.graph.trace`).
    """
    return dict(trace(model).stages)


@torch.no_grad()
def record(model: nn.Module, x: Tensor, layer: str) -> Tape:
    """Run `model` on `x` up to `layer` and keep what the reversal needs (Zeiler & Fergus 2014, section 2.1).

    Args:
        model: a network in eval mode; it is only read.
        x: images `[N, 3, H, W]`, normalised as the network expects.
        layer: a friendly name (see `layers`) or the name of a graph's node.

    Raises:
        ConvscopeError: unknown layer, wrong shape of `x`, images too small for the network, a model that
            is in training mode or cannot be traced.
    """
    graph = trace(model)
    target = graph.resolve(layer)
    recorder = _Recorder(graph)
    activation = _forward(model, graph, {target}, x, recorder.compute)[target]
    if not isinstance(activation, Tensor):
        raise ConvscopeError(f"The layer {layer!r} does not hold a tensor: choose one that does.")
    node, image = graph.names[target], graph.names[graph.input]
    return Tape(activation, layer, node, tuple(recorder.steps), image, x.shape, graph.blocks)


def features(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The forward pass up to `layer`, `[N, C, H, W]`, through which autograd can go back to `x`.

    Arguments and errors are those of `record`; nothing is written, neither in the model nor in `x`.
    """
    return activations(model, x, [layer])[layer]


def activations(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """`features` of several layers, by the names asked for, from one forward pass."""
    graph = trace(model)
    targets = {name: graph.resolve(name) for name in names}
    values = _forward(model, graph, set(targets.values()), x, _compute)
    return {name: values[node] for name, node in targets.items()}


# ----------------------------------------------------------------------------------------------- forward run

Values = dict[Node, Any]
Compute = Callable[[Call, Operation, Values], Any]


def _forward(model: nn.Module, graph: Graph, targets: Collection[Node], x: Tensor, compute: Compute) -> Values:
    """The values of `targets`: computes what they need, in order, and forgets each other value after its last use."""
    _check_images(x)
    path = graph.path_to(*targets)
    last_reader = {source: node for node in path for source in node.all_input_nodes}
    values: Values = {}
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


def _compute(call: Call, operation: Operation, values: Mapping[Node, Any]) -> Any:
    args, kwargs = map_arg((call.node.args, call.node.kwargs), values.__getitem__)
    return operation.run(call, *args, **kwargs)


def _check_images(x: Tensor) -> None:
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


class _Recorder:
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
        if sources and is_real(value):
            self._recorded.add(node)
            names = tuple(self._names[source] for source in sources)
            self.steps.append(Step(self._names[node], operation, names, record.without_values()))
        elif sources and isinstance(value, tuple | list) and any(is_real(part) for part in value):
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
            return _compute(call, operation, known)

        return order, VectorJacobian(function, tuple(inputs.values()), linear)
