"""How high the pictures climb, step by step."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from engine.gallery import Maximization
from pages.common import charts

HEIGHT = 330
EACH = "#56B4E9"
"""Okabe & Ito's light blue: seen on white and on black."""


def climb_table(made: Maximization, names: list[str], top: np.ndarray | None) -> pd.DataFrame:
    """A row per step and picture: `step`, `picture`, `activation`, and how many times `top` `[K]` that is."""
    steps, count = len(made.steps), len(names)
    table = pd.DataFrame(
        {
            "step": np.repeat(made.steps, count),
            "picture": names * steps,
            "activation": made.activations.reshape(-1),
        }
    )
    if top is not None:
        table["times the strongest image"] = table["activation"] / np.tile(np.where(top > 0, top, np.nan), steps)
    return table


def climb_chart(table: pd.DataFrame) -> dict[str, Any]:
    """A thin line per picture and a thick one for their median; at 1 it excites as much as the strongest image."""
    relative = "times the strongest image" in table
    shown = "times the strongest image" if relative else "activation"
    rows = table.rename(columns={shown: "height"}).dropna(subset=["height"])
    median = rows.groupby("step", as_index=False)["height"].median().assign(picture="median of all")
    base = alt.Chart(rows).encode(x=alt.X("step:Q", title="step"), y=alt.Y("height:Q", title=shown))
    each = base.mark_line(strokeWidth=2, opacity=0.7, color=EACH).encode(
        detail="picture:N", tooltip=["picture:N", "step:Q", alt.Tooltip("height:Q", format=".3g")]
    )
    whole = alt.Chart(median).mark_line(strokeWidth=5, color=charts.OFF).encode(x="step:Q", y="height:Q")
    end = (
        alt.Chart(median.tail(1))
        .mark_text(align="right", dy=-16, fontSize=charts.LABEL_SIZE, fontWeight="bold", color=charts.OFF)
        .encode(x="step:Q", y="height:Q", text="picture:N")
    )
    layers = [each, whole, end]
    if relative:
        rule = alt.Chart(pd.DataFrame({"height": [1.0]})).mark_rule(strokeDash=[8, 5], strokeWidth=3, color="#777777")
        layers.append(rule.encode(y="height:Q"))
    return charts.sized(alt.layer(*layers), HEIGHT).to_dict()
