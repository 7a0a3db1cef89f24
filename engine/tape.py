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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from engine.errors import ConvscopeError
from engine.graph import Block, Graph, trace
from engine.graph.runs import Recorder, Step, check_images, compute, forward
from engine.operations.base import is_differentiable


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


def stage_outputs(model: nn.Module, most: int) -> tuple[str, ...]:
    """The layers that are the outputs of the stages, from the first to the last; of many, `most` evenly spread ones.

    Raises:
        ConvscopeError: the model cannot be traced (see `engine.graph.trace`).
    """
    outputs = tuple(stages(model).values())
    if len(outputs) <= most:
        return outputs
    return tuple(outputs[round(index * (len(outputs) - 1) / (most - 1))] for index in range(most))


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
    check_images(x)
    graph = trace(model, x.shape)
    target = graph.resolve(layer)
    recorder = Recorder(graph)
    activation = forward(model, graph, {target}, x, recorder.compute)[target]
    if not is_differentiable(activation):
        what = "fractions" if isinstance(activation, Tensor) else "a tensor"
        raise ConvscopeError(f"The layer {layer!r} does not hold {what}: choose one that does.")
    node, image = graph.names[target], graph.names[graph.input]
    return Tape(activation, layer, node, tuple(recorder.steps), image, x.shape, graph.blocks)


def features(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The forward pass up to `layer`, `[N, C, H, W]`, through which autograd can go back to `x`.

    Arguments and errors are those of `record`; nothing is written, neither in the model nor in `x`.
    """
    return activations(model, x, [layer])[layer]


def activations(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """`features` of several layers, by the names asked for, from one forward pass."""
    check_images(x)
    graph = trace(model, x.shape)
    targets = {name: graph.resolve(name) for name in names}
    values = forward(model, graph, set(targets.values()), x, compute)
    return {name: values[node] for name, node in targets.items()}


# ------------------------------------------------------------------------------------- halting at a layer


@dataclass(frozen=True)
class Halt:
    """A forward pass that halted at a layer, and can go on from there with other values in its place.

    Attributes:
        activation: what the layer computed, `[N, C, H, W]` (or `[N, C]`).
        beside: what other nodes computed, by the names asked for.
    """

    activation: Tensor = field(repr=False)
    beside: Mapping[str, Tensor] = field(repr=False)
    _model: nn.Module = field(repr=False)
    _graph: Graph = field(repr=False)
    _layer: Node = field(repr=False)
    _known: Mapping[Node, Any] = field(repr=False)
    _image: Tensor = field(repr=False)

    def resume(self, activation: Tensor) -> Tensor:
        """The logits `[N, K]`, with `activation` in the layer's place; autograd can go back to it.

        Only what depends on the layer is computed.
        """
        output = self._graph.output
        known = {**self._known, self._layer: activation}
        return forward(self._model, self._graph, {output}, self._image, compute, known)[output]

    @property
    def bytes(self) -> int:
        """How much memory the values take that are kept."""
        return sum(value.nbytes for value in [self.activation, *self._known.values()] if isinstance(value, Tensor))


@torch.no_grad()
def halt(model: nn.Module, x: Tensor, layer: str, beside: Sequence[str] = ()) -> Halt:
    """Run `model` on `x` up to `layer`, and keep what the rest of the network reads.

    That is the layer's activation; of a layer within a residual block also what the shortcut carries past it.

    Args:
        beside: the names of other nodes whose values are wanted.

    Raises:
        ConvscopeError: as `record`; the network does not return a single tensor, or does not depend on the layer.
    """
    check_images(x)
    logits(model)
    graph = trace(model, x.shape)
    target, others = graph.resolve(layer), {name: graph.resolve(name) for name in beside}
    after = {target}
    for node in graph.path_to(graph.output):
        if not after.isdisjoint(node.all_input_nodes):
            after.add(node)
    if graph.output not in after:
        raise ConvscopeError(f"The answer does not depend on {layer!r}: choose a layer on the way to it.")
    read = {source for node in after - {target} for source in node.all_input_nodes} - after
    values = forward(model, graph, {target, *read, *others.values()}, x, compute)
    known = {node: values[node] for node in read}
    found = {name: values[node] for name, node in others.items()}
    # A copy: a slice would keep all images in memory.
    return Halt(values[target], found, model, graph, target, known, x[:1].clone())
