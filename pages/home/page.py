"""Home: what the app shows, which networks there are, and links to begin a lecture with."""

import pandas as pd
import streamlit as st

from engine import weights
from pages import directory
from pages.common import lectures, selection, texts
from pages.home import doctor

RECONSTRUCTION, ACCURACY = directory.page("reconstruction"), directory.page("accuracy")
LECTURES = (
    (RECONSTRUCTION, "What does the last layer see in a ship?", {"class": "ship"}),
    (RECONSTRUCTION, "The same without batch norm", {"class": "ship", "bn": "false"}),
    (RECONSTRUCTION, "All layers of one image in a row", {"class": "ship", "compare": "layers"}),
    (
        RECONSTRUCTION,
        "A photograph of a cat, at 224 px",
        {"images": "photographs", "photograph": "cat", "size": "224"},
    ),
    (RECONSTRUCTION, "What do random weights show?", {"class": "ship", "compare": "training"}),
    (RECONSTRUCTION, "Residual against shortcut", {"compare": "paths"}),
    (ACCURACY, "Which class is hardest?", {}),
)
COLUMNS = ("network", "test accuracy", "parameters", "input", "epochs")


def network_table() -> pd.DataFrame:
    """The shipped networks with the figures of their cards."""
    rows = [
        (
            texts.plain(card.name if card.name == card.architecture else f"{card.name} ({card.architecture})"),
            texts.percent(card.test_accuracy) if card.test_images else "not measured",
            f"{card.parameters:,}",
            f"{card.input_size}\u00a0px",
            card.epochs,
        )
        for card in weights.cards().values()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("network")


texts.headline("Convscope: look inside convolutional networks")
left, right = st.columns([1.2, 1], gap="large")
with left:
    for group in directory.GROUPS:
        st.caption(group)
        for entry in (entry for entry in directory.PAGES if entry.group == group):
            name, words = st.columns([1, 1.4], vertical_alignment="center", gap="small")
            name.page_link(entry.file, label=f"**{entry.title}**")
            words.markdown(entry.question)
with right:
    st.markdown("##### Lectures")
    found, problems = lectures.shipped()
    for lecture in found:
        entry = directory.page(lecture.steps[0].link.page)
        label = f"→ **{lectures.plain(lecture.title)}**, {lecture.minutes} min"
        link = selection.from_the_beginning(dict(lectures.address(lecture, 1)))
        st.page_link(entry.file, label=label, query_params=link)
    for problem in problems:
        st.warning(lectures.plain(problem))
    st.markdown("##### Begin a lecture here")
    for entry, label, link in LECTURES:
        st.page_link(entry.file, label=f"→ {label}", query_params=selection.from_the_beginning(link))
st.markdown("##### The networks")
st.table(network_table())
st.caption(
    "The app's own were trained on CIFAR-10's training images; test accuracy is measured on the "
    "official 10,000 test images. Choose network, layer, image and batch norm in the sidebar: the "
    "browser's address always restores what you see."
)
doctor.draw()
