"""Home: what the app shows, which networks there are, and links to begin a lecture with."""

import pandas as pd
import streamlit as st

from pages.common import guard, resources, texts

guard.run_through_app()

PRESETS = (
    ("pages/reconstruction.py", "What does the last layer see in a ship?", {"layer": "conv5_x", "class": "ship"}),
    ("pages/reconstruction.py", "The same without batch norm", {"layer": "conv5_x", "class": "ship", "bn": "false"}),
    ("pages/reconstruction.py", "Nine maps of conv3_x, each on its own", {"layer": "conv3_x", "show": "top 9"}),
    ("pages/reconstruction.py", "Back along the shortcuts only", {"layer": "conv5_x", "path": "shortcut"}),
    ("pages/accuracy.py", "Which class is hardest?", {}),
)


COLUMNS = ("network", "architecture", "right on test images", "parameters", "input", "epochs")


def network_table() -> pd.DataFrame:
    """The shipped networks with the figures of their cards."""
    rows = [
        (
            card.name,
            card.architecture,
            texts.percent(card.test_accuracy),
            f"{card.parameters:,}",
            f"{card.input_size} px",
            card.epochs,
        )
        for card in resources.cards().values()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("network")


with texts.readable_errors():
    texts.headline("Convscope: look inside convolutional networks")
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(
            "**Reconstruction** sends what a layer says of an image back to the pixels, with batch norm and without it."
            "\n\n**Accuracy** shows how often a network is right, class by class, and what it confuses."
        )
        st.markdown("##### Begin a lecture here")
        for page, label, link in PRESETS:
            st.page_link(page, label=f"→ {label}", query_params=link)
    with right:
        st.markdown("##### The networks")
        st.table(network_table())
        st.caption(
            "All were trained on CIFAR-10's training images; the share of right answers is measured on the official "
            "10,000 test images. Choose network, layer, image and batch norm in the sidebar: the browser's address "
            "always restores what you see."
        )
