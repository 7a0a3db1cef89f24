"""View "All networks" of the Accuracy page: accuracy against its cost in parameters or multiply-adds."""

from functools import partial

import pandas as pd
import streamlit as st

from engine.all_networks import Entry
from pages.accuracy import charts as accuracy_charts
from pages.accuracy import data
from pages.common import charts, downloads, selection, texts

COSTS = ("parameters", "multiply-adds")


def show() -> None:
    """The view."""
    texts.headline("What accuracy costs: all networks on this machine")
    against = selection.segments("Against", COSTS, "cost")
    entries, problems = data.zoo()
    for problem in problems:
        st.warning(problem)
    table = _table(entries)
    drawn = partial(accuracy_charts.zoo, table, against)
    spec = drawn(charts.ink()).to_dict()
    st.vega_lite_chart(spec=spec, width="stretch", alt=f"Test accuracy of {len(table)} networks against {against}")
    downloads.chart(drawn, table, "networks")
    texts.what_to_look_at(
        [
            "Each vertical line is a 95 % interval.",
            "Ten times the parameters: how much more accuracy? The axis at the bottom counts in powers of ten.",
            "A network with few parameters may need many multiply-adds: convolutions use each kernel at every point.",
        ]
    )
    st.latex(r"\text{multiply-adds of a convolution} = k^2\, C_\text{in}\, C_\text{out}\, H\, W")


def _table(entries: list[Entry]) -> pd.DataFrame:
    rows = [
        (
            entry.name, "experiment" if entry.experiment else "checkpoint", entry.accuracy.value, entry.accuracy.low,
            entry.accuracy.high, entry.parameters, entry.multiply_adds,
        )
        for entry in entries
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["network", "kind", "accuracy", "low", "high", *COSTS])
