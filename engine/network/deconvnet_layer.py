"""One layer of a deconvnet, step by step, in numbers: figure 1 of Zeiler & Fergus (2014) on a real map.

To each layer of a convnet they attach its reverse. Forward, a layer filters the maps below, rectifies them and pools
them; the pooling also notes where in each window W its maximum was, the switch z:

    pooled[c, i, j] = max over (p, q) in W(i, j) of forward[c, p, q] = forward[c, z(c, i, j)]

Backward, with s the signal that arrives from above at the pooled maps:

    unpool      u[c, p, q] = sum of s[c, i, j] over the windows whose switch is (p, q); 0 anywhere else
    rectify     r = max(u, 0)
    filter      below[d, y, x] = sum over c, u, v of  kernel[c, d, u, v] * r[c, p, q],  with  s p - pad + dil u = y, ...

the last being the convolution's transpose: the same kernels, turned by 180 degrees. Batch norm, which did not exist,
multiplies each map by gamma / sqrt(var + eps) at its own place in between (`engine.batch_norm`).

The signal is that from a layer further up, all channels, played back to the pooled maps; of the pooling itself it is
what the pooling gave. Directly behind a ReLU nothing of that is negative, so that rectifying it changes nothing; where
batch norm lies between the two (Model 1) much of it is.

A network without max-pooling, whose maps shrink by strided convolutions, has no switches: there is nothing to unpool.
What arrives is rectified and filtered, and the transposed convolution spreads each number over its whole window, by the
kernel's weights alone. Where in the window the pattern had been, nobody has noted.

Limits: drawn is a pooling (else a ReLU) that follows a plain convolution, with nothing but batch norm, ReLU and dropout
between the two.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 2.1 and figure 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.fx import Node

from engine import tape
from engine.errors import ConvscopeError
from engine.graph import Graph, trace
from engine.graph.runs import Step, play_back
from engine.operations import BatchNorm, Convolution, Identity, MaxPool, ReLU, Rules
from engine.operations.convolution import ConvolutionRecord, is_zero_padded
from engine.operations.max_pool import MaxPoolRecord
from engine.operations.signals import Signals
from engine.operations.windows import Window, Windows

Pair = tuple[int, int]
UNPOOLED, RECTIFIED, NORMALISED, FILTERED = "unpooled", "rectified", "normalised", "filtered"
KINDS = {MaxPool: UNPOOLED, ReLU: RECTIFIED, BatchNorm: NORMALISED, Convolution: FILTERED}
"""What reversing an operation is called."""


@dataclass(frozen=True)
class Part:
    """One step of the way back: what it is, the node that is reversed, and the signal `[C, H, W]` that leaves it."""

    kind: str
    node: str
    signal: Tensor = field(repr=False)


@dataclass(frozen=True)
class DeconvnetLayer:
    """One layer of a deconvnet on one image.

    Attributes:
        node: where the signal arrives: a max-pooling, or the ReLU of a strided convolution where there is none.
        source: the layer that it comes from.
        forward: `[C, H, W]`, what that node read; `output`: `[C, h, w]`, what it gave.
        signal: `[C, h, w]`, what arrives there from above.
        switches: int64 `[C, h, w]`, each window's maximum as an index into the flattened map; None without pooling.
        pooling: the pooling's windows, down and across; None without.
        parts: the steps of the way back, in their order; the last one is filtered.
        kernels: `[C, D, k, l]`; `convolution`: its windows.
        reads_image: whether the convolution reads the pixels.
    """

    node: str
    source: str
    forward: Tensor = field(repr=False)
    output: Tensor = field(repr=False)
    signal: Tensor = field(repr=False)
    switches: Tensor | None = field(repr=False)
    pooling: Windows | None
    parts: tuple[Part, ...]
    kernels: Tensor = field(repr=False)
    convolution: Windows
    reads_image: bool

    @property
    def filtered(self) -> Tensor:
        """`[D, H, W]`: what leaves the layer."""
        return self.parts[-1].signal

    def before(self, kind: str) -> Tensor:
        """The signal that arrives at the step of this kind."""
        at = [part.kind for part in self.parts].index(kind)
        return self.parts[at - 1].signal if at else self.signal

    def switch(self, channel: int, row: int, column: int) -> Pair:
        """The (row, column) of a window's maximum; without pooling the unit's own place."""
        if self.switches is None:
            return row, column
        return divmod(int(self.switches[channel, row, column]), self.forward.shape[2])


def deconvnet_layer(model: nn.Module, image: Tensor, source: str, batch_norm: bool = True) -> DeconvnetLayer:
    """The last pooling layer below (or at) a layer, with the signal of all its channels on the way back.

    Args:
        model: a network in eval mode; it is only read.
        image: `[1, 3, H, W]`, normalised as the network expects.
        source: the layer that the signal comes from; one below every pooling: the first pooling's own output is sent.
        batch_norm: whether batch norm scales the signal.

    Raises:
        ConvscopeError: the network has neither a pooling nor a strided convolution that can be drawn, an unknown
            layer, not one image.
    """
    if image.dim() != 4 or len(image) != 1:
        raise ConvscopeError("A deconvnet's layer is drawn on one image [1, 3, H, W]: hand over one.")
    graph = trace(model, image.shape)
    chain = _chain(graph, model, source)
    start, names = chain[0], graph.names
    above = graph.resolve(source)
    if start not in graph.path_to(above):
        above = start
    recorded = tape.record(model, image, names[above])
    steps = {step.name: step for step in recorded.steps}
    values = tape.activations(model, image, [names[node] for node in (chain[1], start)])
    forward, output = (values[names[node]] for node in (chain[1], start))
    rules = Rules(batch_norm=batch_norm)
    signal = recorded.activation
    if above is not start:
        later = _behind(recorded.steps, names[start])
        signal = play_back(later, {recorded.node: Signals(signal[None])}, names[start], output.shape, rules, {})
    parts = _way_back([steps[names[node]] for node in chain], signal, rules)
    first, last = steps[names[start]].record, steps[names[chain[-1]]].record
    assert isinstance(last, ConvolutionRecord)
    pooled = isinstance(first, MaxPoolRecord)
    return DeconvnetLayer(
        names[start],
        source if above is not start else names[start],
        forward[0],
        output[0],
        signal[0],
        first.switches[0] if pooled else None,
        graph.operations[start].window(graph.call(model, start)) if pooled else None,
        parts,
        last.weight,
        last.windows,
        graph.reads_image(chain[-1]),
    )


def strided_convolutions(model: nn.Module) -> tuple[str, ...]:
    """The nodes of the convolutions that shrink their maps, in order.

    Raises:
        ConvscopeError: the model cannot be traced.
    """
    graph = trace(model)
    return tuple(graph.names[node] for node in graph.nodes if _shrinks(graph, model, node))


# ------------------------------------------------------------------------------------------------ which layer


def _chain(graph: Graph, model: nn.Module, source: str) -> tuple[Node, ...]:
    """From the pooling (or the ReLU above a strided convolution) down to its convolution."""
    below = graph.path_to(graph.resolve(source))
    for wanted in (MaxPool, ReLU):
        chains = {node: _down(graph, node) for node in graph.nodes if isinstance(graph.operations[node], wanted)}
        fit = {
            node: chain
            for node, chain in chains.items()
            if chain and _is_plain(model, chain[-1]) and (wanted is MaxPool or _shrinks(graph, model, chain[-1]))
        }
        known = [node for node in fit if node in below]
        if fit:
            return fit[known[-1] if known else next(iter(fit))]
    raise ConvscopeError(
        f"{type(model).__name__} has no pooling behind a convolution, and no strided one: choose another network."
    )


def _down(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The operations from `node` down to the next convolution; empty if something else lies between."""
    chain = [node]
    while not isinstance(graph.operations[chain[-1]], Convolution):
        below = chain[-1].args[0]
        if not isinstance(graph.operations[below], Convolution | ReLU | BatchNorm | Identity):
            return ()
        chain.append(below)
    return tuple(chain)


