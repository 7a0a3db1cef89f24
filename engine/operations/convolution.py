"""Convolution: each output is a weighted sum over a window of the input.

    output[o, i, j] = bias[o] + sum over c, u, v of  weight[o, c, u, v] * input[c, s i - p + d u, s j - p + d v]

Reversed, it is the transposed convolution with the same weights and no bias (Zeiler & Fergus 2014, section 2.1). Each
weight is used once per output position, so it costs as many multiply-adds as it has weights, times H_out * W_out; a
transposed convolution uses each weight once per input position.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Node

from engine.operations import prepacking
from engine.operations.base import Call, Operation, Record, Recorded, Rules, Shape, Shapes, product_in_words
from engine.operations.frozen_weights import FROZEN
from engine.operations.signals import Signals
from engine.operations.windows import Windows, sides_in_words, stride_in_words, windows

_SETTINGS = ("weight", "bias", "stride", "padding", "dilation", "groups", "kernel_size")
_FEW = 16
"""Fewer channels than a processor computes at once."""


@dataclass(frozen=True)
class ConvolutionRecord(Record):
    """`followed_by_batch_norm`: whether a batch norm alone reads its output (directly or through dropout)."""

    layer: nn.Conv2d
    windows: Windows
    input_size: tuple[int, int]
    followed_by_batch_norm: bool

    @property
    def weight(self) -> Tensor:
        """`[C_out, C_in / groups, k, k]`."""
        return self.layer.weight.detach()

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        maps = signals.maps if rules.weight_scale == 1 else signals.maps * rules.weight_scale
        if signals.place is None:
            return (signals.with_maps(self._transposed(maps, self.layer.padding, self.input_size)),)
        read = signals.place.read(self.windows, self.input_size)
        return (signals.with_maps(self._transposed(maps, (0, 0), read.shape), read),)

    def _transposed(self, maps: Tensor, padding: Sequence[int], size: Sequence[int]) -> Tensor:
        """The transposed convolution, less the first `padding` rows and columns: the `size` that follow."""
        layer = self.layer
        if layer.groups == 1 and layer.dilation == (1, 1):
            if maps.shape[2:] == (1, 1) and (*padding, *size) == (0, 0, *layer.kernel_size):
                return _of_single_units(maps, layer.weight)
            if layer.stride[0] == layer.stride[1] > 1 and layer.in_channels < _FEW:
                return _by_sub_pixels(maps, layer, padding, size)
        # A strided convolution may leave the last rows and columns unread; the output padding brings them back.
        axes = zip(self.windows, maps.shape[2:], padding, size, strict=True)
        unread = [length + 2 * cut - window.reach(count) for window, count, cut, length in axes]
        if prepacking.pays(layer, maps, maps.numel() // layer.out_channels):
            return prepacking.convolve_transposed(maps, layer, padding, unread)
        return F.conv_transpose2d(maps, layer.weight, None, layer.stride, padding, unread, layer.groups, layer.dilation)


def _of_single_units(maps: Tensor, weight: Tensor) -> Tensor:
    """The transposed convolution of maps of one unit, `[B, C, 1, 1]`: a product with the matrix of all weights."""
    rows = weight.permute(0, 2, 3, 1)
    windows = maps.flatten(1) @ rows.flatten(1)
    return windows.unflatten(1, rows.shape[1:]).permute(0, 3, 1, 2)


def _by_sub_pixels(maps: Tensor, layer: nn.Conv2d, padding: Sequence[int], size: Sequence[int]) -> Tensor:
    """The transposed convolution as a plain one, which gives the stride x stride pixels between two units as channels.

    Libraries compute many channels at once, so with few of them it is faster (Shi et al. 2016, "Real-time single image
    and video super-resolution using an efficient sub-pixel convolutional neural network").
    """
    weight, stride = layer.weight, layer.stride[0]
    kernels = FROZEN.derived(layer, "sub-pixels", [weight], lambda: _sub_pixel_kernels(weight.detach(), stride))
    reach = [count + taps - 2 for count, taps in zip(maps.shape[2:], kernels.shape[2:], strict=True)]
    # So many outputs on either side lie outside of what is asked for.
    spare = [
        min(cut // stride, last - (cut + length - 1) // stride)
        for cut, length, last in zip(padding, size, reach, strict=True)
    ]
    around = [taps - 1 - less for taps, less in zip(kernels.shape[2:], spare, strict=True)]
    pixels = F.pixel_shuffle(F.conv2d(maps, kernels, None, 1, around), stride)
    top, left = (cut - less * stride for cut, less in zip(padding, spare, strict=True))
    return pixels[..., top : top + size[0], left : left + size[1]]


def _sub_pixel_kernels(weight: Tensor, stride: int) -> Tensor:
    """`[C_in * stride * stride, C_out, k / stride, k / stride]`: of each sub-pixel the weights that it reads."""
    taps = [math.ceil(length / stride) for length in weight.shape[2:]]
    down, across = (count * stride - length for count, length in zip(taps, weight.shape[2:], strict=True))
    parts = F.pad(weight, (0, across, 0, down)).unflatten(3, (taps[1], stride)).unflatten(2, (taps[0], stride))
    return parts.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2).contiguous(memory_format=torch.channels_last)


class Convolution(Operation):
    """In one, two or three dimensions, transposed ones included."""

    modules = (nn.modules.conv._ConvNd,)
    functions = (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d)

    def run(self, call: Call, *args: Any, **kwargs: Any) -> Tensor:
        layer = call.module
        if is_zero_padded(layer) and prepacking.pays(layer, args[0], _places(layer, args[0])):
            return prepacking.convolve(args[0], layer)
        return call(*args, **kwargs)

    def record(self, call: Call, *args: Any, **kwargs: Any) -> Recorded:
        value = self.run(call, *args, **kwargs)
        if not is_zero_padded(call.module):
            return value, None
        size, read = tuple(args[0].shape[-2:]), windows(vars(call.module))
        return value, ConvolutionRecord(call.module, read, size, call.normalised)

    def is_linear(self, call: Call, inputs: Sequence[Node]) -> bool:
        return list(inputs) == list(call.node.args[:1])  # in the image, if the kernel does not depend on it as well

    def window(self, call: Call) -> Windows | None:
        settings = call.settings(_SETTINGS)
        if call.module is None:
            weight = settings["weight"]
            if call.node.target is not F.conv2d or not isinstance(weight, Node) or weight.op != "get_attr":
                return None
            return windows({**settings, "kernel_size": tuple(call.constant(weight).shape[-2:])})
        plain = isinstance(call.module, nn.Conv2d) and call.module.padding_mode != "circular"
        return windows(settings) if plain else None

    def multiply_adds(self, call: Call, shapes: Shapes) -> int:
        positions = shapes[call.node.args[0] if _is_transposed(call) else call.node][2:]
        return math.prod(_weight_shape(call, shapes)) * math.prod(positions)

    def arithmetic(self, call: Call, parameters: Sequence[nn.Parameter], shapes: Shapes) -> str:
        return " + ".join(product_in_words(_factors(call, parameter)) for parameter in parameters)

    def title(self, call: Call, shapes: Shapes) -> str:
        module = call.module
        if module is None:
            return super().title(call, shapes)
        stride = "" if set(module.stride) == {1} else f", stride {stride_in_words(module.stride)}"
        groups = "" if module.groups == 1 else f", {module.groups} groups"
        return f"conv {sides_in_words(module.kernel_size)}, {module.out_channels}{stride}{groups}"


def is_zero_padded(module: nn.Module | None) -> bool:
    """Whether it is a convolution in two dimensions beyond whose border the input counts as zero."""
    return isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _places(layer: nn.Conv2d, maps: Tensor) -> int:
    """About so many units has one channel of its output, of all images."""
    return maps.numel() // (layer.in_channels * math.prod(layer.stride))


def _is_transposed(call: Call) -> bool:
    return isinstance(call.module, nn.modules.conv._ConvTransposeNd) or call.node.target is F.conv_transpose2d


def _weight_shape(call: Call, shapes: Shapes) -> Shape:
    if call.module is not None:
        return tuple(call.module.weight.shape)
    weight = call.settings(_SETTINGS)["weight"]
    return shapes[weight]


def _factors(call: Call, parameter: nn.Parameter) -> Iterable[int]:
    """Kernel size x inputs x outputs, the order in which the field writes it."""
    if parameter.dim() < 2:
        return parameter.shape
    outputs, inputs, *kernel = parameter.shape
    return (*kernel, outputs, inputs) if _is_transposed(call) else (*kernel, inputs, outputs)
