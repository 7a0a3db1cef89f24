"""The table or the diagram of an address, for a worksheet."""

from collections.abc import Iterator, Mapping, Sequence

from engine import network, weights
from engine.network.diagram import diagram
from pages.common import resources, selection
from pages.network import diagram_drawing, table_drawing
from pages.network.description import describe
from pages.network.layer_table import table


def charts_of(address: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """A caption and an SVG.

    Raises:
        ConvscopeError: there is no such network, or it does not take images of this size.
    """
    said = {key: values[-1] for key, values in address.items()}
    chosen = weights.find(said.get("checkpoint", selection.PREFERRED))
    size = int(said.get("size", resources.trained(chosen).card.input_size))
    described, view = describe(chosen, size), said.get("view", "table")
    if view == "table":
        rows = described.operations if "rows" in said else network.stages(described)
        yield f"The layers of {chosen} at {size} px", table_drawing.drawing(table(rows))
    elif view == "diagram":
        yield f"Block diagram of {chosen} at {size} px", diagram_drawing.drawing(diagram(described), "black", "white")
