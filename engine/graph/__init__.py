"""A network as a graph: which operation reads which, and what that alone tells.

`torch.fx` runs a network's `forward` once on a stand-in for the image and writes down every operation. It
computes no number, so the graph knows names and connections, not sizes. Four things can be read from it:

- names: torchvision's, "layer4.1.relu_1" is the second ReLU in block 1 of layer4;
- friendly names for a lecture: conv1, conv1_relu, pool1, conv2_x ...;
- residual adds `F(x) + x` (He et al. 2016, equation 1): the two sides share their history up to x; of what
  they do not share, the residual F holds more convolutions than the shortcut;
- which convolution a batch norm normalises.

Limits: a network whose control flow depends on pixel values cannot be traced, and one in training mode would
be traced as it trains; both are refused. After an in-place operation, whatever reads its input finds its
output there: the graph says so explicitly, so that nobody has to overwrite anything to be right.

References: Reed et al. (2022), "torch.fx: practical program capture and transformation"; node names by
`torchvision.models.feature_extraction`.
"""

import inspect
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx import Node
from torchvision.ops import stochastic_depth

from engine.errors import ConvscopeError
from engine.graph.tracer import StandInTracer


class Kind(Enum):
    """What an operation is, as far as looking inside a network cares."""

    INPUT = auto()
    CONSTANT = auto()
    CONVOLUTION = auto()
    MAX_POOL = auto()
    AVERAGE_POOL = auto()
    RECTIFIER = auto()
    BATCH_NORM = auto()
    IDENTITY = auto()  # in eval mode: dropout, stochastic depth
    ADDITION = auto()
    FLATTENING = auto()  # linear, and what comes out is no feature map: global average, flatten, dense layer
    LINEAR = auto()  # any other operation whose derivative does not depend on the values it is given
    OTHER = auto()


Nodes = tuple[Node, ...]
Names = Mapping[Node, str]
Kinds = Mapping[Node, Kind]


@dataclass(frozen=True)
class Block:
    """A residual add, by node names: `add` sums what `residual` and `shortcut` hold."""

    add: str
    residual: str
    shortcut: str


@dataclass(frozen=True)
class Graph:
    """A traced network.

    Attributes:
        nodes: the operations in the order of their execution.
        names: what each node is called; `by_name` is the reverse.
        kinds: what each node is.
        input: the node that stands for the image.
        output: the node of the logits; None if the network does not return a single tensor.
        layers: friendly name -> node name, in order.
        blocks: block name -> its residual add, in order.
        normalised: convolution -> the batch norm that alone reads it, directly or through dropout.
        constants: tensors that `forward` itself made up, by the name the graph gives them.
    """

    nodes: Nodes
    names: Names
    kinds: Kinds
    input: Node
    output: Node | None
    layers: Mapping[str, str]
    blocks: Mapping[str, Block]
    normalised: Mapping[Node, Node]
    constants: Mapping[str, Any]
    by_name: Mapping[str, Node] = field(repr=False)

    def path_to(self, node: Node) -> Nodes:
        """The ancestors of `node` in the order of their execution; the last one is `node`."""
        needed = ancestors(node)
        return tuple(candidate for candidate in self.nodes if candidate in needed)

    def resolve(self, layer: str) -> Node:
        """The node of a layer, given by its friendly name (which goes first) or its node name.

        Raises:
            ConvscopeError: there is no such layer; the message lists the friendly names.
        """
        name = self.layers.get(layer, layer)
        if name not in self.by_name:
            known = ", ".join([*self.layers, "or a node's name"])
            raise ConvscopeError(f"There is no layer {layer!r} in this network: choose {known}.")
        return self.by_name[name]


# --------------------------------------------------------------------------------------------------- tracing

_GRAPHS: "WeakKeyDictionary[nn.Module, Graph]" = WeakKeyDictionary()


def trace(model: nn.Module) -> Graph:
    """The graph of `model`, traced at the first call and remembered for as long as the model lives.

    Raises:
        ConvscopeError: the model is not in eval mode, does not take one input, or cannot be traced.
    """
    training = next((name for name, module in model.named_modules() if module.training), None)
    if training is not None:
        where = f"its module {training!r} is" if training else "it is"
        raise ConvscopeError(
            f"{type(model).__name__} cannot be looked at while {where} in training mode: call .eval()."
        )
    graph = _GRAPHS.get(model)
    return _GRAPHS.setdefault(model, _trace(model)) if graph is None else graph


def _trace(model: nn.Module) -> Graph:
    tracer = StandInTracer()
    try:
        traced = tracer.trace(model)
    except Exception as error:
        reason = str(error).partition(". ")[0].partition("\n")[0].rstrip(".") or type(error).__name__
        raise ConvscopeError(
            f"torch.fx cannot trace {type(model).__name__} ({reason}): "
            "use a network whose forward does not branch on pixel values."
        ) from error
    return _build_graph(model, tracer.root, traced, tracer.node_to_qualname)


