"""Class activation maps against Captum and against what they must add up to; played back logits against autograd."""

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from engine import tape
from engine.deconv import reconstruct
from engine.errors import ConvscopeError
from engine.evidence import RULES, class_activation_map, enlarged, grad_cam, heat, heats_of_class, last_maps, of_class
from engine.models import build
from tests.oracles import assert_same, images, network, noise, randomised


def module_of(model: nn.Module, layer: str) -> nn.Module:
    return model.get_submodule(tape.layers(model)[layer])


@pytest.mark.parametrize(("name", "layers"), [("app:lenet", ["conv1", "pool2", "pool3"]), ("app:model_two", ["conv2"])])
def test_grad_cam_is_captums(name: str, layers: list[str]) -> None:
    model, image = network(name), images(name)
    for layer in layers:
        expected = LayerGradCam(model, module_of(model, layer)).attribute(image, target=3, relu_attributions=True)
        assert_same(grad_cam(model, image, layer, 3), expected[0, 0])


@pytest.mark.parametrize("layer", ["conv1", "conv3_x", "conv5_x"])
def test_grad_cam_of_a_layer_inside_residual_blocks_is_autograds(layer: str) -> None:
    """Captum cannot name a ReLU that a block calls twice."""
    model, image = network("resnet18"), images("resnet18")
    stage = {"conv1": model.conv1, "conv3_x": model.layer2, "conv5_x": model.layer4}[layer]
    kept: list[Tensor] = []
    handle = stage.register_forward_hook(lambda _module, _inputs, output: kept.append(output * 1) or kept[-1])
    answer = model(image.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(answer[0, 4], kept[0])
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1).clamp(min=0)[0].detach()
    found = grad_cam(model, image, layer, 4)
    assert_same(found, expected)
    assert not found.requires_grad


def test_a_class_activation_map_is_the_weighted_sum_of_the_maps() -> None:
    model, image = network("resnet18"), images("resnet18")
    assert last_maps(model) == "layer4.1.relu_1"
    maps = tape.features(model, image, "conv5_x")[0]
    for label in (0, 6):
        found = class_activation_map(model, image, label)
        assert_same(found, torch.einsum("k,khw->hw", model.fc.weight[label], maps))
        assert float(found.mean() + model.fc.bias[label]) == pytest.approx(float(model(image)[0, label]), rel=1e-12)
        assert_same(found.relu() / 4, grad_cam(model, image, "conv5_x", label))


def test_it_adds_up_to_the_logit_where_a_dense_layer_reads_the_maps_place_by_place() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(5 * 6 * 6, 4))
    model, image = randomised(model), noise((1, 3, 8, 8))
    found = class_activation_map(model, image, 2)
    assert float(found.mean() + model[4].bias[2]) == pytest.approx(float(model(image)[0, 2]), rel=1e-12)
    assert last_maps(model) == "1"


@pytest.mark.parametrize(("name", "has"), [("lenet", False), ("model_one", False), ("resnet18_strided", True)])
def test_networks_with_several_dense_layers_have_no_exact_map(name: str, has: bool) -> None:
    model = build(name).eval()
    assert (last_maps(model) is not None) == has
    if not has:
        with pytest.raises(ConvscopeError, match="no exact class activation map"):
            class_activation_map(model, torch.zeros(1, 3, 32, 32), 0)


def test_a_played_back_logit_is_the_gradient_and_its_heat_the_largest_colour() -> None:
    model, image = network("app:model_two"), images("app:model_two")
    inner = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(inner)[0, 5], inner)
    assert_same(of_class(model, image, 5)["gradient"].pixels, gradient)
    found = heats_of_class(model, image, 5)
    assert tuple(found) == RULES
    assert_same(found["gradient"], torch.stack([channel.abs() for channel in gradient[0]]).max(dim=0).values)
    recorded = tape.record(model, image, tape.logits(model))
    signal = torch.eye(10).double()[[5]]
    for rule in RULES:
        assert_same(found[rule], heat(reconstruct(recorded, signal, relu=rule).pixels))


def test_a_coarse_map_is_laid_over_its_image() -> None:
    coarse = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = enlarged(coarse, 4, 8)
    assert found.shape == (4, 8)
    assert found[:, 0].eq(0).all()
    assert found[:, -1].eq(1).all()


def test_what_does_not_fit_is_refused() -> None:
    model, image = network("app:lenet"), images("app:lenet")
    with pytest.raises(ConvscopeError, match="no class 10: this network knows classes 0 to 9"):
        grad_cam(model, image, "pool1", 10)
    with pytest.raises(ConvscopeError, match="one image"):
        grad_cam(model, images("app:lenet", 2), "pool1", 1)
    with pytest.raises(ConvscopeError, match="has no maps"):
        grad_cam(model, image, tape.logits(model), 1)
    with pytest.raises(ConvscopeError, match="no class -1"):
        of_class(model, image, -1)
