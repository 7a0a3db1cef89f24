"""The layer table against the reports, PyTorch's own counters and plain hooks; the diagram against the graph."""

import math
import re

import pytest
import torch
import torchvision
from torch import nn

from engine import network
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.models import ARCHITECTURES, build, parameter_count, registry
from engine.models.torchvision_models import has_fixed_input
from engine.network import diagram
from engine.tape import features, logits
from tests import oracles
from tests.engine.operations.checks import counted_by_torch
from tests.oracles import SIZES, fingerprint


def fresh(architecture: str, size: int, **options) -> network.NetworkTable:
    return network.describe(network.shapes_only(architecture, 10, size, options), size)


def by_stage(described: network.NetworkTable) -> dict[str, network.StageRow]:
    return {stage.name: stage for stage in network.stages(described)}


# Against the reports -------------------------------------------------------------------------------------------


def test_lenet_has_the_reports_parameters_and_the_ten_biases_that_it_left_out():
    described = fresh("lenet", 32)
    arithmetic = [stage.arithmetic for stage in network.stages(described)]
    assert arithmetic == [
        "5 × 5 × 3 × 32 + 32 = 2,432",
        "5 × 5 × 32 × 64 + 64 = 51,264",
        "5 × 5 × 64 × 128 + 128 = 204,928",
        "4 × 4 × 128 × 64 + 64 = 131,136",
        "64 × 10 + 10 = 650",
    ]
    assert described.parameters == 390_400 + 10
    assert network.arithmetic_of_all(described) == "2,432 + 51,264 + 204,928 + 131,136 + 650 = 390,410"


def test_resnet18_at_224_px_has_the_reports_table():
    table = by_stage(fresh("resnet18", 224))
    expected = {
        "conv1": ((64, 112, 112), 9536),
        "conv2_x": ((64, 56, 56), 147968),
        "conv3_x": ((128, 28, 28), 525568),
        "conv4_x": ((256, 14, 14), 2099712),
        "conv5_x": ((512, 7, 7), 8393728),
        "dense": ((10,), 5130),
    }
    assert {name: (stage.output, stage.parameters) for name, stage in table.items()} == expected
    assert table["conv2_x"].arithmetic == "4 × (3 × 3 × 64 × 64) + 4 × (2 × 64) = 147,968"
    assert [table[f"conv{i}_x"].receptive_field.size for i in (2, 3, 4, 5)] == [(i, i) for i in (43, 99, 211, 435)]


@pytest.mark.parametrize(
    ("depth", "flattened"), [(2, (24, 62, 62)), (3, (32, 29, 29)), (4, (40, 13, 13)), (5, (48, 5, 5))]
)
def test_convnets_at_256_px_flatten_what_the_report_computed(depth, flattened):
    table = by_stage(fresh(f"convnet{depth}", 256))
    assert table[f"conv{depth}"].output == flattened
    channels, height, width = flattened
    assert table["dense 1"].arithmetic.startswith(f"{height} × {width} × {channels} × 512 + 512 = ")


def test_the_strided_resnet_halves_at_every_stage():
    table = by_stage(fresh("resnet18_strided", 32))
    sides = [table[name].output[-1] for name in ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")]
    assert sides == [16, 8, 4, 2, 1]


# Against PyTorch's counters and the network itself -------------------------------------------------------------


def shapes_of(name: str) -> nn.Module:
    """One of the oracles' networks without its numbers."""
    if name.startswith("app:"):
        return network.shapes_only(name.removeprefix("app:"), 10, SIZES[name], {})
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return getattr(torchvision.models, name)(weights=None, num_classes=10, **options).eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [None, 144])
def test_parameters_and_multiply_adds_of_the_apps_networks(name, size):
    size = size or ARCHITECTURES[name].input_size
    model = network.shapes_only(name, 10, size, {})
    described = network.describe(model, size)
    assert described.parameters == parameter_count(model)
    assert described.unused == 0
    assert described.multiply_adds == counted_by_torch(model, size)


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "vgg16", "resnet50", "googlenet", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small"),
        *("densenet121", "convnext_tiny", "shufflenet_v2_x1_0"),
    ],
)
def test_parameters_and_multiply_adds_of_torchvisions_networks(name):
    model = shapes_of(name)
    described = network.describe(model, SIZES[name])
    assert described.parameters == parameter_count(model)
    assert described.multiply_adds == counted_by_torch(model, SIZES[name])


