"""View "Mistakes" of the Accuracy page: the most and least confident predictions, and labels that are wrong."""

import numpy as np
import streamlit as st

from engine.accuracy import images
from pages.accuracy import code, image_grid
from pages.accuracy.subject import Subject
from pages.common import downloads, layout, selection, texts
from pages.common.selection import Selection

LABEL_WRONG = "wrong label"
KINDS = (
    "most confident mistakes",
    "least confident mistakes",
    "most confident correct",
    "least confident correct",
    LABEL_WRONG,
)
MOST = 24
"""How many images a grid shows."""


def choose_kind(_subject: Subject) -> str:
    """Which predictions to look at."""
    return selection.choose("Predictions", "answers", list(KINDS), KINDS[0])


def show(subject: Subject, chosen: Selection, kind: str) -> None:
    """The view."""
    predictions = subject.predictions
    if subject.images is None:
        st.info(texts.plain(subject.why_no_images))
        return
    left, right = st.columns([2.4, 1], gap="medium")
    indices = _of_kind(subject, kind)[:MOST]
    with left:
        if kind == LABEL_WRONG:
            st.markdown(_heading(subject))
        before = "label " if kind == LABEL_WRONG else ""
        tiles = image_grid.tiles(
            subject,
            indices,
            lambda true, predicted, confidence: (f"{before}{true}", f"→ {predicted}", confidence),
        )
        words = f"{subject.name}: {kind}"
        with layout.stage():
            image_grid.show(f"mistakes-{kind}", subject.images, tiles, chosen, words, fills=True)
        image_grid.download(subject, indices, f"{subject.name}-{kind.replace(' ', '-')}", words)
        downloads.code(code.of_images(subject, indices, image_grid.COLUMNS))
    with right:
        image_grid.show_selected(subject, chosen)
        if chosen.split == "test" and chosen.index in images.known_wrong(predictions):
            st.warning("The label of this image is known to be wrong: most people who were asked see another class.")
    texts.what_to_look_at(
        "Most confident mistakes: does the image look like the predicted class?",
        "Least confident mistakes: the true class often comes second.",
        "The labels of 18 test images are known to be wrong: there a correct prediction counts as a mistake.",
    )
    st.latex(r"\text{confidence} = \max_k\, p_k,\qquad p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}")


def _of_kind(subject: Subject, kind: str) -> np.ndarray:
    """The images of a kind, by confidence."""
    if kind == LABEL_WRONG:
        return images.known_wrong(subject.predictions)
    by_confidence = images.of_all_classes(subject.predictions, correct=kind.endswith("correct"))
    return by_confidence if kind.startswith("most") else by_confidence[::-1]


def _heading(subject: Subject) -> str:
    agrees = int(subject.predictions.correct[images.known_wrong(subject.predictions)].sum())
    return (
        f"**18 test images whose own label is known to be wrong** (Northcutt 2021); "
        f"{texts.plain(subject.name)} predicts that label for {agrees} of them"
    )
