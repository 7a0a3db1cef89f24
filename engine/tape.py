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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from engine.errors import ConvscopeError
from engine.graph import Block, Graph, Kind, Nodes, constant, trace, works_in_place
from engine.records import Addition, BatchNorm, Convolution, Identity, MaxPool, Record, Rectifier, VectorJacobian


@dataclass(frozen=True)
class Step:
    """One operation: its node's `name`, the names of the nodes it read, and what its reversal needs."""

    name: str
    inputs: tuple[str, ...]
    record: Record = field(repr=False)


@dataclass(frozen=True)
class Tape:
    """A recorded forward pass.

    Attributes:
        activation: what the layer computed: `[N, C, H, W]` for feature maps, `[N, C]` for a dense layer.
        layer: the name it was asked for by; `node`: the name of its node.
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
    recorder = _Recorder(model, graph)
    activation = _run(graph, target, x, recorder.compute)
    if not isinstance(activation, Tensor):
        raise ConvscopeError(f"The layer {layer!r} does not hold a tensor: choose one that does.")
    node, image = graph.names[target], graph.names[graph.input]
    return Tape(activation, layer, node, tuple(recorder.steps), image, x.shape, graph.blocks)


def features(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The forward pass up to `layer`, `[N, C, H, W]`, through which autograd can go back to `x`.

    Arguments and errors are those of `record`; nothing is written, neither in the model nor in `x`.
    """
    graph = trace(model)
    target = graph.resolve(layer)
    return _run(graph, target, x, lambda node, values: _value(model, graph, node, values.__getitem__))


# ----------------------------------------------------------------------------------------------- forward run

Values = dict[Node, Any]


def _run(graph: Graph, target: Node, x: Tensor, compute: Callable[[Node, Values], Any]) -> Any:
    """Compute the nodes that `target` needs, in order, forgetting each value after its last use."""
    _check_images(x)
    path = graph.path_to(target)
    last_reader = {source: node for node in path for source in node.all_input_nodes}
    values: Values = {}
    for node in path:
        try:
            values[node] = x if node is graph.input else compute(node, values)
        except RuntimeError as error:
            reason = _misfit(str(error), x, graph.names[node])
            if reason is None:
                raise
            raise ConvscopeError(reason) from error
        for source in node.all_input_nodes:
            if last_reader[source] is node:
                del values[source]
    return values[target]


def _check_images(x: Tensor) -> None:
    if x.dim() != 4 or x.shape[1] != 3 or x.shape[0] < 1:
        shape = " x ".join(map(str, x.shape)) or "a single number"
        raise ConvscopeError(f"The images must have shape [N, 3, H, W], not {shape}: stack RGB images.")


def _misfit(message: str, x: Tensor, name: str) -> str | None:
    """In words for whoever chose the image, what torch says about a size; None if it says something else."""
    image = f"An image of {x.shape[2]} x {x.shape[3]} px"
    if "too small" in message or "can't be greater than actual input size" in message:
        return f"{image} is too small for this network: nothing is left of it at {name!r}; use a larger one."
    if any(words in message for words in _OTHER_SIZE):
        return f"{image} does not fit this network at {name!r}: use the size that it was built for."
    return None


_OTHER_SIZE = (
    "shapes cannot be multiplied", "is invalid for input of size", "must match the size of tensor",
    "Sizes of tensors must match",
)  # fmt: skip


def _value(model: nn.Module, graph: Graph, node: Node, value_of: Callable[[Node], Any]) -> Any:
    """What the operation gives, without overwriting anything."""
    if node.op == "get_attr":
        return constant(model, graph, node)
    if node.op == "placeholder":
        return node.args[0]
    args = list(map_arg(node.args, value_of))
    kwargs = map_arg(node.kwargs, value_of)
    if graph.kinds[node] is Kind.RECTIFIER:
        return F.relu6(args[0]) if _is_relu6(node, model) else F.relu(args[0])
    if graph.kinds[node] is Kind.IDENTITY:
        return args[0]
    if works_in_place(node, model):
        args[0] = args[0].clone()
    if node.op == "call_module":
        return model.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)


def _is_relu6(node: Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), nn.ReLU6)
    return node.target is F.relu6


# -------------------------------------------------------------------------------------------------- recorder


@dataclass(frozen=True)
class _Call:
    """An operation as a pure function of the tensors that lie on the way from the image to it.

    One that reads a list of tensors (what `chunk` gives, say) is composed with the one that made the list:
    then every step on the tape leads from tensors to one tensor.
    """

    function: Callable[..., Any]
    sources: Nodes
    inputs: tuple[Tensor, ...]
    linear: bool


