"""Accuracy: how often the networks are right, about what, and which images lie behind each figure."""

import streamlit as st

from engine import evaluation
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
VIEWS = ("Classes", "Confusion", "Mistakes", "Two networks", "Zoo", "Confidence", "Live")


def headline(subject: Subject) -> str:
    """How often the subject is right about its test images, and how sure that figure is."""
    overall = evaluation.accuracy_of(subject.confusion)
    low, high = texts.percent(overall.low), texts.percent(overall.high)
    return (
        f"How often {subject.name} is right about images that it has never seen: {texts.percent(overall.value)} of "
        f"{overall.total:,} (95 % interval {low} to {high})"
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
    elif view == "Zoo":
        all_networks.show()
    else:
        live.show(chosen)


main()
