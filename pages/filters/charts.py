"""How a filter responses to gratings, as a chart; and what the filters of a layer prefer, counted."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from engine.filters.words import NO_PATTERN, Description
from pages.common.charts import OFF, ON, every_name, legend, sized

KINDS = ("edges", "lines", "stripes", "spots", "flat areas", NO_PATTERN)


FORMATS = {"frequency": ".2f", "response": ".3g"}
ORIENTATION_LABELS = (
    "datum.value == 0 ? 'horizontal' : datum.value == 45 ? 'rising' : datum.value == 90 ? 'vertical' : 'falling'"
)


def response_chart(responses: pd.DataFrame) -> alt.Chart:
    """Response (colour) against the orientation of the stripes and their frequency."""
    frame = responses.assign(
        width=180 / responses["orientation"].nunique(),
        height=(responses["frequency"].max() - responses["frequency"].min()) / (responses["frequency"].nunique() - 1),
    )
    frame["right"], frame["top"] = frame["orientation"] + frame["width"], frame["frequency"] + frame["height"]
    turns = alt.Axis(values=[0, 45, 90, 135], labelExpr=ORIENTATION_LABELS, labelAngle=0)
    chart = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("orientation:Q", scale=alt.Scale(domain=[0, 180], nice=False), axis=turns, title="stripes"),
            x2="right:Q",
            y=alt.Y("frequency:Q", scale=alt.Scale(zero=False, nice=False), title="stripes per pixel"),
            y2="top:Q",
            color=alt.Color(
                "response:Q",
                scale=alt.Scale(scheme="viridis"),
                legend=legend("response"),
            ),
            tooltip=["orientation", *(alt.Tooltip(f"{name}:Q", format=f) for name, f in FORMATS.items())],
        )
    )
    return sized(chart, 340)


def kinds_table(when: Sequence[str], descriptions: Sequence[Sequence[Description]]) -> pd.DataFrame:
    """Long table: how many filters prefer each kind of pattern at each of the moments `when`."""
    rows = [
        (moment, kind, sum(one.kind == kind for one in at_moment))
        for moment, at_moment in zip(when, descriptions, strict=True)
        for kind in KINDS
    ]
    return pd.DataFrame(rows, columns=["when", "kind", "filters"])


def kinds_chart(table: pd.DataFrame, when: Sequence[str]) -> alt.Chart:
    """Grouped bars of `kinds_table`."""
    colours = ["#999999", OFF, ON][-len(when) :]
    chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("kind:N", sort=list(KINDS), title=None, axis=every_name()),
            xOffset=alt.XOffset("when:N", sort=list(when)),
            y=alt.Y("filters:Q", title="filters", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "when:N",
                sort=list(when),
                scale=alt.Scale(domain=list(when), range=colours),
                legend=legend("", len(when)),
            ),
            tooltip=["when", "kind", "filters"],
        )
    )
    return sized(chart, 320)
