"""What the tape keeps of each operation: no more than its reversal needs."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Convolution:
    """`followed_by_batch_norm`: whether a batch norm alone reads its output (directly or through dropout)."""

    weight: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    input_size: tuple[int, int]
    followed_by_batch_norm: bool


@dataclass(frozen=True)
class MaxPool:
    """`switches` `[N, C, h, w]`: where each window's maximum is, as an index into the flattened input map.

    `centres` `[h, w]`: where each window's middle is, likewise.
    """

    switches: Tensor
    centres: Tensor
    input_size: tuple[int, int]


@dataclass(frozen=True)
class Rectifier:
    """`mask`: where the operation passed its input on unchanged."""

    mask: Tensor


@dataclass(frozen=True)
class BatchNorm:
    """`scale`: gamma / sqrt(var + eps), shaped to multiply the map; `of_convolution`: it normalises one."""

    scale: Tensor
    of_convolution: bool


@dataclass(frozen=True)
class Identity:
    """Dropout and the like, in eval mode."""


@dataclass(frozen=True)
class Addition:
    """The sum of two tensors of the same shape."""


@dataclass(frozen=True)
class VectorJacobian:
    """Any other operation, a pure function of `inputs`; if it is linear, they are zeros that take no memory.

    `is_convolution`: it is one that `Convolution` does not describe (transposed, reflecting its border ...).
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    is_convolution: bool


Record = Convolution | MaxPool | Rectifier | BatchNorm | Identity | Addition | VectorJacobian
