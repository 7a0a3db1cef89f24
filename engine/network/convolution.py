"""One convolution, one output position at a time.

A convolution lays its kernel over a window of the input, multiplies what lies on top of each other, adds everything up
and adds the bias:

    output[o, i, j] = bias[o] + sum over c, u, v of  kernel[o, c, u, v] * input[c, s i - p + d u, s j - p + d v]

with stride s, padding p and dilation d; beyond the border the input counts as zero. (This is what mathematics calls
cross-correlation: the kernel is not flipped.) One kernel, slid over all positions, gives one feature map.

Limits: only convolutions with zero padding that read all their input channels (no groups).

Reference: Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning", section 1.1; Goodfellow,
Bengio & Courville (2016), "Deep learning", equation 9.6.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import data, tape
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.operations import Convolution
from engine.operations.convolution import is_zero_padded
from engine.operations.windows import Windows

Pair = tuple[int, int]


@dataclass(frozen=True)
class Convolved:
    """A convolution and what it read and gave for one image.

    Attributes:
        input: `[C, H, W]`; `output`: `[O, h, w]`.
        kernels: `[O, C, k_h, k_w]`; `bias`: `[O]`, zeros if it has none.
        has_bias: whether it has one.
        windows: what each output position reads, down and across.
    """

    input: Tensor = field(repr=False)
    output: Tensor = field(repr=False)
    kernels: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    has_bias: bool
    windows: Windows

    @property
    def positions(self) -> Pair:
        """How many output positions there are, (down, across)."""
        return self.output.shape[1], self.output.shape[2]

    @property
    def channels(self) -> int:
        """How many feature maps it gives."""
        return self.output.shape[0]


@dataclass(frozen=True)
class WindowSum:
    """What happens at one output position of one channel.

    Attributes:
        top, left: where in the input the window begins; negative in the padding.
        window: `[C, k_h, k_w]`, the input under the kernel, zero outside it.
        kernel, products: `[C, k_h, k_w]`.
        sums: `[C]`, the products summed over each input channel.
        bias: added at the end; `total`: the output.
    """

    top: int
    left: int
    window: Tensor = field(repr=False)
    kernel: Tensor = field(repr=False)
    products: Tensor = field(repr=False)
    sums: Tensor = field(repr=False)
    bias: float
    total: float


def first_convolution(model: nn.Module) -> str:
    """The node name of the convolution that comes first.

    Raises:
        ConvscopeError: the model cannot be traced, or has no convolution.
    """
    graph = trace(model)
    found = next((node for node in graph.nodes if isinstance(graph.operations[node], Convolution)), None)
    if found is None:
        raise ConvscopeError(f"{type(model).__name__} has no convolution: choose another network.")
    return graph.names[found]


@torch.no_grad()
def convolved(model: nn.Module, x: Tensor, layer: str) -> Convolved:
    """What the convolution `layer` (a friendly name or a node's) reads and gives for the image `x` `[1, 3, H, W]`.

    Raises:
        ConvscopeError: `layer` is not a plain convolution, or for one of `tape.features`'s reasons.
    """
    graph = trace(model)
    node = graph.resolve(layer)
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not is_zero_padded(module) or module.groups != 1:
        raise ConvscopeError(f"{layer!r} is no plain convolution that can be stepped through: choose another layer.")
    source = node.args[0]
    read = x if source is graph.input else tape.features(model, x, graph.names[source])
    bias = module.weight.new_zeros(module.out_channels) if module.bias is None else module.bias.detach()
    output, kernels = tape.features(model, x, layer)[0], module.weight.detach()
    read_by_each = graph.operations[node].window(graph.call(model, node))
    return Convolved(read[0], output, kernels, bias, module.bias is not None, read_by_each)


def window_sum(done: Convolved, channel: int, row: int, column: int) -> WindowSum:
    """Window, kernel, products and sum of output `channel` at the output position (`row`, `column`).

    Raises:
        ConvscopeError: there is no such channel or position.
    """
    rows, columns = done.positions
    if not (0 <= channel < done.channels and 0 <= row < rows and 0 <= column < columns):
        raise ConvscopeError(
            f"There is no output at row {row}, column {column} of channel {channel}: "
            f"choose 0 to {rows - 1}, 0 to {columns - 1} and 0 to {done.channels - 1}."
        )
    top, left = done.windows[0].first(row), done.windows[1].first(column)
    window = _window(done, top, left)
    kernel = done.kernels[channel]
    products = window * kernel
    sums = products.sum(dim=(1, 2))
    bias = float(done.bias[channel])
    return WindowSum(top, left, window, kernel, products, sums, bias, float(sums.sum()) + bias)


def _window(done: Convolved, top: int, left: int) -> Tensor:
    down, across = done.windows
    padded = F.pad(done.input, (across.padding, across.padding, down.padding, down.padding))
    starts = top + down.padding, left + across.padding
    rows, columns = (
        slice(start, start + window.extent, window.dilation) for start, window in zip(starts, done.windows, strict=True)
    )
    return padded[:, rows, columns]


def strongest_position(done: Convolved, channel: int) -> Pair:
    """The (row, column) where the output of `channel` is furthest from zero, of windows inside the image if any is."""
    rows, columns = (window.inside(size) for window, size in zip(done.windows, done.input.shape[1:], strict=True))
    strength = torch.full_like(done.output[channel], -1.0)
    strength[rows, columns] = done.output[channel].abs()[rows, columns]
    return divmod(int(strength.argmax()), done.positions[1])


def as_the_network_gets_it(picture: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[size, size, 3]`: an image uint8 `[1, H, W, 3]` at the network's input size, before normalisation."""
    values = data.prepare(picture, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))[0]
    return values.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
