"""Everything that a view of the Reconstruction page shows, drawn once and kept: a rerun is then one look-up."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st
from torch import Tensor

from engine import batch_norm, pictures
from engine.batch_norm import Comparison, Milestone
from pages.common import charts, resources, sheets
from pages.common.resources import Playback


@dataclass(frozen=True)
class Drawing:
    """One picture: PNGs on the scale that it shares with its counterpart and on its own, and how far that stretches."""

    shared: bytes
    own: bytes
    stretch: str


@dataclass(frozen=True)
class ReconstructionDrawing:
    """The pictures with batch norm and without, the gain chart (a Vega-Lite spec), its table, and what happened."""

    on: Drawing
    off: Drawing
    both: bytes
    gain_spec: dict[str, Any]
    gain_table: pd.DataFrame
    sentence: str


@st.cache_resource(max_entries=256, show_spinner=False)
def reconstruction(playback: Playback) -> ReconstructionDrawing:
    """Everything to be shown of one playback."""
    compared = resources.comparison(playback)
    on, off = compared.on.pixels, compared.off.pixels
    shared = max(pictures.scale_of(on), pictures.scale_of(off))
    curves = _gain_curves(playback, compared)
    return ReconstructionDrawing(
        on=_drawing(on, shared),
        off=_drawing(off, shared),
        both=sheets.side_by_side([sheets.signed(pixels, pictures.scale_of(pixels)) for pixels in (on, off)]),
        gain_spec=charts.gain_chart(curves).to_dict(),
        gain_table=_gain_table(curves),
        sentence=batch_norm.in_words(compared, batch_norm.has_batch_norm(resources.recording(playback.view))),
    )


def _drawing(pixels: Tensor, shared: float) -> Drawing:
    own = pictures.scale_of(pixels)
    drawn_shared, drawn_own = (pictures.png(sheets.signed(pixels, scale)) for scale in (shared, own))
    return Drawing(drawn_shared, drawn_own, pictures.stretch_in_words(shared, own))


def _gain_curves(playback: Playback, compared: Comparison) -> dict[str, tuple[Milestone, ...]]:
    """The curve with batch norm, and the one without if the network has any."""
    recorded, friendly = resources.recording(playback.view), resources.layers(playback.view.network)
    curves = {"on": batch_norm.milestones(recorded, compared.on, friendly)}
    if resources.has_batch_norm(playback.view.network):
        curves["off"] = batch_norm.milestones(recorded, compared.off, friendly)
    return curves


def _gain_table(curves: dict[str, tuple[Milestone, ...]]) -> pd.DataFrame:
    rows = [(name, point.label, point.gain) for name, curve in curves.items() for point in curve]
    return pd.DataFrame(rows, columns=["batch norm", "at", "gain"])


@st.cache_resource(max_entries=64, show_spinner=False)
def photograph(split: str, index: int) -> bytes:
    """A PNG of an image as `resources.pixels` names it, enlarged without blur."""
    return pictures.png(pictures.enlarged(resources.pixels(split, index), sheets.SIDE)[0])
