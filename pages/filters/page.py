"""Filters: the kernels as pictures, their preferences in words, how training changes them, and deeper kernels."""

import streamlit as st

from pages.common import layout, selection, texts
from pages.filters import deeper_layers, first_layer, training

VIEWS = {
    "first layer": first_layer.show,
    "before and after training": training.show,
    "deeper layers": deeper_layers.show,
}


def main() -> None:
    """The page."""
    chosen = selection.current()
    statement, row = st.container(), layout.row()
    with row:
        view = selection.segments("Show", tuple(VIEWS), "view")
    with statement:
        whose = chosen.card.name if view == "before and after training" else chosen.network
        texts.headline(f"What the filters of {whose} respond to")
    VIEWS[view](chosen, row)


main()
