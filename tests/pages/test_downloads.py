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

from engine import checkpoints, pictures
from pages.common import downloads, slides
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
    saved = np.asarray(Image.open(io.BytesIO(files["every-layer.png"]())).convert("RGBA"))
    head = saved[:16]
    assert saved[..., 3].min() == 255
    assert (head[0, -1, :3].tolist(), head[..., :3].min() < 60) == ([255, 255, 255], True)


def test_a_chart_is_drawn_for_its_file_only_when_it_is_asked_for(files: dict) -> None:
    drawn = []

    def draw(ink: str) -> alt.Chart:
        drawn.append(ink)
        return alt.Chart(pd.DataFrame({"x": [1]})).mark_text(color=ink, text="letter").encode(x="x:Q")

    downloads.begin()
    downloads.chart(draw, pd.DataFrame({"x": [1]}), "one")
    downloads.draw_menu(st.container())
    assert drawn == []
    assert b'fill="black"' in files["one.svg"]()
    assert files["one.png"]().startswith(b"\x89PNG")
    assert drawn == ["black", "black"]


def ink_of(png: bytes) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of what is not white on a slide."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert pixels.shape == (1080, 1920)
    rows, columns = np.flatnonzero((pixels < 200).any(axis=1)), np.flatnonzero((pixels < 200).any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def test_a_slide_holds_the_picture_as_large_as_fits_and_its_caption_underneath() -> None:
    black = pictures.png(np.zeros((8, 8, 3), dtype=np.uint8))
    bare, said = (slides.slide(slides.picture(black), caption) for caption in ([], ["<b>Ä × & </b>", "and more"]))
    assert ink_of(bare) == (468, 48, 1451, 1031)
    left, top, right, bottom = ink_of(said)
    assert (left < 60, top, 1380 < right < 1451, 1000 < bottom < 1080) == (True, 48, True, True)
    picture = np.asarray(Image.open(io.BytesIO(said)).convert("L"))[: 1080 - 2 * 48 - 46]
    assert set(np.unique(picture)) == {0, 255}  # no letter lies in the picture, and no pixel of it is blurred


def test_the_menu_offers_what_the_page_shows_with_its_headline_as_caption(
    files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    slide = slides.slide
    monkeypatch.setattr(slides, "slide", lambda drawing, caption: said.append(caption) or slide(drawing, caption))
    app = open_page("filters/page.py", checkpoint="lenet")
    assert_no_error(app)
    assert list(files) == [
        "lenet-filters-slide.png",
        "lenet-filters.png",
        "lenet-filters.csv",
        "filter-0-responses-slide.png",
        "filter-0-responses.png",
        "filter-0-responses.svg",
        "filter-0-responses.csv",
    ]
    assert ink_of(files["lenet-filters-slide.png"]())[1] < 60
    left, top, right, bottom = ink_of(files["filter-0-responses-slide.png"]())
    assert right - left > 1500 or bottom - top > 950
    headline = "What the filters of lenet respond to"
    card = checkpoints.load("lenet").card
    kept = f"32 filters after epoch {card.best_epoch} of {card.epochs}"
    assert said == [[kept, headline], ["Responses of filter 0", headline]]
    assert files["lenet-filters.csv"]().startswith(b"filter,prefers")


def test_the_next_page_offers_only_its_own(files: dict) -> None:
    app = open_page("filters/page.py", checkpoint="lenet")
    app = app.switch_page("network/page.py").run()
    assert [button.key for button in app.get("download_button")] == [
        "Layer table: lenet-32px-layers-slide.png",
        "Layer table: lenet-32px-layers.svg",
        "Layer table: lenet-32px-layers.csv",
    ]
    left, _, right, _ = ink_of(files["lenet-32px-layers-slide.png"]())
    assert right - left > 1500
    assert files["lenet-32px-layers.svg"]().count(b"<text") > len(app.table[0].value)


def test_two_files_of_one_name_can_be_offered() -> None:
    downloads.begin()
    for heading in ("Classes", "Images of the class named classes"):
        downloads.table(heading, pd.DataFrame({"x": [1]}), "lenet-classes.csv")
    downloads.draw_menu(st.container())


def test_a_part_that_is_drawn_again_renews_its_file_behind_the_same_button(files: dict) -> None:
    downloads.begin()
    downloads.table("Numbers", pd.DataFrame({"x": [1]}), "one.csv")
    downloads.draw_menu(st.container())
    downloads.table("Numbers", pd.DataFrame({"x": [2]}), "one.csv")
    assert files["one.csv"]() == b"x\n2\n"


def test_a_saved_chart_has_room_for_the_names_along_its_axis() -> None:
    rows = pd.DataFrame({"layer": [f"features.{number}.conv" for number in range(10)], "gain": range(10)})
    chart = alt.Chart(rows).mark_bar().encode(x="layer:N", y="gain:Q").properties(height=300)
    width, height = Image.open(io.BytesIO(downloads.file_of(chart, "png"))).size
    assert width > 2 * downloads.SLIDE_SHAPE * 300
    assert width > height