def _is_plain(model: nn.Module, node: Node) -> bool:
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    return is_zero_padded(module) and module.groups == 1


def _shrinks(graph: Graph, model: nn.Module, node: Node) -> bool:
    windows = graph.operations[node].window(graph.call(model, node))
    return isinstance(graph.operations[node], Convolution) and bool(windows) and max(w.stride for w in windows) > 1


# --------------------------------------------------------------------------------------------------- way back


def _behind(steps: Sequence[Step], name: str) -> list[Step]:
    """The steps after the one of this name."""
    at = [step.name for step in steps].index(name)
    return list(steps[at + 1 :])


@torch.no_grad()
def _way_back(steps: Sequence[Step], signal: Tensor, rules: Rules) -> tuple[Part, ...]:
    parts, signals = [], Signals(signal[None])
    for step in steps:
        (signals,) = step.record.reverse_windows(signals, rules)
        kind = next((said for operation, said in KINDS.items() if isinstance(step.operation, operation)), None)
        if kind is not None:
            parts.append(Part(kind, step.name, signals.everything()[0, 0]))
    return tuple(parts)


def negative_share(done: DeconvnetLayer) -> float:
    """Of the numbers other than zero that arrive at the rectification, the share (0-1) that it removes; 0 without."""
    if all(part.kind != RECTIFIED for part in done.parts):
        return 0.0
    arriving = done.before(RECTIFIED)
    return float((arriving < 0).sum() / (arriving != 0).sum().clamp(min=1))


