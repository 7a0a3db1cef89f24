"""The layer table as an SVG, black on white: for slides."""

import textwrap

import pandas as pd

from pages.network import svg

SIZE, LINE, GAP, PADDING = 20.0, 27.0, 36.0, 9.0
"""How large letters are, from one line to the next, between two columns, and above and below the lines of a row."""
LETTER = 0.52
"""How wide a letter is on average, in shares of its size."""
WIDEST = 40
"""How many letters a line of a cell has."""


def drawing(rows: pd.DataFrame) -> str:
    """All rows under the names of the columns; long cells take several lines."""
    cells = [[textwrap.wrap(str(cell), WIDEST) for cell in row] for row in (rows.columns, *rows.to_numpy().tolist())]
    widths = [
        SIZE * LETTER * max(len(line) for cell in column for line in cell or [""])
        for column in zip(*cells, strict=True)
    ]
    lefts = [GAP / 2 + sum(widths[:column]) + GAP * column for column in range(len(widths))]
    parts: list[str] = []
    top, width = 0.0, lefts[-1] + widths[-1] + GAP / 2
    for number, row in enumerate(cells):
        bottom = top + LINE * max(map(len, row)) + 2 * PADDING
        for left, cell in zip(lefts, row, strict=True):
            parts += _lines(cell, left, (top + bottom) / 2, bold=number == 0 or left == lefts[0])
        parts.append(svg.box(0, bottom - 1, width, 1, svg.GREY))
        top = bottom
    return svg.document(width, top, parts, "white")


def _lines(cell: list[str], left: float, middle: float, bold: bool) -> list[str]:
    first = middle - LINE * (len(cell) - 1) / 2
    weight = "bold" if bold else "normal"
    return [
        svg.text(left, first + LINE * index, line, SIZE, "black", "start", weight) for index, line in enumerate(cell)
    ]
