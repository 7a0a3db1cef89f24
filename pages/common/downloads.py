"""What a reader takes home from a page, in one menu: its link, its pictures, its numbers, and the code behind them.

A page offers things while it is drawn, in any order and place; `main` draws the menu when the page is done. Pictures
and charts are also made at the size of a slide, with a caption (`slides`).

A file is made only when somebody asks for it, on the server and without any network (vl-convert, the converter that
Altair itself uses). Its ground is white, whatever the page's is; a chart with letters of its own colour is therefore
drawn anew, in black.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
import vl_convert
from streamlit.delta_generator import DeltaGenerator

from pages.common import slides, texts
from pages.common.slides import Drawing

Chart = Mapping[str, Any] | alt.TopLevelMixin
"""A Vega-Lite spec, or what Altair makes one from."""
Content = bytes | Callable[[], bytes]

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""Altair's version of it, such as "6.4", which the converter is asked for."""
INK, GROUND = "black", "white"
"""The colours of letters and of the ground in every file."""
MIME = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}
SLIDE_SHAPE = 1.9
"""How many times as wide as high a chart is drawn for a slide, if it has no width of its own."""
SLIDE = "-slide.png"
"""How the name of a slide ends."""
OFFERED = "_offered"
_CODE = {kind: Path(__file__).with_name(f"copy_link.{kind}").read_text() for kind in ("html", "css", "js")}
_copy_link = st.components.v2.component("convscope_copy_link", **_CODE)


@dataclass
class Offer:
    """What the page offers in this run.

    The buttons look a file up when they are clicked, outside any session: a part of the page that is drawn again on its
    own, while a job goes on, puts the newer one here.

    Attributes:
        files: contents by heading and file name.
        drawings: what makes each drawing that can go on a slide, by heading and name; the main picture comes
            first.
        code: the lines of Python that make the main picture.
        statement: the page's headline, which stands below the caption of a slide.
    """

    files: dict[str, dict[str, Content]] = field(default_factory=dict)
    drawings: dict[tuple[str, str], Callable[[], Drawing]] = field(default_factory=dict)
    code: str = ""
    statement: str = ""

    def content(self, heading: str, file_name: str) -> bytes:
        """A file, made now if it was not."""
        return _made(self.files[heading][file_name])

    def slide(self, heading: str, name: str, caption: str) -> bytes:
        """A drawing on a slide."""
        return slides.slide(self.drawings[heading, name](), [text for text in (caption, self.statement) if text])


def begin() -> None:
    """Forget what the last run offered; call it before a page is drawn."""
    st.session_state[OFFERED] = Offer()


def offered_by(session: Any) -> Offer:
    """What the page that a session shows has offered."""
    return session[OFFERED]


def _made(content: Content) -> bytes:
    return content() if callable(content) else content


# What pages offer ----------------------------------------------------------------------------------------------


def table(heading: str, rows: pd.DataFrame, file_name: str) -> None:
    """`rows` as CSV."""
    _offer(heading, file_name, lambda: rows.to_csv(index=False).encode())


def picture(heading: str, png: Content, file_name: str, caption: str = "") -> None:
    """A PNG, alone and on a slide; a function is called when somebody asks for the file."""
    _offer_slide(heading, lambda: slides.picture(_made(png)), Path(file_name).stem, caption)
    _offer(heading, file_name, png)


def chart(
    drawing: Chart | Callable[[str], Chart], rows: pd.DataFrame, name: str, heading: str = "Chart", caption: str = ""
) -> None:
    """A chart on a slide, as PNG and as SVG, and its numbers as CSV, called `name`.*

    Args:
        drawing: the chart; if letters of it have the ink of the page, a function that draws it with another one, called
            when a file is asked for, outside any session.
    """
    _offer_slide(heading, lambda: slides.drawing(svg_of(drawing)), name, caption)
    for kind in ("png", "svg"):
        _offer(heading, f"{name}.{kind}", partial(file_of, drawing, kind))
    table(heading, rows, f"{name}.csv")


def drawing(heading: str, svg: str, name: str, caption: str = "") -> None:
    """A drawing on a slide and as SVG, called `name`.*"""
    _offer_slide(heading, lambda: slides.drawing(svg), name, caption)
    _offer(heading, f"{name}.svg", svg.encode())


def text(heading: str, content: str, file_name: str) -> None:
    """A text file."""
    _offer(heading, file_name, content.encode())


def code(lines: str) -> None:
    """The Python that makes the page's main picture with the engine."""
    _offered().code = lines


def _offer(heading: str, file_name: str, content: Content) -> None:
    _offered().files.setdefault(heading, {})[file_name] = content


def _offer_slide(heading: str, make: Callable[[], Drawing], name: str, caption: str) -> None:
    offered = _offered()
    offered.drawings[heading, name] = make
    _offer(heading, name + SLIDE, partial(offered.slide, heading, name, caption or heading))


def _offered() -> Offer:
    return st.session_state.setdefault(OFFERED, Offer())


# Charts as files -----------------------------------------------------------------------------------------------


def file_of(drawing: Chart | Callable[[str], Chart], kind: str) -> bytes:
    """A chart, as `chart` takes it, as a "png" (two pixels for each of its own) or "svg" file."""
    if kind == "svg":
        return svg_of(drawing).encode()
    return vl_convert.vegalite_to_png(_spec_of(drawing), vl_version=VEGA_LITE, scale=2)


def svg_of(drawing: Chart | Callable[[str], Chart]) -> str:
    """A chart, as `chart` takes it, as an SVG."""
    return vl_convert.vegalite_to_svg(_spec_of(drawing), vl_version=VEGA_LITE)


def _spec_of(drawing: Chart | Callable[[str], Chart]) -> dict[str, Any]:
    """The spec, as wide as a slide is if the chart has no width of its own: Vega gives each name along an axis 20 px.

    The converter gets it as it is: through Altair, which checks every part of it again, a file took ten times as long.
    """
    chart = drawing(INK) if callable(drawing) else drawing
    spec = dict(chart) if isinstance(chart, Mapping) else chart.to_dict()
    if isinstance(spec.get("height"), int | float) and "width" not in spec and {"layer", "mark"} & set(spec):
        spec["width"] = SLIDE_SHAPE * spec["height"]
    return spec | {"background": GROUND}


# The menu ------------------------------------------------------------------------------------------------------


def draw_menu(place: DeltaGenerator) -> None:
    """The menu, at its place; call it when the page has been drawn."""
    offered = _offered()
    offered.statement = texts.statement()
    with place.popover("Share", key="share"), st.container(key="share_menu"):
        _copy_link(key="copy_link")
        for heading, files in offered.files.items():
            with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
                st.markdown(texts.plain(heading), width="stretch")
                for file_name in files:
                    _button(offered, heading, file_name)
        if offered.code:
            with st.expander("As code"):
                st.code(offered.code, "python")


def _button(offered: Offer, heading: str, file_name: str) -> None:
    ending = Path(file_name).suffix.removeprefix(".")
    label = "Slide" if file_name.endswith(SLIDE) else ending.upper()
    content, mime = partial(offered.content, heading, file_name), MIME.get(ending, "text/plain")
    label = f"{label} {texts.unseen(f'of {heading}')}"
    st.download_button(label, content, file_name, mime, on_click="ignore", key=f"{heading}: {file_name}")
