"""A network as a table: what each operation puts out, how many numbers it learns, how much it multiplies.

A convolution with kernels of k_h x k_w pixels from C_in to C_out channels, in g groups, learns

    k_h x k_w x (C_in / g) x C_out  weights  +  C_out biases (if it has any)

and uses each weight once per output position: k_h x k_w x (C_in / g) x C_out x H_out x W_out multiply-adds. A dense
layer is a convolution that fills its input: D_in x D_out + D_out parameters, D_in x D_out multiply-adds. A batch norm
learns a factor and an offset per channel: 2 x C. The parameters do not depend on the size of the input; the output
shapes and the multiply-adds do. (A dense layer that reads a flattened map is built for one size: elsewhere the table
needs a network built for that size, see `shapes_only`.)

Counted are the multiplications of convolutions and dense layers, as is usual in the literature and as
`torch.utils.flop_counter` does (which counts each as two operations); batch norm, ReLU, pooling and sums are left out,
as are the additions of biases. Products of two activations (attention) are not counted.

Reference: Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning"; He et al. (2016), table 1.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import Node

from engine.errors import ConvscopeError
from engine.graph import Graph, Kind, constant, trace
from engine.graph.receptive_field import WHOLE, ReceptiveField, receptive_fields
from engine.models import build
from engine.titles import title

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of the network.

    Attributes:
        name: its node's; `kind`: what it is; `title`: the same in words, such as "conv 3×3, stride 2".
        stage: the part of the network that it belongs to, such as "conv2_x" or "dense 1".
        inputs: the operations that it reads.
        output: the shape of what it puts out for one image: (C, H, W) for feature maps, (D,) for a dense layer.
        receptive_field: what a unit of the output sees of the image.
        parameters: how many numbers it learns; `arithmetic`: how that comes about, empty if it learns none.
        multiply_adds: how many products it sums for one image.
    """

    name: str
    kind: Kind
    title: str
    stage: str
    inputs: tuple[str, ...]
    output: Shape
    receptive_field: ReceptiveField
    parameters: int
    arithmetic: str
    multiply_adds: int


@dataclass(frozen=True)
class Stage:
    """Operations in a row that belong together: `last` names the one whose output is the stage's.

    The other attributes are those of `Operation`; `arithmetic` counts equal terms: "4 × (3 × 3 × 64 × 64)".
    """

    name: str
    last: str
    output: Shape
    receptive_field: ReceptiveField
    parameters: int
    arithmetic: str
    multiply_adds: int


@dataclass(frozen=True)
class Network:
    """All operations that lead to the answer, in the order of their execution.

    Attributes:
        image: the name of the image's node; `input`: its shape (3, H, W).
        unused: parameters that play no part in the answer (GoogLeNet's helpers in training, say).
    """

    image: str
    input: Shape
    operations: tuple[Operation, ...]
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
    """A network of a registered architecture for images of `input_size` px, in eval mode, that has no numbers.

    It takes no memory however large it would be: its tensors are on PyTorch's "meta" device. An option `input_size`
    among `options` gives way to `input_size`; networks without that option take any size.

    Raises:
        ConvscopeError: unknown architecture or options, or images too small for it.
    """
    kept = {key: value for key, value in options.items() if key != "input_size"}
    with torch.device("meta"):
        try:
            return build(architecture, num_classes=num_classes, input_size=input_size, **kept).eval()
        except ConvscopeError as error:
            if not isinstance(error.__cause__, TypeError):
                raise
        return build(architecture, num_classes=num_classes, **kept).eval()


