"""Files to take home have black letters on white, whichever theme the page has."""

import io
import re
from collections.abc import Callable
from types import SimpleNamespace

import altair as alt
import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image

from pages.common import downloads
from tests.apps import assert_no_error, open_page


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | Callable[[], bytes]]:
    """What the buttons of the dark page would save, by file name."""
    offered = {}
    button = st.download_button

    def note(label: str, data: bytes | Callable[[], bytes], file_name: str, *rest: object, **settings: object) -> bool:
        offered[file_name] = data
        return button(label, data, file_name, *rest, **settings)

    monkeypatch.setattr(st, "download_button", note)
    monkeypatch.setattr(type(st.context), "theme", SimpleNamespace(type="dark"))
    return offered


@pytest.mark.parametrize(
    ("view", "name", "marks"),
    [("Classes", "lenet-classes", 10), ("Confidence", "lenet-top", 5), ("All networks", "networks", 1)],
)
def test_no_letter_of_a_saved_chart_is_white(view: str, name: str, marks: int, files: dict) -> None:
    assert_no_error(open_page("accuracy/page.py", checkpoint="lenet", view=view))
    svg = files[f"{name}.svg"]().decode()
    letters = re.findall(r'<text[^>]* fill="(.+?)"', svg)
    assert letters.count("black") >= marks
    assert "white" not in letters
    assert re.search(r'<rect [^>]*fill="white"', svg)  # the ground


def test_the_diamonds_of_a_report_are_black_in_a_file(files: dict) -> None:
    assert_no_error(open_page("accuracy/page.py", checkpoint="lenet", view="Classes"))
    marks = re.findall(r'aria-roledescription="point"[^>]* fill="(.+?)"', files["lenet-classes.svg"]().decode())
    assert set(marks) == {"black"}


def test_the_diagonal_of_the_saved_reliability_chart_is_black(files: dict) -> None:
    assert_no_error(open_page("accuracy/page.py", checkpoint="lenet", view="Confidence"))
    svg = files["lenet-reliability.svg"]().decode()
    assert 'stroke="black"' in svg
    assert 'stroke="white"' not in svg


def test_the_page_itself_keeps_its_ink(files: dict) -> None:
    app = open_page("accuracy/page.py", checkpoint="lenet", view="Classes")
    assert '"color": "white"' in app.get("vega_lite_chart")[0].proto.spec


def test_the_saved_picture_of_every_layer_is_black_on_white(files: dict) -> None:
    app = open_page("feature_maps/page.py", checkpoint="lenet", view="every layer")
    assert_no_error(app)
    saved = np.asarray(Image.open(io.BytesIO(files["every-layer.png"])).convert("RGBA"))
    head = saved[:16]
    assert saved[..., 3].min() == 255
    assert (head[0, -1, :3].tolist(), head[..., :3].min() < 60) == ([255, 255, 255], True)


def test_a_chart_is_drawn_for_its_file_only_when_it_is_asked_for(files: dict) -> None:
    drawn = []

    def draw(ink: str) -> alt.Chart:
        drawn.append(ink)
        return alt.Chart(pd.DataFrame({"x": [1]})).mark_text(color=ink, text="letter").encode(x="x:Q")

    downloads.chart(draw, pd.DataFrame({"x": [1]}), "one")
    assert drawn == []
    assert b'fill="black"' in files["one.svg"]()
    assert files["one.png"]().startswith(b"\x89PNG")
    assert drawn == ["black", "black"]
