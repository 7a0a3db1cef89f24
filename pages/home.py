"""Home: what the app shows, which networks there are, and links to begin a lecture with."""

import pandas as pd
import streamlit as st

from pages.common import guard, resources, texts

guard.run_through_app()

QUESTIONS = (
    ("pages/train.py", "Train", "A network learns in front of the class."),
    ("pages/learning_curves.py", "Learning curves", "Which optimizer, depth or dropout is better?"),
    ("pages/accuracy.py", "Accuracy", "Which classes does it know, which confuse?"),
    ("pages/network.py", "Network", "What is it made of, step by step?"),
    ("pages/filters.py", "Filters", "Which edges and colours does it look for first?"),
    ("pages/feature_maps.py", "Feature maps", "What does each layer make of an image?"),
    ("pages/reconstruction.py", "Reconstruction", "A layer's answer, sent back to the pixels."),
    ("pages/inversion.py", "Inversion", "How much of an image does a layer remember?"),
    ("pages/maximization.py", "Maximisation", "Which image would a filter like best?"),
)

PRESETS = (
    ("pages/reconstruction.py", "What does the last layer see in a ship?", {"layer": "conv5_x", "class": "ship"}),
    ("pages/reconstruction.py", "The same without batch norm", {"layer": "conv5_x", "class": "ship", "bn": "false"}),
    ("pages/reconstruction.py", "All layers of one image in a row", {"compare": "layers", "class": "ship"}),
    (
        "pages/reconstruction.py",
        "A photograph of a cat, at 224 px",
        {"images": "photographs", "photograph": "cat", "size": "224", "layer": "conv5_x"},
    ),
    ("pages/reconstruction.py", "What do random weights show?", {"compare": "training", "class": "ship"}),
    ("pages/reconstruction.py", "Residual against shortcut", {"layer": "conv5_x", "compare": "paths"}),
    ("pages/accuracy.py", "Which class is hardest?", {}),
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
        for card in resources.cards().values()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("network")


with texts.readable_errors():
    texts.headline("Convscope: look inside convolutional networks")
    left, right = st.columns([1.2, 1], gap="large")
    with left:
        for page, title, question in QUESTIONS:
            name, words = st.columns([1, 1.4], vertical_alignment="center", gap="small")
            name.page_link(page, label=f"**{title}**")
            words.markdown(question)
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
