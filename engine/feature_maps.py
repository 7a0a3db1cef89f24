"""The feature maps of a network on an image, and what changes from layer to layer, in figures and in words.

A layer holds C maps of H x W units: map c shows where in the image its pattern is, and how strongly. Three figures
follow a layer's maps A [C, H, W] into depth; only what is above zero is a response, a_c = sum max(A_c, 0):

    resolution   the side of a map against the side of the image: H / input
    sparsity     the share of inactive units, A <= 0
    spread       the fewest maps that together hold half of the whole response sum_c a_c

Deep in a trained network the maps are small, most units are inactive, and few maps respond to one image. How similar
two images are to a layer is the cosine similarity of its responses,

    <A, B> / (|A| |B|)     of max(A, 0) and max(B, 0): 1 for the same, 0 if no unit responds to both.

Limits: a raw convolution's maps have both signs, so there half of the units are below zero whatever the image;
compare layers after their ReLU. The figures differ from image to image.

References: Zeiler & Fergus (2014), section 4; Glorot, Bordes & Bengio (2011), "Deep sparse rectifier neural
networks", on sparsity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.fx import Node

from engine import tape
from engine.errors import ConvscopeError
from engine.graph import Graph, trace
from engine.operations import AveragePool, BatchNorm, Convolution, Identity, MaxPool, ReLU

SAME = 0.05
"""Shares of inactive units that differ by less are about the same."""


@torch.no_grad()
def all_maps(model: nn.Module, x: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """The feature maps `[N, C, H, W]` of several layers, from one forward pass.

    Args:
        model: a network in eval mode; it is only read.
        x: images `[N, 3, H, W]`, normalised as the network expects.
        names: friendly names or node names; None for all of `engine.tape.layers`.

    Raises:
        ConvscopeError: unknown layer, wrong shape of `x`, images too small, a model that cannot be traced.
    """
    return tape.activations(model, x, list(tape.layers(model) if names is None else names))


# --------------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class LayerFigures:
    """One layer's maps on one image.

    Attributes:
        layer: its friendly name.
        maps: how many; `height`, `width`: of each.
        inactive: the share of units that are not above zero, 0 to 1.
        half: the fewest maps that together hold half of the response; 0 if nothing responds.
        signed: whether some units are below zero, as in a convolution before its ReLU.
    """

    layer: str
    maps: int
    height: int
    width: int
    inactive: float
    half: int
    signed: bool


def figures(layer: str, activation: Tensor) -> LayerFigures:
    """The figures of one image's maps `[1, C, H, W]`.

    Raises:
        ConvscopeError: these are not the maps of one image.
    """
    _check_maps(activation)
    _, maps, height, width = activation.shape
    inactive = float((activation <= 0).double().mean())
    return LayerFigures(layer, maps, height, width, inactive, maps_for_half(activation), is_signed(activation))


def maps_for_half(activation: Tensor) -> int:
    """The fewest maps of `[1, C, H, W]` whose responses make up half of the whole response; 0 if there is none."""
    _check_maps(activation)
    responses = activation[0].clamp(min=0).double().sum(dim=(1, 2)).sort(descending=True).values
    total = responses.sum()
    return 0 if total == 0 else int((responses.cumsum(0) < total / 2 - 1e-12 * total).sum()) + 1


def cosine_similarity(first: Tensor, second: Tensor) -> float:
    """The cosine similarity of two images' responses `[1, C, H, W]`, 0 to 1; 0 if one of them has none.

    Raises:
        ConvscopeError: the two do not have one shape.
    """
    if first.shape != second.shape:
        raise ConvscopeError("The two images' maps differ in size: look at both at one input size.")
    a, b = (maps.clamp(min=0).double().flatten() for maps in (first, second))
    norms = a.norm() * b.norm()
    return float(a @ b / norms) if norms > 0 else 0.0


def _check_maps(activation: Tensor) -> None:
    if activation.dim() != 4 or len(activation) != 1:
        raise ConvscopeError("Figures of feature maps need the maps of one image: record one image.")


# ----------------------------------------------------------------------------------------------------- words


def depth_in_words(of_layers: Sequence[LayerFigures], input_size: int) -> tuple[str, ...]:
    """What changes between the first and the last layer that has no negative units, in up to three sentences.

    Args:
        of_layers: in the order of the network, of one image.
        input_size: the side of the network's input in pixels.
    """
    rectified = [layer for layer in of_layers if not layer.signed] or list(of_layers)
    first, last = rectified[0], rectified[-1]
    if first is last:
        return (f"{first.layer} is the only layer after a ReLU here: {_resolution(first, input_size)}.",)
    return (
        f"Resolution: {_resolution(first, input_size)}; {_resolution(last, input_size)}.",
        f"Sparsity: {_sparsity(rectified)}.",
        f"Spread: {_spread(first, last)}.",
    )


def _resolution(layer: LayerFigures, input_size: int) -> str:
    pixels = input_size / layer.height
    each = "one unit per pixel" if pixels <= 1 else f"one unit for {pixels:.3g} pixels along each side"
    return f"{layer.layer} has {layer.maps} maps of {layer.height} × {layer.width}, {each}"


def _sparsity(layers: Sequence[LayerFigures]) -> str:
    """How the share of inactive units goes from layer to layer."""
    first, last = layers[0], layers[-1]
    low, high = (extreme(layers, key=lambda layer: layer.inactive) for extreme in (min, max))
    steps = [after.inactive - before.inactive for before, after in pairwise(layers)]
    how, said = "goes up and down", (low, high)
    if high.inactive - low.inactive < SAME:
        how, said = "stays about the same", (first, last)
    elif min(steps) > -SAME and last is high:
        how, said = "grows", (first, last)
    elif max(steps) < SAME and last is low:
        how, said = "falls", (first, last)
    ends = " and ".join(f"{layer.inactive:.0%} in {layer.layer}" for layer in said)
    return f"the share of inactive units {how} with depth, {ends}".replace("%", " %")


def _spread(first: LayerFigures, last: LayerFigures) -> str:
    if not (first.half and last.half):
        nothing = first if not first.half else last
        return f"nothing in {nothing.layer} responds to this image"
    shares = first.half / first.maps, last.half / last.maps
    ratio = shares[1] / shares[0]
    how = "about as widely" if 0.8 <= ratio <= 1.25 else "over fewer of the maps" if ratio < 1 else "more widely"
    verb = "is spread" if how == "about as widely" else "gathers" if ratio < 1 else "spreads"
    return (
        f"the response {verb} {how}: half of it comes from {first.half} of {first.maps} maps in {first.layer} "
        f"and from {last.half} of {last.maps} in {last.layer}"
    )


def pair_in_words(similarities: Mapping[str, float]) -> str:
    """How the cosine similarity of two images changes from the first to the last of the layers."""
    layers = list(similarities)
    first, last = similarities[layers[0]], similarities[layers[-1]]
    change = last - first
    how = (
        "stay about as similar"
        if abs(change) < 0.05
        else "become less similar"
        if change < 0
        else "become more similar"
    )
    return (
        f"The two images {how} with depth: cosine similarity {first:.2f} in {layers[0]} and {last:.2f} in {layers[-1]} "
        "(1: the same)."
    )


# --------------------------------------------------------------------------------------------------- kernels


@dataclass(frozen=True)
class Kernel:
    """The kernel of one map: `weight` `[C_in, h, w]` of the convolution `node`; `of_image`: it reads the pixels."""

    node: str
    weight: Tensor = field(repr=False)
    of_image: bool


def kernel(model: nn.Module, layer: str, channel: int) -> Kernel | None:
    """The kernel of the last convolution before a map, in a residual block the one of its residual branch.

    None where channel and kernel do not belong together any more (behind a concatenation, say).

    Raises:
        ConvscopeError: there is no such layer or channel.
    """
    graph = trace(model)
    node: Node | None = graph.resolve(layer)
    while node is not None and not isinstance(graph.operations[node], Convolution):
        node = _before(graph, node)
    module = model.get_submodule(str(node.target)) if node is not None and node.op == "call_module" else None
    if node is None or not isinstance(module, nn.Conv2d):
        return None
    if channel not in range(module.out_channels):
        raise ConvscopeError(f"There is no map {channel}: this layer has maps 0 to {module.out_channels - 1}.")
    return Kernel(graph.names[node], module.weight[channel].detach(), graph.reads_image(node))


def _before(graph: Graph, node: Node) -> Node | None:
    """The operation whose channel c becomes this one's channel c."""
    residuals = {block.add: block.residual for block in graph.blocks.values()}
    if graph.names[node] in residuals:
        return graph.by_name[residuals[graph.names[node]]]
    keeps_channels = isinstance(graph.operations[node], ReLU | BatchNorm | Identity | MaxPool | AveragePool)
    return node.args[0] if keeps_channels else None


