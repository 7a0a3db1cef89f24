"""What an operation of a network is called on a page: "conv 3×3, 64, stride 2", "max-pool 2×2, stride 2", "ReLU"."""

from torch import nn
from torch.fx import Node

from engine.graph import Kind

_BY_KIND = {
    Kind.RECTIFIER: "ReLU",
    Kind.BATCH_NORM: "batch norm",
    Kind.IDENTITY: "dropout",
    Kind.ADDITION: "sum",
}
_BY_NAME = {
    **dict.fromkeys(("view", "reshape", "Flatten"), "flatten"),
    "cat": "concatenate",
    "add": "sum",
    "mul": "product",
}


def title(kind: Kind, node: Node, module: nn.Module | None, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """The operation in words; its parts are divided by ", ".

    Args:
        kind, node: what the graph knows of it.
        module: the module that it calls, if it calls one.
        before, after: (height, width) of the maps it reads and of those it gives; empty if they are no maps.
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        return _convolution(module)
    if isinstance(module, nn.Linear):
        return f"dense {module.out_features}"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        name = "max-pool" if isinstance(module, nn.MaxPool2d) else "average pool"
        return f"{name} {_sides(module.kernel_size)}, stride {_stride(module.stride)}"
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return f"average of {_sides(before)}" if after == (1, 1) else f"average pool to {_sides(after)}"
    if isinstance(module, nn.Identity):
        return "nothing"
    return _BY_KIND.get(kind) or _name(node, module)


def _convolution(module: nn.modules.conv._ConvNd) -> str:
    stride = "" if set(module.stride) == {1} else f", stride {_stride(module.stride)}"
    groups = "" if module.groups == 1 else f", {module.groups} groups"
    return f"conv {_sides(module.kernel_size)}, {module.out_channels}{stride}{groups}"


def _sides(size: int | tuple[int, ...]) -> str:
    return f"{size}×{size}" if isinstance(size, int) else "×".join(map(str, size))


def _stride(stride: int | tuple[int, ...]) -> str:
    if isinstance(stride, int):
        return str(stride)
    return str(stride[0]) if len(set(stride)) == 1 else _sides(stride)


def _name(node: Node, module: nn.Module | None) -> str:
    if node.op == "get_attr":
        return "weights"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "operation")
    name = type(module).__name__ if module is not None else name
    return _BY_NAME.get(name, name.strip("_").replace("_", " "))
