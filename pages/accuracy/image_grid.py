"""Test images behind a figure, as a grid on which each can be clicked, and the selected one with its probabilities.

A grid is one chart: the images under transparent rectangles that take the click. It fits itself to its column; the
images keep their shape and are enlarged without blur. A click puts the image into the sidebar, and so into the link.
So does the select box below it: no key of a keyboard reaches a mark of a chart.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from engine import pictures
from engine.accuracy.predictions import Predictions
from engine.data import LabelledImages
from pages import directory
from pages.accuracy import clicks
from pages.accuracy.charts import RED
from pages.accuracy.subject import Subject
from pages.accuracy.tables import predictions_table
from pages.common import charts, downloads, texts
from pages.common.selection import Selection

COLUMNS = 6
SIDE, LINE = 92, 20
"""Pixels: the height of a tile, and of a line of text below it."""
NARROW, WIDE = 80, 130
"""Below tiles that are narrower, as six on a phone, letters are smaller: "airplane" and "automobile" stay apart. Beside
wider ones there is room for larger letters."""
FILLS = """<style>
[class*=st-key-grid-] {{ height: {height}px; }}
@media (min-width: 1000px) {{
  [class*=st-key-stage_] [class*=st-key-grid-] {{
    height: max({height}px, min(var(--room) - 4rem, {height} / 100 * (10.6vw - 29px)));
  }}
}}
</style>"""
"""A grid that is the page's picture grows with the screen, as long as its tiles are not higher than wide; a tile has
10.6 % of the screen, less 29 pixels, beside an open sidebar. Below the grid there is room for the select box."""
PAGES = ("feature_maps", "reconstruction", "inversion")
"""The addresses of the pages that look into the selected image."""


@dataclass(frozen=True)
class Tile:
    """A test image with the lines of text below it."""

    index: int
    lines: tuple[str, ...]


def tiles(subject: Subject, indices: np.ndarray, lines: Callable[[str, str, str], tuple[str, ...]]) -> list[Tile]:
    """A tile per test image; `lines` makes its text from the true class, the predicted one and the confidence."""
    predictions, names = subject.predictions.subset(indices), subject.classes
    rows = zip(indices, predictions.labels, predictions.predicted, predictions.confidence, strict=True)
    return [
        Tile(int(index), lines(names[true], names[predicted], texts.percent(float(confidence))))
        for index, true, predicted, confidence in rows
    ]


def show(
    name: str,
    test: LabelledImages,
    grid: Sequence[Tile],
    chosen: Selection,
    alt: str,
    columns: int = COLUMNS,
    fills: bool = False,
) -> None:
    """Draw a grid of images of `test`; `name` tells it from the other grids of the page.

    Args:
        fills: whether it is the page's only grid, in a stage (layout.py), and grows with the screen.
    """
    if not grid:
        st.caption("There are no such images.")
        return
    selected = chosen.index if chosen.split == "test" else -1
    spec = drawn(test, grid, selected, charts.ink(), columns)
    if fills:
        st.html(FILLS.format(height=spec["height"]))
    clicks.chart(
        spec,
        f"grid-{name}-{selected}",
        alt,
        lambda point: clicks.select_image(test, int(point["image"])),
        theme=None,
        height="stretch" if fills else "content",
    )
    _choose(name, test, grid, selected)


def _choose(name: str, test: LabelledImages, grid: Sequence[Tile], selected: int) -> None:
    """A select box with the words of the tiles, for those who cannot point."""
    key, words = f"image-{name}", {tile.index: _words(tile) for tile in grid}
    st.session_state[key] = selected if selected in words else None
    st.selectbox(
        "Image",
        list(words),
        index=None,
        required=True,
        key=key,
        format_func=words.__getitem__,
        placeholder="Choose an image",
        label_visibility="collapsed",
        on_change=lambda: clicks.select_image(test, st.session_state[key]),
    )


def _words(tile: Tile) -> str:
    return f"test image {tile.index}: " + ", ".join(tile.lines)


def drawn(test: LabelledImages, grid: Sequence[Tile], selected: int, ink: str, columns: int) -> dict[str, Any]:
    """The grid as a Vega-Lite spec; the image `selected`, if it is there, has a frame."""
    lines = len(grid[0].lines)
    step = SIDE + LINE * lines + 16
    height = step * -(-len(grid) // columns)
    x = {"field": "column", "type": "quantitative", "scale": {"domain": [0, columns], "nice": False}, "axis": None}
    y_scale = {"domain": [height, 0], "nice": False, "zero": False}
    y = {"type": "quantitative", "scale": y_scale, "axis": None}
    rows = [_row(*divmod(place, columns), tile, step) for place, tile in enumerate(grid)]
    for row in rows:
        row |= {"url": _url(test.images[row["image"]]), "selected": row["image"] == selected}
    return {
        "data": {"values": rows},
        "params": [
            {"name": "pick", "views": ["tiles"], "select": {"type": "point", "fields": ["image"], "toggle": False}}
        ],
        "height": height,
        "padding": 0,
        "background": None,
        "config": {"view": {"stroke": None}},
        "encoding": {"x": x},
        "layer": [
            _image_layer(y, columns, height),
            *(_text_layer(number, y, ink, columns, height) for number in range(lines)),
            _click_layer(y),
        ],
    }


def _row(down: int, column: int, tile: Tile, step: int) -> dict[str, Any]:
    """The places of a tile and of its lines of text, in columns across and in pixels down."""
    top = down * step
    row = {"image": tile.index, "words": _words(tile)}
    row |= {"left": column + 0.02, "column": column + 0.5, "right": column + 0.98}
    row |= {"top": top, "middle": top + SIDE / 2 + 2, "bottom": top + step - 4}
    for number, text in enumerate(tile.lines):
        row |= {f"line{number}": text, f"y{number}": top + SIDE + LINE * (number + 0.5) + 8}
    return row


def _url(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(pictures.png(image)).decode()


def _image_layer(y: dict[str, Any], columns: int, height: int) -> dict[str, Any]:
    width, side = {"expr": f"width / {columns} - 8"}, {"expr": f"{SIDE} * height / {height}"}
    return {
        "mark": {"type": "image", "height": side, "width": width, "aspect": True, "smooth": False},
        "encoding": {"y": {"field": "middle", **y}, "url": {"field": "url", "type": "nominal"}},
    }


def _text_layer(number: int, y: dict[str, Any], ink: str, columns: int, height: int) -> dict[str, Any]:
    tile = f"width / {columns}"
    larger = f"max(1, min(height / {height}, {tile} / {WIDE}))"
    limit, size = {"expr": f"{tile} - 6"}, {"expr": f"{tile} < {NARROW} ? 11 : 16 * {larger}"}
    return {
        "mark": {"type": "text", "fontSize": size, "color": ink, "limit": limit, "font": "sans-serif"},
        "encoding": {"y": {"field": f"y{number}", **y}, "text": {"field": f"line{number}", "type": "nominal"}},
    }


def _click_layer(y: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "tiles",
        "mark": {"type": "rect", "fill": "white", "fillOpacity": 0, "strokeWidth": 4, "cursor": "pointer"},
        "encoding": {
            "x": {"field": "left", "type": "quantitative"},
            "x2": {"field": "right"},
            "y": {"field": "top", **y},
            "y2": {"field": "bottom"},
            "stroke": {"condition": {"test": "datum.selected", "value": RED}, "value": None},
            "tooltip": {"field": "words", "type": "nominal"},
        },
    }


def download(subject: Subject, indices: np.ndarray, name: str, caption: str) -> None:
    """Offer the images as one picture and as a table, called `name`.*"""
    if not len(indices):
        return
    table = predictions_table(subject.predictions.subset(indices), subject.classes)
    table.insert(0, "test image", indices)
    images = pictures.enlarged(subject.images.images[indices], 96)
    downloads.picture("Images", lambda: pictures.png(pictures.sheet(images, COLUMNS)), f"{name}.png", caption)
    downloads.table("Images", table, f"{name}.csv")


# The selected image --------------------------------------------------------------------------------------------


def show_selected(subject: Subject, chosen: Selection) -> None:
    """The sidebar's image with its class probabilities, and links that open it on other pages."""
    if chosen.split != "test" or subject.images is None:
        st.info("Click a test image to see its probabilities here, and to open it on other pages.")
        return
    one = subject.predictions.subset(np.array([chosen.index]))
    predicted, truth = subject.classes[int(one.predicted[0])], chosen.truth
    verdict = "predicted correctly" if predicted == truth else f"predicted as **{texts.plain(predicted)}**"
    st.markdown(f"**{texts.plain(chosen.image_name)}: {texts.plain(truth)}**, {verdict}")
    picture, bars = st.columns([1, 3], gap="small", vertical_alignment="top")
    with picture:
        large = pictures.enlarged(subject.images.images[[chosen.index]], 256)[0]
        st.image(
            pictures.png(large), output_format="PNG", width="stretch", alt=f"{chosen.image_name}, of class {truth}"
        )
    with bars:
        _show_probabilities(one, subject.classes)
    _show_links(chosen, subject.images)


def _show_probabilities(one: Predictions, classes: Sequence[str]) -> None:
    """The two most probable classes of an image."""
    probabilities = one.probabilities[0]
    for label in np.argsort(-probabilities, kind="stable")[:2]:
        st.progress(
            float(probabilities[label]), f"{texts.plain(classes[label])}  {texts.percent(probabilities[label])}"
        )


def _show_links(chosen: Selection, test: LabelledImages) -> None:
    link = {"checkpoint": chosen.card.name, **clicks.link_to(test, chosen.index)}
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for page in directory.PAGES:
            if page.address in PAGES:
                st.page_link(page.file, label=f"{page.title} →", query_params=link, width="content")
