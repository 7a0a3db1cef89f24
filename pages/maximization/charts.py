"""The activation of each picture, step by step."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from engine.maximization.stored import Maximization
from pages.common import charts

HEIGHT = 330
EACH = "#56B4E9"
"""Okabe & Ito's light blue: seen on white and on black."""
EACH_AT_MOST = 64
"""Of more pictures the chart shows a band: a line for each would be a thicket of many thousand points."""
LOW, HIGH = 0.1, 0.9
"""Between these quantiles lies the band."""
RELATIVE = "times the strongest image"


def ascent_table(maximization: Maximization, names: list[str], top: np.ndarray | None) -> pd.DataFrame:
    """A row per step and picture: `step`, `picture`, `activation`, and how many times `top` `[K]` that is."""
    steps, count = len(maximization.steps), len(names)
    table = pd.DataFrame(
        {
            "step": np.repeat(maximization.steps, count),
            "picture": names * steps,
            "activation": maximization.activations.reshape(-1),
        }
    )
    if top is not None:
        table[RELATIVE] = table["activation"] / np.tile(np.where(top > 0, top, np.nan), steps)
    return table


def ascent_chart(table: pd.DataFrame, ink: str = "black") -> dict[str, Any]:
    """A thin line per picture, or a band for many, and a thick line for their median.

    At 1 a picture excites as much as the strongest image. `ink`: of the page's letters, "black" or "white".
    """
    value = RELATIVE if RELATIVE in table else "activation"
    rows = table.rename(columns={value: "height"}).dropna(subset=["height"])
    count = rows["picture"].nunique()
    many = count > EACH_AT_MOST
    of_few = "median of all" if count > 1 else ""
    words = f"median; the band holds {100 * (HIGH - LOW):.0f} % of all" if many else of_few
    median = rows.groupby("step", as_index=False)["height"].median().assign(picture=words)
    whole = alt.Chart(median).mark_line(strokeWidth=5, color=charts.OFF).encode(x="step:Q", y="height:Q")
    end = (
        alt.Chart(median.tail(1))
        .mark_text(
            align="right", dy=-16, fontSize=charts.LETTERS, fontWeight="bold", color=charts.letters_in(charts.OFF, ink)
        )
        .encode(x="step:Q", y="height:Q", text="picture:N")
    )
    layers = [(_band if many else _lines)(rows, value), whole, end]
    if value == RELATIVE:
        rule = alt.Chart(pd.DataFrame({"height": [1.0]})).mark_rule(strokeDash=[8, 5], strokeWidth=3, color="#777777")
        layers.append(rule.encode(y="height:Q"))
    return charts.sized(alt.layer(*layers), HEIGHT).to_dict()


def _lines(rows: pd.DataFrame, title: str) -> alt.Chart:
    """A line per picture."""
    return (
        alt.Chart(rows)
        .mark_line(strokeWidth=2, opacity=0.7, color=EACH)
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("height:Q", title=title),
            detail="picture:N",
            tooltip=["picture:N", "step:Q", alt.Tooltip("height:Q", format=".3g")],
        )
    )


def _band(rows: pd.DataFrame, title: str) -> alt.Chart:
    """Where most of the pictures are at each step."""
    spread = rows.groupby("step")["height"].quantile([LOW, HIGH]).unstack().set_axis(["low", "high"], axis=1)
    numbers = [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("low", "high")]
    return (
        alt.Chart(spread.reset_index())
        .mark_area(opacity=0.5, color=EACH)
        .encode(
            x=alt.X("step:Q", title="step"), y=alt.Y("low:Q", title=title), y2="high:Q", tooltip=["step:Q", *numbers]
        )
    )
