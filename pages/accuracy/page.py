"""Accuracy: what each network predicts right and wrong, how certain the figures are, and the images behind them."""

import streamlit as st

from engine.accuracy.figures import accuracy_of
from pages.accuracy import all_networks, classes, confidence, confusions, data, live, mistakes, pair
from pages.accuracy.data import Subject
from pages.common import selection, texts

OF_ONE_NETWORK = {
    "Classes": classes.show,
    "Confusion": confusions.show,
    "Mistakes": mistakes.show,
    "Two networks": pair.show,
    "Confidence": confidence.show,
}
VIEWS = ("Classes", "Confusion", "Mistakes", "Two networks", "All networks", "Confidence", "Live")


def headline(subject: Subject) -> str:
    """The subject's test accuracy with its interval."""
    overall = accuracy_of(subject.confusion)
    low, high = texts.percent(overall.low), texts.percent(overall.high)
    return (
        f"Test accuracy of {subject.name}: {texts.percent(overall.value)} of {overall.total:,} images that it has "
        f"never seen (95 % interval {low} to {high})"
    )


def main() -> None:
    """The page."""
    chosen = selection.current()
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        view = selection.segments("View", VIEWS, "view")
        subject = data.chosen_subject(chosen) if view in OF_ONE_NETWORK else None
    if subject is not None:
        texts.headline(headline(subject))
        OF_ONE_NETWORK[view](subject, chosen)
    elif view == "All networks":
        all_networks.show()
    else:
        live.show(chosen)


main()
