"""Playbacks: which signal goes back from a view's layer to the pixels, by which rules, and what is set side by side.

A comparison varies one playback in one respect. Channels that somebody has picked keep their numbers wherever the layer
stays the same: at another moment of the training, on another image. At another layer a number means nothing, so there
as many of the strongest ones take their place.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from torch import Tensor

from engine import deconv, weights
from engine.deconv import Reconstruction
from engine.graph.receptive_field import Pair
from engine.operations import Convolution, MaxPool
from engine.tape import Tape
from engine.views import View

ALL, ONE, CLASS = "all channels", "one channel", "class"
TOP = {"top 9": 9, "top 16": 16}
"""Signals of so many of the strongest channels."""
OF_CHANNELS = (ONE, *TOP)
SIGNALS = (ALL, *OF_CHANNELS, CLASS)
"""What can be played back."""
STRONGEST, WHOLE, CHOSEN = UNITS = ("strongest unit", "whole map", "chosen unit")
"""What of each channel, for the signals `OF_CHANNELS`."""
WEIGHT_SCALES = {"1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0}
"""By what all weights can be multiplied."""
BEFORE_BATCH_NORM = "This layer is a convolution before its batch norm: choose the layer behind it."


@dataclass(frozen=True)
class Playback:
    """Which signal goes back from a view's layer to the pixels, and by which rules; small enough to be a key.

    Attributes:
        signal: `ALL`, `CLASS`, or one of `UNITS`; of a chosen unit `place` is the (row, column).
        channels: which ones, none for all at once.
        strongest: instead of `channels`, as many of those that are strongest on the view's image.
        batch_norm, relu, path, weight_scale, switches: see `engine.deconv.reconstruct`.
        block: the one residual block for which `path` is meant; none for all of them.
    """

    view: View
    signal: str
    channels: tuple[int, ...] = ()
    relu: str = "deconvnet"
    path: str = "both"
    block: str = ""
    batch_norm: bool = True
    weight_scale: float = 1.0
    switches: str = "recorded"
    strongest: int = 0
    place: Pair | None = None


MAKERS = {
    ALL: lambda activation, channels: deconv.all_channels(activation),
    WHOLE: deconv.map_signals,
    STRONGEST: deconv.unit_signals,
    CHOSEN: deconv.map_signals,
    CLASS: deconv.map_signals,
}
"""Signals as functions of the activation and the channels (of the logits, a class is a channel).

Of a chosen unit the activation is zero at all other places.
"""


def signals_of(playback: Playback, recorded: Tape) -> tuple[tuple[int, ...], Tensor]:
    """The channels (none for all at once) and the K signals `[K, C, H, W]`, of a class `[1, K]`, on its view's tape.

    Raises:
        ConvscopeError: there is no such channel or unit.
    """
    activation, channels = recorded.activation, playback.channels
    if playback.place:
        activation = deconv.units_at(activation, *playback.place)
    if playback.strongest:
        channels = tuple(deconv.strongest_channels(activation, min(playback.strongest, activation.shape[1])))
    return channels, MAKERS[playback.signal](activation, channels)


def reconstruct(playback: Playback, recorded: Tape, signals: Tensor, gains: bool = True) -> Reconstruction:
    """The pictures of the playback's signals; `gains` as of `engine.deconv.reconstruct`, whose errors it raises."""
    return deconv.reconstruct(
        recorded,
        signals,
        batch_norm=playback.batch_norm,
        relu=playback.relu,
        path={playback.block: playback.path} if playback.block else playback.path,
        weight_scale=playback.weight_scale,
        switches=playback.switches,
        gains=gains,
    )


def why_no_weight_scale(recorded: Tape) -> str | None:
    """Why all weights cannot be multiplied in a playback from the tape's layer, in a sentence; None if they can."""
    before_batch_norm = isinstance(recorded.steps[-1].operation, Convolution)
    return BEFORE_BATCH_NORM if before_batch_norm else deconv.weight_scale_applies(recorded)


# Comparisons ---------------------------------------------------------------------------------------------------

