"""Accuracy: what each network predicts right and wrong, how certain the figures are, and the images behind them."""

import streamlit as st

from engine.accuracy.figures import accuracy_of
from engine.weights import TRAINED
from pages.accuracy import all_networks, classes, confidence, confusion, live, mistakes, two_networks
from pages.accuracy.subject import SIDEBAR, Subject, chosen_subject
from pages.accuracy.tables import interval
from pages.common import layout, selection, texts
from pages.common.controls import Option

OF_ONE_NETWORK = {
    "Classes": classes.show,
    "Confusion": confusion.show,
    "Mistakes": mistakes.show,
    "Two networks": two_networks.show,
    "Confidence": confidence.show,
}
OPTIONS = {"Classes": (classes.OPTIONS, classes.options), "Confusion": (confusion.OPTIONS, confusion.options)}
"""What a view has among the options of the page: what is known beforehand, and a function that draws the controls."""
BESIDE = {"Mistakes": mistakes.choose_kind, "Two networks": two_networks.choose_second}
"""What a view has among the controls of the row, which may depend on whose figures it shows."""
ALL = "All networks"
VIEWS = ("Classes", "Confusion", "Mistakes", "Two networks", ALL, "Confidence", "Live")


def main() -> None:
    """The page: a view, and whose figures it shows."""
    chosen = selection.current()
    statement, row = st.container(), layout.row()
    subject, settings = None, ()
    with row:
        view = selection.segments("View", VIEWS, "view")
        if view in OF_ONE_NETWORK:
            options, draw = OPTIONS.get(view, ({}, tuple))
            with layout.options({"of": Option("figures of", usual=SIDEBAR), **options}):
                subject, settings = chosen_subject(chosen), draw()
            if view in BESIDE:
                settings = (BESIDE[view](subject),)
    with statement:
        texts.headline(
            headline(subject) if subject else all_networks.HEADLINE if view == ALL else live.headline(chosen)
        )
        if subject and subject.name == chosen.card.name and chosen.network.moment != TRAINED:
            st.caption("These are the figures of the trained network; the view Live runs the weights that you chose.")
    if subject:
        OF_ONE_NETWORK[view](subject, chosen, *settings)
    elif view == ALL:
        all_networks.show(row)
    else:
        live.show(chosen, row)


def headline(subject: Subject) -> str:
    """The subject's test accuracy with its interval."""
    accuracy = accuracy_of(subject.confusion)
    return (
        f"Test accuracy of {subject.name}: {texts.percent(accuracy.value)} of {accuracy.total:,} images that it has "
        f"never seen ({interval(accuracy)})"
    )


main()
