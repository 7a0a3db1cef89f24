"""Test images behind a figure, as a sheet on which each can be clicked, and the one that is looked at.

A sheet is one chart: the images under transparent rectangles that take the click. It fits itself to its column; the
images keep their shape and are enlarged without blur. A click puts the image into the sidebar, and so into the link.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from engine import pictures
from engine.accuracy.predictions import Predictions
from pages.accuracy import data
from pages.accuracy.data import Subject
from pages.common import charts, downloads, resources, texts
from pages.common.selection import Selection

COLUMNS = 6
SIDE, LINE = 92, 20
"""Pixels: the height of a tile, and of a line of text below it."""
CHOSEN = "#D55E00"
PAGES = {"Feature maps": "feature_maps", "Reconstruction": "reconstruction", "Inversion": "inversion"}


@dataclass(frozen=True)
class Tile:
    """A test image with the lines of text below it."""

    index: int
    lines: tuple[str, ...]


def tiles(subject: Subject, indices: Sequence[int], lines: Callable[[str, str, str], tuple[str, ...]]) -> list[Tile]:
    """A tile per test image; `lines` makes its text from the true class, the predicted one and the confidence."""
    predictions = subject.predictions.subset(np.asarray(indices, dtype=np.int64))
    rows = zip(indices, predictions.labels, predictions.predicted, predictions.confidence, strict=True)
    names = subject.classes
    return [
        Tile(int(index), lines(names[label], names[called], texts.percent(float(confidence))))
        for index, label, called, confidence in rows
    ]


def show(name: str, shown: Sequence[Tile], chosen: Selection, alt: str) -> None:
    """Draw a sheet; `name` tells it from the other sheets of the page."""
    if not shown:
        st.caption("There are no such images.")
        return
    current = chosen.index if chosen.split == "test" else -1
    key = f"sheet-{name}-{current}"
    st.vega_lite_chart(
        spec=_spec(shown, current, charts.ink()), key=key, alt=alt, theme=None, width="stretch",
        on_select=partial(_clicked, key), selection_mode="pick",
    )  # fmt: skip


def _clicked(key: str) -> None:
    picked = st.session_state[key]["selection"].get("pick", [])
    if picked:
        data.look_at_image(int(picked[0]["image"]))


def _spec(shown: Sequence[Tile], current: int, ink: str) -> dict[str, Any]:
    step = SIDE + LINE * len(shown[0].lines) + 16
    height = step * -(-len(shown) // COLUMNS)
    x = {"field": "column", "type": "quantitative", "scale": {"domain": [0, COLUMNS], "nice": False}, "axis": None}
    y_scale = {"domain": [height, 0], "nice": False, "zero": False}
    return {
        "data": {"values": [_row(place, tile, current, step) for place, tile in enumerate(shown)]},
        "params": [
            {"name": "pick", "views": ["tiles"], "select": {"type": "point", "fields": ["image"], "toggle": False}}
        ],
        "height": height,
        "padding": 0,
        "background": None,
        "config": {"view": {"stroke": None}},
        "encoding": {"x": x},
        "layer": [
            _image_layer(y_scale),
            *(_text_layer(number, y_scale, ink) for number in range(len(shown[0].lines))),
            _click_layer(y_scale),
        ],
    }


def _row(place: int, tile: Tile, current: int, step: int) -> dict[str, Any]:
    top = place // COLUMNS * step
    lines = {f"line{number}": text for number, text in enumerate(tile.lines)}
    heights = {f"y{number}": top + SIDE + LINE * (number + 0.5) + 8 for number in range(len(tile.lines))}
    return {
        "image": tile.index, "column": place % COLUMNS + 0.5, "left": place % COLUMNS + 0.02,
        "right": place % COLUMNS + 0.98, "top": top, "middle": top + SIDE / 2 + 2, "bottom": top + step - 4,
        "url": _url(tile.index), "chosen": tile.index == current,
        "words": f"test image {tile.index}: " + ", ".join(tile.lines), **lines, **heights,
    }  # fmt: skip


@st.cache_data(max_entries=4096, show_spinner=False)
def _url(index: int) -> str:
    png = pictures.png(resources.images("test").images[index])
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _image_layer(y_scale: dict[str, Any]) -> dict[str, Any]:
    width = {"expr": f"width / {COLUMNS} - 8"}
    return {
        "mark": {"type": "image", "height": SIDE, "width": width, "aspect": True, "smooth": False},
        "encoding": {"y": _y("middle", y_scale), "url": {"field": "url", "type": "nominal"}},
    }


def _text_layer(number: int, y_scale: dict[str, Any], ink: str) -> dict[str, Any]:
    limit = {"expr": f"width / {COLUMNS} - 4"}
    return {
        "mark": {"type": "text", "fontSize": 16, "color": ink, "limit": limit, "font": "sans-serif"},
        "encoding": {"y": _y(f"y{number}", y_scale), "text": {"field": f"line{number}", "type": "nominal"}},
    }


def _click_layer(y_scale: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "tiles",
        "mark": {"type": "rect", "fill": "white", "fillOpacity": 0, "strokeWidth": 4, "cursor": "pointer"},
        "encoding": {
            "x": {"field": "left", "type": "quantitative"}, "x2": {"field": "right"},
            "y": _y("top", y_scale), "y2": {"field": "bottom"},
            "stroke": {"condition": {"test": "datum.chosen", "value": CHOSEN}, "value": None},
            "tooltip": {"field": "words", "type": "nominal"},
        },
    }  # fmt: skip


def _y(field: str, scale: dict[str, Any]) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "scale": scale, "axis": None}


def download(subject: Subject, indices: Sequence[int], name: str) -> None:
    """Buttons for the images as one picture and for their table, called `name`.*"""
    if not len(indices):
        return
    predictions = subject.predictions.subset(np.asarray(indices, dtype=np.int64))
    rows = pd.DataFrame(
        {
            "test image": indices,
            "true class": [subject.classes[label] for label in predictions.labels],
            "predicted class": [subject.classes[label] for label in predictions.predicted],
            "confidence": predictions.confidence,
        }
    )
    with st.container(horizontal=True, gap="small"):
        downloads.table("Images (CSV)", rows, f"{name}.csv")
        downloads.picture("Images (PNG)", _contact_sheet(tuple(int(index) for index in indices)), f"{name}.png")


@st.cache_data(max_entries=64, show_spinner=False)
def _contact_sheet(indices: tuple[int, ...]) -> bytes:
    images = pictures.enlarged(resources.images("test").images[list(indices)], 96)
    return pictures.png(pictures.sheet(images, COLUMNS))


# The image that is looked at -----------------------------------------------------------------------------------


def show_chosen(subject: Subject, chosen: Selection) -> None:
    """The sidebar's image with the class probabilities, and links that open it on other pages."""
    if chosen.split != "test" or not subject.has_images:
        st.info("Click an image below to see its probabilities here, and to open it on other pages.")
        return
    one = subject.predictions.subset(np.array([chosen.index]))
    called, truth = subject.classes[int(one.predicted[0])], chosen.truth
    verdict = "predicted correctly" if called == truth else f"predicted as **{called}**"
    st.markdown(f"**{chosen.image_name}: {truth}**, {verdict}")
    picture, bars = st.columns([1, 3], gap="small", vertical_alignment="top")
    with picture:
        st.image(_large(chosen.index), output_format="PNG", width="stretch", alt=f"{chosen.image_name}, a {truth}")
    with bars:
        _show_probabilities(subject, one)
    _show_links(chosen)


@st.cache_data(max_entries=256, show_spinner=False)
def _large(index: int) -> bytes:
    return pictures.png(pictures.enlarged(resources.images("test").images[index : index + 1], 256)[0])


def _show_probabilities(subject: Subject, one: Predictions) -> None:
    probabilities = one.probabilities[0]
    for label in np.argsort(-probabilities, kind="stable")[:2]:
        st.progress(float(probabilities[label]), f"{subject.classes[label]}  {texts.percent(probabilities[label])}")


def _show_links(chosen: Selection) -> None:
    link = {"checkpoint": chosen.card.name, **data.place_of(chosen.index)}
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for title, page in PAGES.items():
            st.page_link(f"{page}/page.py", label=f"{title} →", query_params=link, width="content")