def kernel_pictures(kernel: Kernel, count: int = 16) -> Tensor:
    """`[K, 3, h, w]`: a kernel that reads pixels in colour; of another, the `count` slices of largest norm in grey."""
    if kernel.of_image and len(kernel.weight) == 3:
        return kernel.weight[None]
    strongest = kernel.weight.flatten(1).norm(dim=1).sort(descending=True, stable=True).indices[:count]
    return kernel.weight[strongest][:, None].expand(-1, 3, -1, -1)


# ------------------------------------------------------------------------------------------ order and brightness


def is_signed(activation: Tensor) -> bool:
    """Whether some units are below zero, as in a convolution before its ReLU."""
    return bool((activation < 0).any())


def scales(activations: Sequence[Tensor], together: bool) -> Tensor:
    """`[C]`: for each map the largest size of a value in any of these activations `[1, C, H, W]`.

    together: the largest of all maps instead, so that brightness can be compared between them.
    """
    peaks = torch.stack([activation[0].flatten(1).abs().amax(dim=1) for activation in activations]).amax(dim=0)
    return peaks.max().expand_as(peaks) if together else peaks


def order_by_strength(activation: Tensor) -> tuple[int, ...]:
    """All maps of `[1, C, H, W]`, from the one with the largest activation to the one with the smallest."""
    _check_maps(activation)
    peaks = activation[0].flatten(1).amax(dim=1)
    return tuple(peaks.sort(descending=True, stable=True).indices.tolist())


def strongest_units(activation: Tensor) -> tuple[tuple[int, int], ...]:
    """For each map of `[1, C, H, W]`, the (row, column) of its largest activation; of equal ones the first."""
    _check_maps(activation)
    width = activation.shape[3]
    return tuple((place // width, place % width) for place in activation[0].flatten(1).argmax(dim=1).tolist())
