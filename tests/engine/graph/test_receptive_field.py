"""Receptive fields against the support of the gradient in a network of ones, and against published figures."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from engine.errors import ConvscopeError
from engine.graph import trace
from engine.graph.receptive_field import WHOLE, Box, Pair, ReceptiveField, receptive_field, receptive_fields
from engine.tape import layers
from tests.oracles import SIZES, Lambda, SlowTwin, fingerprint, network

SMALL = 1e-3  # the image's grey: small enough to stay below ReLU6's ceiling


class OnesConvolution(nn.Module):
    """A convolution whose weights are all equal and positive."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        given = self.convolution
        geometry = (given.stride, given.padding, given.dilation)
        if given.groups > 1:
            return F.conv2d(x, torch.full_like(given.weight, 0.1), None, *geometry, given.groups)
        kernel = x.new_ones(1, 1, *given.kernel_size) / (given.kernel_size[0] * given.kernel_size[1])
        one = F.conv2d(x.mean(1, keepdim=True), kernel, None, *geometry)
        return one.repeat(1, given.out_channels, 1, 1)  # all of them are equal


OnesConvolution.__module__ = "torch.nn"  # a tracer takes it for one operation


class NetworkOfOnes(SlowTwin):
    """The network with all weights equal and positive, no normalisation, and averages for maxima."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(_of_ones(copy.deepcopy(model)))

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return _average(*args, **kwargs) if target in (F.max_pool2d, torch.max_pool2d) else target(*args, **kwargs)


def _average(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: int = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


def _of_ones(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        return OnesConvolution(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
        return nn.Identity()
    if isinstance(module, nn.MaxPool2d):
        return nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
    for name, child in list(module.named_children()):
        setattr(module, name, _of_ones(child))
    return module


def support(ones: NetworkOfOnes, node: str, size: Pair, unit: str) -> tuple[Pair, Box | None]:
    """Where a unit ("first", "middle" or "last") is, and the box around the pixels it depends on; None: none."""
    x = torch.full((1, 3, *size), SMALL, dtype=torch.float64, requires_grad=True)
    maps = ones.run_to(x, node)
    place = {"first": (0, 0), "middle": (maps.shape[2] // 2, maps.shape[3] // 2)}
    row, column = place.get(unit, (maps.shape[2] - 1, maps.shape[3] - 1))
    (gradient,) = torch.autograd.grad(maps[0, :, row, column].sum(), x)
    rows, columns = (gradient.abs().sum(axes).nonzero().flatten().tolist() for axes in ((0, 1, 3), (0, 1, 2)))
    seen = Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None
    return (row, column), seen


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


def chain(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules).double().eval().requires_grad_(False)


CHAINS = {
    "dilation": chain(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, dilation=3), nn.MaxPool2d(2)),
    "oblong": chain(nn.Conv2d(3, 2, (3, 5), (2, 3), (1, 0)), nn.MaxPool2d((2, 1), (1, 2))),
    "same": chain(nn.Conv2d(3, 2, 5, padding="same"), nn.Conv2d(2, 2, 4, padding="same", dilation=2)),
    "ceil mode": chain(nn.Conv2d(3, 2, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2, 2, 1)),
    "padded": chain(nn.ZeroPad2d((1, 2, 3, 4)), nn.Conv2d(3, 2, 3, 2), nn.Conv2d(2, 2, 1, 2), nn.SiLU()),
    "pad function": Lambda(
        lambda self, x: self.c(F.pad(F.max_pool2d(x, 3, padding=1), (2, 1, 0, 1))), c=nn.Conv2d(3, 2, 3)
    ).double().eval(),
    "two branches": Lambda(
        lambda self, x: torch.cat([self.a(x), F.relu(self.b(x)).sigmoid()], 1) * 2,
        a=nn.Conv2d(3, 2, 3, padding=(1, 0)), b=nn.Conv2d(3, 2, 7, padding=(3, 2)),
    ).double().eval(),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("size", [(23, 26), (26, 23)])
def test_operations_one_by_one(name: str, size: Pair) -> None:
    model = CHAINS[name]
    ones = NetworkOfOnes(model)
    last = list(receptive_fields(model))[-1]
    for unit in ("first", "middle", "last"):
        place, seen = support(ones, last, size, unit)
        clipped = receptive_field(model, last).box(*place, size).clipped(size)
        assert clipped == seen or (seen is None and clipped.height == 0), unit


def test_a_convolution_with_a_parameter_as_a_function() -> None:
    class Function(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 3, 5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight, stride=2, padding=(2, 1))

    field = receptive_field(Function().eval(), "conv2d")
    assert (field.size, field.stride) == ((5, 3), (2, 2))
    assert field.box(0, 1, (9, 9)) == Box(-2, 1, 3, 4)


def test_what_sees_the_whole_image() -> None:
    for name in ("avgpool", "flatten", "fc"):
        assert receptive_field(network("resnet18"), name) == WHOLE
    gated = receptive_fields(network("efficientnet_b0"))
    assert not gated["features.0.2"].whole
    assert gated["features.2.0.block.3.1"].whole  # behind the first squeeze-and-excitation gate
    grouped = chain(nn.Conv2d(3, 2, 3), nn.GroupNorm(1, 2))
    assert receptive_field(grouped, "1").whole
    assert (WHOLE.size, WHOLE.stride, WHOLE.box(3, 3, (8, 9))) == (None, None, Box(0, 0, 8, 9))


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
