"""View "Classes" of the Accuracy page: the accuracy of each class, and its most confident predictions."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from engine import reports
from engine.accuracy import images
from engine.accuracy.figures import class_figures
from pages.accuracy import charts, clicks, code, image_grid
from pages.accuracy.clicks import Point
from pages.accuracy.subject import Subject
from pages.accuracy.tables import shares_table
from pages.common import downloads, layout, selection, texts
from pages.common.charts import ink
from pages.common.controls import Option
from pages.common.selection import Selection

ORDERS = ("worst first", "best first", "class order")
FORMS = ("bars", "table")
OPTIONS = {"order": Option("order", ORDERS), "figures": Option("as", FORMS)}
WRONG, RIGHT = 12, 6
"""How many wrongly and how many correctly predicted images a grid shows."""
COLUMNS = 4


def options() -> tuple[str, str]:
    """In which order the classes stand, and in which form."""
    return selection.segments("Order", ORDERS, "order"), selection.segments("Show", FORMS, "figures")


def show(subject: Subject, chosen: Selection, order: str, form: str) -> None:
    """The view."""
    label = clicks.selected_class(chosen, subject)
    with layout.stage():
        if label is None:
            st.caption(texts.plain(clicks.why_no_images(subject, "a class")))
            _show_figures(subject, label, order, form)
        else:
            left, right = st.columns([1.15, 1], gap="medium")
            with left:
                _show_figures(subject, label, order, form)
            with right:
                _show_images(subject, chosen, label)
    texts.what_to_look_at(
        "Orange lines are 95 % intervals: where two do not overlap, the difference is hardly chance.",
        "Diamonds are a report's figures, from about 20 to 45 images per class, so their intervals are wide.",
        "Click a class, then one of its images: what fooled the network?",
    )
    st.latex(
        r"\frac{p + \frac{z^2}{2n} \pm z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}},\quad z = 1.96"
    )


def _show_figures(subject: Subject, label: int | None, order: str, form: str) -> None:
    table = class_table(subject)
    name = None if label is None else subject.classes[label]
    drawing = partial(bars, subject, order, name)
    if form == "table":
        st.dataframe(_percentages(table), hide_index=True, height=36 * len(table) + 40)
    else:
        key, alt = f"class-bars-{subject.key}-{name}", f"Accuracy per class of {subject.name}, {order}"
        clicks.chart(drawing(ink()), key, alt, partial(select_class, subject), height="stretch")
    downloads.chart(drawing, table, f"{subject.name}-classes", "Accuracy of each class")
    downloads.code(code.of_classes(subject))


def select_class(subject: Subject, point: Point) -> None:
    """Put the class of the bar that was clicked into the sidebar."""
    if subject.images is not None:
        clicks.select_class(point["class"])


def class_table(subject: Subject) -> pd.DataFrame:
    """Recall (as accuracy), precision and F1 of each class, with intervals."""
    figures = class_figures(subject.confusion)
    table = shares_table([entry.recall for entry in figures], **{"class": subject.classes})
    table["precision"] = [entry.precision.value for entry in figures]
    table["precision low"] = [entry.precision.low for entry in figures]
    table["precision high"] = [entry.precision.high for entry in figures]
    table["F1"] = [entry.f1 for entry in figures]
    return table


def _percentages(table: pd.DataFrame) -> pd.DataFrame:
    """What fits beside the images: per class recall, precision and F1 in per cent, and the number of images."""
    narrow = table[["class", "accuracy", "precision", "F1", "images"]].rename(columns={"accuracy": "recall"})
    for column in ("recall", "precision", "F1"):
        narrow[column] = [texts.percent(value) for value in narrow[column]]
    return narrow


def bars(subject: Subject, order: str, outlined: str | None, ink: str) -> dict[str, Any]:
    """The chart (a Vega-Lite spec) of the accuracy of each class; one of them may have a frame."""
    return _bars(subject.key, order, outlined, ink, subject)


@st.cache_resource(max_entries=128, show_spinner=False)
def _bars(key: str, order: str, outlined: str | None, ink: str, _subject: Subject) -> dict[str, Any]:
    table = class_table(_subject)
    ranked = table.sort_values("accuracy", kind="stable", ascending=order != "best first")
    names = list(table["class"] if order == "class order" else ranked["class"])
    return charts.class_bars(table, names, outlined, _reported(_subject), ink).to_dict()


def _reported(subject: Subject) -> pd.DataFrame:
    """A report's figures of the same classes, to stand beside a network's."""
    tests = reports.matching(subject.classes) if subject.stored is not None else []
    return shares_table(tests[0].shares, **{"class": tests[0].classes}) if tests else pd.DataFrame()


def _show_images(subject: Subject, chosen: Selection, label: int) -> None:
    name = subject.classes[label]
    wrong, right = (images.of_class(subject.predictions, label, correct=correct) for correct in (False, True))
    st.markdown(
        f"**{len(wrong)} images of {texts.plain(name)} are predicted as another class**; most confident mistakes:"
    )
    _show_grid("wrong", subject, wrong[:WRONG], chosen, f"Images of {name} predicted as another class")
    image_grid.show_selected(subject, chosen)
    st.markdown(f"**{len(right)} images of {texts.plain(name)} are predicted correctly**, the most confident first:")
    _show_grid("right", subject, right[:RIGHT], chosen, f"Images of {name} predicted correctly")
    caption = f"Images of {name}: first those that {subject.name} predicts as another class, then correct ones"
    image_grid.download(subject, np.concatenate([wrong[:WRONG], right[:RIGHT]]), f"{subject.name}-{name}", caption)


def _show_grid(name: str, subject: Subject, indices: np.ndarray, chosen: Selection, alt: str) -> None:
    tiles = image_grid.tiles(subject, indices, lambda true, predicted, confidence: (predicted, confidence))
    image_grid.show(name, subject.images, tiles, chosen, alt, COLUMNS)
