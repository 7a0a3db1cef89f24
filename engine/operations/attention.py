"""Attention (Vaswani et al. 2017): each place reads all the others, weighted by how well they match.

With L places of E channels, queries, keys, values and the output are dense layers of E x E, and each place is matched
with, and sums, L others: 4 E^2 L + 2 L^2 E multiply-adds. In Swin's windows L is the places of one window.

References: Vaswani et al. (2017), "Attention is all you need"; Liu et al. (2021), "Swin transformer".
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.swin_transformer import shifted_window_attention

from engine.operations.base import Call, Operation, Shapes

_SETTINGS = ("qkv_weight", "proj_weight", "relative_position_bias", "window_size")


class SelfAttention(Operation):
    """Over all places, as a module; or over windows, as torchvision's Swin transformers have it."""

    modules = (nn.MultiheadAttention,)
    functions = (shifted_window_attention,)
    words = "self-attention"

    def output(self, value: Any) -> Any:
        return value if isinstance(value, Tensor) else value[0]  # without the weights

    def multiply_adds(self, call: Call, shapes: Shapes) -> int:
        *sides, channels = shapes[call.node.all_input_nodes[0]]
        window = _window(call, sides)
        per_window = math.prod(window)
        windows = math.prod(math.ceil(side / length) for side, length in zip(sides, window, strict=True))
        return windows * per_window * (4 * channels**2 + 2 * per_window * channels)


class Attention(Operation):
    """As a function, of queries, keys and values that other operations made."""

    functions = (F.scaled_dot_product_attention,)

    def multiply_adds(self, call: Call, shapes: Shapes) -> int:
        keys = shapes[call.settings(("key",))["key"]][-2]
        return keys * sum(math.prod(shapes[node]) for node in (call.node.all_input_nodes[0], call.node))


class MatrixProduct(Operation):
    """Of two activations, or of one and of weights."""

    functions = (torch.matmul, torch.bmm, torch.einsum, operator.matmul)
    methods = ("matmul", "bmm")

    def multiply_adds(self, call: Call, shapes: Shapes) -> int:
        if call.node.target is not torch.einsum:
            return math.prod(shapes[call.node]) * shapes[call.node.args[0]][-1]
        terms = call.node.args[0].partition("->")[0].replace(" ", "").split(",")
        sizes: dict[str | int, int] = {}
        for term, factor in zip(terms, call.node.args[1:], strict=True):
            for axis, size in zip(_axes(term, len(shapes[factor])), shapes[factor], strict=True):
                sizes[axis] = max(size, sizes.get(axis, 1))  # one of size 1 is repeated
        return math.prod(sizes.values())


def _window(call: Call, sides: Sequence[int]) -> Sequence[int]:
    """How far it attends along each of the axes in front of the channels, the one of the images included."""
    if call.module is None:
        return 1, *call.settings(_SETTINGS)["window_size"]
    window, places = [1] * len(sides), -1 if call.module.batch_first else 0
    window[places] = sides[places]
    return window


def _axes(term: str, count: int) -> list[str | int]:
    """What einsum calls a factor's `count` axes; those that "..." stands for have numbers, the last of them -1."""
    before, _, behind = term.partition("...")
    return [*before, *range(len(before) + len(behind) - count, 0), *behind]
