"""Convolutions of few places with prepacked weights.

On processors PyTorch convolves with oneDNN, which computes blocks of channels at once and for that puts the weights in
another order before each convolution. Where a map has few places, as deep in a network, this takes longer than the
convolution: at 2 x 2 places, 512 channels to 512, ten times as long. So the weights of frozen layers are put in order
once (`engine.operations.frozen_weights`), for the convolution and for the transposed one.

Which order oneDNN wants can change with the size of the maps: on processors with AVX2 alone one layer has up to three.
It also takes another one, but then converts it for each convolution, up to a hundred times as slowly as it convolves.
So each order is kept for itself, and maps of a new size tell theirs when the weights are first put in order for them.

Each of the two is the other's derivative by its input, so autograd can go back through either.
"""

import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.operations.frozen_weights import FROZEN
from engine.operations.windows import windows

_MOST_PLACES = 256
"""Of all images together, on the convolution's own side; with more, the order of the weights costs next to nothing."""
_MANY_WEIGHTS = 2**15
"""Fewer are in order in no time."""
_MOST_ORDERS = 10_000
"""So many sizes of maps and weights are remembered: 5 MB."""
_FUNCTIONS = ("_convolution_pointwise", "_convolution_transpose_pointwise", "_get_mkldnn_serialized_md")
AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and platform.machine().lower() in ("x86_64", "amd64")
    and all(hasattr(torch.ops.mkldnn, name) for name in _FUNCTIONS)
)

_ORDERS: dict[tuple, int] = {}
"""Of the sizes of weights and maps, which order oneDNN wants."""


def pays(layer: nn.Conv2d, maps: Tensor, places: int) -> bool:
    """Whether prepacked weights make the convolution by `layer` faster, or the transposed one, and may be used.

    Args:
        maps: what goes in, `[N, C, H, W]`.
        places: the units of the convolution's output in one channel of all N images, or of the transposed one's input.
    """
    return (
        places <= _MOST_PLACES
        and (weight := layer.weight).numel() >= _MANY_WEIGHTS
        and AVAILABLE
        and layer.groups == 1
        and maps.dtype is weight.dtype is torch.float32
        and maps.is_cpu
        and maps.dim() == 4
        and FROZEN.holds(layer)
        and not torch._C._functorch.is_functorch_wrapped_tensor(maps)
    )


def convolve(maps: Tensor, layer: nn.Conv2d) -> Tensor:
    """What `layer`, which pads with zeros, computes of `maps` `[N, C, H, W]`."""
    differentiable = torch.is_grad_enabled() and maps.requires_grad
    return _Convolution.apply(maps, layer, layer.bias) if differentiable else _convolve(maps, layer, layer.bias)


def convolve_transposed(
    maps: Tensor, layer: nn.Conv2d, padding: Sequence[int] = (0, 0), output_padding: Sequence[int] = (0, 0)
) -> Tensor:
    """The transposed convolution of `maps` `[N, C_out, h, w]` with the weights of `layer`, without its bias."""
    where = (tuple(padding), tuple(output_padding), tuple(layer.stride), tuple(layer.dilation), 1)
    packed = _packed(torch.ops.mkldnn._reorder_convolution_transpose_weight, maps, layer, where)
    maps = maps.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._convolution_transpose_pointwise(maps, packed, None, *where, "none", [], "")


def _convolve(maps: Tensor, layer: nn.Conv2d, bias: Tensor | None) -> Tensor:
    where = (tuple(layer.padding), tuple(layer.stride), tuple(layer.dilation), 1)
    packed = _packed(torch.ops.mkldnn._reorder_convolution_weight, maps, layer, where)
    maps = maps.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._convolution_pointwise(maps, packed, bias, *where, "none", [], "")


def _packed(prepack: Callable[..., Tensor], maps: Tensor, layer: nn.Conv2d, where: tuple) -> Tensor:
    """The weights of `layer` in the order that oneDNN wants for these `maps`."""
    weight, made = layer.weight, None

    def make() -> Tensor:
        return prepack(weight.detach(), *where, list(maps.shape))

    sizes = (prepack.__name__, weight.shape, where, maps.shape, torch.get_num_threads())
    order = _ORDERS.get(sizes)
    if order is None:
        made = make()
        order = _remember(sizes, made)
    key = f"{prepack.__name__} {order}"
    return FROZEN.derived(layer, key, [weight], lambda: make() if made is None else made)


def _remember(sizes: tuple, packed: Tensor) -> int:
    """The order of the weights `packed` for these sizes."""
    if len(_ORDERS) >= _MOST_ORDERS:
        _ORDERS.clear()
    order = hash(bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist()))
    _ORDERS[sizes] = order
    return order


class _Convolution(torch.autograd.Function):
    """A convolution, whose derivative by its input is the transposed one."""

    @staticmethod
    def forward(context: Any, maps: Tensor, layer: nn.Conv2d, bias: Tensor | None) -> Tensor:
        context.layer, context.size = layer, maps.shape[2:]
        return _convolve(maps, layer, bias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        axes = zip(windows(vars(context.layer)), context.size, strict=True)
        unread = [window.unread(size) for window, size in axes]
        return _Transposed.apply(gradient, context.layer, unread), None, None


class _Transposed(torch.autograd.Function):
    """A transposed convolution, whose derivative by its input is the convolution."""

    @staticmethod
    def forward(context: Any, maps: Tensor, layer: nn.Conv2d, unread: Sequence[int]) -> Tensor:
        context.layer = layer
        return convolve_transposed(maps, layer, layer.padding, unread)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Convolution.apply(gradient, context.layer, None), None, None