def describe(model: nn.Module, input_size: int) -> Network:
    """The table of `model` (in eval mode; only read) for images of `input_size` x `input_size` px.

    Raises:
        ConvscopeError: the model cannot be traced, or does not take images of that size.
    """
    graph = trace(model)
    sizes = _output_shapes(model, graph, input_size)
    needed = [node for node in graph.nodes if node in sizes and node is not graph.input]
    if graph.output is not None:
        path = frozenset(graph.path_to(graph.output))
        needed = [node for node in needed if node in path]
    stage_of = _stage_names(model, graph, needed)
    owned = _parameters_by_node(model, graph, needed)
    fields = receptive_fields(model)
    operations = tuple(
        _operation(model, graph, node, sizes, stage_of[node], fields.get(graph.names[node], WHOLE), owned[node])
        for node in needed
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    unused = total - sum(operation.parameters for operation in operations)
    return Network(graph.names[graph.input], sizes[graph.input][1:], operations, unused)


def stages(network: Network) -> tuple[Stage, ...]:
    """The table with one row per stage, as a paper prints it: He et al.'s stages, or one per convolution."""
    grouped: dict[str, list[Operation]] = {}
    for operation in network.operations:
        grouped.setdefault(operation.stage, []).append(operation)
    return tuple(_stage(name, operations) for name, operations in grouped.items())


def arithmetic_of_all(network: Network) -> str:
    """The sum over the stages: "2,432 + 51,264 + ... = 390,410"."""
    counts = [stage.parameters for stage in stages(network) if stage.parameters]
    terms = [f"{count:,}" for count in [*counts, *([network.unused] if network.unused else [])]]
    return f"{' + '.join(terms)} = {network.parameters:,}"


def shape_in_words(shape: Shape) -> str:
    """(64, 56, 56) as "64 × 56 × 56"."""
    return " × ".join(map(str, shape))


def _stage(name: str, operations: list[Operation]) -> Stage:
    total = sum(operation.parameters for operation in operations)
    terms = Counter(operation.arithmetic for operation in operations if operation.arithmetic)
    written = [term if count == 1 else f"{count} × ({term})" for term, count in terms.items()]
    arithmetic = f"{' + '.join(written)} = {total:,}" if total else ""
    multiplied = sum(operation.multiply_adds for operation in operations)
    last = operations[-1]
    return Stage(name, last.name, last.output, last.receptive_field, total, arithmetic, multiplied)


# ----------------------------------------------------------------------------------------------------- shapes


class _ShapeRecorder(fx.Interpreter):
    """Runs a traced network and remembers the shape of every tensor, none of their values."""

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        super().__init__(model, graph=graph.input.graph)
        self.extra_traceback = False
        self.traced = graph
        self.shapes: dict[Node, Shape] = {}

    def run_node(self, n: Node) -> Any:
        value = constant(self.module, self.traced, n) if n.op == "get_attr" else super().run_node(n)
        if isinstance(value, Tensor) and n.op != "output":
            self.shapes[n] = tuple(value.shape)
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
        new = [parameter for parameter in _parameters(model, graph, node) if parameter not in seen]
        seen.update(new)
        owned[node] = new
    return owned


def _parameters(model: nn.Module, graph: Graph, node: Node) -> Iterator[nn.Parameter]:
    if node.op == "call_module":
        yield from model.get_submodule(str(node.target)).parameters()
    elif node.op == "get_attr":
        value = constant(model, graph, node)
        yield from [value] if isinstance(value, nn.Parameter) else []


def _product(factors: Iterable[int]) -> str:
    return " × ".join(map(str, factors))


def _flattened(model: nn.Module, node: Node, shapes: dict[Node, Shape]) -> Shape:
    """(C, H, W) if the node reads maps of more than one pixel that were flattened, else ()."""
    source = node.args[0] if node.args else None
    while isinstance(source, Node) and len(shapes.get(source, ())) == 2 and not _is_dense(model, source):
        source = source.args[0]
    shape = shapes.get(source, ()) if isinstance(source, Node) else ()
    return shape[1:] if len(shape) == 4 and math.prod(shape[2:]) > 1 else ()


def _arithmetic(module: nn.Module | None, owned: list[nn.Parameter], flattened: Shape) -> str:
    """How many numbers the parameters hold, written as a paper would write it."""
    if not owned:
        return ""
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and len(owned) == 2:
        return f"2 × {owned[0].numel()}"
    return " + ".join(_product(_factors(module, parameter, flattened)) for parameter in owned)


def _factors(module: nn.Module | None, parameter: nn.Parameter, flattened: Shape) -> Iterable[int]:
    """Kernel size x inputs x outputs, the order in which the field writes it."""
    if parameter.dim() < 2 or not isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
        return parameter.shape
    outputs, inputs, *kernel = parameter.shape
    if isinstance(module, nn.Linear) and math.prod(flattened) == inputs:
        return (*flattened[1:], flattened[0], outputs)
    transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    return (*kernel, outputs, inputs) if transposed else (*kernel, inputs, outputs)


def _multiply_adds(model: nn.Module, graph: Graph, node: Node, shapes: dict[Node, Shape]) -> int:
    """Products that a convolution or a dense layer sums: its weights, each used at every output position."""
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return module.weight.numel() * math.prod(shapes[node.args[0]][2:])
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.weight.numel() * math.prod(shapes[node][2:])
    if isinstance(module, nn.Linear):
        return module.in_features * math.prod(shapes[node][1:])
    if node.target in (F.conv2d, F.linear) and isinstance(node.args[1], Node):
        return math.prod(shapes[node.args[1]][1:]) * math.prod(shapes[node][1:])
    return 0


# -------------------------------------------------------------------------------------------------- one operation


def _operation(
    model: nn.Module,
    graph: Graph,
    node: Node,
    shapes: dict[Node, Shape],
    stage: str,
    field: ReceptiveField,
    owned: list[nn.Parameter],
) -> Operation:
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    is_weight = node.op == "get_attr"
    before = shapes.get(node.args[0], ())[2:] if node.args and isinstance(node.args[0], Node) else ()
    return Operation(
        name=graph.names[node],
        kind=graph.kinds[node],
        title=title(graph.kinds[node], node, module, before, shapes[node][2:]),
        stage=stage,
        inputs=tuple(graph.names[source] for source in _tensors_read(node, shapes)),
        output=shapes[node] if is_weight else shapes[node][1:],
        receptive_field=field,
        parameters=sum(parameter.numel() for parameter in owned),
        arithmetic=_arithmetic(module, owned, _flattened(model, node, shapes)),
        multiply_adds=_multiply_adds(model, graph, node, shapes),
    )


def _tensors_read(node: Node, shapes: dict[Node, Shape]) -> list[Node]:
    """What a node reads, looked at through lists of tensors (what `chunk` gives, say)."""
    found: dict[Node, None] = {}
    waiting = list(node.all_input_nodes)
    while waiting:
        source = waiting.pop(0)
        if source in shapes:
            found[source] = None
        else:
            waiting += source.all_input_nodes
    return list(found)


# ----------------------------------------------------------------------------------------------------- stages


def _stage_names(model: nn.Module, graph: Graph, nodes: list[Node]) -> dict[Node, str]:
    """The stage of each node: up to a ResNet's stage ends, or else from one convolution to the next."""
    ends = {name: layer for layer, name in graph.layers.items() if re.fullmatch(r"conv\d+_x", layer)}
    if not ends:
        return _stages_from_starts(model, graph, nodes)
    ends |= {graph.layers[layer]: "conv1" for layer in ("conv1_relu",) if layer in graph.layers}
    found: dict[Node, str] = {}
    waiting: list[Node] = []
    for node in nodes:
        waiting.append(node)
        if graph.names[node] in ends:
            found |= dict.fromkeys(waiting, ends[graph.names[node]])
            waiting = []
    return found | dict.fromkeys(waiting, "dense")


def _stages_from_starts(model: nn.Module, graph: Graph, nodes: list[Node]) -> dict[Node, str]:
    """Convolutions and dense layers each begin a stage; what flattens the maps belongs to what comes after it."""
    convolutions = {name: layer for layer, name in graph.layers.items() if re.fullmatch(r"conv\d+", layer)}
    found: dict[Node, str] = {}
    stage, dense, waiting = "input", 0, []
    for node in nodes:
        name = graph.names[node]
        if graph.kinds[node] is Kind.FLATTENING and not _is_dense(model, node):
            waiting.append(node)
            continue
        if name in convolutions or _is_dense(model, node):
            dense += name not in convolutions
            stage = convolutions.get(name, f"dense {dense}")
        found |= dict.fromkeys([*waiting, node], stage)
        waiting = []
    return found | dict.fromkeys(waiting, stage)


def _is_dense(model: nn.Module, node: Node) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), nn.Linear)
