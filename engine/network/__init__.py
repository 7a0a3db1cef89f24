"""A network as a table: what each operation puts out, how many numbers it learns, how much it multiplies.

A convolution with kernels of k_h x k_w pixels from C_in to C_out channels, in g groups, learns

    k_h x k_w x (C_in / g) x C_out  weights  +  C_out biases (if it has any)

and uses each weight once per output position: k_h x k_w x (C_in / g) x C_out x H_out x W_out multiply-adds. A dense
layer is a convolution that fills its input: D_in x D_out + D_out parameters, D_in x D_out multiply-adds. A batch norm
learns a factor and an offset per channel: 2 x C. The parameters do not depend on the size of the input; the output
shapes and the multiply-adds do. (A dense layer that reads a flattened map is built for one size: elsewhere the table
needs a network built for that size, see `shapes_only`.)

Counted are the multiplications of convolutions, dense layers and attention, as is usual in the literature and as
`torch.utils.flop_counter` does (which counts each as two operations); batch norm, ReLU, pooling and sums are left out,
as are the additions of biases. Each operation's file in `engine.operations` says what it costs.

Reference: Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning"; He et al. (2016), table 1.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node

from engine.errors import ConvscopeError
from engine.graph import Graph, trace
from engine.graph.layers import stage_of_each
from engine.graph.receptive_field import WHOLE, ReceptiveField, receptive_fields
from engine.models import blank, for_shapes
from engine.operations import Call, Constant, Operation
from engine.operations.base import Shape, Shapes, product_in_words


@dataclass(frozen=True)
class OperationRow:
    """One operation of the network.

    Attributes:
        name: its node's; `operation`: what it is; `title`: the same in words, such as "conv 3×3, stride 2".
        stage: the part of the network that it belongs to, such as "conv2_x" or "dense 1".
        inputs: the operations that it reads.
        output: the shape of what it puts out for one image: (C, H, W) for feature maps, (D,) for a dense layer.
        receptive_field: what a unit of the output sees of the image.
        parameters: how many numbers it learns; `arithmetic`: how that comes about, empty if it learns none.
        multiply_adds: how many products it sums for one image.
    """

    name: str
    operation: Operation
    title: str
    stage: str
    inputs: tuple[str, ...]
    output: Shape
    receptive_field: ReceptiveField
    parameters: int
    arithmetic: str
    multiply_adds: int


@dataclass(frozen=True)
class StageRow:
    """Operations in a row that belong together: `last` names the one whose output is the stage's.

    The other attributes are those of `OperationRow`; `arithmetic` counts equal terms: "4 × (3 × 3 × 64 × 64)".
    """

    name: str
    last: str
    output: Shape
    receptive_field: ReceptiveField
    parameters: int
    arithmetic: str
    multiply_adds: int


@dataclass(frozen=True)
class NetworkTable:
    """All operations that lead to the answer, in the order of their execution.

    Attributes:
        image: the name of the image's node; `input`: its shape (3, H, W).
        unused: parameters that play no part in the answer (GoogLeNet's helpers in training, say).
    """

    image: str
    input: Shape
    operations: tuple[OperationRow, ...]
    unused: int

    @property
    def parameters(self) -> int:
        """Everything that training adjusts, as `engine.models.parameter_count` counts it."""
        return sum(operation.parameters for operation in self.operations) + self.unused

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return sum(operation.multiply_adds for operation in self.operations)


# ---------------------------------------------------------------------------------------------- public calls


def shapes_only(architecture: str, num_classes: int, input_size: int, options: dict[str, Any]) -> nn.Module:
    """A network of a registered architecture for images of `input_size` px, in eval mode, with zeros for weights.

    One that is too large for that has no numbers (`engine.models.for_shapes`). An option `input_size` among `options`
    gives way to `input_size`; networks without that option take any size.

    Raises:
        ConvscopeError: unknown architecture or options, or images too small for it.
    """
    return _built(for_shapes, architecture, num_classes, input_size, options).eval()


def takes(architecture: str, num_classes: int, input_size: int, options: dict[str, Any]) -> bool:
    """Whether `shapes_only` gives a network; one that is built for a size takes images of that size."""
    try:
        _built(blank, architecture, num_classes, input_size, options)
    except ConvscopeError:
        return False
    return True


def _built(
    build: Callable[..., nn.Module], architecture: str, num_classes: int, input_size: int, options: dict[str, Any]
) -> nn.Module:
    kept = {key: value for key, value in options.items() if key != "input_size"}
    try:
        return build(architecture, num_classes, input_size=input_size, **kept)
    except ConvscopeError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
    return build(architecture, num_classes, **kept)


def describe(model: nn.Module, input_size: int) -> NetworkTable:
    """The table of `model` (in eval mode; only read) for images of `input_size` x `input_size` px.

    Raises:
        ConvscopeError: the model cannot be traced, or does not take images of that size.
    """
    shape = 1, 3, input_size, input_size
    graph = trace(model, shape)
    sizes = _output_shapes(model, graph, input_size)
    needed = [node for node in graph.nodes if node in sizes and node is not graph.input]
    if graph.output is not None:
        path = frozenset(graph.path_to(graph.output))
        needed = [node for node in needed if node in path]
    stage_of = stage_of_each(needed, graph.names, graph.operations, graph.layers, graph.stages)
    owned = _parameters_by_node(model, graph, needed)
    fields = receptive_fields(model, shape)
    operations = tuple(
        _row(graph, graph.call(model, node), sizes, stage_of[node], fields.get(graph.names[node], WHOLE), owned[node])
        for node in needed
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    unused = total - sum(operation.parameters for operation in operations)
    return NetworkTable(graph.names[graph.input], sizes[graph.input][1:], operations, unused)


def stages(table: NetworkTable) -> tuple[StageRow, ...]:
    """The table with one row per stage, as a paper prints it: He et al.'s stages, or one per convolution."""
    grouped: dict[str, list[OperationRow]] = {}
    for row in table.operations:
        grouped.setdefault(row.stage, []).append(row)
    return tuple(_stage(name, rows) for name, rows in grouped.items())


def arithmetic_of_all(table: NetworkTable) -> str:
    """The sum over the stages: "2,432 + 51,264 + ... = 390,410"."""
    counts = [stage.parameters for stage in stages(table) if stage.parameters]
    terms = [f"{count:,}" for count in [*counts, *([table.unused] if table.unused else [])]]
    return f"{' + '.join(terms)} = {table.parameters:,}"


def shape_in_words(shape: Shape) -> str:
    """(64, 56, 56) as "64 × 56 × 56"."""
    return product_in_words(shape)


def _stage(name: str, rows: list[OperationRow]) -> StageRow:
    total = sum(row.parameters for row in rows)
    terms = Counter(row.arithmetic for row in rows if row.arithmetic)
    written = [term if count == 1 else f"{count} × ({term})" for term, count in terms.items()]
    arithmetic = f"{' + '.join(written)} = {total:,}" if total else ""
    multiply_adds = sum(row.multiply_adds for row in rows)
    last = rows[-1]
    return StageRow(name, last.name, last.output, last.receptive_field, total, arithmetic, multiply_adds)


# ----------------------------------------------------------------------------------------------------- shapes


class _ShapeRecorder(fx.Interpreter):
    """Runs a traced network and remembers the shape of every tensor, none of their values."""

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        super().__init__(model, graph=graph.input.graph)
        self.extra_traceback = False
        self.traced = graph
        self.shapes: dict[Node, Shape] = {}

    def run_node(self, n: Node) -> Any:
        value = self.traced.call(self.module, n).copied_constant(n) if n.op == "get_attr" else super().run_node(n)
        output = self.traced.operations[n].output(value) if n.op != "output" else None
        if isinstance(output, Tensor):
            self.shapes[n] = tuple(output.shape)
        return value


@torch.no_grad()
def _output_shapes(model: nn.Module, graph: Graph, input_size: int) -> dict[Node, Shape]:
    like = next(model.parameters(), torch.empty(0))
    recorder = _ShapeRecorder(model, graph)
    try:
        recorder.run(torch.zeros(1, 3, input_size, input_size, dtype=like.dtype, device=like.device))
    except RuntimeError as error:
        kind = type(model).__name__
        raise ConvscopeError(f"{kind} does not take images of {input_size} px: choose another input size.") from error
    return recorder.shapes


# ------------------------------------------------------------------------------------------------- parameters


def _parameters_by_node(model: nn.Module, graph: Graph, nodes: Iterable[Node]) -> dict[Node, list[nn.Parameter]]:
    """Each node's parameters; those that several nodes share belong to the first of them."""
    seen: set[nn.Parameter] = set()
    owned: dict[Node, list[nn.Parameter]] = {}
    for node in nodes:
        parameters = graph.operations[node].parameters(graph.call(model, node))
        owned[node] = [parameter for parameter in parameters if parameter not in seen]
        seen.update(owned[node])
    return owned


# -------------------------------------------------------------------------------------------------- one operation


def _row(
    graph: Graph, call: Call, shapes: Shapes, stage: str, field: ReceptiveField, owned: list[nn.Parameter]
) -> OperationRow:
    node, operation = call.node, graph.operations[call.node]
    return OperationRow(
        name=graph.names[node],
        operation=operation,
        title=operation.title(call, shapes),
        stage=stage,
        inputs=tuple(graph.names[source] for source in _tensors_read(node, shapes)),
        output=shapes[node] if isinstance(operation, Constant) else shapes[node][1:],
        receptive_field=field,
        parameters=sum(parameter.numel() for parameter in owned),
        arithmetic=operation.arithmetic(call, owned, shapes),
        multiply_adds=operation.multiply_adds(call, shapes),
    )


def _tensors_read(node: Node, shapes: Shapes) -> list[Node]:
    """What a node reads, looked at through lists of tensors (what `chunk` gives, say)."""
    read: dict[Node, None] = {}
    waiting = list(node.all_input_nodes)
    while waiting:
        source = waiting.pop(0)
        if source in shapes:
            read[source] = None
        else:
            waiting += source.all_input_nodes
    return list(read)
