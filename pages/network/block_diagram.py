"""View "diagram" of the Network page: boxes and arrows."""

import streamlit as st

from engine.checkpoints import Card
from engine.network import NetworkTable
from engine.network.diagram import diagram
from engine.weights import Weights
from pages.common import downloads, texts
from pages.common.charts import ink
from pages.network import code
from pages.network.description import show_remarks
from pages.network.diagram_drawing import drawing


def show(weights: Weights, card: Card, described: NetworkTable, size: int) -> None:
    """The view."""
    blocks = diagram(described)
    words = ", ".join(f"{box.words[0]} to {box.shape}" for box in blocks.boxes)
    st.image(drawing(blocks, ink()), width="stretch", alt=f"Block diagram of {card.name} at {size} px: {words}")
    show_remarks(card, described, size)
    caption = f"Block diagram of {card.name} at {size} px"
    downloads.drawing("Diagram", drawing(blocks, "black", "white"), f"{card.name}-{size}px", caption)
    downloads.code(code.of_diagram(weights, card, size))
    has_shortcuts = any(len(box.inputs) > 1 for box in blocks.boxes)
    texts.what_to_look_at(
        "Below each box is the shape of its output: channels × height × width.",
        "Arcs are shortcuts: they carry a block's input around its convolutions, to be added to their output."
        if has_shortcuts
        else "There is one path: each box reads only the box before.",
        "Where do the maps shrink? At a stride of 2, or at a pooling.",
    )
    if has_shortcuts:
        st.latex(r"\text{output} = \mathrm{ReLU}\big(F(x) + x\big)")
    else:
        st.latex(r"\text{output} = f_n(\dots f_2(f_1(\text{image})))")
