"""What the small networks are made of: shape bookkeeping for a feature extractor followed by dense layers.

A convolution (or pooling) with window k, stride s and padding p turns a side of n pixels into

    floor((n + 2p - k) / s) + 1

(Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 6). The dense layer behind
the last feature map needs channels x side x side inputs, so it fits one input size only.
"""

from collections.abc import Iterable, Sequence

from torch import nn

from engine.errors import ConvscopeError


def side_after(modules: Iterable[nn.Module], side: int) -> int:
    """The side in pixels of a square map of `side` pixels after `modules`; 0 or less when it has vanished."""
    for module in modules:
        if isinstance(module, nn.Conv2d):
            side = (side + 2 * module.padding[0] - module.kernel_size[0]) // module.stride[0] + 1
        elif isinstance(module, nn.MaxPool2d):
            side = (side - module.kernel_size) // module.stride + 1
        if side < 1:
            return 0
    return side


def dense_side(title: str, stages: Sequence[nn.Module], input_size: int) -> int:
    """The side in pixels of the maps that the dense layers get, behind `stages`.

    Raises:
        ConvscopeError: nothing is left of images of `input_size` pixels; `title` is the network's.
    """
    side = side_after(stages, input_size)
    if side < 1:
        smallest = next((size for size in range(1, 4096) if side_after(stages, size) >= 1), None)
        if smallest is None:
            raise ConvscopeError(f"{title} leaves nothing of images of any size: choose other options for it.")
        raise ConvscopeError(
            f"{title} needs images of at least {smallest} px, not {input_size} px: choose larger images, or a network "
            "with fewer layers."
        )
    return side
