"""A lecturer's own test set in the Live view of the Accuracy page: a ZIP archive of class folders.

It is decoded as a job, in its turn and not in the page's own thread: it may take a minute, and ends when its reader
leaves.
"""

from dataclasses import dataclass
from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from engine import pictures
from engine.accuracy import images as accuracy_images
from engine.accuracy.figures import accuracy
from engine.accuracy.predictions import Predictions
from engine.checkpoints import Card
from engine.data import LabelledImages, archives
from engine.weights import Weights
from pages.accuracy.jobs import OwnEvaluation
from pages.accuracy.tables import interval, predictions_table
from pages.common import downloads, texts
from pages.common.jobs import panel
from pages.common.selection import Selection

MOST_SHOWN = 12


def show(chosen: Selection) -> None:
    """Ask for an archive, run the network on it, and show its accuracy; the images stay in this session."""
    st.markdown("**Your own test images**")
    label = "A ZIP archive with one folder of pictures for each class"
    names = f"Folders are named {texts.plain(', '.join(chosen.card.classes))}; those without pictures may be left out."
    file = st.file_uploader(label, "zip", key="live_zip", help=names)
    with texts.readable_errors():
        kept = _kept(chosen, file)
        if kept is not None:
            _show_run(chosen, kept)


@dataclass(frozen=True)
class OwnImages:
    """An archive in a session, and the run of a network on its images."""

    network: Weights
    file_id: str
    job: OwnEvaluation


def _kept(chosen: Selection, file: UploadedFile | None) -> OwnImages | None:
    """The archive with its run, which begins when the archive is new; an earlier one's is stopped."""
    kept: OwnImages | None = st.session_state.get("_live_own")
    asked = None if file is None else (chosen.network, file.file_id)
    if kept is not None and asked != (kept.network, kept.file_id):
        kept.job.stop()
        kept = st.session_state["_live_own"] = None
    if kept is None and file is not None:
        decode = partial(_decoded, file.getvalue(), file.name, chosen.card)
        kept = OwnImages(*asked, OwnEvaluation(chosen.network, decode))
        st.session_state["_live_own"] = kept
        kept.job.start()
    return kept


def _decoded(
    archive: bytes, name: str, card: Card, on_picture: archives.OnPicture
) -> tuple[LabelledImages, tuple[str, ...]]:
    """The pictures in an archive, and sentences on the files that are none."""
    images = archives.class_folders(archive, name, card.classes, card.input_size, on_picture)
    return images, archives.skipped(archive, card.classes)


def _show_run(chosen: Selection, kept: OwnImages) -> None:
    panel(kept.job, start="Run", key="live_own")
    if (result := kept.job.result) is not None:
        for sentence in kept.job.skipped:
            st.caption(texts.plain(sentence))
        _show_result(chosen, kept.job.images, result)


def _show_result(chosen: Selection, images: LabelledImages, result: Predictions) -> None:
    share = accuracy(result)
    st.markdown(f"Accuracy on your images: **{share.hits} of {share.total}** ({interval(share)}).")
    names = chosen.card.classes
    wrong = accuracy_images.of_all_classes(result, correct=False)[:MOST_SHOWN]
    if len(wrong):
        sheet = pictures.sheet(pictures.enlarged(images.images[wrong], 96), 6)
        mistakes = ", ".join(f"{names[result.labels[i]]} predicted as {names[result.predicted[i]]}" for i in wrong)
        st.image(
            pictures.png(sheet),
            output_format="PNG",
            width="stretch",
            alt=f"Most confident mistakes on your images: {mistakes}",
        )
        st.caption(f"Most confident mistakes, row by row: {texts.plain(mistakes)}.")
    table = predictions_table(result, names)
    downloads.table("Predictions for your images", table, f"{chosen.network.file_name}-own-images.csv")
