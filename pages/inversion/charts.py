"""How the loss of an inversion falls: numbers and charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from engine.inversion import ALPHA_NORM, FEATURE, VARIATION
from pages.common.charts import LABEL_SIZE, LETTERS, PHONE, SPOTS, told_apart
from pages.inversion.jobs import Measurement

ERROR = "relative feature error"
HEIGHT = 420
GOAL = 0.05
"""Below this error, the dashed line, the features count as matched."""
LOWEST = 1e-4
"""Where the charts end: smaller values, which would squeeze everything else together, are left out."""
POWERS = [10.0**exponent for exponent in range(-4, 1)]

Spec = dict[str, Any]


def step_table(measurements: Sequence[Measurement]) -> pd.DataFrame:
    """A row per step: its number, the error, each term of the loss, their sum, and the PSNR in dB."""
    rows = [
        {"step": at.number, ERROR: at.error, **at.terms, "loss": at.loss, "PSNR, dB": at.psnr} for at in measurements
    ]
    return pd.DataFrame(rows, columns=["step", ERROR, FEATURE, ALPHA_NORM, VARIATION, "loss", "PSNR, dB"])


def term_rows(measurements: Sequence[Measurement], jitter: bool) -> pd.DataFrame:
    """The curves of one inversion: columns `step`, `curve` and `value`; a term that is zero has no curve."""
    table = step_table(measurements)
    curves = [ERROR, VARIATION, ALPHA_NORM]
    if jitter:  # without it this term is the error itself
        curves.insert(1, FEATURE)
    rows = table.melt("step", curves, "curve")
    return rows[rows["value"] > 0].replace({"curve": {FEATURE: "the same, shifted"}})


def below_the_axis(rows: pd.DataFrame) -> list[str]:
    """The curves that have no value high enough for the chart."""
    highest = rows.groupby("curve", sort=False)["value"].max()
    return list(highest[highest < LOWEST].index)


def layer_rows(measurements: Mapping[str, Sequence[Measurement]]) -> pd.DataFrame:
    """The curves of several layers: columns `step`, `curve` (the layer) and `value` (its error)."""
    rows = [(at.number, layer, at.error) for layer, steps in measurements.items() for at in steps]
    return pd.DataFrame(rows, columns=["step", "curve", "value"])


def falling_chart(curves: Sequence[str], steps: int, marked: int | None = None, columns: int = 1) -> Spec:
    """Curves on a logarithmic scale over the steps; a vertical line at the step `marked`.

    `columns`: those of the legend, on a phone at most two. The rows are not in the chart, so that it stays the same
    while they grow.
    """
    names = alt.Legend(
        orient="top",
        title=None,
        labelFontSize=LETTERS,
        labelLimit=alt.ExprRef(f"width / min({columns}, width < {PHONE} ? 2 : {columns}) - 40"),
        columns=alt.ExprRef(f"width < {PHONE} ? min({columns}, 2) : {columns}"),
    )
    look = {channel: of.to_dict() for channel, of in told_apart("curve", curves, names).items()}
    x = {"field": "step", "type": "quantitative", "title": "step", "scale": {"domain": [0, steps]}}
    scale = {"type": "log", "domainMin": LOWEST}
    y = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": scale,
        "axis": {"format": "~g", "values": POWERS},
    }
    tooltip = [{"field": "curve"}, {"field": "step"}, {"field": "value", "type": "quantitative", "format": ".3g"}]
    on_the_axis = {"filter": f"datum.value >= {LOWEST}"}
    place = {"x": x, "y": y, "color": look["color"], "tooltip": tooltip}
    lines = {"transform": [on_the_axis], "mark": {"type": "line", "strokeWidth": 4}, "encoding": place}
    points = {
        "transform": [on_the_axis, {"filter": f"datum.step % {max(1, round(steps / SPOTS))} == 0"}],
        "mark": {"type": "point", "filled": True, "size": 120, "opacity": 1},
        "encoding": {**place, "shape": look["shape"]},
    }
    axis = {"labelFontSize": LABEL_SIZE, "titleFontSize": LABEL_SIZE, "tickCount": 6}
    layers = [lines, points, _rule("y", GOAL), _goal_in_words()] + ([] if marked is None else [_rule("x", marked)])
    return {"layer": layers, "height": HEIGHT, "config": {"axis": axis}}


def _rule(direction: str, at: float) -> Spec:
    mark = {"type": "rule", "strokeDash": [6, 4], "strokeWidth": 2, "color": "#888888"}
    return {"mark": mark, "encoding": {direction: {"datum": at}}}


def _goal_in_words() -> Spec:
    """What the line at the goal is, below its left end."""
    mark = {"type": "text", "align": "left", "baseline": "top", "dx": 4, "dy": 4, "fontSize": LABEL_SIZE}
    place = {"x": {"value": 0}, "y": {"datum": GOAL}}
    return {
        "data": {"values": [{}]},
        "mark": mark | {"color": "#888888", "text": f"matched below {GOAL}"},
        "encoding": place,
    }
