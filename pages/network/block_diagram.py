"""View "diagram" of the Network page: boxes and arrows."""

from collections.abc import Mapping

import streamlit as st

from engine.checkpoints import Card
from engine.network import NetworkTable
from engine.network.diagram import DiagramBox, diagram, has_projection
from engine.operations import Addition
from engine.weights import Weights
from pages.common import controls, downloads, resources, texts, touch
from pages.common.charts import ink
from pages.common.touch import Grid
from pages.network import code
from pages.network.description import show_remarks
from pages.network.diagram_drawing import drawing, places


def show(weights: Weights, card: Card, described: NetworkTable, size: int, layer: str) -> None:
    """The view; a click on a box chooses its layer."""
    blocks = diagram(described)
    words = ", ".join(f"{box.words[0]} to {box.shape}" for box in blocks.boxes)
    alt = f"Block diagram of {card.name} at {size} px: {words}"
    layers = [layer_of(box, resources.layers(weights)) for box in blocks.boxes]
    named = (f"{', '.join(box.words)}: {box.shape}" for box in blocks.boxes)
    hints = [f"{text}\nlayer {name}" if name else text for text, name in zip(named, layers, strict=True)]
    grid = Grid(len(layers), len(layers), words=hints, boxes=places(blocks))
    last = len(layers) - 1 - layers[::-1].index(layer) if layer in layers else None

    def choose(cell: int) -> None:
        if layers[cell]:
            controls.put("layer", layers[cell])

    touch.show(drawing(blocks, ink()), alt, "diagram", grid, "Box", last, choose)
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
        projected = r"\qquad(F(x) + W x\ \text{ where the shape changes})" if has_projection(blocks) else ""
        rectified = any(isinstance(box.operation, Addition) and "ReLU" in box.words for box in blocks.boxes)
        st.latex(r"\text{output} = " + (r"\mathrm{ReLU}\big(F(x) + x\big)" if rectified else "F(x) + x") + projected)
    else:
        st.latex(r"\text{output} = f_n(\dots f_2(f_1(\text{image})))")


def layer_of(box: DiagramBox, layers: Mapping[str, str]) -> str:
    """The layer (of `{friendly name: node name}`) that a box ends with, else the one of its stage; "" if neither is."""
    inside = [name for name, node in layers.items() if node in box.nodes]
    return inside[-1] if inside else box.stage if box.stage in layers else ""
