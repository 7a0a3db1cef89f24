"""A lecturer's own test set in the Live view of the Accuracy page: a ZIP archive of class folders."""

from functools import partial

import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from engine import accuracy_folder, accuracy_images, evaluation, pictures
from engine.accuracy_live import LiveRun
from engine.data import LabelledImages
from engine.evaluation import Predictions, evaluate
from pages.common import downloads, resources, texts
from pages.common.selection import Selection

MOST_SHOWN = 12


def show(chosen: Selection) -> None:
    """Ask for an archive, run the network on it, and show what came out; it stays in this session."""
    st.markdown("**Your own test images**")
    file = st.file_uploader(
        "A ZIP archive with one folder of pictures for each class", "zip", key="live_zip",
        help=f"Folders are named {', '.join(chosen.card.classes)}; those without pictures may be left out.",
    )  # fmt: skip
    if file is None:
        return
    with texts.readable_errors():
        images, run = _run(chosen, file)
        _watch(run, run.alive)
        if run.result is not None:
            _show_result(chosen, images, run.result)


def _run(chosen: Selection, file: UploadedFile) -> tuple[LabelledImages, LiveRun]:
    """The images and the run that this session keeps for an archive; started when it is new."""
    key = (chosen.network, file.file_id)
    kept = st.session_state.get("_live_own")
    if kept is None or kept[0] != key:
        card = chosen.card
        images = accuracy_folder.class_folders(file.getvalue(), file.name, card.classes, card.input_size)
        work = partial(
            evaluate, resources.trained(chosen.network).model, images.images, images.labels,
            input_size=card.input_size, mean=card.mean, std=card.std, batch_size=25,
        )  # fmt: skip
        kept = (key, images, LiveRun(lambda note: work(on_batch=note), len(images)))
        st.session_state["_live_own"] = kept
    return kept[1], kept[2]


def _watch(run: LiveRun, alive: bool) -> None:
    """Show how far the run is while it is at work, and draw the page once more when it ends."""

    @st.fragment(run_every=0.5 if alive else None)
    def progress() -> None:
        if run.error:
            st.error(run.error)
        elif run.result is None:
            st.progress(run.done / run.total, f"{run.done:,} of {run.total:,} images")
        if alive and not run.alive:
            st.rerun()

    progress()


def _show_result(chosen: Selection, images: LabelledImages, result: Predictions) -> None:
    share = evaluation.accuracy(result)
    interval = f"{texts.percent(share.low)} to {texts.percent(share.high)}"
    st.markdown(f"Right about **{share.hits} of {share.total}** of your images (95 % interval {interval}).")
    names = chosen.card.classes
    wrong = accuracy_images.answered(result, right=False)[:MOST_SHOWN]
    if len(wrong):
        sheet = pictures.contact_sheet(pictures.enlarged(images.images[wrong], 96), 6)
        said = ", ".join(f"{names[result.labels[i]]} called {names[result.predicted[i]]}" for i in wrong)
        st.image(
            pictures.png(sheet), output_format="PNG", width="stretch", alt=f"Your images that it got wrong: {said}"
        )
        st.caption(f"The surest mistakes, row by row: {said}.")
    table = pd.DataFrame(
        {
            "true class": [names[label] for label in result.labels],
            "called": [names[label] for label in result.predicted],
            "confidence": result.confidence,
        }
    )
    downloads.table("Answers (CSV)", table, f"{chosen.network}-own-images.csv")
