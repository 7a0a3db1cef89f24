"""Accuracy: how often the networks are right, about what, and which images lie behind each figure."""

import streamlit as st

from engine import evaluation
from pages.common import (
    accuracy_classes,
    accuracy_confidence,
    accuracy_confusions,
    accuracy_data,
    accuracy_live,
    accuracy_mistakes,
    accuracy_pair,
    accuracy_zoo,
    guard,
    selection,
    texts,
)
from pages.common.accuracy_data import Subject

guard.run_through_app()

OF_ONE_NETWORK = {
    "Classes": accuracy_classes.show,
    "Confusion": accuracy_confusions.show,
    "Mistakes": accuracy_mistakes.show,
    "Two networks": accuracy_pair.show,
    "Confidence": accuracy_confidence.show,
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
        subject = accuracy_data.chosen_subject(chosen) if view in OF_ONE_NETWORK else None
    if subject is not None:
        texts.headline(headline(subject))
        OF_ONE_NETWORK[view](subject, chosen)
    elif view == "Zoo":
        accuracy_zoo.show()
    else:
        accuracy_live.show(chosen)


with texts.readable_errors():
    main()
