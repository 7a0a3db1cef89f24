"""Playback against oracles that know nothing of it: autograd, Captum, slow twins, linear algebra."""

import re
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import Deconvolution, GuidedBackprop
from torch import Tensor, nn

from engine.deconv import (
    all_channels,
    is_linear,
    map_signals,
    reconstruct,
    residual_blocks,
    silent_channels,
    strongest_channels,
    strongest_unit,
    unit,
    unit_signals,
    units_at,
    weight_scale_applies,
    whole_map,
)
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.operations.addition import Addition, AdditionRecord
from engine.operations.batch_norm import BatchNorm
from engine.operations.convolution import Convolution
from engine.operations.max_pool import MaxPool
from engine.operations.relu import ReLU
from engine.tape import layers, logits, record
from tests.oracles import (
    SIZES,
    Chunked,
    InPlaceShortcut,
    Lambda,
    SlowTwin,
    assert_same,
    cut_model,
    images,
    network,
    noise,
    randomised,
    relative_error,
    rescaled_copy,
)


def depths(model: nn.Module) -> list[str]:
    """An early, a middle and the last node with feature maps, and the logits."""
    graph = trace(model)
    operations = [graph.operations[node] for node in graph.nodes]
    last = max(index for index, operation in enumerate(operations) if isinstance(operation, Convolution))
    maps = Convolution | MaxPool | ReLU | BatchNorm | Addition
    names = [graph.names[graph.nodes[index]] for index in range(last + 1) if isinstance(operations[index], maps)]
    return [names[len(names) // 8], names[len(names) // 2], names[-1], logits(model)]


# -------------------------------------------------------------------------------------------------- gradient


@pytest.mark.parametrize("name", SIZES)
def test_gradient_is_autograds(name: str) -> None:
    model, x = network(name), images(name, 2)
    twin = SlowTwin(model)
    nodes = depths(model)
    for node in nodes:
        tape = record(model, x, node)
        signal = noise(tape.activation.shape)
        assert_same(reconstruct(tape, signal, relu="gradient").pixels, twin.play_back(x, node, signal))
    # Two signals on one image, at a depth that is another one for the next network.
    node = nodes[list(SIZES).index(name) % len(nodes)]
    tape = record(model, x[:1], node)
    signal = noise((2, *tape.activation.shape[1:]))
    on_one = torch.cat([twin.play_back(x[:1], node, signal[k : k + 1]) for k in range(2)])
    assert_same(reconstruct(tape, signal, relu="gradient").pixels, on_one)


def test_gradient_through_functions_that_torch_fx_keeps_whole() -> None:
    sizes = {"patch_size": [4, 4], "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": [4, 4]}
    model = randomised(torchvision.models.SwinTransformer(**sizes, num_classes=5))
    x = noise((1, 3, 32, 32))
    tape = record(model, x, logits(model))
    signal = noise(tape.activation.shape)
    inner = x.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad((model(inner) * signal).sum(), inner)
    assert_same(reconstruct(tape, signal, relu="gradient").pixels, expected)


@pytest.mark.parametrize("network_type", [InPlaceShortcut, Chunked])
def test_gradient_through_in_place_operations_and_lists(network_type: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = randomised(network_type()), noise((1, 3, 9, 9))
    inner = x.clone().requires_grad_(True)
    value = model(inner * 1)
    signal = noise((3, *value.shape[1:]))
    expected = torch.cat([torch.autograd.grad(value, inner, s[None], retain_graph=True)[0] for s in signal])
    pixels = reconstruct(record(model, x, logits(model)), signal, relu="gradient").pixels
    assert_same(pixels, expected)


# --------------------------------------------------------------------------------- deconvnet, guided: Captum

APP = [name for name in SIZES if name.startswith("app:") and name != "app:efficientnet_lite0"]
"""Captum knows no rule for ReLU6: EfficientNet-Lite0 is compared with its slow twin instead."""
CAPTUM = ["alexnet", "vgg16", "resnet18", "resnet50", "googlenet", *APP]


def captum(method: type, model: nn.Module, node: str, x: Tensor, target: int | tuple[int, ...]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(cut_model(model, node)).attribute(x.clone().requires_grad_(True), target).detach()


@pytest.mark.parametrize("name", CAPTUM)
@pytest.mark.parametrize(("relu", "method"), [("deconvnet", Deconvolution), ("guided", GuidedBackprop)])
def test_deconvnet_and_guided_are_captums(name: str, relu: str, method: type) -> None:
    model, x = network(name), images(name)
    named = list(layers(model).values())
    for node in (named[len(named) // 2], named[-1]):
        tape = record(model, x, node)
        (channel,) = strongest_channels(tape.activation, 1)
        signal = strongest_unit(tape.activation, channel)
        (place,) = signal[0].nonzero().tolist()
        expected = signal.max() * captum(method, model, node, x, tuple(place))
        assert_same(reconstruct(tape, signal, relu=relu).pixels, expected)


@pytest.mark.parametrize("name", ["resnet18", "app:model_two"])
def test_a_class_is_captums(name: str) -> None:
    model, x = network(name), images(name)
    tape = record(model, x, logits(model))
    for index in (0, 7):
        expected = captum(Deconvolution, model, tape.node, x, index)
        assert_same(reconstruct(tape, torch.eye(10).double()[[index]]).pixels, expected)


# -------------------------------------------------------------------------------------- all rules: slow twin

TWINS = [
    "resnet18",
    "googlenet",
    "mobilenet_v2",
    "densenet121",
    "app:model_one",
    "app:resnet18_strided",
    "app:efficientnet_lite0",
]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("relu", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_rules_are_the_slow_twins(name: str, relu: str, batch_norm: bool) -> None:
    model, x = network(name), images(name)
    twin = SlowTwin(model, relu, batch_norm)
    for node in depths(model)[1:3]:
        tape = record(model, x, node)
        signal = noise(tape.activation.shape)
        ours = reconstruct(tape, signal, relu=relu, batch_norm=batch_norm).pixels
        assert_same(ours, twin.play_back(x, node, signal))


@pytest.mark.parametrize("name", ["resnet18", "app:resnet18_strided"])
@pytest.mark.parametrize(("path", "silent"), [("residual", 1), ("shortcut", 0)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_paths_are_the_slow_twins(name: str, path: str, silent: int, batch_norm: bool) -> None:
    model, x = network(name), images(name)
    tape = record(model, x, "conv5_x")
    signal = noise(tape.activation.shape)
    # torchvision's blocks add `out += identity`: the first term is the residual.
    detached = {block.add: silent for block in tape.blocks.values()}
    expected = SlowTwin(model, "deconvnet", batch_norm, detached).play_back(x, tape.node, signal)
    assert_same(reconstruct(tape, signal, path=path, batch_norm=batch_norm).pixels, expected)


def test_paths_can_differ_from_block_to_block() -> None:
    model, x = network("resnet18"), images("resnet18")
    tape = record(model, x, "conv4_x")
    signal = noise(tape.activation.shape)
    path = {"layer1.0": "residual", "layer2.0": "shortcut", "layer3.1": "residual", "layer3.0": "both"}
    detached = {"layer1.0.add": 1, "layer2.0.add": 0, "layer3.1.add": 1}
    expected = SlowTwin(model, "deconvnet", detached=detached).play_back(x, tape.node, signal)
    assert_same(reconstruct(tape, signal, path=path).pixels, expected)


def test_a_choice_for_a_block_behind_the_layer_changes_nothing() -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv2_x")
    signal = all_channels(tape.activation)
    behind = reconstruct(tape, signal, path={"layer4.0": "shortcut"}).pixels
    assert torch.equal(behind, reconstruct(tape, signal).pixels)


def test_silent_branches_are_not_played() -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv3_x")
    played = {gain.node for gain in reconstruct(tape, all_channels(tape.activation), path="shortcut").gains}
    assert "layer2.0.downsample.0" in played
    assert not any(node.endswith("conv2") for node in played)


# ------------------------------------------------------------------------------------------------ properties


@pytest.mark.parametrize("relu", ["deconvnet", "guided"])
def test_playback_is_positively_homogeneous_and_not_additive(relu: str) -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv4_x")
    first, second = map_signals(tape.activation, strongest_channels(tape.activation, 2)).split(1)

    def play(signal: Tensor) -> Tensor:
        return reconstruct(tape, signal, relu=relu).pixels

    assert_same(play(3 * first), 3 * play(first))
    assert relative_error(play(-first), -play(first)) > 0.1
    assert relative_error(play(first + second), play(first) + play(second)) > 0.01
    both, residual, shortcut = (
        reconstruct(tape, first, relu=relu, path=path).pixels for path in ("both", "residual", "shortcut")
    )
    assert relative_error(residual + shortcut, both) > 0.01


def test_no_batch_norm_in_the_network_means_no_difference() -> None:
    tape = record(network("app:lenet"), images("app:lenet"), "pool3")
    signal = all_channels(tape.activation)
    assert torch.equal(reconstruct(tape, signal, batch_norm=False).pixels, reconstruct(tape, signal).pixels)


def test_the_result_carries_no_autograd_graph() -> None:
    tape = record(network("resnet18"), images("resnet18"), logits(network("resnet18")))
    for count in (1, 3):
        result = reconstruct(tape, torch.eye(10).double()[:count].requires_grad_(True))
        assert not result.pixels.requires_grad
        assert not any(gain.ratio.requires_grad for gain in result.gains)


def test_a_signal_that_is_zero_gives_zero_and_no_nan() -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv3_x")
    result = reconstruct(tape, torch.zeros_like(tape.activation))
    assert not result.pixels.any()
    assert all(gain.ratio.tolist() == [0] for gain in result.gains)


# ---------------------------------------------------------------------------------------------- weight scale


@pytest.mark.parametrize("factor", [2.0, 0.3])
def test_weight_scale_is_a_really_rescaled_network(factor: float) -> None:
    model, x = network("resnet18"), images("resnet18")
    twin = rescaled_copy(model, factor)
    torch.testing.assert_close(twin(x), model(x), rtol=1e-11, atol=1e-11)
    tape, other = record(model, x, "conv5_x"), record(twin, x, "conv5_x")
    signal = strongest_unit(tape.activation, 3)
    on = reconstruct(tape, signal, weight_scale=factor).pixels
    assert_same(on, reconstruct(tape, signal).pixels)
    assert_same(on, reconstruct(other, signal).pixels)
    off = reconstruct(tape, signal, weight_scale=factor, batch_norm=False).pixels
    assert relative_error(off, reconstruct(tape, signal, batch_norm=False).pixels) > 0.5
    assert_same(off, reconstruct(other, signal, batch_norm=False).pixels)


def test_weight_scale_leaves_a_dense_layers_batch_norm_alone() -> None:
    model, x = network("app:model_two"), images("app:model_two")
    tape = record(model, x, logits(model))
    signal = torch.eye(10).double()
    assert_same(reconstruct(tape, signal, weight_scale=3.0).pixels, reconstruct(tape, signal).pixels)


def test_where_weight_scale_applies() -> None:
    def reason(name: str, layer: str) -> str | None:
        return weight_scale_applies(record(network(name), images(name), layer))

    assert reason("resnet18", "conv5_x") is None
    assert reason("app:model_two", "pool3") is None
    assert reason("app:model_one", "pool5") == (
        "The weight scale does not apply to this network: no batch norm directly follows its convolution "
        "'features.0', so larger weights would change its answers."
    )
    transposed = nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)).double().eval()
    assert "'0'" in str(weight_scale_applies(record(transposed, noise((1, 3, 8, 8)), "1")))


# ----------------------------------------------------------------------------------------------------- gains


def test_gains_are_the_norms_measured_by_hand() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
    model = randomised(nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(3, 2, 1)))
    tape = record(model, noise((1, 3, 13, 13)), "3")
    signal = torch.cat([noise(tape.activation.shape), torch.zeros_like(tape.activation)])
    switches = tape.steps[3].record.switches.flatten(2)
    unpooled = torch.zeros(1, 4, 49).double().scatter_add(2, switches, signal[:1].flatten(2))
    rectified = unpooled.reshape(1, 4, 7, 7).relu()
    scaled = rectified * (norm.weight / (norm.running_var + norm.eps).sqrt()).reshape(1, 4, 1, 1)
    pixels = F.conv_transpose2d(scaled, conv.weight, None, 2, 1)
    result = reconstruct(tape, signal)
    assert [gain.node for gain in result.gains] == ["3", "2", "1", "0"]
    for gain, handed_back in zip(result.gains, (unpooled, rectified, scaled, pixels), strict=True):
        expected = torch.stack([handed_back.norm() / signal[0].norm(), torch.tensor(0.0).double()])
        torch.testing.assert_close(gain.ratio, expected)


@pytest.mark.parametrize("count", [1, 3])
def test_the_last_gain_is_that_of_the_picture(count: int) -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv5_x")
    signal = unit_signals(tape.activation, range(count))
    result = reconstruct(tape, signal, batch_norm=False)
    expected = result.pixels.flatten(1).norm(dim=1) / signal.flatten(1).norm(dim=1)
    torch.testing.assert_close(result.gains[-1].ratio, expected)
    by_node = {gain.node: gain.ratio for gain in result.gains}
    adds = [step.name for step in tape.steps if isinstance(step.record, AdditionRecord)]
    assert torch.equal(by_node[adds[-1]], by_node["layer4.1.relu_1"])


# ----------------------------------------------------------------------------------------------------- seeds


def test_seeds() -> None:
    activation = noise((2, 4, 3, 5))
    unit = strongest_unit(activation, 2)
    assert (unit != 0).sum().item() == 2
    assert torch.equal(unit.flatten(2).amax(2)[:, 2].clamp(min=0), activation[:, 2].flatten(1).amax(1))
    assert torch.equal(whole_map(activation, 1)[:, 1], activation[:, 1])
    assert not whole_map(activation, 1)[:, [0, 2, 3]].any()
    assert torch.equal(all_channels(activation), activation)
    stacked = unit_signals(activation[:1], [3, 0])
    assert torch.equal(stacked, torch.cat([strongest_unit(activation[:1], channel) for channel in (3, 0)]))
    assert map_signals(activation[:1], [3, 0, 1]).shape == (3, 4, 3, 5)
    assert strongest_unit(noise((1, 10)), 4).nonzero().tolist() == [[0, 4]]


def test_the_strongest_unit_of_a_negative_map_is_its_maximum() -> None:
    activation = torch.tensor([[-3.0, -1], [-2, -4]]).reshape(1, 1, 2, 2)
    assert strongest_unit(activation, 0).flatten().tolist() == [0, -1, 0, 0]


def test_a_chosen_unit_is_what_autograd_calls_its_own() -> None:
    """With the gradient rule the picture of a unit is its activation times the gradient of this very activation."""
    model, x = network("resnet18"), images("resnet18").requires_grad_(True)
    tape = record(model, x.detach(), "conv3_x")
    seed = unit(tape.activation, 3, 1, 2)
    assert seed.dtype == torch.float64
    assert_same(seed[:, 3, 1, 2], tape.activation[:, 3, 1, 2])
    assert seed.count_nonzero() == tape.activation[:, 3, 1, 2].count_nonzero()
    activation = cut_model(model, layers(model)["conv3_x"])(x)[:, 3, 1, 2]
    [gradient] = torch.autograd.grad(activation.sum(), x)
    expected = tape.activation[:, 3, 1, 2].reshape(-1, 1, 1, 1) * gradient
    assert_same(reconstruct(tape, seed, relu="gradient").pixels, expected)


def test_the_strongest_unit_is_a_chosen_one_too() -> None:
    activation = noise((1, 4, 5, 6))
    row, column = divmod(int(activation[0, 2].argmax()), 6)
    assert torch.equal(unit(activation, 2, row, column), strongest_unit(activation, 2))
    everywhere = sum(units_at(activation, row, column) for row in range(5) for column in range(6))
    assert torch.equal(everywhere, activation)


@pytest.mark.parametrize(("row", "column"), [(-1, 0), (5, 0), (0, 6)])
def test_a_unit_that_is_not_there_is_refused(row: int, column: int) -> None:
    with pytest.raises(ConvscopeError, match="There is no unit at row"):
        unit(noise((1, 4, 5, 6)), 0, row, column)
    with pytest.raises(ConvscopeError, match="no rows and columns"):
        unit(noise((1, 4)), 0, 0, 0)


def test_pictures_add_up_where_no_rectification_lies_on_the_way_back() -> None:
    model, x = network("app:lenet"), images("app:lenet")
    for layer, relu, expected in (
        ("conv1", "deconvnet", True),
        ("conv2", "deconvnet", False),
        ("conv2", "guided", False),
        ("conv2", "gradient", True),
    ):
        tape = record(model, x, layer)
        assert is_linear(tape, relu) == expected
        one, other = (noise(tape.activation.shape, seed=seed) for seed in (1, 2))
        parts = [reconstruct(tape, signal, relu=relu).pixels for signal in (one, other, one + other)]
        assert (relative_error(parts[0] + parts[1], parts[2]) < 1e-12) == expected


def test_strongest_and_silent_channels() -> None:
    activation = torch.tensor([1.0, 5, 0, 5]).reshape(1, 4, 1, 1).expand(1, 4, 2, 2)
    assert strongest_channels(activation, 3) == [1, 3, 0]
    assert silent_channels(activation) == [2]


def test_residual_blocks_on_the_tape() -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv3_x")
    assert residual_blocks(tape) == ("layer1.0", "layer1.1", "layer2.0", "layer2.1")


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relu": "leaky"}, "relu must be one of deconvnet, gradient, guided, not 'leaky'."),
        ({"path": "left"}, "path must be one of both, residual, shortcut, not 'left'."),
        (
            {"path": {"layer1.0": "up"}},
            "The path of block 'layer1.0' must be one of both, residual, shortcut, not 'up'.",
        ),
        ({"path": {"layer9": "both"}}, "There is no residual block 'layer9' in this network: choose from "),
        ({"switches": "corner"}, "switches must be one of recorded, centre, not 'corner'."),
        ({"weight_scale": 0.0}, "weight_scale must be a positive number, not 0.0."),
        ({"weight_scale": float("nan")}, "weight_scale must be a positive number, not nan."),
        ({"weight_scale": float("inf")}, "weight_scale must be a positive number, not inf."),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv2_x")
    with pytest.raises(ConvscopeError, match=f"^{re.escape(message)}"):
        reconstruct(tape, all_channels(tape.activation), **options)


def test_options_that_a_network_does_not_have_are_refused() -> None:
    tape = record(network("app:lenet"), images("app:lenet"), "pool1")
    signal = all_channels(tape.activation)
    assert torch.isfinite(reconstruct(tape, signal, weight_scale=1.0).pixels).all()
    with pytest.raises(ConvscopeError, match=r"directly follows its convolution 'features\.0', so"):
        reconstruct(tape, signal, weight_scale=2.0)
    with pytest.raises(ConvscopeError, match=r"in this network: choose from it has none\.$"):
        reconstruct(tape, signal, path={"x": "both"})


def test_signals_are_checked() -> None:
    tape = record(network("resnet18"), images("resnet18", 2), "conv1_relu")
    signal = all_channels(tape.activation)
    shape = "A signal for layer 'conv1_relu' must have shape ['K', 64, 24, 24], not [2, 64, 24, 23]: make it"
    with pytest.raises(ConvscopeError, match=f"^{re.escape(shape)}"):
        reconstruct(tape, signal[..., :23])
    with pytest.raises(ConvscopeError, match=r"not \[0, 64, 24, 24\]: "):
        reconstruct(tape, signal[:0])
    with pytest.raises(ConvscopeError, match=r"^The tape holds 2 images but there are 1 signals: give one"):
        reconstruct(tape, signal[:1])
    pooled = Lambda(lambda self, x: self.conv(x).mean((2, 3)).squeeze(), conv=nn.Conv2d(3, 64, 3)).eval()
    tape = record(pooled, torch.zeros(1, 3, 9, 9), "squeeze")
    with pytest.raises(ConvscopeError, match=r"'squeeze' holds \[64\] numbers for 1 images, and no row for each: "):
        reconstruct(tape, torch.zeros(64))


@pytest.mark.parametrize(
    ("call", "argument", "message"),
    [
        (strongest_unit, 4, r"There is no channel 4: this layer has channels 0 to 3\."),
        (whole_map, -1, r"There is no channel -1: this layer has channels 0 to 3\."),
        (strongest_channels, 5, r"Cannot pick 5 of 4 channels: choose 1 to 4\."),
        (strongest_channels, 0, r"Cannot pick 0 of 4 channels: choose 1 to 4\."),
        (unit_signals, [1], r"Signals for channels need one image, not 2: record one\."),
        (map_signals, [], r"No channel is chosen: choose at least one\."),
    ],
)
def test_channels_are_checked(call: Callable, argument: int | list[int], message: str) -> None:
    with pytest.raises(ConvscopeError, match=f"^{message}$"):
        call(noise((2, 4, 3, 3)), argument)
