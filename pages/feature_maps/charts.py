"""Charts of what changes with depth, kept as Vega-Lite specs: a rerun need not draw them again."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from engine.evolution import Similarities
from engine.feature_maps import LayerFigures
from engine.inactivity import Inactivity
from pages.common import charts

INACTIVE, HALF = "inactive units", "maps for half"

HEIGHT = 360


def table(figures: tuple[LayerFigures, ...]) -> pd.DataFrame:
    """One row per layer: maps, their size, the share of inactive units, and how many maps hold half of the response."""
    rows = [(one.layer, one.maps, one.height, one.width, one.inactive, one.half, one.signed) for one in figures]
    return pd.DataFrame(rows, columns=["layer", "maps", "height", "width", "inactive share", "maps for half", "signed"])


@st.cache_data(max_entries=64, show_spinner=False)
def depth(figures: tuple[LayerFigures, ...]) -> dict[str, Any]:
    """Inactive units and the spread over maps, as shares, from layer to layer; layers before a ReLU are left out."""
    rectified = [one for one in figures if not one.signed]
    rows = [{"layer": one.layer, "share of": INACTIVE, "share": one.inactive} for one in rectified]
    rows += [{"layer": one.layer, "share of": HALF, "share": one.half / one.maps} for one in rectified]
    look = charts.told_apart("share of", [INACTIVE, HALF], charts.legend("share of"))
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    base = _over_layers(pd.DataFrame(rows), [one.layer for one in rectified], "share:Q", axis)
    base = base.encode(color=look["color"], tooltip=["layer", "share of", "share"])
    return _lines(base, shape=look["shape"])


NOW_AND_THEN, NEVER, DEAD = INACTIVE_KINDS = ("units: one image", "units: all images", "maps: all images")


def inactive_table(counted: Sequence[Inactivity]) -> pd.DataFrame:
    """One row per layer behind a ReLU, and kind: `layer`, `inactive` (one of `INACTIVE_KINDS`), `share`."""
    rows = []
    for one in counted:
        if not one.signed:
            shares = (one.now_and_then, one.never_active / one.units, one.dead_maps / one.maps)
            rows += [(one.layer, kind, share) for kind, share in zip(INACTIVE_KINDS, shares, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "inactive", "share"])


def inactive(rows: pd.DataFrame) -> alt.LayerChart:
    """The shares of inactive units and maps from layer to layer, one curve per kind."""
    look = charts.told_apart("inactive", INACTIVE_KINDS, charts.legend(""))
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    base = _over_layers(rows, list(dict.fromkeys(rows["layer"])), "share:Q", axis)
    base = base.encode(color=look["color"])
    points = base.mark_point(size=140, filled=True, opacity=1).encode(
        shape=look["shape"],
        tooltip=["layer", "inactive", alt.Tooltip("share:Q", format=".1%")],
    )
    return charts.sized(base.mark_line(strokeWidth=3) + points, HEIGHT)


@st.cache_data(max_entries=64, show_spinner=False)
def similarity(similarities: dict[str, float]) -> dict[str, Any]:
    """The cosine similarity of two images, from layer to layer."""
    frame = similarity_table(similarities)
    base = _over_layers(frame, list(similarities), "cosine similarity:Q", alt.Axis(tickCount=5))
    return _lines(base.encode(color=alt.value(charts.ON), tooltip=["layer", "cosine similarity"]))


def similarity_table(similarities: dict[str, float]) -> pd.DataFrame:
    """One row per layer."""
    return pd.DataFrame({"layer": list(similarities), "cosine similarity": list(similarities.values())})


@st.cache_data(max_entries=64, show_spinner=False)
def over_training(of_moments: Similarities) -> dict[str, Any]:
    """The cosine similarity of each layer with what it is in the end, from moment to moment."""
    frame, layers = over_training_table(of_moments), list(next(iter(of_moments.values())))
    look = charts.told_apart("layer", layers, charts.legend("layer", len(layers)))
    base = alt.Chart(frame).encode(
        x=alt.X("moment:N", sort=list(of_moments), title=None, axis=charts.every_name(480)),
        y=alt.Y("similarity:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5), title=None),
        color=look["color"],
        tooltip=["layer", "moment", alt.Tooltip("similarity:Q", format=".2f")],
    )
    return _lines(base, shape=look["shape"])


def over_training_table(of_moments: Similarities) -> pd.DataFrame:
    """One row per layer and moment."""
    rows = [(layer, moment, value) for moment, layers in of_moments.items() for layer, value in layers.items()]
    return pd.DataFrame(rows, columns=["layer", "moment", "similarity"])


def _over_layers(frame: pd.DataFrame, order: list[str], value: str, axis: alt.Axis) -> alt.Chart:
    overlap = "greedy" if len(order) > charts.MOST_NAMED else False
    layers = alt.Axis(labelAngle=-40, labelLimit=140, labelOverlap=overlap)
    return alt.Chart(frame).encode(
        x=alt.X("layer:N", sort=order, title=None, axis=layers),
        y=alt.Y(value, scale=alt.Scale(domain=[0, 1]), axis=axis, title=None),
    )


def _lines(base: alt.Chart, **of_points: Any) -> dict[str, Any]:
    points = base.mark_point(size=140, filled=True, opacity=1).encode(**of_points)
    return charts.sized(base.mark_line(strokeWidth=3) + points, HEIGHT).to_dict()
