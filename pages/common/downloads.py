"""Files to take home: tables as CSV, pictures as PNG, charts as PNG and SVG.

A chart is turned into a picture only when somebody asks for it, on the server and without any network (vl-convert, the
converter that Altair itself uses). Its ground is white, whatever the page's is; a chart with letters of its own colour
is therefore drawn anew, in black.
"""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

Chart = Mapping[str, Any] | alt.TopLevelMixin
"""A Vega-Lite spec, or what Altair makes one from."""

INK, GROUND = "black", "white"
"""The colours of letters and of the ground in every file."""


def table(label: str, rows: pd.DataFrame, file_name: str) -> None:
    """A button that saves `rows` as CSV."""
    st.download_button(
        label, rows.to_csv(index=False), file_name, "text/csv", on_click="ignore", key=f"csv-{file_name}"
    )


def picture(label: str, png: bytes | Callable[[], bytes], file_name: str) -> None:
    """A button that saves a PNG; a function is called when somebody asks for the file."""
    st.download_button(label, png, file_name, "image/png", on_click="ignore", key=f"png-{file_name}")


def chart(drawing: Chart | Callable[[str], Chart], rows: pd.DataFrame, name: str) -> None:
    """Three buttons in a row, for a chart: its numbers as CSV, itself as PNG and as SVG, called `name`.*

    Args:
        drawing: the chart; if letters of it have the ink of the page, a function that draws it with another one, called
            when a file is asked for, outside any session.
    """
    with st.container(horizontal=True, gap="small"):
        table("Numbers (CSV)", rows, f"{name}.csv")
        for kind, mime in (("png", "image/png"), ("svg", "image/svg+xml")):
            st.download_button(
                f"Chart ({kind.upper()})",
                partial(file_of, drawing, kind),
                f"{name}.{kind}",
                mime,
                on_click="ignore",
                key=f"{kind}-{name}",
            )


def file_of(drawing: Chart | Callable[[str], Chart], kind: str) -> bytes:
    """A chart, as `chart` takes it, as a "png" (two pixels for each of its own) or "svg" file."""
    spec = drawing(INK) if callable(drawing) else drawing
    plot = spec if isinstance(spec, alt.TopLevelMixin) else alt.Chart.from_dict(dict(spec))
    plot = plot.properties(background=GROUND)
    if kind == "svg":
        text = io.StringIO()
        plot.save(text, format="svg")
        return text.getvalue().encode()
    content = io.BytesIO()
    plot.save(content, format="png", scale_factor=2)
    return content.getvalue()
