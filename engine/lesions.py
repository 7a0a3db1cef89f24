"""Lesions: parts of a trained network are switched off; what can it still do?

Zeiler & Fergus (2014, table 3) take layers out and train again. Without training again the question is another one:
what does *this* network's answer hang on? Channels of a layer are set to zero for every image, and the accuracy is
counted again:

    A_k := 0   for the chosen channels k;   logits = rest of the network (A)

In a residual block a whole branch can be cut, since the other one goes on: without the residual F the block passes its
input on, without the shortcut only F(x) is left. ResNets survive the first surprisingly well (Veit, Wilber & Belongie
2016), plain networks lose everything with any layer.

Everything before the layer stays as it is. So it is computed once (`prepare`), and each lesion costs only what comes
behind it, as long as the activations fit into memory.

Limits: zero is a lesion only where it means "no response", that is after a ReLU; of a raw convolution or a batch norm
zero is a value like any other. What one class loses need not be stored in that channel: others may stand in for it.

References: Zeiler & Fergus (2014), section 5.1 and table 3; Morcos et al. (2018), "On the importance of single
directions for generalization"; Veit, Wilber & Belongie (2016), "Residual networks behave like ensembles of relatively
shallow networks".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from engine import tape
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError
from engine.graph import trace

AT_ONCE = 50
KEPT_BYTES = 64_000_000
"""How much memory the activations of all images may take; beyond it they are computed again for each lesion."""

RESIDUAL, SHORTCUT = "residual", "shortcut"


@dataclass(frozen=True)
class Patient:
    """A network on some images, halted at a layer, to be tried with one lesion after the other.

    Attributes:
        layer: where the lesions are; `channels`: how many it has.
        labels: int64 `[N]`.
    """

    layer: str
    channels: int
    labels: np.ndarray = field(repr=False)
    _model: nn.Module = field(repr=False)
    _rest: Tensor = field(repr=False)
    _halts: tuple[tape.Halt, ...] = field(repr=False)

    @torch.no_grad()
    def without(self, channels: Sequence[int], on_batch: Callable[[int], object] | None = None) -> Predictions:
        """The answers with these channels of the layer at zero.

        Args:
            on_batch: called with the number of images done; raise from it to stop.

        Raises:
            ConvscopeError: there is no such channel.
        """
        missing = next((channel for channel in channels if channel not in range(self.channels)), None)
        if missing is not None:
            raise ConvscopeError(f"There is no channel {missing}: {self.layer} has channels 0 to {self.channels - 1}.")
        logits, lesion = [], list(channels)
        for start in range(0, len(self.labels), AT_ONCE):
            halt = self._halt(start)
            activation = halt.activation.clone()
            activation[:, lesion] = 0
            logits.append(halt.resume(activation).float().cpu())
            if on_batch is not None:
                on_batch(min(start + AT_ONCE, len(self.labels)))
        return Predictions(torch.cat(logits).numpy(), self.labels)

    def _halt(self, start: int) -> tape.Halt:
        batch, kept = start // AT_ONCE, len(self._halts)
        if batch < kept:
            return self._halts[batch]
        first = (batch - kept) * AT_ONCE
        return tape.halt(self._model, self._rest[first : first + AT_ONCE], self.layer)


def prepare(
    model: nn.Module,
    images: Tensor,
    labels: np.ndarray,
    layer: str,
    *,
    on_batch: Callable[[int], object] | None = None,
) -> Patient:
    """Run `model` on images `[N, 3, H, W]` up to a layer, and keep what can be kept of it in `KEPT_BYTES`.

    Arguments and errors are those of `evaluate_without`.
    """
    true_classes = _checked(images, labels)
    halts, used, channels = [], 0, 0
    for start in range(0, len(labels), AT_ONCE):
        halt = tape.halt(model, images[start : start + AT_ONCE], layer)
        used, channels = used + halt.bytes, halt.activation.shape[1]
        if used > KEPT_BYTES:
            break
        halts.append(halt)
        if on_batch is not None:
            on_batch(min(start + AT_ONCE, len(labels)))
    rest = images[len(halts) * AT_ONCE :].clone()
    return Patient(layer, channels, true_classes, model, rest, tuple(halts))


def evaluate_without(
    model: nn.Module,
    images: Tensor,
    labels: np.ndarray,
    layer: str,
    channels: Sequence[int],
    *,
    on_batch: Callable[[int], object] | None = None,
) -> Predictions:
    """The network's answers with some channels of a layer set to zero.

    Args:
        model: a network in eval mode; it is only read.
        images: `[N, 3, H, W]`, normalised as the network expects; `labels`: int `[N]`, their classes.
        layer: a friendly name or a node's name.
        channels: which ones; none leaves the network as it is.
        on_batch: called with the number of images done; raise from it to stop.

    Raises:
        ConvscopeError: no such layer or channel, a layer that the answer does not depend on, not one label per image.
    """
    without_keeping = Patient(layer, _channels(model, images, layer), _checked(images, labels), model, images, ())
    return without_keeping.without(channels, on_batch)


@torch.no_grad()
def evaluate_without_branch(
    model: nn.Module,
    images: Tensor,
    labels: np.ndarray,
    block: str,
    branch: str,
    *,
    on_batch: Callable[[int], object] | None = None,
) -> Predictions:
    """The network's answers with one branch of a residual block cut.

    Args:
        block: a name in `blocks`.
        branch: "residual", which takes the block's convolutions out, or "shortcut".
        The rest, and the errors, as of `evaluate_without`.
    """
    graph = trace(model)
    if block not in graph.blocks or branch not in (RESIDUAL, SHORTCUT):
        known = ", ".join(graph.blocks) or "it has none"
        raise ConvscopeError(f"There is no {branch} of a block {block!r} in this network: its blocks: {known}.")
    own = graph.blocks[block]
    left = own.shortcut if branch == RESIDUAL else own.residual
    true_classes, logits = _checked(images, labels), []
    for start in range(0, len(true_classes), AT_ONCE):
        halted = tape.halt(model, images[start : start + AT_ONCE], own.add, beside=[left])
        logits.append(halted.resume(halted.beside[left]).float().cpu())
        if on_batch is not None:
            on_batch(min(start + AT_ONCE, len(true_classes)))
    return Predictions(torch.cat(logits).numpy(), true_classes)


def blocks(model: nn.Module) -> tuple[str, ...]:
    """The names of the residual blocks, in order.

    Raises:
        ConvscopeError: the model cannot be traced.
    """
    return tuple(trace(model).blocks)


def _checked(images: Tensor, labels: np.ndarray) -> np.ndarray:
    """int64 `[N]`."""
    if len(images) != len(labels) or len(labels) == 0:
        raise ConvscopeError(f"There are {len(images)} images and {len(labels)} labels: give one label for each image.")
    return np.asarray(labels, dtype=np.int64)


def _channels(model: nn.Module, images: Tensor, layer: str) -> int:
    return tape.halt(model, images[:1], layer).activation.shape[1]
