"""The graph: names, residual blocks, in-place operations, and what cannot be traced."""

import copy
import gc
import re
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import get_graph_node_names

from engine import network as network_table
from engine import tape
from engine.errors import ConvscopeError
from engine.graph import Block, ancestors, trace
from engine.models import build
from engine.operations.source import Image
from tests.oracles import InPlaceShortcut, Lambda, network, noise, randomised


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "app:model_one"])
def test_node_names_are_torchvisions(name: str) -> None:
    _, expected = get_graph_node_names(copy.deepcopy(network(name)), suppress_diff_warning=True)
    ours = [node for node in trace(network(name)).by_name if node != "output"]
    if name == "googlenet":  # torchvision keeps its own building blocks whole, here they are opened
        assert {node.rsplit(".", 1)[0] for node in expected if "." in node} <= {
            node.rsplit(".", 1)[0] for node in ours if "." in node
        }
    else:
        assert ours == expected


RESNET = ["conv2_x", "conv3_x", "conv4_x", "conv5_x"]
FRIENDLY = {
    "resnet18": ["conv1", "conv1_relu", "pool1", *RESNET],
    "resnet18_strided": ["conv1", "conv1_relu", *RESNET],
    "lenet": ["conv1", "conv1_relu", "pool1", "conv2", "conv2_relu", "pool2", "conv3", "conv3_relu", "pool3"],
    "model_one": [
        *("conv1", "conv1_relu", "pool1", "conv2", "conv2_relu", "conv3", "conv3_relu", "pool3"),
        *("conv4", "conv4_relu", "conv5", "conv5_relu", "pool5"),
    ],
    "model_two": [name.format(i) for i in (1, 2, 3) for name in ("conv{}", "conv{}_relu", "pool{}")],
    "convnet2": ["conv1", "conv1_relu", "pool1", "conv2", "conv2_relu", "pool2"],
}


@pytest.mark.parametrize("name", FRIENDLY)
def test_friendly_names(name: str) -> None:
    assert list(trace(build(name).eval()).layers) == FRIENDLY[name]


def test_friendly_names_of_strided_convnet_have_no_pools() -> None:
    model = build("convnet2", strided=True).eval()
    assert list(trace(model).layers) == ["conv1", "conv1_relu", "conv2", "conv2_relu"]


def test_friendly_names_point_at_the_right_nodes() -> None:
    layers = trace(network("resnet18")).layers
    assert layers["conv1"] == "conv1"
    assert layers["conv1_relu"] == "relu"
    assert layers["pool1"] == "maxpool"
    assert [layers[name] for name in RESNET] == [f"layer{stage}.1.relu_1" for stage in (1, 2, 3, 4)]


class Residual(nn.Module):
    """A block whose last operation is the sum, behind batch norm and ReLU; or GELU."""

    def __init__(self, inputs: int, outputs: int, before: bool) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(inputs if before else outputs), nn.ReLU() if before else nn.GELU()
        self.conv, self.shortcut = nn.Conv2d(inputs, outputs, 3, 2, 1), nn.Conv2d(inputs, outputs, 1, 2)
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            return self.conv(self.act(self.bn(x))) + self.shortcut(x)
        return self.act(self.bn(self.conv(x)) + self.shortcut(x))


def residual_network(before: bool) -> nn.Module:
    stages = {f"layer{stage}": nn.Sequential(Residual(4, 6, before), Residual(6, 4, before)) for stage in (1, 2, 3, 4)}

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.layer4(net.layer3(net.layer2(net.layer1(net.conv1(x)))))
        return net.fc((torch.relu(x) if before else x).mean((2, 3)))

    return randomised(Lambda(forward, conv1=nn.Conv2d(3, 4, 3), **stages, fc=nn.Linear(4, 5)))


@pytest.mark.parametrize("before", [True, False])
def test_a_stage_is_what_its_module_gives_wherever_its_relus_are(before: bool) -> None:
    model, x, given = residual_network(before), noise((1, 3, 64, 64)), {}
    assert list(tape.stages(model).values()) == ["conv1", *RESNET]
    for stage in (1, 2, 3, 4):
        module = getattr(model, f"layer{stage}")
        module.register_forward_hook(lambda _, __, value, stage=stage: given.update({f"conv{stage + 1}_x": value}))
    model(x)
    for name, value in given.items():
        torch.testing.assert_close(tape.features(model, x, name), value)


