"""The graph of a network: names, and what connections alone tell.

- names: torchvision's, "layer4.1.relu_1" is the second ReLU in block 1 of layer4;
- friendly names for a lecture: conv1, conv1_relu, pool1, conv2_x ...;
- residual adds `F(x) + x` (He et al. 2016, equation 1): the two sides share their history up to x; of what
  they do not share, the residual F holds more convolutions than the shortcut;
- which convolution a batch norm normalises.

Node names are those of `torchvision.models.feature_extraction`.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from engine.errors import ConvscopeError
from engine.graph.layers import Names, Nodes, Operations, friendly_layers, stage_outputs
from engine.graph.tracer import StandInTracer, innermost
from engine.operations import Addition, BatchNorm, Call, Convolution, Identity, Image, Operation, operation_of
from engine.operations.resampling import Padding


@dataclass(frozen=True)
class Block:
    """A residual add, by node names: `add` sums what `residual` and `shortcut` hold."""

    add: str
    residual: str
    shortcut: str


Plan = tuple[tuple[Node, Nodes], ...]
"""Operations in the order of their execution, each with the nodes whose values nobody needs any more after it."""


@dataclass(frozen=True)
class Graph:
    """A traced network.

    Attributes:
        nodes: the operations in the order of their execution.
        names: the name of each node; `by_name` is the reverse.
        operations: what each node does.
        input: the node that stands for the image.
        output: the node of the logits; None if the network does not return a single tensor.
        outputs: all nodes whose values it returns.
        layers: friendly name -> node name, in order.
        stages: stage -> the layer that is its output, in order (see `engine.graph.layers`).
        blocks: block name -> its residual add, in order.
        normalised: convolution -> the batch norm that alone reads it, directly or through dropout.
        constants: tensors that `forward` itself makes up, by the name the graph gives them.
        shape: the shape [N, 3, H, W] that the images must have; None if it holds for images of any shape.
    """

    nodes: Nodes
    names: Names
    operations: Operations
    input: Node
    output: Node | None
    outputs: Nodes
    layers: Mapping[str, str]
    stages: Mapping[str, str]
    blocks: Mapping[str, Block]
    normalised: Mapping[Node, Node]
    constants: Mapping[str, Any]
    shape: tuple[int, ...] | None
    by_name: Mapping[str, Node] = field(repr=False)
    _plans: dict[tuple[frozenset[Node], frozenset[Node]], Plan] = field(default_factory=dict, repr=False)

    def path_to(self, *nodes: Node, known: Container[Node] = ()) -> Nodes:
        """The ancestors of `nodes`, which are among them, in the order of their execution.

        Args:
            known: what is computed already; on their ancestors alone nothing depends any more.
        """
        needed = ancestors(*nodes, known=known)
        return tuple(candidate for candidate in self.nodes if candidate in needed)

    def plan(self, targets: frozenset[Node], known: frozenset[Node]) -> Plan:
        """The operations that lead to `targets`, each with the values that it reads last; `known` ones are kept."""
        if (targets, known) not in self._plans:
            path = [node for node in self.path_to(*targets, known=known) if node not in known]
            last_reader = {source: node for node in path for source in node.all_input_nodes}
            done: dict[Node, list[Node]] = {node: [] for node in path}
            for source in last_reader.keys() - targets - known:
                done[last_reader[source]].append(source)
            self._plans[targets, known] = tuple((node, tuple(sources)) for node, sources in done.items())
        return self._plans[targets, known]

    def reads_image(self, node: Node) -> bool:
        """Whether the node reads the image, as it is or with a border."""
        source = node.args[0]
        while isinstance(source, Node) and isinstance(self.operations.get(source), Padding):
            source = source.args[0]
        return source is self.input

    def resolve(self, layer: str) -> Node:
        """The node of a layer, by its friendly name (which goes first) or its node's name.

        Raises:
            ConvscopeError: there is no such layer; the message lists the friendly names.
        """
        name = self.layers.get(layer, layer)
        if name not in self.by_name:
            known = ", ".join([*self.layers, "or a node's name"])
            raise ConvscopeError(f"There is no layer {layer!r} in this network: choose {known}.")
        return self.by_name[name]

    def call(self, model: nn.Module, node: Node) -> Call:
        """What the node calls in `model`, the network that was traced."""
        normalised = node in self.normalised or node in self.normalised.values()
        return Call(node, model, self.constants, normalised)


def build_graph(model: nn.Module, image: Tensor, sizes_as_numbers: bool, answer: str | None = None) -> Graph:
    """The graph of `model`, traced with `image`; see `engine.graph.tracer.StandInTracer` for the arguments.

    Args:
        answer: the name of the node of the logits, if it is known from another size of the images.
    """
    tracer = StandInTracer(image, sizes_as_numbers)
    traced = tracer.trace(model)
    nodes = tuple(node for node in traced.nodes if node.op != "output")
    names = {node: tracer.node_to_qualname[node] for node in nodes}
    (returned,) = traced.output_node().args
    if answer is not None and isinstance(returned, Node) and names[returned] != answer:
        names |= {node: names[returned] for node in nodes if names[node] == answer} | {returned: answer}
    constants = {name: value for name, value in vars(tracer.root).items() if name not in vars(model)}
    operations = {node: operation_of(Call(node, model, constants)) for node in nodes}
    network = innermost(model)
    layers = friendly_layers(nodes, names, operations, network)
    return Graph(
        nodes=nodes,
        names=names,
        operations=operations,
        input=nodes[0],
        output=returned if isinstance(returned, Node) else None,
        outputs=tuple(dict.fromkeys(traced.output_node().all_input_nodes)),
        layers=layers,
        stages=stage_outputs(layers, network),
        blocks=_residual_blocks(nodes, names, operations),
        normalised=_normalised(operations),
        constants=constants,
        shape=tuple(image.shape) if sizes_as_numbers else None,
        by_name={name: node for node, name in names.items()},
    )


# ---------------------------------------------------------------------------------------------------- blocks


def ancestors(*nodes: Node, known: Container[Node] = ()) -> frozenset[Node]:
    """Every node that `nodes` depend on, themselves included, without what lies behind those that are `known`."""
    seen, waiting = set(nodes), list(nodes)
    while waiting:
        node = waiting.pop()
        new = [source for source in node.all_input_nodes if source not in seen and node not in known]
        seen.update(new)
        waiting.extend(new)
    return frozenset(seen)


def _residual_blocks(nodes: Nodes, names: Names, operations: Operations) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    for node in nodes:
        branches = _branches(node, operations) if isinstance(operations[node], Addition) else None
        if branches is not None:
            parent = names[node].rpartition(".")[0]
            name = parent if parent and parent not in blocks else names[node]
            blocks[name] = Block(names[node], *(names[branch] for branch in branches))
    return blocks


def _branches(add: Node, operations: Operations) -> tuple[Node, Node] | None:
    """The residual and the shortcut that `add` sums; None if it is some other sum."""
    sides = [side for side in add.args[:2] if isinstance(side, Node)]
    histories = [ancestors(side) for side in sides]
    if len(sides) != 2 or not all(_count(Image, history, operations) for history in histories):
        return None
    own = (histories[0] - histories[1], histories[1] - histories[0])
    counts = [_count(Convolution, nodes, operations) for nodes in own]
    if counts[0] == counts[1]:
        return None
    return (sides[0], sides[1]) if counts[0] > counts[1] else (sides[1], sides[0])


def _count(kind: type[Operation], nodes: Iterable[Node], operations: Operations) -> int:
    return sum(isinstance(operations[node], kind) for node in nodes)


def _normalised(operations: Operations) -> dict[Node, Node]:
    pairs: dict[Node, Node] = {}
    for batch_norm in (node for node, operation in operations.items() if isinstance(operation, BatchNorm)):
        source = batch_norm.args[0]
        while isinstance(operations[source], Identity) and len(source.users) == 1:
            source = source.args[0]
        if isinstance(operations[source], Convolution) and len(source.users) == 1:
            pairs[source] = batch_norm
    return pairs
