"""What the reports measured, beside our training by the same recipe, and beside our best."""

import pandas as pd
import streamlit as st

from engine.training import as_reported
from engine.training.as_reported import BesideReported
from pages.common import downloads, texts


@st.cache_resource(ttl=10, show_spinner=False)
def beside_reported() -> list[BesideReported]:
    """The engine's; the files of the trainings are read every ten seconds, not at each rerun."""
    return as_reported.beside_reported()


def show() -> None:
    """The table, and what keeps its columns from being equal."""
    rows = beside_reported()
    if not rows:
        return
    table = pd.DataFrame([cells(each) for each in rows])
    st.markdown("## The reports' figures and ours")
    st.table(table.set_index("report"))
    st.caption(
        "Of ours: the epoch of the highest validation accuracy, on validation images that the reports may not have "
        "used; of theirs mostly the last epoch. One training each: another seed moves ours by about a percent. What a "
        "report leaves open stands in a comment of its recipe, in recipes/as_reported."
    )
    downloads.table("The reports' figures and ours", table, "as-reported.csv")


def cells(each: BesideReported) -> dict[str, str]:
    """A line of the table."""
    figure = each.figure
    return {
        "report": f"{figure.report}, {figure.where}",
        "network": figure.network,
        "images": figure.split,
        "reported": texts.percent(figure.accuracy),
        "ours by the same recipe": texts.percent(each.same_recipe),
        "our best": "" if pd.isna(each.best) else texts.percent(each.best),
    }
