"""Pictures at the size of a slide: a drawing as large as fits, with its caption underneath, black on white.

A slide is put together as an SVG and then drawn (vl-convert, the converter that Altair itself uses): a chart keeps its
sharp lines and letters, pixels stay crisp, and every letter of a caption has a font.
"""

import base64
import io
import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import vl_convert
from PIL import Image

WIDTH, HEIGHT = 1920, 1080
MARGIN, LINE, SIZE = 48, 46, 34
"""Pixels: around everything, from one line of the caption to the next, and how large its letters are."""
LETTERS, LINES = 104, 4
"""How many letters a line of the caption has room for, and how many lines it has at most."""
FONT = "Liberation Sans, DejaVu Sans, Arial, Helvetica, sans-serif"
_SIDES = re.compile(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"')


class Drawing(NamedTuple):
    """Something to put on a slide: an SVG element of `width` x `height` pixels, to be enlarged."""

    svg: str
    width: float
    height: float


def picture(png: bytes) -> Drawing:
    """A PNG; it is enlarged without blur."""
    width, height = Image.open(io.BytesIO(png)).size
    data = base64.b64encode(png).decode()
    style = 'style="image-rendering:pixelated"'
    return Drawing(
        f'<image width="{width}" height="{height}" {style} href="data:image/png;base64,{data}"/>', width, height
    )


def drawing(svg: str) -> Drawing:
    """An SVG that says how wide and how high it is."""
    width, height = map(float, _SIDES.match(svg).groups())
    return Drawing(svg, width, height)


def slide(shown: Drawing, caption: Sequence[str]) -> bytes:
    """A PNG of 1920 x 1080 pixels: the drawing, and underneath the paragraphs of its caption, the first one bold."""
    lines = [(line, index == 0) for index, text in enumerate(caption) for line in textwrap.wrap(text, LETTERS)][:LINES]
    room = HEIGHT - 2 * MARGIN - LINE * len(lines)
    scale = min((WIDTH - 2 * MARGIN) / shown.width, room / shown.height)
    left, top = (WIDTH - scale * shown.width) / 2, MARGIN + (room - scale * shown.height) / 2
    parts = [f'<g transform="translate({left:g} {top:g}) scale({scale:g})">{shown.svg}</g>']
    for number, (line, bold) in enumerate(lines):
        weight, y = "bold" if bold else "normal", HEIGHT - MARGIN - LINE * (len(lines) - 1 - number)
        parts.append(f'<text x="{MARGIN}" y="{y}" font-size="{SIZE}" font-weight="{weight}">{escape(line)}</text>')
    ground = '<rect width="100%" height="100%" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="{FONT}">'
    return vl_convert.svg_to_png("".join([head, ground, *parts, "</svg>"]))
