"""Network: its layers with their parameters, its block diagram, a convolution and a deconvnet layer step by step."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.common import layout, selection, texts
from pages.common.controls import Option
from pages.common.selection import Selection
from pages.network import (
    batch_norm_in_training,
    block_diagram,
    layer_table,
    one_convolution,
    one_deconvnet_layer,
    receptive_fields,
)
from pages.network.description import describe, sizes
from pages.network.layer_table import PARTS, ROWS

TABLE, DIAGRAM, CONVOLUTION, DECONVNET, FIELDS, BATCH_NORM = VIEWS = (
    "table",
    "diagram",
    "one convolution",
    "one deconvnet layer",
    "receptive fields",
    "batch norm",
)
STYLE = """<style>
@media (max-width: 640px) {
  :is(.st-key-touch-diagram, .st-key-in_numbers) { overflow-x: auto; }
  :is(.st-key-touch-diagram, .st-key-in_numbers)
    :is([data-testid=stElementContainer], [data-testid=stFullScreenFrame], [data-testid=stImageContainer],
        [data-testid=stImage], img) { min-width: var(--readable); max-width: none !important; }
  .st-key-touch-diagram { --readable: 62rem; }
  .st-key-in_numbers { --readable: 45rem; }
}
</style>"""
"""On a phone drawings with letters keep a size at which these can be read, and scroll sideways."""


def main() -> None:
    """The page."""
    st.html(STYLE)
    chosen = selection.current()
    card = chosen.card
    count = len(describe(chosen.network, card.input_size).operations)
    texts.headline(f"{chosen.network}: {count} operations, {card.parameters:,} parameters")
    row = layout.row()
    with row:
        view = selection.segments("Show", VIEWS, "view")
        playing = view in (CONVOLUTION, DECONVNET) and st.toggle("Play: one step after the other", key="play")
    if view == CONVOLUTION:
        one_convolution.show(chosen, playing)
    elif view == DECONVNET:
        one_deconvnet_layer.show(chosen, playing)
    elif view == FIELDS:
        receptive_fields.show(chosen, row)
    elif view == BATCH_NORM:
        batch_norm_in_training.show(chosen, row)
    else:
        described_as(view, chosen, row)


def described_as(view: str, chosen: Selection, row: DeltaGenerator) -> None:
    """The network at an input size, as a table or a diagram."""
    own = chosen.card.input_size
    offered = [str(size) for size in sizes(chosen.network, own)]
    with row:
        rows = selection.segments("Rows", ROWS, "rows") if view == TABLE else ""
        with layout.options({"size": Option("input size", offered, str(own))}):
            size = int(selection.segments("Input size, px", offered, "size", preferred=str(own), help=why(own)))
    described = describe(chosen.network, size)
    if view == TABLE:
        layer_table.show(chosen.network, chosen.card, described, size, by_parts=rows == PARTS)
    else:
        block_diagram.show(chosen.network, chosen.card, described, size, chosen.layer)


def why(own: int) -> str:
    return f"It was trained at {own} px. Shapes and multiply-adds depend on the size of the image."


main()
