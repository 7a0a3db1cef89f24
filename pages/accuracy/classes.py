"""View "Classes" of the Accuracy page: the accuracy of each class, and its most confident predictions."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from engine import reports
from engine.accuracy import images
from engine.accuracy.figures import Share, class_figures
from pages.accuracy import charts as accuracy_charts
from pages.accuracy import data, sheets
from pages.accuracy.data import Subject
from pages.common import charts, downloads, selection, texts
from pages.common.selection import Selection

ORDERS = ("worst first", "best first", "class order")
SHOWN = ("bars", "table")
WRONG, RIGHT = 12, 6
"""How many images of each kind a sheet shows."""


def show(subject: Subject, chosen: Selection) -> None:
    """The view."""
    label = data.looked_at_class(chosen, subject)
    left, right = st.columns([1, 1.15], gap="large")
    with left:
        _show_figures(subject, label)
    with right:
        _show_images(subject, chosen, label)
    texts.what_to_look_at(
        [
            "Orange lines are 95 % intervals: where two overlap, the classes may be equally hard.",
            "Diamonds are a report's figures, from about 20 to 45 images per class, so their intervals are wide.",
            "Click a class, then one of its images: what fooled the network?",
        ]
    )
    st.latex(
        r"\frac{p + \frac{z^2}{2n} \pm z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}},\quad z = 1.96"
    )


def _show_figures(subject: Subject, label: int | None) -> None:
    with st.container(horizontal=True, gap="small"):
        order = selection.segments("Order", ORDERS, "order")
        form = selection.segments("Show", SHOWN, "figures")
    table = class_table(subject)
    name = None if label is None else subject.classes[label]
    drawn = partial(_bars, subject.key, order, name, _subject=subject)
    spec = drawn(charts.ink())
    if form == "table":
        st.dataframe(_percentages(table), hide_index=True, height=36 * len(table) + 40)
    else:
        key = f"class-bars-{subject.key}-{name}"
        st.vega_lite_chart(
            spec=spec, key=key, width="stretch", on_select=partial(_clicked, key, subject), selection_mode="pick",
            alt=f"Accuracy per class of {subject.name}, {order}",
        )  # fmt: skip
    downloads.chart(drawn, table, f"{subject.name}-classes")


def _clicked(key: str, subject: Subject) -> None:
    picked = st.session_state[key]["selection"].get("pick", [])
    if picked and subject.has_images:
        data.look_at_class(picked[0]["class"])


def class_table(subject: Subject) -> pd.DataFrame:
    """Recall, precision, F1 and support of each class, with intervals, and the report's figure if there is one."""
    figures = class_figures(subject.confusion)
    table = _share_table(subject.classes, [entry.recall for entry in figures])
    table["precision"] = [entry.precision.value for entry in figures]
    table["precision low"] = [entry.precision.low for entry in figures]
    table["precision high"] = [entry.precision.high for entry in figures]
    table["F1"] = [entry.f1 for entry in figures]
    return table


def _share_table(classes: tuple[str, ...], shares: list[Share]) -> pd.DataFrame:
    rows = [(share.value, share.low, share.high, share.hits, share.total) for share in shares]
    table = pd.DataFrame(rows, columns=["accuracy", "low", "high", "right", "images"])
    table.insert(0, "class", list(classes))
    return table


def _percentages(table: pd.DataFrame) -> pd.DataFrame:
    """What fits beside the images: per class recall, precision and F1 in per cent, and the number of images."""
    shown = table[["class", "accuracy", "precision", "F1", "images"]].rename(columns={"accuracy": "recall"})
    for column in ("recall", "precision", "F1"):
        shown[column] = [texts.percent(value) for value in shown[column]]
    return shown


@st.cache_resource(max_entries=128, show_spinner=False)
def _bars(key: str, order: str, chosen: str | None, ink: str, _subject: Subject) -> dict[str, Any]:
    table = class_table(_subject)
    ranked = table.sort_values("accuracy", kind="stable", ascending=order != "best first")
    names = list(table["class"] if order == "class order" else ranked["class"])
    return accuracy_charts.class_bars(table, names, chosen, _reported(_subject), ink).to_dict()


def _reported(subject: Subject) -> pd.DataFrame:
    """The figures of a report on the same classes, beside those of a network."""
    tests = reports.matching(subject.classes) if subject.stored is not None else []
    if not tests:
        return pd.DataFrame()
    return _share_table(tests[0].classes, list(tests[0].shares))


def _show_images(subject: Subject, chosen: Selection, label: int | None) -> None:
    if not subject.has_images:
        _say_why_not(subject)
        return
    sheets.show_chosen(subject, chosen)
    if label is None:
        return
    name, predictions = subject.classes[label], subject.predictions
    wrong = images.of_class(predictions, label, correct=False)
    right = images.of_class(predictions, label, correct=True)
    st.markdown(f"**{len(wrong)} images of {name} are predicted as another class**; most confident mistakes:")
    shown = sheets.tiles(subject, wrong[:WRONG], lambda true, called, sure: (called, sure))
    sheets.show("wrong", shown, chosen, f"Images of {name} predicted as another class")
    st.markdown(f"**{len(right)} images of {name} are predicted correctly**, the most confident first:")
    shown = sheets.tiles(subject, right[:RIGHT], lambda true, called, sure: (called, sure))
    sheets.show("right", shown, chosen, f"Images of {name} predicted correctly")
    sheets.download(subject, [*wrong[:WRONG], *right[:RIGHT]], f"{subject.name}-{name}")


def _say_why_not(subject: Subject) -> None:
    if subject.stored is None:
        source = next(test.source for test in reports.TESTS if test.name == subject.name)
        st.info(f"These figures are from {source}. It gives counts only: its images and predictions are not known.")
    else:
        st.info(f"{subject.name} was tested on images that are not shipped, so there are figures only.")