def _build_graph(model: nn.Module, root: nn.Module, traced: fx.Graph, names: Names) -> Graph:
    nodes = tuple(node for node in traced.nodes if node.op != "output")
    _put_input_first(nodes)
    names = {node: names.get(node, node.name) for node in nodes}
    kinds = {node: _kind(node, model) for node in nodes}
    _make_in_place_explicit(nodes, model)
    (returned,) = traced.output_node().args
    return Graph(
        nodes=nodes,
        names=names,
        kinds=kinds,
        input=_single_input(nodes, model),
        output=returned if isinstance(returned, Node) else None,
        layers=_friendly_names(nodes, names, kinds, model),
        blocks=_residual_blocks(nodes, names, kinds),
        normalised=_normalised(nodes, kinds),
        constants={name: value for name, value in vars(root).items() if name not in vars(model)},
        by_name={name: node for node, name in names.items()},
    )


def _single_input(nodes: Iterable[Node], model: nn.Module) -> Node:
    inputs = [node for node in nodes if node.op == "placeholder" and not node.args]
    if len(inputs) != 1:
        what = f"{type(model).__name__} takes {len(inputs)} inputs"
        raise ConvscopeError(f"{what}: use a network that takes one image.")
    return inputs[0]


def works_in_place(node: Node, model: nn.Module) -> bool:
    """Whether the operation overwrites its first input."""
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    trailing = node.op != "get_attr" and name.endswith("_") and not name.endswith("__")
    return trailing or node.target in _AUGMENTED or node.kwargs.get("inplace") is True


_AUGMENTED = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


def _put_input_first(nodes: Nodes) -> None:
    """Write `relu(input=x)` as `relu(x)`."""
    for node in nodes:
        if not node.args and "input" in node.kwargs:
            node.args = (node.kwargs["input"],)
            node.kwargs = {name: value for name, value in node.kwargs.items() if name != "input"}


def _make_in_place_explicit(nodes: Nodes, model: nn.Module) -> None:
    """Let everything that reads a tensor after an in-place operation read that operation instead."""
    position = {node: index for index, node in enumerate(nodes)}
    for node in nodes:
        if node.args and isinstance(node.args[0], Node) and works_in_place(node, model):
            for user in list(node.args[0].users):
                if position.get(user, len(nodes)) > position[node]:
                    user.replace_input_with(node.args[0], node)


# ----------------------------------------------------------------------------------------------------- kinds

_MODULE_KINDS: dict[Any, Kind] = {
    nn.modules.conv._ConvNd: Kind.CONVOLUTION,
    nn.MaxPool2d: Kind.MAX_POOL,
    nn.AvgPool2d: Kind.AVERAGE_POOL,
    **dict.fromkeys((nn.ReLU, nn.ReLU6), Kind.RECTIFIER),
    nn.modules.batchnorm._BatchNorm: Kind.BATCH_NORM,
    **dict.fromkeys((nn.Identity, nn.modules.dropout._DropoutNd), Kind.IDENTITY),
    **dict.fromkeys((nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear), Kind.FLATTENING),
    **dict.fromkeys((nn.Unflatten, nn.Upsample, nn.ZeroPad2d), Kind.LINEAR),
}

_FUNCTION_KINDS: dict[Any, Kind] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d), Kind.CONVOLUTION),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), Kind.MAX_POOL),
    F.avg_pool2d: Kind.AVERAGE_POOL,
    **dict.fromkeys((F.relu, F.relu6, torch.relu, torch.relu_), Kind.RECTIFIER),
    **dict.fromkeys((F.dropout, F.dropout2d, F.alpha_dropout, stochastic_depth), Kind.IDENTITY),
    **dict.fromkeys((operator.add, operator.iadd, torch.add), Kind.ADDITION),
    **dict.fromkeys((F.adaptive_avg_pool2d, torch.flatten, torch.reshape, torch.mean), Kind.FLATTENING),
    **dict.fromkeys((torch.cat, torch.chunk, torch.split, torch.unbind, operator.getitem), Kind.LINEAR),
    **dict.fromkeys((torch.permute, torch.transpose, F.pad, F.interpolate, operator.sub), Kind.LINEAR),
}

_METHOD_KINDS: dict[Any, Kind] = {
    **dict.fromkeys(("relu", "relu_"), Kind.RECTIFIER),
    **dict.fromkeys(("add", "add_"), Kind.ADDITION),
    **dict.fromkeys(("view", "reshape", "flatten", "mean"), Kind.FLATTENING),
    **dict.fromkeys(("permute", "transpose", "contiguous", "chunk", "split", "unbind"), Kind.LINEAR),
}


def _kind(node: Node, model: nn.Module) -> Kind:
    if node.op == "placeholder":
        return Kind.CONSTANT if node.args else Kind.INPUT
    if node.op == "get_attr":
        return Kind.CONSTANT
    if node.op == "call_module":
        return _module_kind(model.get_submodule(str(node.target)))
    table = _METHOD_KINDS if node.op == "call_method" else _FUNCTION_KINDS
    kind = table.get(node.target, Kind.OTHER)
    return Kind.OTHER if _is_variant(node, kind) else kind


