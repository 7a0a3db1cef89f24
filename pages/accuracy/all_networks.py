"""View "All networks" of the Accuracy page: accuracy against its cost in parameters or multiply-adds."""

from functools import partial

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import all_networks
from engine.all_networks import Candidate, NetworkEntry
from engine.errors import ConvscopeError
from pages.accuracy import charts, code
from pages.accuracy.subject import candidates, key_of
from pages.accuracy.tables import shares_table
from pages.common import downloads, layout, selection, texts
from pages.common.charts import ink

HEADLINE = "What accuracy costs: all networks on this machine"
COSTS = ("parameters", "multiply-adds")


def show(row: DeltaGenerator) -> None:
    """The view; `row` is the place of its controls."""
    with row:
        against = selection.segments("Against", COSTS, "cost")
    table = _table(_entries())
    chart = partial(charts.all_networks, table, against)
    spec = chart(ink()).to_dict()
    alt = f"Test accuracy of {len(table)} networks against {against}"
    with layout.stage():
        st.vega_lite_chart(spec=spec, width="stretch", height="stretch", alt=alt)
    st.caption("Where there is no room for all names, point at a network to see its name.")
    downloads.chart(chart, table, "networks", f"Accuracy against {against}")
    downloads.code(code.of_all_networks())
    texts.what_to_look_at(
        "Each vertical line is a 95 % interval.",
        "Ten times the parameters: how much more accuracy? The axis at the bottom counts in powers of ten.",
        "A network with few parameters may need many multiply-adds: convolutions use a kernel at every position.",
    )
    st.latex(r"\text{multiply-adds of a convolution} = k^2\, C_\text{in}\, C_\text{out}\, H\, W")


def _entries() -> list[NetworkEntry]:
    """The figures of all networks; a sentence on the page for each that has none."""
    entries = []
    for candidate in candidates().values():
        try:
            entries.append(_entry(key_of(candidate), candidate))
        except ConvscopeError as error:
            st.warning(texts.plain(error))
    return entries


@st.cache_resource(max_entries=64, show_spinner="Counting multiply-adds …")
def _entry(key: str, _candidate: Candidate) -> NetworkEntry:
    return all_networks.entry(_candidate)


def _table(entries: list[NetworkEntry]) -> pd.DataFrame:
    kinds = ["experiment" if entry.experiment else "checkpoint" for entry in entries]
    table = shares_table([entry.accuracy for entry in entries], network=[entry.name for entry in entries], kind=kinds)
    table["parameters"] = [entry.parameters for entry in entries]
    table["multiply-adds"] = [entry.multiply_adds for entry in entries]
    return table
