"""What is set side by side on the Reconstruction page: one playback, varied in one respect."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import deconv, weights
from engine.weights import Weights
from pages.common import resources
from pages.common.resources import CLASS, Playback, View
from pages.common.touch import STRONGEST

RESPECTS = ("batch norm", "layers", "ReLU rules", "switches", "paths", "training", "images", "nothing")
"""In what respect playbacks can differ."""


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
        return self.by in ("ReLU rules", "switches", "paths")


def on_offer(network: Weights, blocks: Sequence[str], max_pools: bool, of_a_class: bool) -> tuple[str, ...]:
    """The respects that make sense for a network at a layer with these on its way back, the usual one first."""
    missing = {"layers"} if of_a_class else set()
    if not resources.has_batch_norm(network):
        missing.add("batch norm")
    if not blocks:
        missing.add("paths")
    if not max_pools:
        missing.add("switches")
    return tuple(name for name in RESPECTS if name not in missing)


def comparison(by: str, base: Playback, other_image: View | None) -> Comparison:
    """`base`, varied in the respect `by`; "images" needs `other_image`."""
    variants = {
        "batch norm": lambda: _varied(base, "batch_norm", {"on": True, "off": False}),
        "ReLU rules": lambda: _varied(base, "relu", {rule: rule for rule in deconv.RELU_RULES}),
        "switches": lambda: _varied(base, "switches", {choice: choice for choice in deconv.SWITCHES}),
        "paths": lambda: _varied(base, "path", {path: path for path in deconv.PATHS}),
        "training": lambda: _by_training(base),
        "layers": lambda: _by_layer(base),
        "images": lambda: _by_image(base, other_image),
        "nothing": lambda: (Variant("reconstruction", base),),
    }
    return Comparison(by, variants[by]())


def _varied(base: Playback, field: str, choices: dict[str, object]) -> tuple[Variant, ...]:
    """One variant for each choice of `field`, whatever `base` says of it: all choices share one figure."""
    return tuple(Variant(label, replace(base, **{field: value})) for label, value in choices.items())


def _by_training(base: Playback) -> tuple[Variant, ...]:
    network = base.view.network
    moments = weights.moments(network.checkpoint)
    views = {weights.when(moment): replace(base.view, network=network.at(moment)) for moment in moments}
    return tuple(_at(base, label, view) for label, view in views.items())


def _by_layer(base: Playback) -> tuple[Variant, ...]:
    outputs = resources.stages(base.view.network).values()
    return tuple(_at(base, layer, replace(base.view, layer=layer)) for layer in outputs)


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
