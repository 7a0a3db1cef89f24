"""Names for a lecture: conv1, conv1_relu, pool1, conv2_x ... instead of "features.0" or "layer1.1.relu_1".

A ResNet's layers have the names of He et al. (2016), table 1: conv2_x to conv5_x are its stages, each a sequence of
residual blocks, and name the output of the last one. In any other network convolutions have numbers; its class may
name sequences of its modules as well (`NAMED_STAGES = {"stage3": ("blocks.1", "blocks.2")}`).

A stage is a convolution with what follows it, or such a sequence. Its output is the layer that the rest of the network
reads: conv3_relu is that of conv3, conv3_x its own.
"""

from collections.abc import Container, Mapping, Sequence

from torch import nn
from torch.fx import Node

from engine.operations import AveragePool, Convolution, Dense, MaxPool, Operation, ReLU
from engine.operations.elementwise import Elementwise

Nodes = tuple[Node, ...]
Names = Mapping[Node, str]
Operations = Mapping[Node, Operation]


def friendly_layers(nodes: Nodes, names: Names, operations: Operations, model: nn.Module) -> dict[str, str]:
    """`{friendly name: node name}`, in order."""
    if all(hasattr(model, name) for name in ("conv1", "layer1", "layer2", "layer3", "layer4")):
        return _resnet_layers(nodes, names, operations)
    return _numbered_layers(nodes, names, operations, _named_stages(model))


def _named_stages(model: nn.Module) -> Mapping[str, Sequence[str]]:
    """`{stage: its modules}` as the network's class names them; empty if it does not."""
    return getattr(type(model), "NAMED_STAGES", {})


def _named_stage_at(node: str, named: Mapping[str, Sequence[str]]) -> str | None:
    """The named stage that a node lies in, by its name."""
    within = (stage for stage, modules in named.items() if any(node.startswith(f"{module}.") for module in modules))
    return next(within, None)


def _resnet_layers(nodes: Nodes, names: Names, operations: Operations) -> dict[str, str]:
    """A stage's output is the last value in it that is read outside of it."""
    layers: dict[str, str] = {}
    for node in nodes:
        name, operation = names[node], operations[node]
        stage = name.split(".")[0]
        if stage in ("layer1", "layer2", "layer3", "layer4"):
            if any(names.get(reader, "").split(".")[0] != stage for reader in node.users):
                layers[f"conv{int(stage[-1]) + 1}_x"] = name
        elif name == "conv1":
            layers["conv1"] = name
        elif "conv2_x" in layers:  # behind the first stage
            continue
        elif isinstance(operation, ReLU):
            layers.setdefault("conv1_relu", name)
        elif isinstance(operation, MaxPool):
            layers.setdefault("pool1", name)
    return layers


def _numbered_layers(
    nodes: Nodes, names: Names, operations: Operations, named: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Convolutions in order of execution; a ReLU or pooling has the number of the convolution it follows.

    A stage with a name is behind its layers, and is what the last of its operations computes.
    """
    layers: dict[str, str] = {}
    maps: set[Node] = set()
    number, on_maps = 0, False
    for node in nodes:
        operation = operations[node]
        if isinstance(operation, Convolution):
            number, on_maps = number + 1, True
            layers[f"conv{number}"] = names[node]
        elif _gated(node, operations, maps) is not None:
            on_maps = True
        elif operation.ends_maps:
            on_maps = False
        elif on_maps and isinstance(operation, ReLU):
            layers.setdefault(f"conv{number}_relu", names[node])
        elif on_maps and isinstance(operation, MaxPool | AveragePool):
            layers.setdefault(f"pool{number}", names[node])
        if on_maps:
            maps.add(node)
        if stage := _named_stage_at(names[node], named):
            layers.pop(stage, None)
            layers[stage] = names[node]
    return layers


def _gated(node: Node, operations: Operations, maps: Container[Node]) -> Node | None:
    """The one of `maps` that it multiplies by a gate, which gives maps again (Hu et al. 2018); None if it does not."""
    factors = [factor for factor in node.all_input_nodes if factor.op != "get_attr"]
    of_maps = [factor for factor in factors if factor in maps]
    is_gate = isinstance(operations[node], Elementwise) and (len(of_maps), len(factors)) == (1, 2)
    return of_maps[0] if is_gate else None


def stage_outputs(layers: Mapping[str, str], model: nn.Module) -> dict[str, str]:
    """`{stage: the layer that is its output}`, of the friendly layers of `model`."""
    named = _named_stages(model)
    outside = (name for name, node in layers.items() if name in named or not _named_stage_at(node, named))
    stages = (name for name in outside if not name.startswith("pool") and not name.endswith("_relu"))
    return {name: f"{name}_relu" if f"{name}_relu" in layers else name for name in stages}


def stage_of_each(
    nodes: Sequence[Node], names: Names, operations: Operations, layers: Mapping[str, str], stages: Mapping[str, str]
) -> dict[Node, str]:
    """The stage that each of `nodes` belongs to; dense layers are stages of their own, behind the others."""
    starts = {layers[stage]: stage for stage in stages}
    if all(isinstance(operations[node], Convolution) for node in nodes if names[node] in starts):
        return _from_starts(nodes, names, operations, starts)
    return _up_to_ends(nodes, names, {layers[layer]: stage for stage, layer in stages.items()})


def _up_to_ends(nodes: Sequence[Node], names: Names, ends: Mapping[str, str]) -> dict[Node, str]:
    stage_of: dict[Node, str] = {}
    waiting: list[Node] = []
    for node in nodes:
        waiting.append(node)
        if names[node] in ends:
            stage_of |= dict.fromkeys(waiting, ends[names[node]])
            waiting = []
    return stage_of | dict.fromkeys(waiting, "dense")


def _from_starts(
    nodes: Sequence[Node], names: Names, operations: Operations, starts: Mapping[str, str]
) -> dict[Node, str]:
    """Convolutions and dense layers each begin a stage; what flattens the maps belongs to what comes after it.

    Behind a gate of dense layers the stage of the maps goes on.
    """
    stage_of: dict[Node, str] = {}
    maps: dict[Node, str] = {}
    stage, dense, waiting = "input", 0, []
    for node in nodes:
        is_dense = isinstance(operations[node], Dense)
        if operations[node].ends_maps and not is_dense:
            waiting.append(node)
            continue
        if names[node] in starts or is_dense:
            dense += is_dense
            stage = starts.get(names[node], f"dense {dense}")
        elif (gated := _gated(node, operations, maps)) is not None:
            stage = maps[gated]
        if stage in starts.values():
            maps[node] = stage
        stage_of |= dict.fromkeys([*waiting, node], stage)
        waiting = []
    return stage_of | dict.fromkeys(waiting, stage)
