"""The table or the diagram of an address, for a worksheet."""

from collections.abc import Iterator, Mapping, Sequence

from engine import network, weights
from engine.lectures import one_of
from engine.network.diagram import diagram
from pages.common import resources, selection
from pages.network import diagram_drawing, table_drawing
from pages.network.description import describe, sizes
from pages.network.layer_table import EVERY_OPERATION, ROWS, table


def charts_of(address: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """A caption and an SVG.

    Raises:
        ConvscopeError: there is no such network.
        LookupError: the page does not offer this size.
    """
    said = {key: values[-1] for key, values in address.items()}
    chosen = weights.find(said.get("checkpoint", selection.PREFERRED))
    own = resources.trained(chosen).card.input_size
    size = int(one_of(said, "size", [str(size) for size in sizes(chosen, own)], str(own)))
    described, view = describe(chosen, size), said.get("view", "table")
    if view == "table":
        rows = described.operations if one_of(said, "rows", ROWS) == EVERY_OPERATION else network.stages(described)
        yield f"The layers of {chosen} at {size} px", table_drawing.drawing(table(rows))
    elif view == "diagram":
        yield f"Block diagram of {chosen} at {size} px", diagram_drawing.drawing(diagram(described), "black", "white")