@pytest.mark.parametrize("name", ["app:lenet", "resnet18"])
def test_a_real_network_has_the_table_of_its_shapes_and_stays_as_it_was(name):
    model = oracles.network(name)
    before = fingerprint(model)
    assert network.describe(model, SIZES[name]) == network.describe(shapes_of(name), SIZES[name])
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet"),
        *("inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf"),
        *("resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32"),
    ],
)
def test_rows_add_up_to_the_networks_parameters(name):
    """One of each family that the app offers: attention's own parameters included."""
    options = {"input_size": 224} if has_fixed_input(name) else {}
    model = network.shapes_only(f"torchvision:{name}", 10, 224, options)
    described = network.describe(model, 224)
    assert sum(row.parameters for row in described.operations) == parameter_count(model)
    assert sum(stage.parameters for stage in network.stages(described)) == parameter_count(model)


def test_helpers_of_training_count_as_unused():
    model = shapes_of("googlenet")
    helpers = sum(parameter_count(getattr(model, name)) for name in ("aux1", "aux2"))
    assert network.describe(model, SIZES["googlenet"]).unused == helpers > 0


@pytest.mark.parametrize("name", ["app:lenet", "app:model_one", "app:resnet18", "densenet121"])
def test_output_shapes_are_those_that_the_modules_give(name):
    model = shapes_of(name)
    seen = {}
    names = {module: path for path, module in model.named_modules()}

    def note(module, _, out):
        seen.setdefault(names[module], tuple(out.shape[1:]))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(note)
    device = next(model.parameters()).device
    model(torch.zeros(1, 3, SIZES[name], SIZES[name], device=device))
    shapes = {operation.name: operation.output for operation in network.describe(model, SIZES[name]).operations}
    assert seen
    assert {path: shapes[path] for path in seen} == seen


@pytest.mark.parametrize("name", [*ARCHITECTURES])
def test_the_written_arithmetic_is_what_it_says(name):
    size = ARCHITECTURES[name].input_size
    described = fresh(name, size)
    for stage in network.stages(described):
        if stage.arithmetic:
            written, _, result = stage.arithmetic.partition(" = ")
            assert eval(written.replace("×", "*")) == int(result.replace(",", "")) == stage.parameters
    written, _, result = network.arithmetic_of_all(described).partition(" = ")
    assert eval(written.replace(",", "")) == int(result.replace(",", "")) == described.parameters


def test_sums_in_a_tensor_that_forward_makes_up_are_the_same_after_a_table():
    def forward(net, x):
        total = torch.zeros(x.shape[0], 4, dtype=x.dtype)
        total += net.dense(net.conv(x).mean((2, 3)))
        return total

    model = oracles.randomised(oracles.Lambda(forward, conv=nn.Conv2d(3, 8, 3), dense=nn.Linear(8, 4)))
    x = oracles.noise((1, 3, 8, 8))
    network.describe(model, 8)
    torch.testing.assert_close(features(model, x, logits(model)), model(x))


def test_shared_parameters_count_once():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = oracles.randomised(oracles.Lambda(lambda self, x: self.conv(self.conv(x)), conv=shared))
    described = network.describe(model, 8)
    assert [operation.parameters for operation in described.operations] == [84, 0]
    assert described.multiply_adds == 2 * 81 * 64


# Networks without numbers --------------------------------------------------------------------------------------


def test_a_large_network_of_shapes_only_takes_no_memory(monkeypatch):
    small, large = (network.shapes_only("model_one", 10, size, {}) for size in (32, 128))
    assert {parameter.device.type for parameter in large.parameters()} == {"meta"}
    assert {parameter.device.type for parameter in small.parameters()} == {"cpu"}
    monkeypatch.setattr(registry, "MOST_ZEROS", 1000)
    assert network.describe(network.shapes_only("model_one", 10, 32, {}), 32) == network.describe(small, 32)