def _module_kind(module: nn.Module) -> Kind:
    kind = next((kind for type_, kind in _MODULE_KINDS.items() if isinstance(module, type_)), Kind.OTHER)
    if kind is Kind.MAX_POOL and module.return_indices:
        return Kind.OTHER
    # Without running statistics, batch norm takes them from the very image: no longer a fixed affine map.
    return Kind.OTHER if kind is Kind.BATCH_NORM and module.running_var is None else kind


def _is_variant(node: Node, kind: Kind) -> bool:
    """Whether an argument turns the operation into something else than its kind."""
    if kind is Kind.ADDITION:
        return len(node.args) != 2 or bool(node.kwargs)
    if kind is Kind.MAX_POOL:
        return bool(node.kwargs.get("return_indices"))
    return kind is Kind.IDENTITY and node.target is not stochastic_depth and _draws(node)


def _draws(node: Node) -> bool:
    """Whether a dropout function drops something: `F.dropout(x)` does even in eval mode, unless it is told not to."""
    default = inspect.signature(node.target).parameters["training"].default
    return bool(node.kwargs.get("training", node.args[2] if len(node.args) > 2 else default))


# ----------------------------------------------------------------------------------------------------- names


def _friendly_names(nodes: Nodes, names: Names, kinds: Kinds, model: nn.Module) -> dict[str, str]:
    if all(hasattr(model, name) for name in ("conv1", "layer1", "layer2", "layer3", "layer4")):
        return _resnet_names(nodes, names, kinds)
    return _numbered_names(nodes, names, kinds)


def _resnet_names(nodes: Nodes, names: Names, kinds: Kinds) -> dict[str, str]:
    """The names of He et al. (2016), table 1; a stage's output is after its last ReLU."""
    layers: dict[str, str] = {}
    for node in nodes:
        name, kind = names[node], kinds[node]
        stage = name.split(".")[0]
        if stage in ("layer1", "layer2", "layer3", "layer4"):
            if kind is Kind.RECTIFIER:
                layers[f"conv{int(stage[-1]) + 1}_x"] = name
        elif name == "conv1":
            layers["conv1"] = name
        elif kind is Kind.RECTIFIER:
            layers.setdefault("conv1_relu", name)
        elif kind is Kind.MAX_POOL:
            layers.setdefault("pool1", name)
    return layers


def _numbered_names(nodes: Nodes, names: Names, kinds: Kinds) -> dict[str, str]:
    """Convolutions in order of execution; a ReLU or pooling has the number of the convolution it follows."""
    layers: dict[str, str] = {}
    endings = {Kind.RECTIFIER: "conv{}_relu", Kind.MAX_POOL: "pool{}", Kind.AVERAGE_POOL: "pool{}"}
    number, on_maps = 0, False
    for node in nodes:
        kind = kinds[node]
        if kind is Kind.CONVOLUTION:
            number, on_maps = number + 1, True
            layers[f"conv{number}"] = names[node]
        elif kind is Kind.FLATTENING:
            on_maps = False
        elif on_maps and kind in endings:
            layers.setdefault(endings[kind].format(number), names[node])
    return layers


# ---------------------------------------------------------------------------------------------------- blocks


def ancestors(node: Node) -> frozenset[Node]:
    """Every node that `node` depends on, itself included."""
    found, waiting = {node}, [node]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(new)
        waiting.extend(new)
    return frozenset(found)


def _residual_blocks(nodes: Nodes, names: Names, kinds: Kinds) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    for node in nodes:
        branches = _branches(node, kinds) if kinds[node] is Kind.ADDITION else None
        if branches is not None:
            parent = names[node].rpartition(".")[0]
            name = parent if parent and parent not in blocks else names[node]
            blocks[name] = Block(names[node], *(names[branch] for branch in branches))
    return blocks


def _branches(add: Node, kinds: Kinds) -> tuple[Node, Node] | None:
    """The residual and the shortcut that `add` sums; None if it is some other sum."""
    sides = [side for side in add.args[:2] if isinstance(side, Node)]
    histories = [ancestors(side) for side in sides]
    if len(sides) != 2 or any(Kind.INPUT not in {kinds[node] for node in history} for history in histories):
        return None
    own = (histories[0] - histories[1], histories[1] - histories[0])
    counts = [sum(kinds[node] is Kind.CONVOLUTION for node in nodes) for nodes in own]
    if counts[0] == counts[1]:
        return None
    return (sides[0], sides[1]) if counts[0] > counts[1] else (sides[1], sides[0])


def _normalised(nodes: Nodes, kinds: Kinds) -> dict[Node, Node]:
    found: dict[Node, Node] = {}
    for batch_norm in (node for node in nodes if kinds[node] is Kind.BATCH_NORM):
        source = batch_norm.args[0]
        while kinds[source] is Kind.IDENTITY and len(source.users) == 1:
            source = source.args[0]
        if kinds[source] is Kind.CONVOLUTION and len(source.users) == 1:
            found[source] = batch_norm
    return found


def constant(model: nn.Module, graph: Graph, node: Node) -> Any:
    """The parameter, buffer or made-up tensor that a `get_attr` node reads."""
    target = str(node.target)
    return graph.constants[target] if target in graph.constants else operator.attrgetter(target)(model)
