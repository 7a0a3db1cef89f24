"""Everything that a view of the Reconstruction page shows, drawn once and kept: a rerun is then one look-up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from torch import Tensor

from engine import batch_norm, contrast, deconv, pictures
from engine.batch_norm import Comparison, Milestone
from engine.deconv import Reconstruction
from pages.common import charts, resources, sheets
from pages.common.resources import CLASS, Playback
from pages.reconstruction.variants import Contrast, Variant


@dataclass(frozen=True)
class Drawing:
    """One picture: PNGs on the scale that it shares with the others and on its own, and how far that stretches."""

    label: str
    shared: bytes
    own: bytes
    stretch: str


@dataclass(frozen=True)
class ContrastDrawing:
    """What a contrast shows: a drawing per variant, what was sent back in each, the gains, and what happened.

    Attributes:
        maps: PNGs of what is sent back, one for each drawing.
        gain_spec: the gain chart, in Vega-Lite; `gain_table` its numbers.
        sentence: computed words.
        notes: which maps and channels the pictures are of.
    """

    pictures: tuple[Drawing, ...]
    maps: tuple[bytes, ...]
    gain_spec: dict[str, Any]
    gain_table: pd.DataFrame
    sentence: str
    notes: tuple[str, ...]


@st.cache_resource(max_entries=256, show_spinner=False)
def drawn(shown: Contrast) -> ContrastDrawing:
    """Everything to be shown of one contrast."""
    made = {variant.label: resources.reconstruction(variant.playback) for variant in shown.variants}
    curves = {variant.label: _milestones(variant, made[variant.label]) for variant in shown.variants}
    return ContrastDrawing(
        pictures=_pictures({label: picture.pixels for label, picture in made.items()}),
        maps=tuple(_map(variant) for variant in shown.variants) if shown.by == "layers" else (),
        gain_spec=charts.gain_chart(curves, shown.by).to_dict(),
        gain_table=_gain_table(curves, shown.by),
        sentence=_in_words(shown, made),
        notes=_notes(shown),
    )


@st.cache_resource(max_entries=256, show_spinner=False)
def row(shown: Contrast) -> bytes:
    """A PNG of a contrast's pictures, each on its own scale, in the order of its variants."""
    made = [resources.reconstruction(variant.playback).pixels for variant in shown.variants]
    tiles = np.stack([sheets.signed(pixels, pictures.scale_of(pixels)) for pixels in made])
    return pictures.png(pictures.sheet(tiles, len(tiles), gap=16))


def _pictures(pixels: dict[str, Tensor]) -> tuple[Drawing, ...]:
    shared = max(pictures.scale_of(picture) for picture in pixels.values())
    return tuple(_drawing(label, picture, shared) for label, picture in pixels.items())


def _drawing(label: str, pixels: Tensor, shared: float) -> Drawing:
    own = pictures.scale_of(pixels)
    drawn_shared, drawn_own = (pictures.png(sheets.signed(pixels, scale)) for scale in (shared, own))
    return Drawing(label, drawn_shared, drawn_own, pictures.stretch_in_words(shared, own))


def _map(variant: Variant) -> bytes:
    """What the variant sends back, added up over its channels, on its own scale."""
    sent = pictures.overlaid(resources.signals(variant.playback))
    return pictures.png(sheets.signed(sent, pictures.scale_of(sent)))


def _milestones(variant: Variant, made: Reconstruction) -> tuple[Milestone, ...]:
    view = variant.playback.view
    return batch_norm.milestones(resources.recording(view), made, resources.layers(view.network))


def _gain_table(curves: dict[str, tuple[Milestone, ...]], by: str) -> pd.DataFrame:
    rows = [(name, point.label, point.gain) for name, curve in curves.items() for point in curve]
    return pd.DataFrame(rows, columns=[by, "at", "gain"])


def _in_words(shown: Contrast, made: dict[str, Reconstruction]) -> str:
    if shown.by == "batch norm":
        compared = Comparison(made["on"], made["off"])
        recorded = resources.recording(shown.variants[0].playback.view)
        return batch_norm.in_words(compared, batch_norm.has_batch_norm(recorded))
    words = [contrast.sizes_in_words(made)]
    if shown.same_content:
        words.append(contrast.contents_in_words(made))
    if shown.by == "paths":
        words.append(contrast.additivity_in_words(made["both"], (made["residual"], made["shortcut"])))
    return " ".join(words)


def _notes(shown: Contrast) -> tuple[str, ...]:
    """How many maps there are, and which channels are shown: once for all pictures, or of each where they differ."""
    playbacks = {variant.label: variant.playback for variant in shown.variants}
    if any(playback.seed == CLASS for playback in playbacks.values()):
        return ()
    maps = "; ".join(dict.fromkeys(_maps_in_words(playback) for playback in playbacks.values()))
    channels = {label: _channels_in_words(playback) for label, playback in playbacks.items() if playback.channels}
    words = list(dict.fromkeys(channels.values()))
    if len(words) > 1:
        words = ["  \n".join(f"**{label}**: {said}" for label, said in channels.items())]
    if any(len(playback.channels) > 1 for playback in playbacks.values()):
        words.append("The channels do not add up to the picture of all: ReLUs come between.")
    return (f"{maps}. Grey is zero, bright positive, dark negative.", *words)


def _maps_in_words(playback: Playback) -> str:
    _, count, height, width = resources.recording(playback.view).activation.shape
    return f"{playback.view.layer}: {count} maps of {height} x {width}"


def _channels_in_words(playback: Playback) -> str:
    listed = ", ".join(str(channel) for channel in playback.channels)
    words = f"Channels {listed}, row by row." if len(playback.channels) > 1 else f"Channel {listed}."
    silent = set(deconv.silent_channels(resources.recording(playback.view).activation)) & set(playback.channels)
    if silent:
        listed = ", ".join(str(channel) for channel in sorted(silent))
        words += f" Silent on this image, and therefore grey: channel {listed}."
    return words


@st.cache_resource(max_entries=64, show_spinner=False)
def photograph(split: str, index: int) -> bytes:
    """A PNG of an image as `resources.pixels` names it, enlarged without blur."""
    return pictures.png(pictures.enlarged(resources.pixels(split, index), sheets.SIDE)[0])
