"""View "table" of the Network page: each part's output, parameters, multiply-adds and receptive field."""

import pandas as pd
import streamlit as st

from engine import network
from engine.checkpoints import Card
from engine.network import NetworkTable, OperationRow, StageRow
from engine.weights import Weights
from pages.common import downloads, layout, texts
from pages.network import code, table_drawing
from pages.network.description import show_remarks

STYLE = """<style>
.st-key-layer_table :is(td, th) { font-size: 1rem !important; vertical-align: middle; }
.st-key-layer_table table { height: calc(var(--height) - 4.5rem); }
.st-key-layer_table td:nth-child(2) p { white-space: nowrap; }
@media (max-width: 640px) {
  .st-key-layer_table table { height: auto; }
  .st-key-layer_table thead { display: none; }
  .st-key-layer_table tr {
    display: grid; grid-template-columns: 1fr 1fr; padding: 0.3rem 0.6rem; border-bottom: 1px solid #8888;
  }
  .st-key-layer_table :is(th, td) { border: 0 !important; padding: 0.1rem !important; }
  .st-key-layer_table tbody :is(th, td):first-child { grid-column: 1 / -1; font-weight: 700; }
  .st-key-layer_table td:nth-child(4) { grid-column: 1 / -1; order: 9; }
  .st-key-layer_table td::before { display: block; font-size: 0.8rem; opacity: 0.7; }
  .st-key-layer_table td:nth-child(2)::before { content: "Output"; }
  .st-key-layer_table td:nth-child(3)::before { content: "Parameters"; }
  .st-key-layer_table td:nth-child(4)::before { content: "How they are counted"; }
  .st-key-layer_table td:nth-child(5)::before { content: "Multiply-adds"; }
  .st-key-layer_table td:nth-child(6)::before { content: "Receptive field"; }
}
</style>"""
"""On a phone each part is a card: its name, and its figures under the names of their columns."""
ROWS = PARTS, EVERY_OPERATION = ("parts", "every operation")
Rows = tuple[StageRow, ...] | tuple[OperationRow, ...]


def show(weights: Weights, card: Card, described: NetworkTable, size: int, by_parts: bool) -> None:
    """The view, with a row per part or per operation."""
    rows = network.stages(described) if by_parts else described.operations
    shown = table(rows)
    if by_parts:
        st.html(STYLE)
        layout.stage().container(key="layer_table").table(shown.set_index("Part"))
    else:
        st.dataframe(shown, hide_index=True, height=620, row_height=44)
    st.markdown(
        f"**Parameters:** {network.arithmetic_of_all(described)}  \n"
        f"**Multiply-adds for one image:** {described.multiply_adds:,}"
    )
    show_remarks(card, described, size)
    name = f"{card.name}-{size}px-layers"
    downloads.drawing("Layer table", table_drawing.drawing(shown), name, f"The layers of {card.name} at {size} px")
    downloads.table("Layer table", numbers(rows), f"{name}.csv")
    downloads.code(code.of_table(weights, card, size, by_parts))
    texts.what_to_look_at(
        "Parameters do not depend on the size of the image; multiply-adds do. Choose another size and compare.",
        "Where do most parameters lie, and where most multiply-adds? Seldom in the same place.",
        "Deeper, the maps get smaller, there are more of them, and their receptive fields grow.",
    )
    st.latex(
        r"\text{parameters} = k \cdot k \cdot C_\text{in} \cdot C_\text{out}\;"
        r"(+\,C_\text{out}\text{ with a bias},\;+\,2\,C_\text{out}\text{ with batch norm})\qquad"
        r"\text{multiply-adds} = k \cdot k \cdot C_\text{in} \cdot C_\text{out} \cdot H_\text{out} \cdot W_\text{out}"
    )


def table(rows: Rows) -> pd.DataFrame:
    """The layer table as a page shows it, every column in words."""
    return pd.DataFrame(
        {
            "Part": [row.name if isinstance(row, StageRow) else f"{row.name}: {row.title}" for row in rows],
            "Output": [network.shape_in_words(row.output) for row in rows],
            "Parameters": [f"{row.parameters:,}" if row.parameters else "" for row in rows],
            "How they are counted": [row.arithmetic.partition(" = ")[0] for row in rows],
            "Multiply-adds": [f"{row.multiply_adds:,}" if row.multiply_adds else "" for row in rows],
            "Receptive field": [_receptive_field(row) for row in rows],
        }
    )


def _receptive_field(row: StageRow | OperationRow) -> str:
    size = row.receptive_field.size
    return "the whole image" if size is None else f"{size[0]} × {size[1]} px"


def numbers(rows: Rows) -> pd.DataFrame:
    """The layer table for a file: numbers as numbers."""
    return pd.DataFrame(
        {
            "part": [row.name for row in rows],
            "output": [network.shape_in_words(row.output) for row in rows],
            "parameters": [row.parameters for row in rows],
            "arithmetic": [row.arithmetic for row in rows],
            "multiply_adds": [row.multiply_adds for row in rows],
            "receptive_field_px": [(row.receptive_field.size or (None,))[0] for row in rows],
        }
    )
