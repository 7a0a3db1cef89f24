"""Accuracy: what each network predicts right and wrong, how certain the figures are, and the images behind them."""

import streamlit as st

from engine.accuracy.figures import accuracy_of
from pages.accuracy import all_networks, classes, confidence, confusion, live, mistakes, two_networks
from pages.accuracy.subject import Subject, chosen_subject
from pages.accuracy.tables import interval
from pages.common import selection, texts

OF_ONE_NETWORK = {
    "Classes": classes.show,
    "Confusion": confusion.show,
    "Mistakes": mistakes.show,
    "Two networks": two_networks.show,
    "Confidence": confidence.show,
}
VIEWS = ("Classes", "Confusion", "Mistakes", "Two networks", "All networks", "Confidence", "Live")


def main() -> None:
    """The page: a view, and whose figures it shows."""
    chosen = selection.current()
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        view = selection.segments("View", VIEWS, "view")
        subject = chosen_subject(chosen) if view in OF_ONE_NETWORK else None
    if subject is not None:
        texts.headline(headline(subject))
        OF_ONE_NETWORK[view](subject, chosen)
    elif view == "All networks":
        all_networks.show()
    else:
        live.show(chosen)


def headline(subject: Subject) -> str:
    """The subject's test accuracy with its interval."""
    accuracy = accuracy_of(subject.confusion)
    return (
        f"Test accuracy of {subject.name}: {texts.percent(accuracy.value)} of {accuracy.total:,} images that it has "
        f"never seen ({interval(accuracy)})"
    )


main()
