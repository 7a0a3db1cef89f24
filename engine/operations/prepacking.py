"""Convolutions of few places with prepacked weights.

On processors PyTorch convolves with oneDNN, which computes blocks of channels at once and for that puts the weights in
another order before each convolution. Where a map has few places, as deep in a network, this takes longer than the
convolution: at 2 x 2 places, 512 channels to 512, ten times as long. So the weights of frozen layers are put in order
once (`engine.operations.frozen_weights`), for the convolution and for the transposed one.

Each of the two is the other's derivative by its input, so autograd can go back through either.
"""

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.operations.frozen_weights import FROZEN
from engine.operations.windows import windows

_MOST_PLACES = 256
"""Of all images together, on the convolution's own side; with more, the order of the weights costs next to nothing."""
_MANY_WEIGHTS = 2**15
"""Fewer are in order in no time."""
AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and platform.machine().lower() in ("x86_64", "amd64")
    and all(hasattr(torch.ops.mkldnn, name) for name in ("_convolution_pointwise", "_convolution_transpose_pointwise"))
)


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
    weight, where = layer.weight, (list(padding), list(output_padding), list(layer.stride), list(layer.dilation), 1)
    prepack = torch.ops.mkldnn._reorder_convolution_transpose_weight
    packed = FROZEN.derived(layer, "transposed", [weight], lambda: prepack(weight.detach(), *where, list(maps.shape)))
    maps = maps.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._convolution_transpose_pointwise(maps, packed, None, *where, "none", [], "")


def _convolve(maps: Tensor, layer: nn.Conv2d, bias: Tensor | None) -> Tensor:
    weight, where = layer.weight, (list(layer.padding), list(layer.stride), list(layer.dilation), 1)
    prepack = torch.ops.mkldnn._reorder_convolution_weight
    packed = FROZEN.derived(layer, "convolution", [weight], lambda: prepack(weight.detach(), *where, list(maps.shape)))
    maps = maps.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._convolution_pointwise(maps, packed, bias, *where, "none", [], "")


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
