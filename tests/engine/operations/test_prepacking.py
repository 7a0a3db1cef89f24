"""Convolutions with prepacked weights, against PyTorch's own in double precision."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine import checkpoints, deconv, tape
from engine.operations import prepacking
from tests.oracles import relative_error

pytestmark = pytest.mark.skipif(not prepacking.AVAILABLE, reason="there is no oneDNN on this processor")

GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": (3, 5), "stride": (2, 1), "padding": (0, 2), "bias": False},
]
CLOSE = 1e-5


def layer(**options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    frozen = checkpoints.freeze(nn.Conv2d(64, 72, **options))
    assert isinstance(frozen, nn.Conv2d)
    return frozen


def maps(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def twin(one: nn.Conv2d, x: Tensor) -> Tensor:
    """PyTorch's convolution in double precision."""
    return copy.deepcopy(one).double()(x.double())


@pytest.mark.parametrize("options", GEOMETRIES)
@pytest.mark.parametrize("sides", [(7, 7), (8, 9)])
def test_it_convolves_as_pytorch_does(options: dict, sides: tuple[int, int]) -> None:
    one = layer(**options)
    for x in (maps(1, 64, *sides), maps(2, 64, *sides), maps(1, 64, 11, 6)):
        assert prepacking.pays(one, x, 49)
        assert relative_error(prepacking.convolve(x, one), twin(one, x)) < CLOSE


@pytest.mark.parametrize("options", GEOMETRIES)
def test_the_transposed_one_is_pytorchs(options: dict) -> None:
    one = layer(**options)
    how = {"stride": one.stride, "dilation": one.dilation}
    for signal in (maps(1, 72, 3, 3), maps(3, 72, 5, 2)):
        theirs = F.conv_transpose2d(signal.double(), one.weight.double(), **how)
        assert relative_error(prepacking.convolve_transposed(signal, one), theirs) < CLOSE


class Orders(TorchDispatchMode):
    """Of each convolution with prepacked weights the order of these, and the one that oneDNN wants for such maps."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight, self.found = weight, []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        prepack = {
            torch.ops.mkldnn._convolution_pointwise: torch.ops.mkldnn._reorder_convolution_weight,
            torch.ops.mkldnn._convolution_transpose_pointwise: torch.ops.mkldnn._reorder_convolution_transpose_weight,
        }.get(function.overloadpacket)
        if prepack is not None:
            maps, packed, _, *where = args[:-3]  # the rest is about activations
            self.found.append((order(packed), order(prepack(self.weight, *where, list(maps.shape)))))
        return function(*args, **(kwargs or {}))


def order(packed: Tensor) -> list[int]:
    return torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist()


def test_maps_of_each_size_meet_the_weights_in_the_order_that_is_fast_for_them() -> None:
    """oneDNN takes any order, but converts another one for each convolution, a hundred times as slowly."""
    one = layer(kernel_size=3, padding=1)
    with torch.no_grad(), Orders(one.weight) as orders:
        for _ in range(2):
            for size in range(1, 16):
                prepacking.convolve(maps(1, 64, size, size), one)
                prepacking.convolve_transposed(maps(1, 72, size, size), one)
    assert len(orders.found) == 60
    assert all(kept == wanted for kept, wanted in orders.found)


@pytest.mark.parametrize("options", GEOMETRIES)
@pytest.mark.parametrize("sides", [(7, 7), (8, 9)])
def test_its_derivatives_are_pytorchs(options: dict, sides: tuple[int, int]) -> None:
    one, x = layer(**options), maps(1, 64, *sides)

    def derivatives(convolve, image: Tensor) -> tuple[Tensor, Tensor]:
        image = image.clone().requires_grad_()
        value = convolve(image).square().sum()
        (first,) = torch.autograd.grad(value, image, create_graph=True)
        return first.detach(), torch.autograd.grad(first.square().sum(), image)[0]

    ours = derivatives(lambda image: prepacking.convolve(image, one), x)
    theirs = derivatives(lambda image: twin(one, image), x.double())
    assert all(relative_error(our, their) < CLOSE for our, their in zip(ours, theirs, strict=True))


def test_it_is_for_frozen_layers_in_single_precision_with_few_places_alone() -> None:
    one, x = layer(kernel_size=3), maps(1, 64, 7, 7)
    assert prepacking.pays(one, x, 25)
    assert not prepacking.pays(one, x, 10_000)
    assert not prepacking.pays(one, x.double(), 25)
    assert not prepacking.pays(copy.deepcopy(one), x, 25)
    assert not prepacking.pays(layer(kernel_size=3, groups=8), x, 25)
    assert not torch.func.vmap(lambda image: torch.tensor(prepacking.pays(one, image, 25)))(x[None]).any()


def test_in_a_trained_network_it_is_used_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for name in ("convolve", "convolve_transposed"):
        own = getattr(prepacking, name)
        monkeypatch.setattr(prepacking, name, lambda *args, own=own, name=name: used.append(name) or own(*args))
    model = checkpoints.load("resnet18").model
    recorded = tape.record(model, maps(1, 3, 64, 64), "conv5_x")
    deconv.reconstruct(recorded, deconv.strongest_unit(recorded.activation, 0))
    assert used.count("convolve") > 12
    assert used.count("convolve_transposed") > 12


@pytest.mark.parametrize("name", ["resnet18", "resnet18_strided"])
def test_a_picture_is_that_of_double_precision(name: str) -> None:
    model = checkpoints.load(name).model
    x = maps(1, 3, 64, 64)
    for bn in (True, False):
        pictures = []
        for network, image in ((model, x), (copy.deepcopy(model).double(), x.double())):
            recorded = tape.record(network, image, "conv5_x")
            signal = deconv.strongest_unit(recorded.activation, 3)
            pictures.append(deconv.reconstruct(recorded, signal, batch_norm=bn).pixels)
        assert relative_error(*pictures) < CLOSE


def test_threads_share_the_weights() -> None:
    one, x = layer(kernel_size=3), maps(1, 64, 7, 7)
    theirs = twin(one, x)
    with ThreadPoolExecutor(4) as pool:
        assert all(
            relative_error(ours, theirs) < CLOSE for ours in pool.map(lambda _: prepacking.convolve(x, one), range(40))
        )
