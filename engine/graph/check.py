"""What a graph computes against what the network computes itself, on a random image.

A traced graph may be wrong without a sign of it: `forward` may do something that the tracer does not see (`with
torch.no_grad()`, a global that changes) or that the engine plays back wrongly. So once per network the graph's answer
is compared with that of the network's own `forward`, and the playback under "gradient" with autograd.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import ConvscopeError
from engine.graph.runs import Recorder, forward, play_back
from engine.graph.structure import Graph
from engine.operations import Rules
from engine.operations.base import inner_product, is_differentiable, tensors_in
from engine.operations.signals import Signals
from engine.seeding import seeded


@dataclass(frozen=True)
class OwnAnswer:
    """The tensors that `model` itself returns for an image, and its `pixels`, to which autograd can go back.

    `refused`: why autograd cannot, where it forbids what the network does in place.
    """

    model: nn.Module
    pixels: Tensor
    tensors: list[Tensor]
    refused: RuntimeError | None = None

    @classmethod
    def of(cls, model: nn.Module, image: Tensor) -> "OwnAnswer":
        """Raises whatever the network's `forward` raises."""
        pixels = image.clone().requires_grad_()
        compiled = any("_orig_mod" in module._modules for module in model.modules())
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            try:
                with torch.enable_grad():
                    return cls(model, pixels, tensors_in(model(pixels * 1)))  # a copy: it may overwrite its input
            except RuntimeError as error:
                with torch.no_grad():
                    return cls(model, pixels, tensors_in(model(image.clone())), error)

    def gradient(self, signals: Mapping[int, Tensor]) -> Tensor:
        """The gradient of <signal, tensor>, summed over `signals`, by the image; they go by the tensors' indices."""
        try:
            products = [inner_product(signal, self.tensors[index]) for index, signal in signals.items()]
            (found,) = torch.autograd.grad(products, self.pixels, retain_graph=True, allow_unused=True)
        except RuntimeError as error:  # nothing depends on the pixels, or what autograd needs was overwritten
            found = self._gradient_without_overwriting(signals, self.refused or error)
        return torch.zeros_like(self.pixels) if found is None else found

    def _gradient_without_overwriting(self, signals: Mapping[int, Tensor], refused: RuntimeError) -> Tensor:
        """The same where autograd `refused`; raises that error again if it is not for what was overwritten."""
        model = torch.func.functionalize(lambda x: [tensors_in(self.model(x * 1))[index] for index in signals])
        try:
            return torch.func.vjp(model, self.pixels.detach())[1]([*signals.values()])[0]
        except Exception:
            raise refused from None


@torch.no_grad()
def check(model: nn.Module, graph: Graph, image: Tensor, own: OwnAnswer) -> None:
    """Compare the graph of `model` with `own`, what the network itself makes of `image`.

    Raises:
        ConvscopeError: the answers differ by more than rounding, or the gradients do.
    """
    if image.is_meta:  # a network without numbers
        return
    try:
        _compare_both(model, graph, image, own)
    except ConvscopeError:
        if not _draws_at_random(own, image):
            raise
        with seeded(0):  # answers are alike with one seed; each playback is of a new draw
            own = OwnAnswer.of(own.model, image)
        with seeded(0):
            _compare_answers(model, graph, image, own)


def _compare_both(model: nn.Module, graph: Graph, image: Tensor, own: OwnAnswer) -> None:
    recorder, tensors = _compare_answers(model, graph, image, own)
    generator = torch.Generator().manual_seed(1)
    signals = {
        index: torch.randn(tensor.shape, generator=generator).to(tensor)
        for index, (name, tensor) in enumerate(tensors)
        if name is not None and is_differentiable(tensor)
    }
    if not signals:
        return
    sent = {str(tensors[index][0]): Signals(signal[None]) for index, signal in signals.items()}
    gradient = play_back(recorder.steps, sent, graph.names[graph.input], image.shape, Rules(relu="gradient"), {})
    # A gradient that is zero but for rounding cannot be compared: see how large it could be.
    scale = sum(float(signal.norm() * tensors[index][1].norm()) for index, signal in signals.items())
    rounding = torch.finfo(image.dtype).eps
    least = 100 * rounding * scale / float(image.norm())
    _compare(model, "gradient", gradient, own.gradient(signals), 30 * rounding**0.5, least)


def _draws_at_random(own: OwnAnswer, image: Tensor) -> bool:
    """Whether the network's `forward` takes a random number. Its answers may be alike all the same, by chance."""
    with seeded(0):
        before = torch.random.get_rng_state()
        OwnAnswer.of(own.model, image)
        return not torch.equal(before, torch.random.get_rng_state())


def _compare_answers(
    model: nn.Module, graph: Graph, image: Tensor, own: OwnAnswer
) -> tuple[Recorder, list[tuple[str | None, Tensor]]]:
    """What was recorded, and each tensor of the answer, with its node's name if the node holds no other."""
    recorder = Recorder(graph)
    values = forward(model, graph, graph.outputs, image, recorder.compute)
    names = {node: graph.names[node] if isinstance(value, Tensor) else None for node, value in values.items()}
    tensors = [(names[node], tensor) for node in graph.outputs for tensor in tensors_in(values[node])]
    if len(tensors) != len(own.tensors):
        raise _refusal(model, "answer has another number of tensors")
    for (_, ours), theirs in zip(tensors, own.tensors, strict=True):
        _compare(model, "answer", ours, theirs, torch.finfo(image.dtype).eps ** 0.5, 0)
    return recorder, tensors


def _compare(model: nn.Module, what: str, ours: Tensor, theirs: Tensor, share: float, least: float) -> None:
    if ours.shape != theirs.shape:
        raise _refusal(model, f"{what} has another shape")
    real = [torch.view_as_real(tensor) if tensor.is_complex() else tensor.double() for tensor in (ours, theirs)]
    ours, theirs = map(torch.nan_to_num, real)
    error, size = float((ours - theirs).norm()), float(theirs.norm())
    if error > share * size + least:
        raise _refusal(model, f"{what} is {error / size if size else 1:.1%} off")


def _refusal(model: nn.Module, what: str) -> ConvscopeError:
    return ConvscopeError(
        f"{type(model).__name__} cannot be looked at: on a random image the graph's {what}, compared with what its "
        "forward computes; use a network whose forward works on tensors alone, without torch.no_grad, globals, hooks "
        "that change values, or gradients of its own."
    )
