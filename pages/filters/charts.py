"""How a filter answers to gratings, as a chart; and what the filters of a layer prefer, counted."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from engine.filters.words import NO_PATTERN, Words
from pages.common.charts import LABEL_SIZE, OFF, ON, sized

KINDS = ("edges", "lines", "stripes", "spots", "flat areas", NO_PATTERN)


def response_chart(answers: pd.DataFrame) -> alt.Chart:
    """Response (colour) against the orientation of the stripes and their frequency."""
    frame = answers.assign(
        width=180 / answers["orientation"].nunique(),
        height=(answers["frequency"].max() - answers["frequency"].min()) / (answers["frequency"].nunique() - 1),
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
                legend=alt.Legend(title="response", titleFontSize=LABEL_SIZE, labelFontSize=LABEL_SIZE),
            ),
            tooltip=[
                "orientation", alt.Tooltip("frequency:Q", format=".2f"), alt.Tooltip("response:Q", format=".3g"),
            ],
        )
    )  # fmt: skip
    return sized(chart, 340)


ORIENTATION_LABELS = (
    "datum.value == 0 ? 'horizontal' : datum.value == 45 ? 'rising' : datum.value == 90 ? 'vertical' : 'falling'"
)


def kinds_table(when: Sequence[str], words: Sequence[Sequence[Words]]) -> pd.DataFrame:
    """Long table: how many filters prefer each kind of thing at each of the moments called `when`."""
    rows = [
        (moment, kind, sum(word.kind == kind for word in found))
        for moment, found in zip(when, words, strict=True)
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
            x=alt.X("kind:N", sort=list(KINDS), title=None, axis=alt.Axis(labelAngle=0, labelLimit=260)),
            xOffset=alt.XOffset("when:N", sort=list(when)),
            y=alt.Y("filters:Q", title="filters", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "when:N",
                sort=list(when),
                scale=alt.Scale(domain=list(when), range=colours),
                legend=alt.Legend(orient="top", title=None, labelFontSize=LABEL_SIZE, labelLimit=300),
            ),
            tooltip=["when", "kind", "filters"],
        )
    )
    return sized(chart, 320)
