"""Charts of what changes with depth, kept as Vega-Lite specs: a rerun need not draw them again."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from engine.feature_maps import LayerFigures
from pages.common import charts
from pages.common.resources import View
from pages.feature_maps import drawings

SILENT, HALF = "silent units", "maps for half"

HEIGHT = 360


def table(figures: tuple[LayerFigures, ...]) -> pd.DataFrame:
    """One row per layer: maps, their size, the share of silent units, and how many maps hold half of the response."""
    rows = [(one.layer, one.maps, one.height, one.width, one.silent, one.half, one.signed) for one in figures]
    return pd.DataFrame(rows, columns=["layer", "maps", "height", "width", "silent share", "maps for half", "signed"])


@st.cache_data(max_entries=64, show_spinner=False)
def depth(view: View) -> dict[str, Any]:
    """Silent units and the spread over maps, as shares, from layer to layer; layers before a ReLU are left out."""
    figures = [one for one in drawings.figures(view) if not one.signed]
    rows = [{"layer": one.layer, "share of": SILENT, "share": one.silent} for one in figures]
    rows += [{"layer": one.layer, "share of": HALF, "share": one.half / one.maps} for one in figures]
    order = [one.layer for one in figures]
    colour = alt.Color(
        "share of:N",
        scale=alt.Scale(domain=[SILENT, HALF], range=[charts.ON, charts.OFF]),
        legend=charts.legend("share of"),
    )
    base = _over_layers(pd.DataFrame(rows), order, "share:Q").encode(
        color=colour, tooltip=["layer", "share of", "share"]
    )
    points = base.mark_point(size=140, filled=True, opacity=1).encode(shape=alt.Shape("share of:N", legend=None))
    return charts.sized(base.mark_line(strokeWidth=3) + points, HEIGHT).to_dict()


@st.cache_data(max_entries=64, show_spinner=False)
def likeness(first: View, second: View) -> dict[str, Any]:
    """How alike two images' responses are, from layer to layer."""
    frame = likeness_table(drawings.alikeness(first, second))
    base = _over_layers(frame, list(frame["layer"]), "likeness:Q").encode(
        color=alt.value(charts.ON), tooltip=["layer", "likeness"]
    )
    return charts.sized(
        base.mark_line(strokeWidth=3) + base.mark_point(size=140, filled=True, opacity=1), HEIGHT
    ).to_dict()


def likeness_table(alike: dict[str, float]) -> pd.DataFrame:
    """One row per layer."""
    return pd.DataFrame({"layer": list(alike), "likeness": list(alike.values())})


def _over_layers(frame: pd.DataFrame, order: list[str], value: str) -> alt.Chart:
    axis = alt.Axis(labelAngle=-40, labelLimit=140, labelOverlap=False)
    shares = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]) if value == "share:Q" else alt.Axis(tickCount=5)
    return alt.Chart(frame).encode(
        x=alt.X("layer:N", sort=order, title=None, axis=axis),
        y=alt.Y(value, scale=alt.Scale(domain=[0, 1]), axis=shares, title=None),
    )