RESPECTS = BATCH_NORM, LAYERS, RULES, SWITCHES, PATHS, TRAINING, IMAGES, NOTHING = (
    "batch norm",
    "layers",
    "ReLU rules",
    "switches",
    "paths",
    "training",
    "images",
    "nothing",
)
"""In what respect playbacks can differ."""
VARIED: dict[str, tuple[str, dict[str, object]]] = {
    BATCH_NORM: ("batch_norm", {"on": True, "off": False}),
    RULES: ("relu", {rule: rule for rule in deconv.RELU_RULES}),
    SWITCHES: ("switches", {choice: choice for choice in deconv.SWITCHES}),
    PATHS: ("path", {path: path for path in deconv.PATHS}),
}
"""Respects in which only a setting of the playback differs: which one, and its values by their labels."""


@dataclass(frozen=True)
class Variant:
    """One of the playbacks that are compared, and its label."""

    label: str
    playback: Playback


@dataclass(frozen=True)
class Comparison:
    """Playbacks that differ in one respect, `by` (one of `RESPECTS`); small enough to be a key."""

    by: str
    variants: tuple[Variant, ...]

    @property
    def same_content(self) -> bool:
        """Whether all are pictures of one signal, so that their contents can be compared."""
        return self.by in (RULES, SWITCHES, PATHS)

    def in_order(self, batch_norm: bool) -> "Comparison":
        """The same, with what the switch of batch norm asks for first, where that is compared."""
        turned = self.by == BATCH_NORM and not batch_norm
        return replace(self, variants=self.variants[::-1]) if turned else self


def on_offer(recorded: Tape, normalises: bool, of_a_class: bool) -> tuple[str, ...]:
    """The respects that make sense for playbacks from a tape, the usual one first.

    Args:
        normalises: whether its network has batch norm.
        of_a_class: whether the signal is a class's.
    """
    missing = {LAYERS} if of_a_class else set()
    if not normalises:
        missing.add(BATCH_NORM)
    if not deconv.residual_blocks(recorded):
        missing.add(PATHS)
    if not any(isinstance(step.operation, MaxPool) for step in recorded.steps):
        missing.add(SWITCHES)
    return tuple(name for name in RESPECTS if name not in missing)


def comparison(by: str, base: Playback, layers: Collection[str] = (), other: View | None = None) -> Comparison:
    """`base`, varied in the respect `by`.

    Args:
        layers: the layers to compare, the outputs of the network's stages.
        other: the second of two images.
    """
    variants = {
        LAYERS: lambda: _by_layer(base, layers),
        TRAINING: lambda: _by_training(base),
        IMAGES: lambda: _by_image(base, other),
        NOTHING: lambda: (Variant("reconstruction", base),),
    }
    return Comparison(by, _varied(base, *VARIED[by]) if by in VARIED else variants[by]())


def _varied(base: Playback, field: str, choices: dict[str, object]) -> tuple[Variant, ...]:
    """One variant for each choice of `field`, whatever `base` says of it: all choices share one figure."""
    return tuple(Variant(label, replace(base, **{field: value})) for label, value in choices.items())


def _by_training(base: Playback) -> tuple[Variant, ...]:
    network = base.view.network
    moments = weights.moments(network.checkpoint)
    views = {weights.when(moment): replace(base.view, network=network.at(moment)) for moment in moments}
    return tuple(_at(base, label, view) for label, view in views.items())


def _by_layer(base: Playback, layers: Collection[str]) -> tuple[Variant, ...]:
    return tuple(_at(base, layer, replace(base.view, layer=layer)) for layer in layers)


def _by_image(base: Playback, other: View | None) -> tuple[Variant, ...]:
    views = {"first image": base.view, "second image": other or base.view}
    return tuple(_at(base, label, view) for label, view in views.items())


def _at(base: Playback, label: str, view: View) -> Variant:
    """`base` at another view; a channel or a unit that the reader has picked means nothing at another layer."""
    moved = replace(base, view=view)
    if base.channels and base.signal != CLASS and view.layer != base.view.layer:
        moved = replace(moved, channels=(), strongest=len(base.channels))
    if base.place and view.layer != base.view.layer:
        moved = replace(moved, place=None, signal=STRONGEST)
    return Variant(label, moved)