def strongest(done: DeconvnetLayer) -> tuple[int, int, int]:
    """Channel, row and column where the signal that arrives is largest."""
    _, height, width = done.signal.shape
    channel, place = divmod(int(done.signal.argmax()), height * width)
    return channel, *divmod(place, width)


# ------------------------------------------------------------------------------------------ filtering, in numbers


@dataclass(frozen=True)
class FilteredSum:
    """How one number of the filtered map comes about.

    Attributes:
        below, row, column: which one.
        rows, columns: the R and S rows and columns of the map above whose numbers reach it.
        values, kernel, products: `[R, S]`: what is there, the kernel's weight for each (turned around), and both
            multiplied.
        share: the sum of the products, this map's share; `others`: that of all other maps; `total`: both.
    """

    below: int
    row: int
    column: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: Tensor = field(repr=False)
    kernel: Tensor = field(repr=False)
    products: Tensor = field(repr=False)
    share: float
    others: float
    total: float


def filtered_sum(done: DeconvnetLayer, channel: int, below: int, row: int, column: int) -> FilteredSum:
    """What one map above adds to the number at (`row`, `column`) of the filtered map `below`.

    Raises:
        ConvscopeError: there is no such map or place.
    """
    maps, height, width = done.filtered.shape
    above = len(done.kernels)
    if not (channel in range(above) and below in range(maps) and row in range(height) and column in range(width)):
        raise ConvscopeError(
            f"There is no number at row {row}, column {column} of map {below}: there are {maps} filtered maps of "
            f"{height} x {width}, and {above} maps above."
        )
    rectified = done.before(FILTERED)
    down, across = (
        _readers(window, place, length)
        for window, place, length in zip(done.convolution, (row, column), rectified.shape[1:], strict=True)
    )
    rows, columns = [p for p, _ in down], [q for q, _ in across]
    values = rectified[channel][rows][:, columns]
    kernel = done.kernels[channel, below][[u for _, u in down]][:, [v for _, v in across]]
    products, total = values * kernel, float(done.filtered[below, row, column])
    share = float(products.sum())
    return FilteredSum(
        below, row, column, tuple(rows), tuple(columns), values, kernel, products, share, total - share, total
    )


def _readers(window: Window, place: int, length: int) -> list[Pair]:
    """(position, index in the kernel) of the windows that hold a place, from the first position to the last."""
    pairs = []
    for index in reversed(range(window.length)):
        position, rest = divmod(place + window.padding - window.dilation * index, window.stride)
        if rest == 0 and 0 <= position < length:
            pairs.append((position, index))
    return pairs


def strongest_kernel(done: DeconvnetLayer, channel: int) -> int:
    """The map below to which a map's kernel has the largest weights."""
    return int(done.kernels[channel].flatten(1).norm(dim=1).argmax())


def below_the_middle(done: DeconvnetLayer, row: int, column: int) -> Pair:
    """The place of the filtered map over which the kernel's middle lies when it is at (row, column) above."""
    places = (
        min(max(window.first(at) + window.dilation * (window.length // 2), 0), size - 1)
        for window, at, size in zip(done.convolution, (row, column), done.filtered.shape[1:], strict=True)
    )
    y, x = places
    return y, x
