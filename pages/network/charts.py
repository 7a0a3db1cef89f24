"""Charts of the Network page: what batches of several sizes do in training mode."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from engine.accuracy.figures import accuracy
from engine.batch_statistics import Watched
from pages.common.charts import OKABE_ITO, legend, sized, spots, told_apart

HEIGHT = 280
TRAINING, EVALUATION = "training mode", "evaluation mode"


def accuracies(found: Sequence[Watched]) -> pd.DataFrame:
    """A row per batch size and mode: `batch`, `mode` and `accuracy`, 0-1."""
    rows = [
        (str(one.size), mode, accuracy(predictions).value)
        for one in found
        for mode, predictions in ((TRAINING, one.training), (EVALUATION, one.evaluation))
    ]
    return pd.DataFrame(rows, columns=["batch", "mode", "accuracy"])


def accuracy_chart(rows: pd.DataFrame) -> alt.Chart:
    """The accuracy in both modes, as two bars per batch size."""
    modes = [TRAINING, EVALUATION]
    bars = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("batch:N", sort=list(dict.fromkeys(rows["batch"])), title="batch", axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("mode:N", sort=modes),
            y=alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            color=alt.Color("mode:N", scale=alt.Scale(domain=modes, range=list(OKABE_ITO[:2])), legend=legend("")),
            tooltip=["batch:N", "mode:N", alt.Tooltip("accuracy:Q", format=".1%")],
        )
    )
    return sized(bars, HEIGHT)


def answers(found: Sequence[Watched]) -> pd.DataFrame:
    """A row per batch that held the image: `batch` and the `probability` of its class, 0-1."""
    rows = [(str(one.size), probability) for one in found for probability in one.probabilities.tolist()]
    return pd.DataFrame(rows, columns=["batch", "probability"])


def answer_chart(rows: pd.DataFrame, own: float, label: str) -> alt.LayerChart:
    """The probability of one class for one image, a point per batch; a line stands at that in evaluation mode."""
    sizes = list(dict.fromkeys(rows["batch"]))
    points = (
        alt.Chart(rows)
        .mark_point(size=140, filled=True, opacity=0.6, color=OKABE_ITO[0])
        .encode(
            x=alt.X("batch:N", sort=sizes, title="batch", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("probability:Q", scale=alt.Scale(domain=[0, 1]), title=f"p({label})"),
            tooltip=["batch:N", alt.Tooltip("probability:Q", format=".2f")],
        )
    )
    line = alt.Chart(pd.DataFrame({"own": [own]})).mark_rule(strokeWidth=3, color=OKABE_ITO[1]).encode(y="own:Q")
    return sized(line + points, HEIGHT)


def running(found: Sequence[Watched], channel: int) -> pd.DataFrame:
    """A row per batch size and step: `batch`, `step`, and the running `mean` and `variance` of a channel."""
    rows = [
        (str(one.size), step, float(mean), float(variance))
        for one in found
        for step, (mean, variance) in enumerate(zip(one.means[:, channel], one.variances[:, channel], strict=True))
    ]
    return pd.DataFrame(rows, columns=["batch", "step", "mean", "variance"])


def running_chart(rows: pd.DataFrame, what: str, stored: float) -> alt.LayerChart:
    """The running mean or variance over the steps, a curve per batch size; a line stands at the stored one."""
    sizes = list(dict.fromkeys(rows["batch"]))
    look = told_apart("batch", sizes, legend("batch") if what == "mean" else None)
    base = alt.Chart(rows).encode(
        x=alt.X("step:Q", axis=alt.Axis(tickCount=6)),
        y=alt.Y(f"{what}:Q", title=f"running {what}", scale=alt.Scale(zero=False)),
        color=look["color"],
        tooltip=["batch:N", "step:Q", alt.Tooltip(f"{what}:Q", format=".3g")],
    )
    points = base.mark_point(size=90, filled=True, opacity=1).encode(shape=look["shape"])
    points = points.properties(data=spots(rows, "batch"))
    line = alt.Chart(pd.DataFrame({"stored": [stored]})).mark_rule(strokeDash=[6, 4], strokeWidth=3, color="#888888")
    return sized(line.encode(y="stored:Q") + base.mark_line(strokeWidth=3) + points, HEIGHT)