def test_a_network_of_shapes_only_draws_nothing_and_keeps_its_options():
    before = torch.random.get_rng_state()
    model = network.shapes_only("convnet3", 7, 200, {"input_size": 128, "width": 64, "strided": True})
    assert torch.equal(torch.random.get_rng_state(), before)
    twin = build("convnet3", num_classes=7, input_size=200, width=64, strided=True)
    assert parameter_count(model) == parameter_count(twin)
    assert network.describe(model, 200).operations[-1].output == (7,)


@pytest.mark.parametrize(("name", "size"), [("lenet", 4), ("convnet5", 60)])
def test_images_that_are_too_small_are_refused(name, size):
    with pytest.raises(ConvscopeError, match=f"{size} px"):
        network.shapes_only(name, 10, size, {})


@pytest.mark.parametrize(("name", "size"), [("lenet", 64), ("alexnet", 16)])
def test_a_size_that_does_not_fit_is_refused_in_one_sentence(name, size):
    model = build(name).eval() if name in ARCHITECTURES else shapes_of(name)
    with pytest.raises(ConvscopeError, match=rf"does not take images of {size} px"):
        network.describe(model, size)


def test_unknown_architectures_and_options_are_refused():
    with pytest.raises(ConvscopeError, match="no architecture"):
        network.shapes_only("vgg", 10, 32, {})
    with pytest.raises(ConvscopeError, match="cannot take the options"):
        network.shapes_only("lenet", 10, 32, {"depth": 3})


# The diagram ---------------------------------------------------------------------------------------------------


def drawn(name: str) -> diagram.Diagram:
    size = ARCHITECTURES[name].input_size
    return diagram.diagram(fresh(name, size))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_two_boxes_share_a_place_and_rows_are_short(name):
    made = drawn(name)
    places = [made.places[box.name] for box in made.boxes]
    assert len(set(places)) == len(places)
    assert max(place.column for place in places) < diagram.COLUMNS
    assert [place.row for place in places] == sorted(place.row for place in places)


@pytest.mark.parametrize("name", ["resnet18", "resnet18_strided"])
def test_every_residual_block_is_a_sum_of_two_boxes(name):
    made = drawn(name)
    model = network.shapes_only(name, 10, 64, {})
    sums = {box.name: box for box in made.boxes if box.words[0] == "sum"}
    assert set(sums) == {block.add for block in trace(model).blocks.values()}
    for box in sums.values():
        assert len(box.inputs) == 2
        assert box.words == ("sum", "ReLU")


def test_what_passes_a_map_on_shares_the_box_of_what_it_follows():
    words = [box.words for box in drawn("model_two").boxes]
    assert words[:1] == [("image",)]
    assert words[1] == ("conv 5×5", "32", "dropout", "BN", "ReLU")
    assert words[-2:] == [("dense 64", "BN", "ReLU"), ("dense 10",)]
    assert [box.shape for box in drawn("model_two").boxes][-3:] == ["128 × 4 × 4", "64", "10"]


@pytest.mark.parametrize("name", ["googlenet", "densenet121", "shufflenet_v2_x1_0"])
def test_arrows_lead_forward_also_where_branches_run_side_by_side(name):
    made = diagram.diagram(network.describe(shapes_of(name), SIZES[name]))
    order = {box.name: index for index, box in enumerate(made.boxes)}
    for box in made.boxes:
        for source in box.inputs:
            if source in order:
                assert order[source] < order[box.name]
                here, there = made.places[source], made.places[box.name]
                assert (here.row, here.column) < (there.row, there.column)
    assert len(set(made.places.values())) == len(made.boxes)


def test_a_boxs_shape_is_an_operations_output():
    made = drawn("resnet18")
    assert {math.prod(box.output) for box in made.boxes} >= {64 * 32 * 32, 512, 10}
    assert all(re.fullmatch(r"\d+( × \d+)*", box.shape) for box in made.boxes)
