"""View "Mistakes" of the Accuracy page: the most and least confident predictions, and labels that are wrong."""

import numpy as np
import streamlit as st

from engine.accuracy import images
from pages.accuracy import sheets
from pages.accuracy.data import Subject
from pages.common import selection, texts
from pages.common.selection import Selection

KINDS = (
    "most confident mistakes",
    "least confident mistakes",
    "most confident correct",
    "least confident correct",
    "wrong label",
)
LABEL_WRONG = KINDS[-1]
MOST = 24


def show(subject: Subject, chosen: Selection) -> None:
    """The view."""
    predictions = subject.predictions
    if not subject.has_images:
        st.info(f"{subject.name} was tested on images that are not shipped, so they cannot be shown.")
        return
    kind = selection.segments("Predictions", KINDS, "answers")
    left, right = st.columns([1.5, 1], gap="large")
    indices = _found(subject, kind)
    with left:
        st.markdown(_heading(subject, kind))
        _show_sheet(subject, chosen, kind, indices[:MOST])
    with right:
        sheets.show_chosen(subject, chosen)
        if chosen.split == "test" and chosen.index in images.known_wrong(predictions):
            st.warning("The label of this image is known to be wrong: most people who were asked see another class.")
    texts.what_to_look_at(
        [
            "Most confident mistakes: does the image look like the predicted class?",
            "Least confident mistakes: the true class often comes second.",
            "The labels of 18 test images are known to be wrong: there a correct prediction counts as a mistake.",
        ]
    )
    st.latex(r"\text{confidence} = \max_k\, p_k,\qquad p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}")


def _found(subject: Subject, kind: str) -> np.ndarray:
    """The images of a kind, by confidence."""
    predictions = subject.predictions
    if kind == LABEL_WRONG:
        return images.known_wrong(predictions)
    answered = images.of_all_classes(predictions, correct=kind.endswith("correct"))
    return answered if kind.startswith("most") else answered[::-1]


def _heading(subject: Subject, kind: str) -> str:
    if kind != LABEL_WRONG:
        return f"**{subject.name}: {kind}**"
    agrees = int(subject.predictions.correct[images.known_wrong(subject.predictions)].sum())
    return (
        f"**18 test images whose own label is known to be wrong** (Northcutt 2021); {subject.name} predicts "
        f"that label for {agrees} of them"
    )


def _show_sheet(subject: Subject, chosen: Selection, kind: str, indices: np.ndarray) -> None:
    first = "label" if kind == LABEL_WRONG else "is"
    shown = sheets.tiles(subject, indices, lambda true, called, sure: (f"{first} {true}", f"predicted {called}", sure))
    sheets.show(f"mistakes-{kind}", shown, chosen, f"{subject.name}: {kind}")
    sheets.download(subject, indices, f"{subject.name}-{kind.replace(' ', '-')}")
