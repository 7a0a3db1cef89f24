"""View "Two networks" of the Accuracy page: which one is better, where, and on which images they differ."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from engine.accuracy import comparison
from engine.accuracy.figures import accuracy_per_class
from pages.accuracy import charts, code, image_grid
from pages.accuracy.subject import Subject, candidates, of_network
from pages.accuracy.tables import matrix_table, shares_table
from pages.common import downloads, layout, selection, texts
from pages.common.selection import Selection

MOST = 18
"""How many images a grid shows."""
WAYS = dict(
    zip(
        ("only the first is right", "only the second", "both wrong, differently"),
        comparison.WAYS_TO_DIFFER,
        strict=True,
    )
)


def others(first: Subject) -> list[str]:
    """The networks to compare with, the usual one first."""
    return [name for name in candidates() if name != first.name]


def choose_second(first: Subject) -> Subject | None:
    """The network to compare with; None if there is only one."""
    offered = others(first)
    return of_network(selection.choose("Compared with", "against", offered, offered[0])) if offered else None


def show(first: Subject, chosen: Selection, second: Subject | None) -> None:
    """The view."""
    if second is None:
        st.info("There is only one network on this machine: train a second one to compare.")
        return
    paired = comparison.pair(first.predictions, second.predictions)
    downloads.code(code.of_two(first.name, second.name))
    with layout.stage():
        left, right = st.columns([1, 1], gap="medium")
    with left:
        _show_dumbbells(first, second)
    with right:
        st.markdown(f"**{texts.plain(comparison.in_words(first.name, second.name, paired))}**")
        _show_differing(first, second, chosen)
    _show_matrices(first, second)
    texts.what_to_look_at(
        "Both saw the same images, so only those on which exactly one is right can tell which network is better.",
        "A better network is not better everywhere: on which classes is the order reversed?",
        "Below: where one network makes a mistake more often than the other.",
    )
    st.latex(r"p = \min\Big(1,\; 2 \sum_{k=0}^{\min(b, c)} \binom{b+c}{k}\, 2^{-(b+c)}\Big)")


def _show_dumbbells(first: Subject, second: Subject) -> None:
    spec, table = _dumbbells(first.key, second.key, first, second)
    st.vega_lite_chart(
        spec=spec, width="stretch", height="stretch", alt=f"Accuracy per class of {first.name} and of {second.name}"
    )
    downloads.chart(spec, table, f"{first.name}-against-{second.name}", "Accuracy of each class")


def dumbbells(first: Subject, second: Subject) -> dict[str, Any]:
    """The chart (a Vega-Lite spec) of the accuracy of each class of both."""
    return _dumbbells(first.key, second.key, first, second)[0]


@st.cache_resource(max_entries=128, show_spinner=False)
def _dumbbells(key: str, other: str, _first: Subject, _second: Subject) -> tuple[dict[str, Any], pd.DataFrame]:
    table = pd.concat(
        shares_table(accuracy_per_class(subject.predictions), **{"class": subject.classes}, network=subject.name)
        for subject in (_first, _second)
    )
    return charts.dumbbells(table, (_first.name, _second.name)).to_dict(), table


def _show_differing(first: Subject, second: Subject, chosen: Selection) -> None:
    way = selection.segments("Images where", tuple(WAYS), "differ")
    indices = comparison.differing(first.predictions, second.predictions, WAYS[way])
    if first.images is None:
        st.info(texts.plain(f"{len(indices):,} images. {first.why_no_images}"))
        return
    image_grid.show_selected(first, chosen)
    st.markdown(f"**{len(indices):,} images**; the most confident of {texts.plain(first.name)} first:")
    indices = indices[:MOST]
    by_first = image_grid.tiles(first, indices, lambda true, predicted, confidence: (true, predicted))
    by_second = image_grid.tiles(second, indices, lambda true, predicted, confidence: (predicted,))
    tiles = [
        image_grid.Tile(tile.index, (*tile.lines, *other.lines))
        for tile, other in zip(by_first, by_second, strict=True)
    ]
    st.caption(texts.plain(f"Below each image: its class, the prediction of {first.name}, and that of {second.name}."))
    alt = f"Images on which {first.name} and {second.name} differ: {way}"
    image_grid.show(f"differ-{way}", first.images, tiles, chosen, alt)
    image_grid.download(first, indices, f"{first.name}-against-{second.name}-images", alt)


def _show_matrices(first: Subject, second: Subject) -> None:
    matrices, difference = _matrices(first.key, second.key, first, second)
    st.markdown("**Confusion of both networks, on one colour scale, and the difference of the counts**")
    columns = st.columns(3, gap="small")
    names = (first.name, second.name, f"{first.name} − {second.name}")
    for column, spec, name in zip(columns, matrices, names, strict=True):
        with column:
            st.markdown(f"**{texts.plain(name)}**")
            st.vega_lite_chart(spec=spec, width="stretch", alt=f"Confusion matrix: {name}")
    downloads.chart(matrices[2], difference, f"{first.name}-less-{second.name}", f"Confusion matrices: {names[2]}")


@st.cache_resource(max_entries=128, show_spinner=False)
def _matrices(key: str, other: str, _first: Subject, _second: Subject) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    cells = comparison.confusion_difference(_first.predictions, _second.predictions)
    both = [subject.confusion.astype(float) for subject in (_first, _second)]
    most = max(float((counts - np.diag(np.diag(counts))).max()) for counts in both)
    matrices = [
        charts.confusion(_first.classes, counts, range(len(cells)), ",d", None, most).to_dict() for counts in both
    ]
    matrices.append(charts.confusion_difference(_first.classes, cells).to_dict())
    return matrices, matrix_table(cells, _first.classes)
