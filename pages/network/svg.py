"""The SVG elements of the Network page's drawings: text, boxes, pictures, grids of numbers."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

FONT = "'Source Sans Pro','Source Sans 3',Arial,Helvetica,sans-serif"
GREY = "#8c8c8c"
ORANGE = "#E69F00"


def document(width: float, height: float, parts: Sequence[str], background: str = "none") -> str:
    """A complete SVG of `parts`, which keep their proportions at any size."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
    head += f'viewBox="0 0 {width:g} {height:g}" font-family="{FONT}">'
    paper = "" if background == "none" else f'<rect width="100%" height="100%" fill="{background}"/>'
    return "".join([head, paper, *parts, "</svg>"])


def text(x: float, y: float, words: str, size: float, ink: str, anchor: str = "middle", weight: str = "normal") -> str:
    """Words whose middle (or start, or end) is at `x` and whose middle height is at `y`."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{ink}" text-anchor="{anchor}" '
        f'font-weight="{weight}" dominant-baseline="central">{escape(words)}</text>'
    )


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str = "none", thick: float = 0) -> str:
    """A rectangle; `fill` "none" leaves it empty."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{min(width, height) / 12:g}" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="{thick:g}"/>'
    )


def picture(x: float, y: float, width: float, height: float, png: bytes) -> str:
    """A PNG, enlarged without blur."""
    data = b64encode(png).decode()
    return (
        f'<image x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" style="image-rendering:pixelated" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    )


def shade(value: float, scale: float) -> str:
    """The grey of a signed value: zero mid-grey, `scale` white, `-scale` black."""
    share = 0.0 if scale <= 0 else max(-1.0, min(1.0, value / scale))
    level = round(127.5 + 127.5 * share)
    return f"rgb({level},{level},{level})"


def readable_on(value: float, scale: float) -> str:
    """Black or white, whichever reads better on `shade(value, scale)`."""
    return "black" if scale > 0 and value / scale > -0.1 else "white"


def number_grid(x: float, y: float, cell: float, rows: Sequence[Sequence[float]], scale: float) -> list[str]:
    """Numbers in shaded cells; too small cells go without the numbers."""
    parts: list[str] = []
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            left, top = x + j * cell, y + i * cell
            parts.append(
                f'<rect x="{left:g}" y="{top:g}" width="{cell - 1:g}" height="{cell - 1:g}" '
                f'fill="{shade(value, scale)}"/>'
            )
            if cell >= 34:
                ink = readable_on(value, scale)
                parts.append(text(left + cell / 2, top + cell / 2, short(value), cell * 0.36, ink))
    return parts


def short(value: float, digits: int = 2) -> str:
    """A number with `digits` behind the point, fewer from 10 on: -0.31, 12.5, 240; a proper minus sign."""
    written = f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return written.removeprefix("-") if float(written) == 0 else written.replace("-", "−")
