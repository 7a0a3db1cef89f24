"""View "Two networks" of the Accuracy page: which one is better, where, and on which images they differ."""

from typing import Any

import pandas as pd
import streamlit as st

from engine.accuracy import comparison
from engine.accuracy.figures import accuracy_per_class
from pages.accuracy import charts, data, sheets
from pages.accuracy.data import Subject
from pages.common import downloads, selection, texts
from pages.common.selection import Selection

MOST = 18
WAYS = dict(
    zip(
        ("only the first is right", "only the second", "both wrong, differently"),
        comparison.WAYS_TO_DIFFER,
        strict=True,
    )
)


def show(first: Subject, chosen: Selection) -> None:
    """The view."""
    others = [name for name in data.candidates() if name != first.name]
    if not others:
        st.info("There is only one network on this machine: train a second one to compare.")
        return
    second = data.of_network(selection.choose("Compared with", "against", others, others[0]))
    paired = comparison.pair(first.predictions, second.predictions)
    st.markdown(f"**{comparison.in_words(first.name, second.name, paired)}**")
    left, right = st.columns([1, 1.05], gap="large")
    with left:
        _show_dumbbells(first, second)
    with right:
        _show_differing(first, second, chosen)
    _show_matrices(first, second)
    texts.what_to_look_at(
        [
            "Both saw the same images, so only those on which exactly one is right can tell which network is better.",
            "A better network is not better everywhere: on which classes does the order turn round?",
            "Below: where one network makes a mistake more often than the other.",
        ]
    )
    st.latex(r"p = \min\Big(1,\; 2 \sum_{k=0}^{\min(b, c)} \binom{b+c}{k}\, 2^{-(b+c)}\Big)")


def _show_dumbbells(first: Subject, second: Subject) -> None:
    spec, table = _dumbbells(first.key, second.key, first, second)
    st.vega_lite_chart(spec=spec, width="stretch", alt=f"Accuracy per class of {first.name} and of {second.name}")
    downloads.chart(spec, table, f"{first.name}-against-{second.name}")


@st.cache_resource(max_entries=128, show_spinner=False)
def _dumbbells(key: str, other: str, _first: Subject, _second: Subject) -> tuple[dict[str, Any], pd.DataFrame]:
    rows = [
        (name, subject.name, share.value, share.low, share.high)
        for subject in (_first, _second)
        for name, share in zip(subject.classes, accuracy_per_class(subject.predictions), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["class", "network", "accuracy", "low", "high"])
    return charts.dumbbells(table, (_first.name, _second.name)).to_dict(), table


def _show_differing(first: Subject, second: Subject, chosen: Selection) -> None:
    way = selection.segments("Images where", tuple(WAYS), "differ")
    indices = comparison.differing(first.predictions, second.predictions, WAYS[way])
    if not first.has_images:
        st.info(f"{len(indices):,} images. They are not shipped, so they cannot be shown.")
        return
    sheets.show_chosen(first, chosen)
    st.markdown(f"**{len(indices):,} images**; the most confident of {first.name} first:")
    named = dict(zip(indices.tolist(), second.predictions.predicted[indices].tolist(), strict=True))
    shown = [
        sheets.Tile(tile.index, (*tile.lines, second.classes[named[tile.index]]))
        for tile in sheets.tiles(first, indices[:MOST], lambda true, called, sure: (f"is {true}", called))
    ]
    st.caption(f"Below each image: its class, the prediction of {first.name}, and that of {second.name}.")
    sheets.show(f"differ-{way}", shown, chosen, f"Images on which {first.name} and {second.name} differ: {way}")
    sheets.download(first, indices[:MOST], f"{first.name}-against-{second.name}-images")


def _show_matrices(first: Subject, second: Subject) -> None:
    matrices, difference = _matrices(first.key, second.key, first, second)
    st.markdown(f"**Confusion of {first.name}, of {second.name}, and and their difference**")
    columns = st.columns(3, gap="small")
    for column, spec, name in zip(columns, matrices, (first.name, second.name, "difference"), strict=True):
        with column:
            st.vega_lite_chart(spec=spec, width="stretch", alt=f"Confusion matrix: {name}")
    downloads.chart(matrices[2], difference, f"{first.name}-less-{second.name}")


@st.cache_resource(max_entries=128, show_spinner=False)
def _matrices(key: str, other: str, _first: Subject, _second: Subject) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    cells = comparison.confusion_difference(_first.predictions, _second.predictions)
    drawn = [
        charts.confusion(subject.classes, subject.confusion.astype(float), range(len(cells)), ",d", None).to_dict()
        for subject in (_first, _second)
    ]
    table = pd.DataFrame(cells, columns=list(_first.classes))
    table.insert(0, "true class", list(_first.classes))
    return [*drawn, charts.confusion_difference(_first.classes, cells).to_dict()], table
