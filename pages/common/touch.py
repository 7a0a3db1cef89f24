"""Pictures that can be touched: a grid of cells over a picture, each of which can be chosen.

A cell is a tile of a sheet, or a unit of a layer over the image that it looks at. Hovering over one shows its number,
its value and what it sees, from a small table that is sent with the picture: nothing goes to the server. A click
chooses a cell, and so do the arrow keys while the picture has the focus; the frame moves at once, and the page follows
in one run, when the keys rest. What is chosen goes into a control, and so into the link; the control itself remains
for those who cannot point.

The picture is Streamlit's own; an inline component (`touch.js`) lies over it. It is told numbers and words only, and
takes words for text, never for HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st
from torch import Tensor

from engine.graph.receptive_field import Pair, ReceptiveField
from engine.playbacks import CHOSEN
from pages.common import controls, sheets

_CODE = {kind: Path(__file__).with_suffix(f".{kind}").read_text() for kind in ("html", "css", "js")}
_cells = st.components.v2.component("convscope_cells", **_CODE)


@dataclass(frozen=True)
class Grid:
    """Cells over a picture, row by row.

    Attributes:
        count, columns: how many cells, and how many in a row.
        gap, margin: pixels of the picture between two cells, and around all of them (see `engine.pictures.sheet`).
        words: what hovering over each cell says.
        values: of units, whose words follow from their places; `field`: what each sees of an image of `side` pixels.
        note: what it says of every cell.
        boxes: instead of a grid, where each cell is: (left, top, width, height) in shares of the picture.
    """

    count: int
    columns: int
    gap: int = 0
    margin: int = 0
    words: Sequence[str] | None = None
    values: Sequence[float] | None = None
    field: Sequence[tuple[int, int, int]] | None = None
    side: int = 0
    note: str = ""
    boxes: Sequence[tuple[float, float, float, float]] | None = None

    @property
    def own(self) -> "Grid":
        """These units over a picture of their map alone."""
        return replace(self, field=None)


def units(one_map: Tensor, field: ReceptiveField, side: int) -> Grid:
    """The units of a map `[H, W]` over its image of `side` pixels; the frame of a unit is its receptive field."""
    height, width = one_map.shape
    axes = [(axis.start, axis.stride, axis.size) if axis else (0, 0, side) for axis in (field.height, field.width)]
    values = [float(f"{value:.3g}") for value in one_map.flatten().tolist()]
    return Grid(height * width, width, values=values, field=axes, side=side, note=in_words(field, side))


def place(height: int, width: int) -> Pair:
    """The (row, column) of the unit that a reader has chosen in a map of this size, by number or by `put_unit`."""
    row = controls.number_in_link(f"Row (0 to {height - 1})", "row", height)
    return row, controls.number_in_link(f"Column (0 to {width - 1})", "column", width)


def put_unit(row: int, column: int) -> None:
    """Put a unit into the controls."""
    for key, value in {"unit": CHOSEN, "row": row, "column": column}.items():
        controls.put(key, value)


def in_words(field: ReceptiveField, side: int) -> str:
    """What a unit with this receptive field sees of an image of `side` pixels."""
    if field.size is None or min(field.size) >= side:
        return "receptive field: the whole image"
    return "receptive field {} × {} px".format(*field.size)


def show(
    picture: bytes | str,
    alt: str,
    key: str,
    grid: Grid,
    label: str,
    chosen: int | None,
    on_choice: Callable[[int], None],
    leads_away: bool = False,
) -> None:
    """A picture as wide as its column, whose cells can be chosen.

    Args:
        picture: a PNG or an SVG.
        key: tells it from the other pictures of the page.
        label: what is chosen here, for screen readers.
        chosen: the cell with the frame.
        on_choice: called with the cell that a reader chooses, before the next run.
        leads_away: a choice shows another view: arrow keys look round, and Enter chooses.
    """
    with st.container(key=f"touch-{key}"):
        sheets.show(picture, alt)
        data = {name: value for name, value in vars(grid).items() if value is not None}
        keys = "arrow keys, then Enter" if leads_away else "arrow keys"
        _cells(
            key=f"cells-{key}",
            data={**data, "label": f"{label}: {keys}", "chosen": chosen, "leads_away": leads_away},
            on_cell_change=partial(_hand_on, f"cells-{key}", grid.count, on_choice),
        )


def show_units(
    png: bytes, alt: str, key: str, grid: Grid, unit: Pair | None, put: Callable[[int, int], None] = put_unit
) -> None:
    """A picture over which a unit can be chosen; `put` is called with its row and column. The rest is as for `show`."""
    cell = None if unit is None else unit[0] * grid.columns + unit[1]
    show(png, alt, key, grid, "Unit", cell, lambda chosen: put(*divmod(chosen, grid.columns)))


def _hand_on(key: str, count: int, on_choice: Callable[[int], None]) -> None:
    """Call `on_choice` with the cell that was sent, if there is one of this number."""
    cell: Any = st.session_state[key].get("cell")
    if isinstance(cell, int | float) and cell in range(count):
        on_choice(int(cell))
