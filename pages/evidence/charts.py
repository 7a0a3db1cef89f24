"""The chart of the sanity check: how fast each method's map departs from the trained network's."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from engine.sanity import Check
from pages.common.charts import OKABE_ITO, legend, sized

HEIGHT = 300


def correlation_rows(checks: Mapping[str, Sequence[Check]]) -> pd.DataFrame:
    """A row per method and step: `method`, `random from` (a stage) and `rank correlation`."""
    rows = [(name, check.stage, check.correlation) for name, of_method in checks.items() for check in of_method]
    return pd.DataFrame(rows, columns=["method", "random from", "rank correlation"])


def correlation_chart(rows: pd.DataFrame) -> alt.Chart:
    """The rank correlation with the trained network's map, one curve per method."""
    methods, steps = list(dict.fromkeys(rows["method"])), list(dict.fromkeys(rows["random from"]))
    line = (
        alt.Chart(rows)
        .mark_line(strokeWidth=3, point=alt.OverlayMarkDef(size=110))
        .encode(
            x=alt.X("random from:N", sort=steps, title="random from here up", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("rank correlation:Q", scale=alt.Scale(domainMax=1)),
            color=alt.Color(
                "method:N",
                scale=alt.Scale(domain=methods, range=list(OKABE_ITO[: len(methods)])),
                legend=legend("", len(methods)),
            ),
            tooltip=["method", "random from", alt.Tooltip("rank correlation:Q", format=".2f")],
        )
    )
    return sized(line, HEIGHT)