class Gated(nn.Module):
    """Squeeze and excitation with dense layers, as its authors have it (Hu et al. 2018)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv, self.act, self.pool = nn.Conv2d(inputs, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.squeeze, self.excite = nn.Linear(6, 3), nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3))))).sigmoid()
        return self.pool(self.act(x * gate[:, :, None, None]))


def test_behind_a_gate_of_dense_layers_the_maps_go_on() -> None:
    model = nn.Sequential(Gated(3), Gated(6), nn.Flatten(), nn.Linear(96, 4)).eval()
    parts = {"conv{}": "conv", "conv{}_relu": "act", "pool{}": "pool"}
    expected = {name.format(i + 1): f"{i}.{part}" for i in (0, 1) for name, part in parts.items()}
    assert tape.layers(model) == expected
    stages = {stage.name: stage for stage in network_table.stages(network_table.describe(model, 16))}
    for i in (0, 1):
        stage, learned = stages[f"conv{i + 1}"], model[i].conv.parameters()
        assert (stage.last, stage.output) == (f"{i}.pool", (6, 8 >> i, 8 >> i))
        assert stage.parameters == sum(parameter.numel() for parameter in learned)
    assert [stages[f"dense {i}"].output for i in range(1, 6)] == [(3,), (6, 1, 1), (3,), (6, 1, 1), (4,)]


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "squeezenet1_1", "mobilenet_v2"])
def test_friendly_names_cover_every_convolution_and_no_dense_layer(name: str) -> None:
    model = network(name)
    graph = trace(model)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert sum(re.fullmatch(r"conv\d+", friendly) is not None for friendly in graph.layers) == convolutions
    assert not any("classifier" in node for node in graph.layers.values() if name == "alexnet")


def test_residual_blocks_of_resnet18() -> None:
    blocks = trace(network("resnet18")).blocks
    assert list(blocks) == [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert blocks["layer1.0"] == Block("layer1.0.add", residual="layer1.0.bn2", shortcut="maxpool")
    assert blocks["layer2.0"] == Block("layer2.0.add", "layer2.0.bn2", shortcut="layer2.0.downsample.1")
    assert blocks["layer4.1"] == Block("layer4.1.add", residual="layer4.1.bn2", shortcut="layer4.0.relu_1")


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet50", 16), ("mobilenet_v2", 10), ("convnext_tiny", 18), ("densenet121", 0), ("googlenet", 0)],
)
def test_number_of_residual_blocks(name: str, count: int) -> None:
    assert len(trace(network(name)).blocks) == count


class TwoSums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x) + self.bias
        x = self.two(x) + self.three(x)
        return x + self.one(x)


def test_only_sums_with_a_longer_branch_are_residual() -> None:
    assert trace(TwoSums().eval()).blocks == {"add_2": Block("add_2", residual="one_1", shortcut="add_1")}


def test_ancestors_and_path() -> None:
    graph = trace(network("resnet18"))
    target = graph.resolve("pool1")
    assert [graph.names[node] for node in graph.path_to(target)] == ["x", "conv1", "bn1", "relu", "maxpool"]
    assert ancestors(target) == set(graph.path_to(target))
    assert isinstance(graph.operations[graph.input], Image)


def test_readers_after_an_in_place_operation_read_its_result() -> None:
    graph = trace(InPlaceShortcut().eval())
    (add,) = (node for node in graph.nodes if graph.names[node] == "add")
    assert [graph.names[source] for source in add.all_input_nodes] == ["relu", "conv"]


def test_batch_norm_is_found_through_dropout_and_only_as_sole_reader() -> None:
    def normalised(model: nn.Module) -> dict[str, str]:
        graph = trace(model)
        return {graph.names[conv]: graph.names[norm] for conv, norm in graph.normalised.items()}

    assert list(normalised(network("app:model_two"))) == ["features.0", "features.5", "features.9"]
    assert normalised(network("app:model_one")) == {}
    assert len(normalised(network("resnet18"))) == 20


class MadeUpConstant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1))


def test_constants_of_forward_are_kept_in_the_graph_not_on_the_model() -> None:
    model = MadeUpConstant().eval()
    before = sorted(vars(model))
    assert len(trace(model).constants) == 1
    assert sorted(vars(model)) == before


def test_a_model_is_traced_once_and_forgotten_with_it() -> None:
    model = build("lenet").eval()
    assert trace(model) is trace(model)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def partly_training() -> nn.Module:
    model = build("lenet").eval()
    model.features.train()
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torchvision.models.resnet18, r"ResNet cannot be looked at while it is in training mode: "),
        (partly_training, r"LeNet cannot be looked at while its module 'features' is in training mode: call"),
        (
            lambda: Branching().eval(),
            r"The forward of Branching computes with pixel values outside of tensors, or branches on them: "
            r"use a network that does the same with every image\.$",
        ),
        (lambda: TwoInputs().eval(), r"TwoInputs takes 2 inputs: use a network that takes one image\.$"),
    ],
)
def test_errors_say_what_to_do(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ConvscopeError, match=f"^{message}"):
        trace(make())


def test_an_unknown_layer_is_answered_with_the_known_ones() -> None:
    known = "conv1, conv1_relu, pool1, conv2_x, conv3_x, conv4_x, conv5_x, or a node's name"
    message = f"^There is no layer 'conv9_x' in this network: choose {known}\\.$"
    with pytest.raises(ConvscopeError, match=message):
        trace(network("resnet18")).resolve("conv9_x")


def test_a_failed_trace_leaves_torch_as_it_was() -> None:
    before = nn.Module.__call__, nn.Module.__getattr__
    with pytest.raises(ConvscopeError):
        trace(Branching().eval())
    assert (nn.Module.__call__, nn.Module.__getattr__) == before
