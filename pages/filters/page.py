"""Filters: the kernels as pictures, their preferences in words, how training changes them, and deeper kernels."""

import streamlit as st

from engine import filters
from pages.common import selection, texts
from pages.filters import deeper_layers, first_layer, training
from pages.filters.kernels import SCALES

VIEWS = {"first layer": first_layer.show, "before and after training": training.show}
DEEPER = "deeper layers"


def main() -> None:
    """The page."""
    chosen = selection.current()
    texts.headline(f"What the filters of {chosen.network} respond to")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        view = selection.segments("Show", (*VIEWS, DEEPER), "view")
        drawing = () if view == DEEPER else drawing_controls()
    if view == DEEPER:
        deeper_layers.show(chosen)
    else:
        VIEWS[view](chosen, *drawing)


def drawing_controls() -> tuple[str, str]:
    """Which colours to draw, and on which scale."""
    form = selection.segments("Weights as", filters.FORMS, "form")
    why = "Each filter on its own scale: what does it look like? All on one: which are strong?"
    return form, selection.segments("Scale", SCALES, "brightness", help=why)


main()
