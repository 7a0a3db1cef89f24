"""Which learning rate? A short trial at rising rates, on the Train page, before a training is started.

It trains in a process of its own, which is asked for each step, so that it stops as every job does. The process takes
almost a gigabyte, so a trial has its turn to its end: there are no more of them than jobs that work at a time.
"""

from collections.abc import Sequence
from contextlib import closing
from functools import partial

import altair as alt
import pandas as pd
import streamlit as st

from engine.training import range_test, recipe, toml_text
from engine.training.queue import rates
from engine.training.range_test import RangeTestPoint
from engine.training.recipe import Recipe
from pages.common import charts, downloads
from pages.common.charts import OFF, ON
from pages.common.jobs import Job, Jobs, buttons, follow

STEPS = 100


class Trial(Job):
    """One range test; `points` are those so far."""

    keeps_turn = True

    def __init__(self, settings: Recipe) -> None:
        super().__init__()
        self._recipe = settings
        self.points: list[RangeTestPoint] = []

    def _work(self) -> None:
        self.points = []
        self.advance(0, STEPS, "steps")
        with closing(rates.points(self._recipe, STEPS)) as points:
            for point in points:
                self.points = [*self.points, point]
                self.advance(point.step + 1, STEPS, "steps")


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _trials() -> Jobs[Trial]:
    return Jobs()


def draw(settings: Recipe) -> None:
    """A trial of these settings: start, stop, and the loss against the rate."""
    text = toml_text.to_toml(settings)
    trial = _trials().get(text, lambda: Trial(recipe.parse(text, "range_test")))
    with st.expander("Which learning rate?", expanded=trial.alive or bool(trial.points)):
        buttons(trial, start="Try rising rates", again="Try rising rates", key="train_range")
        follow(trial, look=partial(_show, trial))


def _show(trial: Trial) -> None:
    points = trial.points
    if not points:
        st.caption(f"The rate rises within {STEPS} steps until the loss explodes; a good one lies well before that.")
        return
    suggested = range_test.suggested(points)
    curve = chart(points, suggested)
    st.altair_chart(curve, alt="Loss against the learning rate")
    if suggested is None:
        st.caption("The loss has not fallen: these settings learn at none of the rates so far.")
    else:
        st.markdown(f"A careful start: **{suggested:.2g}**, a tenth of the rate at which the loss is lowest.")
    rows = pd.DataFrame([vars(point) for point in points])
    downloads.chart(curve, rows, "learning-rates", "Loss against the learning rate")


def chart(points: Sequence[RangeTestPoint], suggested: float | None) -> alt.LayerChart:
    """Loss (each batch, and smoothed) against the rate on a log scale; a dashed line at `suggested`."""
    table = pd.DataFrame([vars(point) for point in points])
    rate = alt.X("learning_rate:Q", scale=alt.Scale(type="log"), title="learning rate", axis=alt.Axis(format="~e"))
    top = 1.5 * float(table["loss"].iloc[0])
    loss = alt.Y("loss:Q", title="loss", scale=alt.Scale(domain=[0, top], clamp=True))
    base = alt.Chart(table).encode(x=rate)
    single = base.mark_point(color="#8c8c8c", size=30, filled=True).encode(y=loss)
    smooth = base.mark_line(color=ON, strokeWidth=4, clip=True).encode(y=alt.Y("smoothed:Q", title="loss"))
    layers = [single, smooth]
    if suggested is not None:
        mark = alt.Chart(pd.DataFrame({"learning_rate": [suggested]}))
        layers.append(mark.mark_rule(color=OFF, strokeWidth=4, strokeDash=[8, 5]).encode(x=rate))
    return charts.sized(alt.layer(*layers), 300)
