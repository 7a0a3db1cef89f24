"""View "Confusion" of the Accuracy page: which classes are predicted as which, and the images behind each count."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from engine.accuracy import confusion as accuracy_confusion
from engine.accuracy import images
from engine.accuracy.figures import commonest_mistake
from pages.accuracy import charts, data, sheets
from pages.accuracy.data import Subject
from pages.common import downloads, selection, texts
from pages.common.selection import Selection

CELLS = ("counts", "share of the row")
ORDERS = ("class order", "similar classes together")
MOST = 24
"""How many images a sheet shows."""


def show(subject: Subject, chosen: Selection) -> None:
    """The view."""
    left, right = st.columns([1.2, 1], gap="large")
    label = data.looked_at_class(chosen, subject)
    with right:
        called = _show_cell(subject, chosen, label)
    with left:
        _show_matrix(subject, None if label is None or called is None else (label, called))
    texts.what_to_look_at(
        [
            "A row shows the predictions for one class; the correct ones stand on the grey diagonal.",
            "With similar classes together, mistakes gather in blocks: are they animals and vehicles?",
            "Click a cell: would you have made these mistakes?",
        ]
    )
    st.latex(r"d(i, j) = 1 - \tfrac{1}{2}\left(p(\text{predicted } j \mid i) + p(\text{predicted } i \mid j)\right)")


def _show_matrix(subject: Subject, cell: tuple[int, int] | None) -> None:
    with st.container(horizontal=True, gap="small"):
        cells = selection.segments("Cells", CELLS, "cells")
        order = selection.segments("Rows and columns", ORDERS, "order")
    spec = _matrix(subject.key, cells, order, cell, subject)
    key = f"confusion-{subject.key}-{cell}"
    st.vega_lite_chart(
        spec=spec, key=key, width="stretch", on_select=partial(_clicked, key, subject), selection_mode="pick",
        alt=f"Confusion matrix of {subject.name}: true class against predicted class, {cells}",
    )  # fmt: skip
    mistake = commonest_mistake(subject.confusion)
    if mistake is not None:
        true, called = (subject.classes[label] for label in mistake[:2])
        st.markdown(f"The most frequent mistake: {mistake[2]} images of **{true}** are predicted as **{called}**.")
    table = pd.DataFrame(subject.confusion, columns=list(subject.classes))
    table.insert(0, "true class", list(subject.classes))
    downloads.chart(spec, table, f"{subject.name}-confusion")


def _clicked(key: str, subject: Subject) -> None:
    picked = st.session_state[key]["selection"].get("pick", [])
    if picked and subject.has_images:
        if st.session_state.get("class") != picked[0]["true"] or st.session_state.get("images") != "test":
            data.look_at_class(picked[0]["true"])
        st.session_state["predicted"] = picked[0]["predicted"]


@st.cache_resource(max_entries=256, show_spinner=False)
def _matrix(key: str, cells: str, order: str, cell: tuple[int, int] | None, _subject: Subject) -> dict[str, Any]:
    confusion = _subject.confusion
    places = _similar_together(key, _subject) if order == ORDERS[1] else range(len(confusion))
    values = confusion if cells == "counts" else accuracy_confusion.row_normalised(confusion)
    text_format = ",d" if cells == "counts" else ".1%"
    return charts.confusion(_subject.classes, values.astype(float), places, text_format, cell).to_dict()


@st.cache_data(max_entries=64, show_spinner=False)
def _similar_together(key: str, _subject: Subject) -> tuple[int, ...]:
    """The classes in the order of their likeness, which a click on a cell does not change."""
    return accuracy_confusion.similarity_order(_subject.confusion)


def _show_cell(subject: Subject, chosen: Selection, label: int | None) -> int | None:
    """The images of a cell of the sidebar's class; gives the predicted class of the cell."""
    if not subject.has_images:
        st.info("There are counts only: the images behind them are not shipped.")
        return None
    sheets.show_chosen(subject, chosen)
    if label is None:
        return None
    commonest = subject.confusion[label].copy()
    commonest[label] = -1
    called = _called(subject, int(commonest.argmax()))
    indices = images.of_cell(subject.predictions, label, called)
    true, name = subject.classes[label], subject.classes[called]
    st.markdown(f"**{len(indices):,} images of {true} are predicted as {name}**, the most confident first:")
    shown = sheets.tiles(subject, indices[:MOST], lambda true, called, sure: (sure,))
    sheets.show("cell", shown, chosen, f"Images of {true} predicted as {name}")
    sheets.download(subject, indices[:MOST], f"{subject.name}-{true}-predicted-as-{name}")
    return called


def _called(subject: Subject, commonest: int) -> int:
    """The predicted class whose images are shown; the commonest mistake unless the reader asks for another."""
    usual = "the most frequent mistake"
    picked = selection.choose("Predicted class", "predicted", [usual, *subject.classes], usual)
    return commonest if picked == usual else subject.classes.index(picked)
