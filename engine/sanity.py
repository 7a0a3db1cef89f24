"""Sanity checks: does a picture depend on what the network has learnt, or on the image alone?

A picture that explains a trained network should change when the network does, or when something else is sent back
through it. Three controls:

    random layers        Layers are replaced by random ones, from the answer down, one after the other (cascading
                         randomisation; Adebayo et al. 2018, section 3). The gradient's picture falls apart at once.
                         What stays the same, as with guided and deconvnet pictures, cannot explain the network.
    a random signal      Positive noise is played back in place of the layer's own activation. A deconvnet's picture
                         then still shows the image: much of it comes from the switches, not from the signal.
    others' switches     The signal is played back through the switches of another image: then it is that one's edges
                         which appear.

How similar two pictures are is said by rank correlation (`engine.agreement`), which no rescaling can alter.

A randomised network is a copy: the trained one is shared, and never written to. Weights are drawn as He et al. (2015,
equation 10) do, normal with variance 2 / inputs; batch norm and PReLU start as they do in training: with mean 0 and
variance 1, and with a slope of 0.25.

Limits: a rank correlation may stay high because both pictures follow the image's edges: that is the point. Nie, Zhang
& Patel (2018) explain it: with random weights a deconvnet recovers parts of the image.

References: Adebayo et al. (2018), "Sanity checks for saliency maps"; Mahendran & Vedaldi (2016), "Salient
deconvolutional networks", on signals and switches.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

import torch
from torch import Tensor, nn

from engine import evidence, tape
from engine.agreement import rank_correlation
from engine.deconv import Reconstruction, reconstruct
from engine.graph import trace
from engine.graph.layers import stage_of_each
from engine.operations import Call, Operation

TRAINED = "trained"
Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Check:
    """A heat map `[H, W]` of a changed network, and its rank correlation with that of the trained one.

    Attributes:
        stage: the lowest stage that is random, with all above it; `TRAINED` for the network as it is.
    """

    stage: str
    heat: Tensor = field(repr=False)
    correlation: float

    @property
    def in_words(self) -> str:
        """The correlation, or that there is none: the map is the same everywhere."""
        return "empty" if math.isnan(self.correlation) else f"{self.correlation:.2f}"


Look = Callable[[nn.Module], Mapping[str, Tensor]]
"""From a network to its heat maps `[H, W]`, by the names of the methods."""


def cascade(model: nn.Module, look: Look, seed: int = 0) -> Iterator[dict[str, Check]]:
    """Each method's map of the trained network, then with one stage more of it random at each step, from the top down.

    Args:
        model: a network in eval mode; it is only read.
        look: what is compared.
        seed: of the random weights.

    Raises:
        ConvscopeError: the model cannot be traced, or what `look` raises.
    """
    own = look(model)
    yield {name: Check(TRAINED, heat, rank_correlation(heat, heat)) for name, heat in own.items()}
    for stage, randomised in randomised_from_the_top(model, seed):
        heats = look(randomised)
        yield {name: Check(stage, heat, rank_correlation(heat, own[name])) for name, heat in heats.items()}


def stages_from_the_top(model: nn.Module) -> tuple[str, ...]:
    """The stages that have weights, from the answer down to the image."""
    return tuple(reversed(_owners_by_stage(model)))


@torch.no_grad()
def randomised_from_the_top(model: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Stages from the answer down to the image, each with a copy of the network in which it and all above are random.

    It is one copy, which is changed further at each step: look at it before the next one.
    """
    generator = torch.Generator().manual_seed(seed)
    changed = copy.deepcopy(model)
    for stage, owners in reversed(_owners_by_stage(model).items()):
        for name in owners:
            _randomise_(attrgetter(name)(changed), generator)
        yield stage, changed


def _owners_by_stage(model: nn.Module) -> dict[str, list[str]]:
    """`{stage: its modules that have learnt, and parameters that no module of its own reads}`, by their names."""
    graph = trace(model)
    stages: dict[str, list[str]] = {}
    for node, stage in stage_of_each(graph.nodes, graph.names, graph.operations, graph.layers, graph.stages).items():
        if node.op in ("call_module", "get_attr") and _has_learnt(graph.operations[node], graph.call(model, node)):
            stages.setdefault(stage, []).append(str(node.target))
    return stages


def _has_learnt(operation: Operation, call: Call) -> bool:
    """Parameters, or the statistics of a batch norm that has no parameters."""
    return isinstance(call.module, Norm) or bool(list(operation.parameters(call)))


def _randomise_(part: nn.Module | nn.Parameter, generator: torch.Generator) -> None:
    """Draw all weights of a part of a network that is ours to change, and let its batch norms and slopes begin anew."""
    if isinstance(part, nn.Parameter):
        _draw_("weight", part, generator)
        return
    for name, parameter in part.named_parameters():
        _draw_(name, parameter, generator)
    for module in part.modules():
        if isinstance(module, Norm):
            module.reset_running_stats()
        elif isinstance(module, nn.PReLU):  # a slope of 1 would make a line of it
            module.reset_parameters()


def _draw_(name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
    if parameter.dim() > 1:
        nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
    else:  # batch norm's factor, or a bias
        nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)


# ------------------------------------------------------------------------------------- signals and switches


@dataclass(frozen=True)
class SignalChecks:
    """One layer's deconvnet pictures of an image, with what else could have been sent back, or how.

    Attributes:
        own: the layer's own activation, all channels.
        noise: positive noise in its place.
        others_switches: its own activation, through the switches of another image.
    """

    own: Reconstruction
    noise: Reconstruction
    others_switches: Reconstruction

    @property
    def noise_correlation(self) -> float:
        """The rank correlation of the noise's picture with the own one."""
        return rank_correlation(evidence.heat(self.noise.pixels), evidence.heat(self.own.pixels))

    @property
    def others_correlation(self) -> float:
        """The same for the picture through another image's switches."""
        return rank_correlation(evidence.heat(self.others_switches.pixels), evidence.heat(self.own.pixels))


def check_signals(
    model: nn.Module, image: Tensor, other: Tensor, layer: str, seed: int = 0, **settings: object
) -> SignalChecks:
    """Play back an image's activation, noise in its place, and the activation through another image's switches.

    Args:
        image, other: `[1, 3, H, W]` of one size, normalised as the network expects.
        layer: a friendly name or a node's name.
        settings: those of `engine.deconv.reconstruct`.

    Raises:
        ConvscopeError: as `engine.tape.record` and `reconstruct`.
    """
    own, others = tape.record(model, image, layer), tape.record(model, other, layer)
    return SignalChecks(
        reconstruct(own, own.activation, gains=False, **settings),
        reconstruct(own, positive_noise(own.activation, seed), gains=False, **settings),
        reconstruct(others, own.activation, gains=False, **settings),
    )


def positive_noise(activation: Tensor, seed: int = 0) -> Tensor:
    """Noise of the activation's shape and norm, uniform and above zero everywhere."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(activation.shape, generator=generator, dtype=torch.float64).to(activation)
    return noise * (activation.norm() / noise.norm())
