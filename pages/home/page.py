"""Home: what the app shows, which networks there are, and links to begin a lecture with."""

import pandas as pd
import streamlit as st

from engine import weights
from pages import directory
from pages.common import texts

PRESETS = (
    ("reconstruction/page.py", "What does the last layer see in a ship?", {"layer": "conv5_x", "class": "ship"}),
    ("reconstruction/page.py", "The same without batch norm", {"layer": "conv5_x", "class": "ship", "bn": "false"}),
    ("reconstruction/page.py", "All layers of one image in a row", {"compare": "layers", "class": "ship"}),
    (
        "reconstruction/page.py",
        "A photograph of a cat, at 224 px",
        {"images": "photographs", "photograph": "cat", "size": "224", "layer": "conv5_x"},
    ),
    ("reconstruction/page.py", "What do random weights show?", {"compare": "training", "class": "ship"}),
    ("reconstruction/page.py", "Residual against shortcut", {"layer": "conv5_x", "compare": "paths"}),
    ("accuracy/page.py", "Which class is hardest?", {}),
)


COLUMNS = ("network", "right on test images", "parameters", "input", "epochs")


def network_table() -> pd.DataFrame:
    """The shipped networks with the figures of their cards."""
    rows = [
        (
            card.name if card.name == card.architecture else f"{card.name} ({card.architecture})",
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
    for entry in directory.PAGES:
        name, words = st.columns([1, 1.4], vertical_alignment="center", gap="small")
        name.page_link(entry.file, label=f"**{entry.title}**")
        words.markdown(entry.question)
with right:
    st.markdown("##### Begin a lecture here")
    for page, label, link in PRESETS:
        st.page_link(page, label=f"→ {label}", query_params=link)
st.markdown("##### The networks")
st.table(network_table())
st.caption(
    "The app's own were trained on CIFAR-10's training images; the share of right answers is measured on the "
    "official 10,000 test images. Choose network, layer, image and batch norm in the sidebar: the "
    "browser's address always restores what you see."
)
