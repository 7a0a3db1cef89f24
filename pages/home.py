"""Home: what the app shows, which networks there are, and links to begin a lecture with."""

import pandas as pd
import streamlit as st

from pages.common import guard, resources, texts

guard.run_through_app()

QUESTIONS = (
    ("pages/train.py", "Train", "A network learns in front of the class: curves, and its filters as they change."),
    (
        "pages/learning_curves.py",
        "Learning curves",
        "Which optimizer, depth or dropout learns better, and when to stop?",
    ),
    ("pages/accuracy.py", "Accuracy", "Which classes does a network know, how sure is that, what does it confuse?"),
    ("pages/network.py", "Network", "What is it made of? Shapes, parameters, one convolution step by step."),
    (
        "pages/filters.py",
        "Filters",
        "Which edges and colours does the first layer look for, before and after training?",
    ),
    (
        "pages/feature_maps.py",
        "Feature maps",
        "What does each layer make of an image, and which images excite a map most?",
    ),
    (
        "pages/reconstruction.py",
        "Reconstruction",
        "A layer's answer sent back to the pixels, with batch norm and without.",
    ),
    (
        "pages/inversion.py",
        "Inversion",
        "Which image would a layer take for this one? How much does the layer remember?",
    ),
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


COLUMNS = ("network", "architecture", "right on test images", "parameters", "input", "epochs")


def network_table() -> pd.DataFrame:
    """The shipped networks with the figures of their cards."""
    rows = [
        (
            card.name,
            card.architecture,
            texts.percent(card.test_accuracy) if card.test_images else "not measured",
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
        for page, title, question in QUESTIONS:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.page_link(page, label=f"**{title}**", width=220)
                st.markdown(question)
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
