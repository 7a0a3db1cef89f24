"""The charts of the Evidence page: rank correlations, accuracy against epsilon, and curves of moved images."""

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import altair as alt
import pandas as pd

from engine.sanity import Check
from pages.common.charts import OKABE_ITO, PHONE, every_name, legend, sized, spots, told_apart

HEIGHT = 300
PROBABILITY = "probability"
SHAPE_LETTERS = "●■▲◆✚▼▶"
"""The shapes of a chart's points, `SHAPES`, in a text."""
WHOLE, WITHOUT = "the whole network", "without the part"


def correlation_rows(checks: Mapping[str, Sequence[Check]]) -> pd.DataFrame:
    """A row per method and step: `method`, `random from` (a stage) and `rank correlation`."""
    rows = [(name, check.stage, check.correlation) for name, of_method in checks.items() for check in of_method]
    return pd.DataFrame(rows, columns=["method", "random from", "rank correlation"])


def correlation_chart(rows: pd.DataFrame) -> alt.Chart:
    """The rank correlation with the trained network's map, one curve per method."""
    methods, steps = list(dict.fromkeys(rows["method"])), list(dict.fromkeys(rows["random from"]))
    names = legend("", len(methods)).copy()
    names.columns = alt.ExprRef(f"width < {PHONE} ? 2 : 0")  # one below the other, four would take the curves' room
    line = (
        alt.Chart(rows)
        .mark_line(strokeWidth=3, point=alt.OverlayMarkDef(size=110))
        .encode(
            x=alt.X("random from:N", sort=steps, title="random from here up", axis=every_name()),
            y=alt.Y("rank correlation:Q", scale=alt.Scale(domainMax=1)),
            **told_apart("method", methods, names),
            tooltip=["method:N", "random from:N", alt.Tooltip("rank correlation:Q", format=".2f")],
        )
    )
    return sized(line, HEIGHT)


def accuracy_chart(rows: pd.DataFrame) -> alt.Chart:
    """The accuracy on perturbed images against epsilon."""
    line = (
        alt.Chart(rows)
        .mark_line(strokeWidth=3, point=alt.OverlayMarkDef(size=110), color=OKABE_ITO[0])
        .encode(
            x=alt.X("epsilon, of 255:Q"),
            y=alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            tooltip=["epsilon, of 255", alt.Tooltip("accuracy:Q", format=".1%")],
        )
    )
    return sized(line, HEIGHT)


def moving_chart(
    rows: pd.DataFrame, title: str, unit: str, amount: float, highest: float | None = None
) -> alt.LayerChart:
    """One figure of the moved images against the amount, a curve per image; a line stands at the chosen amount.

    Its name stands above: beside an axis of a low chart it would be cut off.

    Three of these stand side by side, so `names_in_html`, with shapes, is their legend.

    Args:
        highest: where the axis of the figure ends, so that two charts can be compared.
    """
    images = list(dict.fromkeys(rows["image"]))
    look = told_apart("image", images, None)
    base = alt.Chart(rows).encode(
        x=alt.X("amount:Q", title=unit),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, highest], nice=True) if highest else alt.Undefined),
        color=look["color"],
        tooltip=["image:N", "amount:Q", alt.Tooltip("value:Q", format=".2f")],
    )
    lines = base.mark_line(strokeWidth=3)
    points = base.mark_point(size=90, filled=True, opacity=1).encode(shape=look["shape"])
    points = points.properties(data=spots(rows, "image"))
    chosen = pd.DataFrame({"amount": [amount]})
    rule = alt.Chart(chosen).mark_rule(strokeDash=[6, 4], strokeWidth=2, color="#888888").encode(x="amount:Q")
    return sized((rule + lines + points).properties(title=alt.Title(title, anchor="start")), HEIGHT)


def names_in_html(names: Iterable[str], marks: str = "■") -> str:
    """Names beside the colours that they have on a chart or a map, in this order, as HTML.

    Args:
        marks: what has the colour; `SHAPE_LETTERS` for the points of a chart.
    """
    named = zip(OKABE_ITO, cycle(marks), names, strict=False)
    return " ".join(
        f'<span style="white-space: nowrap"><span style="color: {colour}">{mark}</span> {html.escape(name)}</span>'
        for colour, mark, name in named
    )


def recall_chart(rows: pd.DataFrame, classes: list[str]) -> alt.Chart:
    """The share of each class that is recognised, as two bars per class."""
    names = [WHOLE, WITHOUT]
    bars = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("class:N", sort=classes, title=None, axis=every_name()),
            xOffset=alt.XOffset("network:N", sort=names),
            y=alt.Y("recognised:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            color=alt.Color("network:N", scale=alt.Scale(domain=names, range=list(OKABE_ITO[:2])), legend=legend("")),
            tooltip=["class:N", "network:N", alt.Tooltip("recognised:Q", format=".1%")],
        )
    )
    return sized(bars, HEIGHT)


CHANCE, NETWORK = "chance", "the network itself"


def probe_chart(rows: pd.DataFrame, own: float, chance: float) -> alt.LayerChart:
    """The accuracy of the probe of each layer, with its interval, and lines at the network's own and at chance."""
    layers = list(rows["layer"])
    axis = alt.Axis(labelAngle=-40, labelLimit=140, labelOverlap=False)
    base = alt.Chart(rows).encode(x=alt.X("layer:N", sort=layers, title=None, axis=axis))
    scale = alt.Scale(domain=[0, 1])
    bars = base.mark_bar(color=OKABE_ITO[0]).encode(
        y=alt.Y("accuracy:Q", scale=scale, axis=alt.Axis(format="%"), title="accuracy of the probe"),
        tooltip=["layer:N", "features:Q", alt.Tooltip("accuracy:Q", format=".1%")],
    )
    intervals = base.mark_rule(strokeWidth=3, color="#888888").encode(y="low:Q", y2="high:Q")
    lines = pd.DataFrame({"level": [own, chance], "line": [NETWORK, CHANCE]})
    colour = alt.Color(
        "line:N",
        scale=alt.Scale(domain=[NETWORK, CHANCE], range=[OKABE_ITO[1], OKABE_ITO[6]]),
        legend=legend(""),
    )
    rules = alt.Chart(lines).mark_rule(strokeWidth=3, strokeDash=[8, 4]).encode(y="level:Q", color=colour)
    return sized(bars + intervals + rules, HEIGHT)