class _Recorder:
    """Computes one node after the other and writes the steps down."""

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        self.model = model
        self.graph = graph
        self.steps: list[Step] = []
        self._on_the_way: set[Node] = {graph.input}
        self._lists: dict[Node, _Call] = {}

    def compute(self, node: Node, values: Values) -> Any:
        """The node's value; a step is noted if it is a tensor that depends on the image."""
        special = _SPECIAL.get(self.graph.kinds[node])
        ready = special is not None and all(source in self._on_the_way for source in node.all_input_nodes)
        noted = special(self.model, self.graph, node, values) if ready else None
        if noted is None:
            value = _value(self.model, self.graph, node, values.__getitem__)
            self._note_other(node, value, values)
            return value
        self._note(node, node.args[: 2 if isinstance(noted[1], Addition) else 1], noted[1])
        return noted[0]

    def _note(self, node: Node, sources: Nodes, record: Record) -> None:
        self._on_the_way.add(node)
        names = self.graph.names
        self.steps.append(Step(names[node], tuple(names[source] for source in sources), record))

    def _note_other(self, node: Node, value: Any, values: Values) -> None:
        call = self._call(node, values)
        if call.sources and _is_real(value):
            shapes = (tensor.new_zeros(()).expand(tensor.shape) for tensor in call.inputs)
            inputs = tuple(shapes) if call.linear else call.inputs
            is_convolution = self.graph.kinds[node] is Kind.CONVOLUTION
            self._note(node, call.sources, VectorJacobian(call.function, inputs, is_convolution))
        elif call.sources and isinstance(value, tuple | list) and any(_is_real(part) for part in value):
            self._lists[node] = call

    def _call(self, node: Node, values: Values) -> _Call:
        read = node.all_input_nodes
        direct = [source for source in read if source in self._on_the_way]
        lists = {source: self._lists[source] for source in read if source in self._lists}
        known = {source: values[source] for source in direct}
        for call in lists.values():
            known.update(zip(call.sources, call.inputs, strict=True))
        constants = {source: values[source] for source in read if source not in known and source not in lists}
        linear = all(call.linear for call in lists.values()) and _is_linear(self.graph, node, direct)
        function = _pure(self.model, self.graph, node, tuple(known), lists, constants)
        return _Call(function, tuple(known), tuple(known.values()), linear)


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_linear(graph: Graph, node: Node, on_the_way: list[Node]) -> bool:
    """Whether the derivative by the tensors on the way is the same at every input."""
    kind = graph.kinds[node]
    if kind is Kind.CONVOLUTION:  # in the image, if the kernel does not depend on it as well
        return on_the_way == list(node.args[:1])
    return kind in (Kind.LINEAR, Kind.FLATTENING, Kind.ADDITION, Kind.AVERAGE_POOL, Kind.IDENTITY)


def _pure(
    model: nn.Module, graph: Graph, node: Node, sources: Nodes, lists: Mapping[Node, _Call], constants: Values
) -> Callable[..., Any]:
    # Of the calls only the functions go in: their inputs would stay in memory for as long as the tape.
    makers = {source: (call.function, call.sources) for source, call in lists.items()}

    def function(*tensors: Tensor) -> Any:
        given = constants | dict(zip(sources, tensors, strict=True))

        def value_of(source: Node) -> Any:
            if source not in makers:
                return given[source]
            make, inner = makers[source]
            return make(*(given[tensor] for tensor in inner))

        return _value(model, graph, node, value_of)

    return function


# -------------------------------------------------------------------------- operations with their own record

Noted = tuple[Tensor, Record]


def _convolution(model: nn.Module, graph: Graph, node: Node, values: Values) -> Noted | None:
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    x = values[node.args[0]]
    geometry = (module.stride, module.padding, module.dilation, module.groups, tuple(x.shape[-2:]))
    return module(x), Convolution(module.weight.detach(), *geometry, node in graph.normalised)


def _max_pool(model: nn.Module, graph: Graph, node: Node, values: Values) -> Noted:
    args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        args = (args[0], module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    value, switches = F.max_pool2d(*args, **{**kwargs, "return_indices": True})
    size = tuple(args[0].shape[-2:])
    settings = dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), args[1:], strict=False)) | kwargs
    rows, columns = (_centres(size, value.shape[-2:], settings, axis) for axis in (0, 1))
    return value, MaxPool(switches, rows[:, None] * size[1] + columns, size)


def _centres(size: tuple[int, ...], pooled: tuple[int, ...], settings: Mapping[str, Any], axis: int) -> Tensor:
    """Along one axis, the middle of each window; of an even one, the pixel before its middle."""
    kernel = _along(settings["kernel_size"], axis)
    stride = _along(settings.get("stride") or kernel, axis)
    padding, dilation = _along(settings.get("padding", 0), axis), _along(settings.get("dilation", 1), axis)
    middles = torch.arange(pooled[axis]) * stride - padding + dilation * (kernel - 1) // 2
    return middles.clamp(0, size[axis] - 1)


def _along(setting: int | Sequence[int], axis: int) -> int:
    return setting if isinstance(setting, int) else setting[min(axis, len(setting) - 1)]


def _rectifier(model: nn.Module, graph: Graph, node: Node, values: Values) -> Noted:
    value = _value(model, graph, node, values.__getitem__)
    return value, Rectifier((value > 0) & (value < 6) if _is_relu6(node, model) else value > 0)


def _batch_norm(model: nn.Module, graph: Graph, node: Node, values: Values) -> Noted:
    module, x = model.get_submodule(str(node.target)), values[node.args[0]]
    gamma = 1 if module.weight is None else module.weight.detach()
    scale = gamma * (module.running_var + module.eps).rsqrt()
    shaped = scale.reshape(-1, *[1] * (x.dim() - 2))
    return module(x), BatchNorm(shaped, node in graph.normalised.values())


def _addition(model: nn.Module, graph: Graph, node: Node, values: Values) -> Noted | None:
    first, second = map_arg(node.args, values.__getitem__)
    same = isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape
    return (first + second, Addition()) if same else None


_SPECIAL: dict[Kind, Callable[[nn.Module, Graph, Node, Values], Noted | None]] = {
    Kind.CONVOLUTION: _convolution,
    Kind.MAX_POOL: _max_pool,
    Kind.RECTIFIER: _rectifier,
    Kind.BATCH_NORM: _batch_norm,
    Kind.IDENTITY: lambda model, graph, node, values: (values[node.args[0]], Identity()),
    Kind.ADDITION: _addition,
}
