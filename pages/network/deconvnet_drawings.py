"""The drawings of one deconvnet layer: maps with what is looked at marked, and one step's numbers, before and after."""

from collections.abc import Sequence

from torch import Tensor

from engine import pictures
from engine.network.deconvnet_layer import (
    FILTERED,
    NORMALISED,
    RECTIFIED,
    UNPOOLED,
    DeconvnetLayer,
    FilteredSum,
)
from pages.network import svg

SIDE, CELL, WIDTH = 460.0, 46.0, 900.0
"""The side of a map, that of a cell, and how wide a step's numbers are drawn, in the drawings' own units."""
SHOWN = (4, 6)
"""How many cells of a map are drawn, down and across."""
SWITCH = "switch"
TITLES = {
    SWITCH: "forward: pooled",
    UNPOOLED: "unpooled",
    RECTIFIED: "rectified",
    NORMALISED: "× batch norm",
    FILTERED: "filtered",
}


def map_with_box(values: Tensor, top: float, left: float, height: float, width: float) -> str:
    """A map `[H, W]`, or colours `[3, H, W]`, on its own scale, with a frame around a box of its units."""
    colours = values if values.dim() == 3 else values.expand(3, -1, -1)
    pixels = pictures.signed(colours[None], pictures.scale_of(values))[0]
    high, wide, _ = pixels.shape
    scale, border = SIDE / max(high, wide), 8.0
    # A frame of one unit of a large map would be too small to see.
    down, across = (max(length * scale, 18.0) for length in (height, width))
    y, x = border + (top + height / 2) * scale - down / 2, border + (left + width / 2) * scale - across / 2
    mark = svg.box(x, y, across, down, "none", svg.ORANGE, 6)
    whole = svg.picture(border, border, wide * scale, high * scale, pictures.png(pixels))
    return svg.document(wide * scale + 2 * border, high * scale + 2 * border, [whole, mark])


def signal_map(values: Tensor) -> bytes:
    """A PNG of a map `[H, W]` on its own scale, whose units can be chosen."""
    pixels = pictures.signed(values.expand(1, 3, -1, -1), pictures.scale_of(values))
    return pictures.png(pictures.enlarged(pixels, round(SIDE))[0])


# One step in numbers -------------------------------------------------------------------------------------------


def step(done: DeconvnetLayer, kind: str, unit: tuple[int, int, int], ink: str, background: str = "none") -> str:
    """The numbers around the window of a unit (channel, row, column), before a step and after it."""
    channel, row, column = unit
    window, switch, here = window_of(done, row, column), done.switch(channel, row, column), (row, column, 1, 1)
    if kind == SWITCH:
        before, after, sign = done.forward[channel], done.output[channel], "max"
        grids = [("before pooling", before, window, switch), ("pooled", after, here, (row, column))]
    elif kind == UNPOOLED:
        before, after, sign = done.signal[channel], done.parts[0].signal[channel], "→"
        grids = [("the signal", before, here, (row, column)), ("unpooled", after, window, switch)]
    else:
        kinds = [part.kind for part in done.parts]
        at = kinds.index(kind)
        arrived = TITLES[kinds[at - 1]] if at else "the signal"
        sign = "max(·, 0)" if kind == RECTIFIED else "× γ / σ"
        maps = ((arrived, done.before(kind)), (TITLES[kind], done.parts[at].signal))
        grids = [(title, values[channel], window, switch) for title, values in maps]
    return _side_by_side(grids, sign, ink, background)


Grid = tuple[str, Tensor, tuple[int, int, int, int], tuple[int, int]]
"""A title, a map `[H, W]`, the framed window (top, left, height, width), and the place of the switch."""


def _side_by_side(grids: Sequence[Grid], sign: str, ink: str, background: str) -> str:
    parts: list[str] = []
    top, high = 44.0, SHOWN[0]
    gap = WIDTH - 12 - CELL * sum(len(_around(values.shape, window)[1]) for _, values, window, _ in grids)
    x = 6.0
    for number, (title, values, window, switch) in enumerate(grids):
        rows, columns = _around(values.shape, window)
        wide = len(columns) * CELL
        if number:
            parts.append(svg.text(x + gap / 2, top + high * CELL / 2, sign, 30, ink))
            x += gap
        parts.append(svg.text(x + wide / 2, 20, title, 24, ink, weight="bold"))
        shown = values[rows.start : rows.stop, columns.start : columns.stop]
        parts += svg.number_grid(x, top, CELL, shown.tolist(), pictures.scale_of(values))
        corner = x + (window[1] - columns.start) * CELL, top + (window[0] - rows.start) * CELL
        parts.append(svg.box(*corner, window[3] * CELL - 1, window[2] * CELL - 1, "none", svg.ORANGE, 4))
        place = x + (switch[1] - columns.start + 0.5) * CELL, top + (switch[0] - rows.start + 0.5) * CELL
        parts.append(_ring(*place))
        x += wide
    return svg.document(x + 6, top + high * CELL + 6, parts, background)


def _ring(x: float, y: float) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{CELL / 2 - 2:g}" fill="none" stroke="{svg.ORANGE}" stroke-width="4"/>'


def _around(shape: Sequence[int], window: tuple[int, int, int, int]) -> tuple[range, range]:
    """The rows and columns of a map in whose middle a window is, as far as there is room."""
    ranges = []
    for start, length, size, shown in zip(window[:2], window[2:], shape, SHOWN, strict=True):
        first = min(max(start - (shown - length) // 2, 0), max(0, size - shown))
        ranges.append(range(first, min(size, first + shown)))
    return ranges[0], ranges[1]


def window_of(done: DeconvnetLayer, row: int, column: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part of a pooling's window inside the map; without pooling, of the unit."""
    if done.pooling is None:
        return row, column, 1, 1
    starts, ends = [], []
    for window, at, size in zip(done.pooling, (row, column), done.forward.shape[1:], strict=True):
        starts.append(max(window.first(at), 0))
        ends.append(min(window.first(at) + window.extent, size))
    return starts[0], starts[1], ends[0] - starts[0], ends[1] - starts[1]


def filtering(found: FilteredSum, ink: str, background: str = "none") -> str:
    """Numbers above × kernel, turned around = products, and their sum."""
    rows, columns = found.values.shape
    cell, gap, top, x = min(CELL, 7 * CELL / max(rows, columns)), 64.0, 44.0, 0.0
    wide, parts = columns * cell, list[str]()
    grids = (
        ("the map above", found.values, "×"),
        ("kernel, turned", found.kernel, "="),
        ("products", found.products, "→"),
    )
    spread = max(wide, 170.0)
    for title, values, sign in grids:
        left = x + (spread - wide) / 2
        parts.append(svg.text(x + spread / 2, 20, title, 24, ink, weight="bold"))
        parts += svg.number_grid(left, top, cell, values.tolist(), pictures.scale_of(values))
        parts.append(svg.text(x + spread + gap / 2, top + rows * cell / 2, sign, 40, ink))
        x += spread + gap
    parts.append(svg.text(x + 60, 20, "sum", 24, ink, weight="bold"))
    parts.append(svg.text(x + 60, top + rows * cell / 2, svg.short(found.share), 36, ink, weight="bold"))
    return svg.document(x + 120, top + rows * cell + 2, parts, background)


def filtered_map(done: DeconvnetLayer, below: int, row: int, column: int) -> str:
    """The filtered map, in colour where it is the pixels, with one place marked."""
    values = done.filtered if done.reads_image else done.filtered[below]
    return map_with_box(values, row, column, 1, 1)
