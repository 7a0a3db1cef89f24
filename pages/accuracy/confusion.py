"""View "Confusion" of the Accuracy page: which classes are predicted as which, and the images behind each count."""

from functools import partial
from typing import Any

import streamlit as st

from engine.accuracy import images
from engine.accuracy.confusion import row_normalised, similarity_order
from engine.accuracy.figures import commonest_mistake
from pages.accuracy import charts, clicks, code, image_grid
from pages.accuracy.clicks import Point
from pages.accuracy.subject import Subject
from pages.accuracy.tables import matrix_table
from pages.common import downloads, layout, selection, texts
from pages.common.controls import Option
from pages.common.selection import Selection

CELLS = ("counts", "share of the row")
ORDERS = ("class order", "similar classes together")
OPTIONS = {"cells": Option("cells", CELLS), "order": Option("rows and columns", ORDERS)}
MOST_FREQUENT = "the most frequent mistake"
MOST = 24
"""How many images a grid shows."""
COLUMNS = 4


def options() -> tuple[str, str]:
    """What stands in the cells, and in which order."""
    return selection.segments("Cells", CELLS, "cells"), selection.segments("Rows and columns", ORDERS, "order")


def show(subject: Subject, chosen: Selection, cells: str, order: str) -> None:
    """The view."""
    label = clicks.selected_class(chosen, subject)
    with layout.stage():
        if label is None:
            st.caption(texts.plain(clicks.why_no_images(subject, "a cell")))
            _show_matrix(subject, None, cells, order)
        else:
            left, right = st.columns([1.5, 1], gap="medium")
            with right:
                cell = label, _show_cell(subject, chosen, label)
            with left:
                _show_matrix(subject, cell, cells, order)
    if label is not None:
        name, indices = _cell_in_words(subject, cell).replace(" ", "-"), images.of_cell(subject.predictions, *cell)
        true, predicted = (subject.classes[label] for label in cell)
        caption = f"Images of {true} that {subject.name} predicts as {predicted}"
        image_grid.download(subject, indices[:MOST], f"{subject.name}-{name}", caption)
    texts.what_to_look_at(
        "A row shows the predictions for one class; the correct ones stand on the grey diagonal.",
        "With similar classes together, mistakes gather in blocks: are they animals and vehicles?",
        "Click a cell: would you have made these mistakes?",
    )
    st.latex(r"d(i, j) = 1 - \tfrac{1}{2}\left(p(\text{predicted } j \mid i) + p(\text{predicted } i \mid j)\right)")


def _show_matrix(subject: Subject, cell: tuple[int, int] | None, cells: str, order: str) -> None:
    spec = matrix(subject, cells, order, cell)
    alt = f"Confusion matrix of {subject.name}: true class against predicted class, {cells}"
    clicks.chart(spec, f"confusion-{subject.key}-{cell}", alt, partial(select_cell, subject), height="stretch")
    mistake = commonest_mistake(subject.confusion)
    if mistake is not None:
        true, predicted = (texts.plain(subject.classes[label]) for label in mistake[:2])
        st.markdown(f"The most frequent mistake: {mistake[2]} images of **{true}** are predicted as **{predicted}**.")
    table = matrix_table(subject.confusion, subject.classes)
    downloads.chart(spec, table, f"{subject.name}-confusion", "Confusion matrix")
    downloads.code(code.of_confusion(subject))


def select_cell(subject: Subject, point: Point) -> None:
    """Put the true class of the cell that was clicked into the sidebar, and its predicted class beside the matrix."""
    if subject.images is None:
        return
    if (st.session_state.get("images"), st.session_state.get("class")) != ("test", point["true"]):
        clicks.select_class(point["true"])
    st.session_state["predicted"] = point["predicted"]


def matrix(subject: Subject, cells: str, order: str, cell: tuple[int, int] | None) -> dict[str, Any]:
    """The chart (a Vega-Lite spec) of the confusion matrix; one cell may have a frame."""
    return _matrix(subject.key, cells, order, cell, subject)


@st.cache_resource(max_entries=256, show_spinner=False)
def _matrix(key: str, cells: str, order: str, cell: tuple[int, int] | None, _subject: Subject) -> dict[str, Any]:
    confusion = _subject.confusion
    labels = _similar_together(key, _subject) if order == ORDERS[1] else range(len(confusion))
    values = confusion if cells == "counts" else row_normalised(confusion)
    text_format = ",d" if cells == "counts" else ".1%"
    return charts.confusion(_subject.classes, values.astype(float), labels, text_format, cell).to_dict()


@st.cache_data(max_entries=64, show_spinner=False)
def _similar_together(key: str, _subject: Subject) -> tuple[int, ...]:
    """The classes in the order of their similarity, which a click on a cell does not change."""
    return similarity_order(_subject.confusion)


def _show_cell(subject: Subject, chosen: Selection, label: int) -> int:
    """The images of one cell in the row of the sidebar's class `label`; gives the cell's predicted class."""
    image_grid.show_selected(subject, chosen)
    predicted = _predicted_class(subject, label)
    indices = images.of_cell(subject.predictions, label, predicted)
    cell = _cell_in_words(subject, (label, predicted))
    st.markdown(f"**{len(indices):,} images of {texts.plain(cell)}**, the most confident first:")
    tiles = image_grid.tiles(subject, indices[:MOST], lambda true, predicted, confidence: (confidence,))
    image_grid.show("cell", subject.images, tiles, chosen, f"Images of {cell}", COLUMNS)
    return predicted


def _cell_in_words(subject: Subject, cell: tuple[int, int]) -> str:
    true, predicted = (subject.classes[label] for label in cell)
    return f"{true} are predicted as {predicted}"


def _predicted_class(subject: Subject, label: int) -> int:
    """The column whose images are shown: the most frequent mistake, unless the reader chooses another."""
    name = selection.choose("Predicted class", "predicted", [MOST_FREQUENT, *subject.classes], MOST_FREQUENT)
    if name != MOST_FREQUENT:
        return subject.classes.index(name)
    mistakes = subject.confusion[label].copy()
    mistakes[label] = -1
    return int(mistakes.argmax())
