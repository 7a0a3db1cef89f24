"""Recording: the numbers of the network itself, little kept but enough, nothing written, errors that help."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from engine.deconv import reconstruct
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.operations.batch_norm import BatchNormRecord
from engine.operations.convolution import ConvolutionRecord
from engine.operations.max_pool import MaxPoolRecord
from engine.operations.other import VectorJacobian
from engine.operations.relu import ReLURecord
from engine.operations.windows import Window
from engine.tape import features, layers, logits, record
from tests.oracles import (
    SIZES,
    Chunked,
    InPlaceShortcut,
    Lambda,
    SlowTwin,
    assert_same,
    fingerprint,
    images,
    network,
    noise,
    randomised,
)


@pytest.mark.parametrize("name", SIZES)
def test_the_output_is_the_networks_own(name: str) -> None:
    model, x = network(name), images(name, 2)
    with torch.no_grad():
        expected = model(x)
    assert torch.equal(record(model, x, logits(model)).activation, expected)


@pytest.mark.parametrize("name", ["resnet18", "app:model_one", "squeezenet1_1"])
def test_every_named_layer_is_what_the_network_computes_there(name: str) -> None:
    model, x = network(name), images(name)
    twin = SlowTwin(model)
    for friendly, node in layers(model).items():
        tape = record(model, x, friendly)
        assert tape.node == node
        assert torch.equal(tape.activation, twin.run_to(x, node))
        assert torch.equal(record(model, x, node).activation, tape.activation)


def test_recording_stops_at_the_layer() -> None:
    tape = record(network("resnet18"), images("resnet18"), "conv1_relu")
    assert [step.name for step in tape.steps] == ["conv1", "bn1", "relu"]
    assert tape.steps[0].inputs == (tape.input,)
    assert tape.input_shape == (1, 3, 48, 48)


def test_each_record_keeps_what_its_reversal_needs() -> None:
    model, x = network("resnet18"), images("resnet18")
    steps = {step.name: step.record for step in record(model, x, logits(model)).steps}
    conv, pool, relu, norm = steps["conv1"], steps["maxpool"], steps["relu"], steps["bn1"]
    assert isinstance(conv, ConvolutionRecord)
    assert (conv.input_size, conv.windows, conv.followed_by_batch_norm) == ((48, 48), (Window(7, 2, 3),) * 2, True)
    assert isinstance(pool, MaxPoolRecord)
    assert (pool.switches.shape, pool.input_size) == ((1, 64, 12, 12), (24, 24))
    assert isinstance(relu, ReLURecord)
    assert relu.mask.dtype is torch.bool
    assert isinstance(norm, BatchNormRecord)
    torch.testing.assert_close(norm.scale.flatten(), model.bn1.weight / (model.bn1.running_var + 1e-5).sqrt())


def test_linear_operations_keep_only_their_inputs_shape() -> None:
    model = network("resnet18")
    steps = {step.name: step.record for step in record(model, images("resnet18"), logits(model)).steps}
    for name in ("avgpool", "flatten", "fc"):
        assert isinstance(steps[name], VectorJacobian)
        assert [tensor.untyped_storage().nbytes() for tensor in steps[name].inputs] == [8]


def test_a_weight_is_referred_to_not_copied() -> None:
    model = network("resnet18")
    step = record(model, images("resnet18"), "conv1").steps[0]
    assert step.record.weight.data_ptr() == model.conv1.weight.data_ptr()


def test_relu_of_every_kind_is_a_rectifier() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module, self.in_place, self.six = nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.six(self.in_place(self.module(input=x)) - 1)
            x = 2 + torch.add(x, x, alpha=2)
            x = F.relu6(torch.relu(F.relu(x - 1, inplace=True) - 1))
            return (x - 1).relu().relu_()

    model = Many().eval()
    tape = record(model, noise((1, 3, 4, 4)), logits(model))
    assert sum(isinstance(step.record, ReLURecord) for step in tape.steps) == 8


@pytest.mark.parametrize("network_type", [InPlaceShortcut, Chunked])
def test_in_place_operations_and_lists_of_tensors(network_type: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = randomised(network_type()), noise((2, 3, 9, 9))
    before = x.clone()
    assert torch.equal(record(model, x, logits(model)).activation, model(x.clone()))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x1_0"])
def test_features_carry_the_gradient(name: str) -> None:
    model, x = network(name), images(name)
    for node in (list(trace(model).layers.values())[len(trace(model).layers) // 2], logits(model)):
        inner = x.clone().requires_grad_(True)
        value = features(model, inner, node)
        signal = noise(value.shape)
        expected = SlowTwin(model).play_back(x, node, signal)
        assert_same(torch.autograd.grad(value, inner, signal)[0], expected)


def test_recording_builds_no_autograd_graph() -> None:
    model = network("resnet18")
    tape = record(model, images("resnet18").requires_grad_(True), "conv2_x")
    assert not tape.activation.requires_grad


def test_recording_and_features_change_nothing() -> None:
    model = network("squeezenet1_1")
    before = fingerprint(model)
    record(model, images("squeezenet1_1"), logits(model))
    features(model, images("squeezenet1_1").requires_grad_(True), "pool1")
    with pytest.raises(ConvscopeError):
        record(model, noise((1, 3, 2, 2)), logits(model))
    assert fingerprint(model) == before


# ---------------------------------------------------------------------------- several operations at once


def test_a_linear_chain_passes_the_adjoint_test() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.Dropout2d(), nn.AvgPool2d(3, 2)]
    layers += [nn.Conv2d(8, 8, 3, groups=2, bias=False), nn.Upsample(scale_factor=2)]
    layers += [nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5, bias=False)]
    model = nn.Sequential(*layers).double().eval()
    x, y = noise((1, 3, 33, 35)), noise((1, 5), seed=2)
    tape = record(model, x, logits(model))
    forward, backward = (tape.activation * y).sum(), (x * reconstruct(tape, y).pixels).sum()
    assert abs(forward - backward) < 1e-12 * abs(forward)


@pytest.mark.parametrize("count", [1, 3])
def test_where_several_operations_read_the_image_the_gain_is_that_of_the_picture(count: int) -> None:
    # So torchvision's GoogLeNet with transform_input=True, which normalises each colour by itself.
    forward = Lambda(
        lambda net, x: net.second(torch.cat([x[:, :1] * 2, net.first(x)], dim=1)),
        first=nn.Conv2d(3, 3, 3, padding=1),
        second=nn.Conv2d(4, 5, 3),
    )
    signal = noise((count, 5, 7, 7))
    result = reconstruct(record(randomised(forward), noise((1, 3, 9, 9)), "second"), signal)
    torch.testing.assert_close(result.sent, signal.flatten(1).norm(dim=1))
    expected = result.pixels.flatten(1).norm(dim=1) / result.sent
    torch.testing.assert_close(result.gain, expected)
    assert (result.gains[-1].ratio - expected).abs().min() > 0.01


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ("conv4", (1, 3, 8, 8), "There is no layer 'conv4' in this network: choose conv1, conv1_relu, "),
        ("conv1", (3, 8, 8), "The images must have shape [N, 3, H, W], not 3 x 8 x 8: stack RGB images."),
        ("conv1", (1, 1, 8, 8), "The images must have shape [N, 3, H, W], not 1 x 1 x 8 x 8: stack RGB"),
        ("conv1", (), "The images must have shape [N, 3, H, W], not a single number: stack RGB images."),
        ("pool3", (1, 3, 4, 5), "An image of 4 x 5 px is too small for this network: nothing is left"),
        ("classifier.3", (1, 3, 64, 64), "An image of 64 x 64 px does not fit this network at "),
    ],
)
@pytest.mark.parametrize("call", [record, features])
def test_errors_say_what_to_do(call: Callable, layer: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConvscopeError, match=f"^{re.escape(message)}"):
        call(network("app:lenet"), noise(shape), layer)


@pytest.mark.parametrize("call", [record, features])
def test_a_vision_transformer_at_another_size_is_refused(call: Callable) -> None:
    sizes = {"image_size": 32, "patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    model = randomised(VisionTransformer(**sizes, num_classes=5))
    assert call(model, noise((1, 3, 32, 32)), "encoder.add") is not None
    with pytest.raises(ConvscopeError, match=r"^An image of 48 x 48 px does not fit this network at 'encoder\.add'"):
        call(model, noise((1, 3, 48, 48)), logits(model))


def test_maps_of_different_sizes_that_are_put_together_are_refused() -> None:
    model = Lambda(lambda net, x: torch.cat([x, F.interpolate(net.conv(x), (8, 8))], 1), conv=nn.Conv2d(3, 3, 2, 2))
    assert record(randomised(model), noise((1, 3, 8, 8)), "cat").activation.shape == (1, 6, 8, 8)
    with pytest.raises(ConvscopeError, match=r"^An image of 9 x 9 px does not fit this network at 'cat'"):
        record(randomised(model), noise((1, 3, 9, 9)), "cat")


def test_a_layer_must_hold_a_tensor_and_the_model_be_in_eval_mode() -> None:
    with pytest.raises(ConvscopeError, match=r"^The layer 'chunk' does not hold a tensor: choose one"):
        record(randomised(Chunked()), noise((1, 3, 9, 9)), "chunk")
    with pytest.raises(ConvscopeError, match=r"^The layer 'gt' does not hold fractions: choose one"):
        record(Lambda(lambda self, x: x > 0).eval(), noise((1, 3, 9, 9)), "gt")
    with pytest.raises(ConvscopeError, match=r"^Chunked cannot be looked at while it is in training mode"):
        record(Chunked(), noise((1, 3, 9, 9)), "conv1")


def test_errors_about_other_things_are_not_disguised() -> None:
    with pytest.raises(RuntimeError, match=r"dtype|type"):
        record(network("app:lenet"), images("app:lenet").float(), "conv1")
