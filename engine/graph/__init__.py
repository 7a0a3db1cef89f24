"""A network as a graph: which operation reads which, and what that alone tells.

`trace` runs a network's `forward` once on a stand-in for a small image and writes down every operation:

    tracer       the stand-ins, and what they answer to a `forward` that asks for sizes
    memory       who sees what an operation in place has overwritten
    structure    the graph: names, residual blocks, which convolution a batch norm normalises
    layers       friendly names for a lecture
    runs         one forward pass through the graph that records, and its playback
    check        the graph's answer and gradient against the network's own, once per network
    receptive_field

A `forward` that only hands sizes on (`x.view(x.size(0), -1)`) has one graph for every size. One that loops over sizes,
asks for them or computes with them as Python's numbers has a graph for each shape of the images, traced when needed.

Limits: a network that does something else with other pixels (`if x.max() > 1`) has no such graph, and one in training
mode would be traced as it trains; both are refused. So is one that the check finds to differ.

References: Reed et al. (2022), "torch.fx: practical program capture and transformation".
"""

import re
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.fx.proxy import TraceError
from torch.nn.parameter import is_lazy

from engine.errors import ConvscopeError, quoted
from engine.graph.check import OwnAnswer, check
from engine.graph.structure import Block as Block
from engine.graph.structure import Graph, build_graph
from engine.graph.structure import Nodes as Nodes
from engine.graph.structure import ancestors as ancestors
from engine.graph.tracer import image_argument, innermost

ImageShape = tuple[int, ...]
"""[N, 3, H, W] of the images."""

_GRAPHS: "WeakKeyDictionary[nn.Module, dict[ImageShape | None, Graph]]" = WeakKeyDictionary()

MOST_SHAPES = 32
"""So many graphs for one shape each are kept of a model: those that were used last."""

# Sides of the small image that a network is traced with: the first one that fits it.
_SIDES = (64, 32, 28, 224, 16, 48, 96, 128, 256, 299, 384, 512, 518)

_MAY_BE_THE_SIZE = (RuntimeError, AssertionError, ValueError, LookupError, TypeError, ArithmeticError)
"""What a `forward` raises on images of a size that it is not made for."""
_IS_NOT_THE_SIZE = "to have [0-9]+ channels|scalar type|Could not run"
"""What PyTorch says if it is something else, most likely."""


class _DoesNotFitError(ConvscopeError):
    """The network itself does not take images of this shape."""


def trace(model: nn.Module, shape: ImageShape | None = None) -> Graph:
    """The graph of `model`, traced and checked at the first call and remembered for as long as the model lives.

    Of graphs that are for one shape alone, the last used are remembered.

    Args:
        shape: of the images [N, 3, H, W] that the graph is for; None: the names and connections are all that matters.

    Raises:
        ConvscopeError: the model is not in eval mode, does not take one image, cannot be traced, or its graph does not
            compute what it computes itself.
    """
    _check_network(model)
    shape = None if shape is None else tuple(shape)
    graphs = _GRAPHS.setdefault(model, {})
    first = graphs.get(None) or graphs.setdefault(None, _first_graph(model, shape))
    if shape is None or first.shape in (None, shape):
        return first
    answer = None if first.output is None else first.names[first.output]
    graphs[shape] = graph = graphs.pop(shape, None) or _graph_for(model, shape, answer)  # the last used comes last
    for unused in list(graphs)[1:-MOST_SHAPES]:  # the first is for no shape
        graphs.pop(unused, None)
    return graph


def _check_network(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ConvscopeError(f"A network is an object of torch.nn.Module, not {quoted(model)}: call its class, say.")
    if isinstance(innermost(model), torch.jit.ScriptModule):
        raise ConvscopeError("This network was made by torch.jit, which hides its layers: use it as it was before.")
    if _is_in_training(model):
        training = next(name for name, module in model.named_modules() if module.training)
        where = f"its module {training!r} is" if training else "it is"
        raise ConvscopeError(
            f"{type(model).__name__} cannot be looked at while {where} in training mode: call .eval()."
        )


def _is_in_training(model: nn.Module) -> bool:
    """Whether a module of it is; without `modules()`, which takes its time to put names together."""
    found, seen = [model], {model}
    for module in found:  # which grows meanwhile
        if module.training:
            return True
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return False


def _first_graph(model: nn.Module, shape: ImageShape | None) -> Graph:
    """With a small image if the network takes one, else with one of the size of `shape`, or of a usual size."""
    image_argument(innermost(model))
    if any(map(is_lazy, _tensors(model))):
        raise ConvscopeError(
            f"{type(model).__name__} has layers that get their weights with the first image, such as LazyLinear: run "
            "it once on an image of its size."
        )
    asked = [] if shape is None else [shape[2:]]
    usual = [(64, 64), *asked, *((side, side) for side in _SIDES[1:])]
    problems: list[ConvscopeError] = []
    for size in (*usual, *((side, side) for side in range(1, 320))):
        if len(problems) == len(usual) and re.search(_IS_NOT_THE_SIZE, str(problems[-1])):
            break
        try:
            return _graph_for(model, (1, 3, *size))
        except _DoesNotFitError as problem:
            problems.append(problem)
    raise problems[len(asked)]


def _graph_for(model: nn.Module, shape: ImageShape, answer: str | None = None) -> Graph:
    """The graph of `model` for images of `shape`, of any other shape too if its `forward` asks for none."""
    kind = type(model).__name__
    image = _random_image(model, shape)
    try:
        own = OwnAnswer.of(innermost(model), image)
    except Exception as error:
        size = " x ".join(map(str, shape[2:]))
        refused = _DoesNotFitError if isinstance(error, _MAY_BE_THE_SIZE) else ConvscopeError
        raise refused(
            f"{kind} does not take RGB images of {size} px ({_reason(error)}): use another size or another network."
        ) from error
    problems: list[Exception] = []
    for sizes_as_numbers in (False, True):
        try:
            graph = build_graph(model, image, sizes_as_numbers, answer)
            check(model, graph, image, own)
            return graph
        except Exception as problem:
            problems.append(problem)
    refusal = problems[-1]
    if isinstance(refusal, ConvscopeError):
        raise refusal
    if isinstance(refusal, TraceError):
        raise ConvscopeError(
            f"The forward of {kind} {refusal}: use a network that does the same with every image."
        ) from refusal
    raise ConvscopeError(
        f"The forward of {kind} cannot be followed ({_reason(refusal)}): "
        "let it work on tensors alone, with operations that PyTorch can differentiate in eval mode."
    ) from refusal


def _random_image(model: nn.Module, shape: ImageShape) -> torch.Tensor:
    like = next((tensor for tensor in _tensors(model) if tensor.is_floating_point()), torch.empty(0))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noise.to(like.device, like.dtype)


def _tensors(model: nn.Module) -> Iterable[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _reason(error: Any) -> str:
    said = re.sub(r"<class '[\w.]*\.StandIn'>|StandIn", "a stand-in for the image", str(error))
    return said.partition(". ")[0].partition("\n")[0].rstrip(".") or type(error).__name__
