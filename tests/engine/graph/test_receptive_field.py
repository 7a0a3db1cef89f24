"""Receptive fields against the support of the gradient in a network of ones, and against published figures."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from engine.errors import ConvscopeError
from engine.graph import trace
from engine.graph.receptive_field import WHOLE, Box, ReceptiveField, receptive_field, receptive_fields
from engine.tape import layers
from tests.ones import NetworkOfOnes, support
from tests.oracles import SIZES, Lambda, fingerprint, network

MODELS = [name for name in SIZES if name not in ("app:convnet2", "app:convnet3", "app:convnet5", "inception_v3")]
READ_TO_THE_END = {"squeezenet1_1": 47}  # at 48 px its strided layers leave the last row and column unread


@pytest.mark.parametrize("name", MODELS)
def test_every_layers_field_is_the_gradients_support_in_a_network_of_ones(name: str) -> None:
    model, size = network(name), _pair(READ_TO_THE_END.get(name, SIZES[name]))
    ones = NetworkOfOnes(model)
    named = list(layers(model).values())
    for node in {named[0], named[len(named) // 2], named[-1]}:
        field = receptive_field(model, node)
        for unit in ("first", "middle", "last"):
            place, seen = support(ones, node, size, unit)
            assert field.box(*place, size).clipped(size) == seen, (node, unit)


@pytest.mark.parametrize(
    ("name", "sizes"), [("resnet18", (43, 99, 211, 435)), ("app:resnet18_strided", (35, 91, 203, 427))]
)
def test_resnet_stages_have_the_fields_of_the_literature(name: str, sizes: tuple[int, ...]) -> None:
    model, image = network(name), (512, 480)
    ones = NetworkOfOnes(model)
    for stage, size in zip(range(2, 6), sizes, strict=True):
        field = receptive_field(model, f"conv{stage}_x")
        assert field.size == (size, size)
        place, seen = support(ones, layers(model)[f"conv{stage}_x"], image, "middle")
        assert field.box(*place, image) == seen
        assert (seen.height, seen.width) == (size, size)


def test_what_sees_the_whole_image() -> None:
    for name in ("avgpool", "flatten", "fc"):
        assert receptive_field(network("resnet18"), name) == WHOLE
    gated = receptive_fields(network("efficientnet_b0"))
    assert not gated["features.0.2"].whole
    assert gated["features.2.0.block.3.1"].whole  # behind the first squeeze-and-excitation gate
    grouped = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GroupNorm(1, 2)).eval()
    assert receptive_field(grouped, "1").whole
    assert (WHOLE.size, WHOLE.stride, WHOLE.box(3, 3, (8, 9))) == (None, None, Box(0, 0, 8, 9))


@pytest.mark.parametrize(
    ("moved", "kept"),
    [
        (lambda x: torch.cat([x, x], 1), True),
        (lambda x: torch.cat([x, x], dim=-1), False),
        (lambda x: torch.cat([x, x], axis=3), False),
        (lambda x: torch.cat([x, x], axis=1), True),
        (lambda x: torch.cat([x, x]), True),
        (lambda x: x.chunk(2, 2)[1], False),
        (lambda x: x.transpose(2, 3), False),
        (lambda x: x.permute(0, 1, 3, 2), False),
        (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), True),
        (lambda x: torch.permute(x.permute([0, 2, 3, 1]).contiguous() * 2, (0, 3, 1, 2)), True),
        (lambda x: torch.permute(x, dims=(0, 3, 1, 2)), False),
        (lambda x: x.permute(0, 2, 3, 1).permute(0, 2, 3, 1), False),
        (lambda x: x.permute(0, 2, 3, 1)[:, ::2].permute(0, 3, 1, 2), False),
        (lambda x: torch.cat([(y := x.permute(0, 2, 3, 1)), y], 1).permute(0, 3, 1, 2), False),
        (lambda x: x.permute(0, 2, 3, 1).flip(1).permute(0, 3, 1, 2), False),
        (lambda x: x[:, 1:], True),
        (lambda x: x[..., 3:], False),
        (lambda x: F.pad(x, (1, 1, 1, 1)), True),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), False),
    ],
)
def test_units_that_are_moved_see_the_whole_image(moved: Callable[[Tensor], Tensor], kept: bool) -> None:
    model = Lambda(lambda self, x: F.relu(moved(self.conv(x))), conv=nn.Conv2d(3, 4, 3)).eval()
    assert receptive_field(model, "relu").whole is not kept


def test_a_view_that_is_read_like_an_attribute_holds_pixels_and_a_shape_holds_none() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.dense(net.conv(x).flatten(2).mT.mean(1)) / x.shape[0] ** 0.5

    model = Lambda(forward, conv=nn.Conv2d(3, 4, 3), dense=nn.Linear(4, 2)).eval()
    shapes = {"getattr_1", "getitem", "pow"}
    assert trace(model).by_name.keys() - receptive_fields(model).keys() == shapes
    assert receptive_field(model, "dense").whole


def test_boxes_are_clipped_to_the_image() -> None:
    field = receptive_field(network("app:lenet"), "conv2")
    assert field.size == (5 + 1 + 4 * 2, 14)
    assert field.box(0, 15, (32, 32)) == Box(-6, 24, 8, 38)
    assert field.box(0, 15, (32, 32)).clipped((32, 32)) == Box(0, 24, 8, 32)
    assert Box(40, 0, 50, 5).clipped((32, 32)).height == 0
    assert Box(-1, 0, 33, 32).covers((32, 32))
    assert not Box(-1, 1, 33, 32).covers((32, 32))


def test_all_fields_name_every_operation_on_the_way_and_change_nothing() -> None:
    model = network("resnet18")
    before = fingerprint(model)
    fields = receptive_fields(model)
    assert list(fields) == [trace(model).names[node] for node in trace(model).nodes]
    assert all(isinstance(field, ReceptiveField) for field in fields.values())
    assert fields["layer1.0.add"] == fields["layer1.0.relu_1"] == receptive_field(model, "layer1.0.add")
    assert fingerprint(model) == before


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ConvscopeError, match=r"^There is no layer 'conv9' in this network: choose conv1, "):
        receptive_field(network("resnet18"), "conv9")
    constant = Lambda(lambda self, x: x + self.shift, shift=nn.Parameter(torch.zeros(1))).eval()
    with pytest.raises(ConvscopeError, match=r"^The layer 'shift' does not depend on the image: choose another"):
        receptive_field(constant, "shift")
