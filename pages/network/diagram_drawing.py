"""The block diagram of a network as an SVG: boxes in rows, arrows between them, shortcuts as arcs above."""

from engine.network.diagram import Diagram, DiagramBox, Place
from engine.operations import Addition, AveragePool, Convolution, Dense, Flattening, MaxPool, Operation
from pages.network import svg

WIDTH, HEIGHT = 146.0, 84.0
COLUMN, LANE = 176.0, 132.0
HEAD = 84.0
"""Above the boxes of a row: the stages' names and the arcs of the shortcuts."""
MARGIN = 30.0
LINE = 13
"""As many letters as a line in a box holds."""

SHORTCUT = "#CC79A7"
FILLS: dict[type[Operation], tuple[str, str]] = {
    Convolution: ("#0072B2", "white"),
    MaxPool: ("#E69F00", "black"),
    AveragePool: ("#E69F00", "black"),
    Addition: (SHORTCUT, "black"),
    Flattening: ("#00805E", "white"),
    Dense: ("#00805E", "white"),
}
"""Okabe & Ito's colours for what a box does, and the ink that reads on each."""
OTHER = ("#6b6b6b", "white")


def drawing(diagram: Diagram, ink: str, background: str = "none") -> str:
    """The diagram; `ink` colours the words outside the boxes."""
    tops, width = _row_tops(diagram), _width(diagram)
    parts = [_arrow_heads()]
    for box in diagram.boxes:
        parts += [_arrow(diagram, source, box, tops, width) for source in box.inputs if source in diagram.places]
    for box in diagram.boxes:
        parts += _box(box, diagram.places[box.name], tops, ink)
    parts += _stage_names(diagram, tops, ink)
    return svg.document(width, tops[-1], parts, background)


def places(diagram: Diagram) -> list[tuple[float, float, float, float]]:
    """Where each box is: (left, top, width, height) in shares of the drawing."""
    tops, width = _row_tops(diagram), _width(diagram)
    corners = (_corner(diagram.places[box.name], tops) for box in diagram.boxes)
    return [(x / width, y / tops[-1], WIDTH / width, HEIGHT / tops[-1]) for x, y in corners]


def _width(diagram: Diagram) -> float:
    columns = 1 + max(place.column for place in diagram.places.values())
    return 2 * MARGIN + columns * COLUMN - (COLUMN - WIDTH)


def _row_tops(diagram: Diagram) -> list[float]:
    """Where each row begins, and at the end where the drawing does."""
    rows = 1 + max(place.row for place in diagram.places.values())
    tops = [0.0]
    for row in range(rows):
        lanes = 1 + max(place.lane for place in diagram.places.values() if place.row == row)
        tops.append(tops[-1] + HEAD + lanes * LANE)
    return tops


def _corner(place: Place, tops: list[float]) -> tuple[float, float]:
    return MARGIN + place.column * COLUMN, tops[place.row] + HEAD + place.lane * LANE


def _box(box: DiagramBox, place: Place, tops: list[float], ink: str) -> list[str]:
    x, y = _corner(place, tops)
    fill, inside = FILLS.get(type(box.operation), OTHER)
    lines = _lines(box.words)
    middle, first = x + WIDTH / 2, y + HEIGHT / 2 - 12 * (len(lines) - 1)
    return [
        svg.box(x, y, WIDTH, HEIGHT, fill),
        *(svg.text(middle, first + 24 * index, line, 19, inside) for index, line in enumerate(lines)),
        svg.text(middle, y + HEIGHT + 16, box.shape, 18, ink),
    ]


def _lines(words: tuple[str, ...]) -> list[str]:
    """The words with commas between them, in at most three lines."""
    lines = [words[0]]
    for word in words[1:]:
        joined = f"{lines[-1]}, {word}"
        lines = [*lines[:-1], joined] if len(joined) <= LINE else [*lines, word]
    return [*lines[:2], ", ".join(lines[2:])] if len(lines) > 3 else lines


def _stage_names(diagram: Diagram, tops: list[float], ink: str) -> list[str]:
    """Each stage's name above its first box in every row."""
    seen: set[tuple[str, int]] = set()
    parts = []
    for box in diagram.boxes:
        place = diagram.places[box.name]
        if box.stage and (box.stage, place.row) not in seen:
            seen.add((box.stage, place.row))
            x, _ = _corner(place, tops)
            parts.append(svg.text(x, tops[place.row] + 22, box.stage, 21, ink, anchor="start", weight="bold"))
    return parts


# Arrows --------------------------------------------------------------------------------------------------------


def _arrow_heads() -> str:
    heads = (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="16" markerHeight="16" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in (("onward", svg.GREY), ("shortcut", SHORTCUT))
    )
    return f"<defs>{''.join(heads)}</defs>"


def _arrow(diagram: Diagram, source: str, box: DiagramBox, tops: list[float], width: float) -> str:
    start, end = diagram.places[source], diagram.places[box.name]
    if start.row != end.row:
        return _path(_to_another_row(start, end, tops, width))
    if end.column - start.column > 1 and start.lane == end.lane:
        return _path(_arc(start, end, tops), SHORTCUT, "shortcut")
    return _path(_along_the_row(start, end, tops))


def _path(way: str, colour: str = svg.GREY, head: str = "onward") -> str:
    return f'<path d="{way}" fill="none" stroke="{colour}" stroke-width="4" marker-end="url(#{head})"/>'


def _along_the_row(start: Place, end: Place, tops: list[float]) -> str:
    (x, y), (u, v) = _corner(start, tops), _corner(end, tops)
    y, v = y + HEIGHT / 2, v + HEIGHT / 2
    if end.column - start.column == 1 and start.lane <= end.lane:
        middle = (x + WIDTH + u) / 2
        return f"M{x + WIDTH:g} {y:g}C{middle:g} {y:g} {middle:g} {v:g} {u:g} {v:g}"
    # From a lane below, along it and up into the box.
    below = v + HEIGHT / 2 + 28 if start.lane > end.lane else v
    return f"M{x + WIDTH:g} {y:g}H{u + WIDTH / 2:g}V{below:g}"


def _arc(start: Place, end: Place, tops: list[float]) -> str:
    """Over the boxes between the two: a shortcut."""
    (x, y), (u, v) = _corner(start, tops), _corner(end, tops)
    x, u, height = x + WIDTH * 0.7, u + WIDTH * 0.4, min(y, v) - 54
    return f"M{x:g} {y:g}C{x:g} {height:g} {u:g} {height:g} {u:g} {v:g}"


def _to_another_row(start: Place, end: Place, tops: list[float], width: float) -> str:
    """To the right, down between the rows, and back to the left."""
    (x, y), (u, v) = _corner(start, tops), _corner(end, tops)
    turn, right, left = tops[end.row] + 2, min(x + WIDTH + 20, width - 8), 8
    way = f"M{x + WIDTH:g} {y + HEIGHT / 2:g}H{right:g}V{turn:g}H{left:g}"
    if end.column == 0:
        return f"{way}V{v + HEIGHT / 2:g}H{u:g}"
    over = tops[end.row] + 44
    return f"{way}V{over:g}H{u + WIDTH / 2:g}V{v:g}"
