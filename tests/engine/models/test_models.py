"""The networks are the ones of the reports: layers, shapes, numbers of parameters."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES, build, parameter_count


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def counts(*groups: nn.Module | tuple[nn.Module, ...]) -> list[int]:
    """Numbers of parameters, counted from the shapes."""
    members = [group if isinstance(group, tuple) else (group,) for group in groups]
    return [sum(math.prod(p.shape) for module in group for p in module.parameters()) for group in members]


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side)


def of_type(model: nn.Module, kind: type) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


def layers(model: nn.Module) -> str:
    """The leaves in order, such as "Conv2d ReLU"."""
    return " ".join(type(module).__name__ for module in model.modules() if not list(module.children()))


# Numbers of parameters -----------------------------------------------------------------------------------------


def test_lenet_has_the_reports_parameters_and_the_ten_biases_it_left_out() -> None:
    model = build("lenet")
    convolutions, dense = of_type(model, nn.Conv2d), of_type(model, nn.Linear)
    assert counts(*convolutions, *dense) == [2_432, 51_264, 204_928, 131_136, 650]
    assert parameter_count(model) == 390_410


def test_resnet18_has_the_known_parameters_in_each_stage() -> None:
    model = build("resnet18")
    stages = (model.conv1, model.bn1), model.layer1, model.layer2, model.layer3, model.layer4, model.fc
    assert counts(*stages) == [9_536, 147_968, 525_568, 2_099_712, 8_393_728, 5_130]
    assert parameter_count(model) == 11_181_642


def test_model_one_has_the_parameters_of_its_layers() -> None:
    convolutions = [(i * 9 + 1) * o for i, o in ((3, 32), (32, 64), (64, 128), (128, 256), (256, 512))]
    dense = [(i + 1) * o for i, o in ((512 * 4 * 4, 2048), (2048, 64), (64, 10))]
    batch_norms = [2 * channels for channels in (32, 128, 512, 64)]
    assert parameter_count(build("model_one")) == sum(convolutions + dense + batch_norms)


def test_model_two_is_lenet_and_batch_norm() -> None:
    assert parameter_count(build("model_two")) == 390_410 + 2 * (32 + 64 + 128 + 64)
    assert parameter_count(build("model_two", batch_norm=False)) == 390_410


def test_the_strided_resnet_has_one_more_shortcut() -> None:
    assert parameter_count(build("resnet18_strided")) == 11_181_642 + 64 * 64 + 2 * 64


def test_running_statistics_are_no_parameters() -> None:
    assert parameter_count(nn.BatchNorm2d(7)) == 14


# Layers and shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [10, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_images_times_classes(name: str, num_classes: int) -> None:
    model = build(name, num_classes=num_classes)
    assert model.training
    with torch.no_grad():
        logits = model.eval()(images(ARCHITECTURES[name].input_size))
    assert logits.shape == (2, num_classes)
    assert logits.min() < 0  # no ReLU behind the last layer


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_entry_is_found_under_its_own_name(name: str) -> None:
    assert ARCHITECTURES[name].name == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet", 3 * "Conv2d ReLU MaxPool2d " + "Flatten Linear ReLU Linear"),
        (
            "model_one",
            "Conv2d ReLU Dropout2d BatchNorm2d MaxPool2d "
            + 2 * "Conv2d ReLU Conv2d ReLU BatchNorm2d MaxPool2d "
            + "Flatten Linear ReLU Linear ReLU BatchNorm1d Linear",
        ),
        (
            "model_two",
            "Conv2d Dropout2d BatchNorm2d ReLU MaxPool2d "
            + 2 * "Conv2d BatchNorm2d ReLU MaxPool2d "
            + "Flatten Linear BatchNorm1d ReLU Linear",
        ),
        ("convnet2", 2 * "Conv2d ReLU MaxPool2d Dropout2d " + "Flatten Linear ReLU Linear"),
        ("convnet5", 5 * "Conv2d ReLU MaxPool2d Dropout2d " + "Flatten Linear ReLU Linear"),
    ],
)
def test_layers_come_in_the_reports_order(name: str, expected: str) -> None:
    assert layers(build(name)) == expected


@pytest.mark.parametrize(("name", "side"), [("lenet", 8), ("model_one", 8), ("model_two", 8), ("lenet", 33)])
def test_three_poolings_accept_other_input_sizes(name: str, side: int) -> None:
    assert build(name, input_size=side).eval()(images(side)).shape == (2, 10)


@pytest.mark.parametrize(("name", "title"), [("lenet", "LeNet"), ("model_one", "Model 1"), ("model_two", "Model 2")])
def test_three_poolings_refuse_seven_pixels(name: str, title: str) -> None:
    with pytest.raises(ConvscopeError) as caught:
        build(name, input_size=7)
    assert str(caught.value) == (
        f"{title} needs images of at least 8 px, not 7 px: choose larger images, or a network with fewer layers."
    )


def test_model_two_without_batch_norm_has_none() -> None:
    model = build("model_two", batch_norm=False)
    assert layers(model) == (
        "Conv2d Dropout2d ReLU MaxPool2d " + 2 * "Conv2d ReLU MaxPool2d " + "Flatten Linear ReLU Linear"
    )
    assert model.eval()(images(32)).shape == (2, 10)


@pytest.mark.parametrize("name", ["model_one", "model_two"])
def test_dropout_is_a_tenth_unless_it_is_chosen(name: str) -> None:
    assert [module.p for module in of_type(build(name), nn.Dropout2d)] == [0.1]
    assert [module.p for module in of_type(build(name, dropout=0.3), nn.Dropout2d)] == [0.3]


@pytest.mark.parametrize("name", ["model_one", "model_two"])
def test_initial_weights_fill_xaviers_interval(name: str) -> None:
    modules = of_type(build(name), nn.Conv2d | nn.Linear)
    assert len(modules) > 4
    for module in modules:
        fans = (module.weight.shape[0] + module.weight.shape[1]) * math.prod(module.weight.shape[2:])
        bound = math.sqrt(6 / fans)
        assert 0.98 * bound < module.weight.abs().max() <= bound
        assert abs(module.weight.mean()) < 0.05 * bound
        assert not module.bias.any()


# ResNet-18 -----------------------------------------------------------------------------------------------------


def test_resnet18_computes_what_torchvisions_does() -> None:
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    for module in of_type(theirs, nn.BatchNorm2d):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2)
    ours = build("resnet18").eval()
    ours.load_state_dict(theirs.state_dict())
    batch = images(64)
    with torch.no_grad():
        assert torch.equal(ours(batch), theirs(batch))


def test_resnet18_accepts_any_input_size() -> None:
    model = build("resnet18").eval()
    with torch.no_grad():
        assert [model(images(side, 1)).shape for side in (32, 75)] == [(1, 10)] * 2


def test_the_strided_resnet_halves_32_pixels_five_times() -> None:
    model = build("resnet18_strided").eval()
    sides: list[tuple[int, ...]] = []
    for stage in (model.bn1, model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda _, __, output: sides.append(tuple(output.shape[1:])))
    with torch.no_grad():
        model(images(32))
    assert sides == [(64, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]


def test_the_strided_resnets_convolutions_start_as_he_et_al_draw_them() -> None:
    for module in of_type(build("resnet18_strided"), nn.Conv2d):
        expected = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
        assert module.weight.std().item() == pytest.approx(expected, rel=0.05)


# ConvNets ------------------------------------------------------------------------------------------------------


def convolutions(model: nn.Module) -> Iterator[tuple[int, int, int]]:
    return ((m.in_channels, m.out_channels, m.kernel_size[0]) for m in of_type(model, nn.Conv2d))


@pytest.mark.parametrize(
    ("depth", "inputs"), [(2, 24 * 62 * 62), (3, 32 * 29 * 29), (4, 40 * 13 * 13), (5, 48 * 5 * 5)]
)
def test_convnets_are_the_reports_at_256_pixels(depth: int, inputs: int) -> None:
    with torch.device("meta"):
        model = build(f"convnet{depth}", input_size=256)
    wanted = [(3, 16, 3), (16, 24, 4), (24, 32, 4), (32, 40, 4), (40, 48, 4)]
    assert list(convolutions(model)) == wanted[:depth]
    assert [(m.in_features, m.out_features) for m in of_type(model, nn.Linear)] == [(inputs, 512), (512, 10)]


@pytest.mark.parametrize(("depth", "smallest"), [(2, 12), (3, 28), (4, 60), (5, 124)])
def test_each_depth_has_its_smallest_input(depth: int, smallest: int) -> None:
    model = build(f"convnet{depth}", input_size=smallest).eval()
    with torch.no_grad():
        assert model.features(images(smallest)).shape[2:] == (1, 1)
        assert model(images(smallest)).shape == (2, 10)
    with pytest.raises(ConvscopeError) as caught:
        build(f"convnet{depth}", input_size=smallest - 1)
    assert str(caught.value) == (
        f"A ConvNet with {depth} layers needs images of at least {smallest} px, not {smallest - 1} px: "
        "choose larger images, or a network with fewer layers."
    )


def test_options_that_leave_nothing_of_any_image_are_one_sentence() -> None:
    with pytest.raises(ConvscopeError) as caught:
        build("convnet2", pool_size=-2)
    assert str(caught.value) == (
        "A ConvNet with 2 layers leaves nothing of images of any size: choose other options for it."
    )


@pytest.mark.parametrize("depth", [1, 6])
def test_convnets_of_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ConvscopeError) as caught:
        build("convnet2", depth=depth)
    assert str(caught.value) == f"A ConvNet has 2 to 5 convolutional layers, not {depth}."


def test_convnet_with_one_kernel_size() -> None:
    model = build("convnet3", input_size=64, kernel_size=5)
    assert [kernel for _, _, kernel in convolutions(model)] == [5, 5, 5]
    assert model.eval()(images(64)).shape == (2, 10)


def test_convnet_with_wider_pooling_needs_larger_images() -> None:
    model = build("convnet3", input_size=65, pool_size=3)
    assert [module.kernel_size for module in of_type(model, nn.MaxPool2d)] == [3, 3, 3]
    # (65 - 2) / 3 = 21, (21 - 3) / 3 = 6, (6 - 3) / 3 = 1
    assert model.features(images(65)).shape == (2, 32, 1, 1)
    with pytest.raises(ConvscopeError, match="at least 65 px, not 64 px"):
        build("convnet3", input_size=64, pool_size=3)


def test_convnet_with_another_dense_width() -> None:
    model = build("convnet2", input_size=32, width=100)
    assert [m.out_features for m in of_type(model, nn.Linear)] == [100, 10]
    assert model.eval()(images(32)).shape == (2, 10)


def test_convnet_with_strided_convolutions_has_no_pooling() -> None:
    model = build("convnet3", input_size=64, strided=True)
    assert of_type(model, nn.MaxPool2d) == []
    assert [m.stride for m in of_type(model, nn.Conv2d)] == [(2, 2)] * 3
    # (64 - 3) // 2 + 1 = 31, (31 - 4) // 2 + 1 = 14, (14 - 4) // 2 + 1 = 6
    assert model.features(images(64)).shape == (2, 32, 6, 6)
    assert model.eval()(images(64)).shape == (2, 10)


@pytest.mark.parametrize(("options", "expected"), [({}, 0.3), ({"dropout": 0.1}, 0.1)])
def test_convnets_drop_maps_after_each_layer(options: dict[str, float], expected: float) -> None:
    assert [m.p for m in of_type(build("convnet4", **options), nn.Dropout2d)] == [expected] * 4


# Refusals ------------------------------------------------------------------------------------------------------


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ConvscopeError) as caught:
        build("alexnet")
    assert str(caught.value) == (
        "There is no architecture 'alexnet': choose one of lenet, model_one, model_two, convnet2, convnet3, "
        "convnet4, convnet5, resnet18, resnet18_strided, efficientnet_lite0, or one of torchvision's such as "
        "torchvision:vgg16."
    )


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("lenet", {"depth": 3}, "LeNet.__init__() got an unexpected keyword argument 'depth'"),
        ("resnet18", {"input_size": 32}, "resnet18() got an unexpected keyword argument 'input_size'"),
        ("model_two", {"dropout": 1.5}, "dropout probability has to be between 0 and 1, but got 1.5"),
        ("convnet2", {"pool_size": 0}, "integer division or modulo by zero"),
        ("convnet2", {"width": -1}, None),
        ("convnet2", {"input_size": "large"}, None),
    ],
)
def test_impossible_options_are_refused_with_their_reason(
    name: str, options: dict[str, Any], reason: str | None
) -> None:
    with pytest.raises(ConvscopeError) as caught:
        build(name, **options)
    start = f"The architecture {name!r} cannot take the options {options}: "
    assert str(caught.value).startswith(start)
    assert reason is None or str(caught.value) == f"{start}{reason}."
