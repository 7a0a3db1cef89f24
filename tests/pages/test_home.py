"""Home: each invitation has its thumbnail, and a command makes it again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image

from engine import settings
from pages import directory
from pages.common import selection
from pages.home import cards, thumbnails
from tests.apps import assert_no_error, assert_pictures_have_words, open_page

MOST_BYTES = 300_000


@pytest.fixture
def own_lectures(tmp_path: Path, use_folders: Callable[..., None], fresh_caches: None) -> Path:
    """A folder of lectures with the shipped ones, for more."""
    shutil.copytree(settings.folders.lectures, tmp_path / "lectures")
    use_folders(lectures=tmp_path / "lectures")
    return tmp_path / "lectures"


def test_every_invitation_has_a_thumbnail_of_its_own_and_all_are_small() -> None:
    sizes = {file.stem: file.stat().st_size for file in cards.PICTURES.iterdir()}
    assert set(sizes) <= set(thumbnails.wanted())
    missing = set(thumbnails.wanted()) - set(sizes)
    assert all(name.startswith("lecture-") for name in missing)  # a new lecture shows the picture of its first page
    assert sum(sizes.values()) < MOST_BYTES


def test_home_shows_a_picture_for_every_link() -> None:
    app = open_page("home/page.py")
    assert_no_error(app)
    assert_pictures_have_words(app)
    links = [link.proto.page for link in app.get("page_link")]
    assert len(links) == len(app.get("image")) == len(thumbnails.wanted())
    assert {entry.address for entry in directory.PAGES} <= set(links)


def test_a_lecture_that_cannot_be_read_leaves_the_others(own_lectures: Path) -> None:
    (own_lectures / "new.toml").mkdir()
    app = open_page("home/page.py")
    assert_no_error(app)
    assert [warning.value for warning in app.warning if warning.value.startswith("new.toml cannot be read")]
    assert any("lecture=report-0" in link.proto.query_string for link in app.get("page_link"))
    assert_no_error(open_page("filters/page.py", lecture="report-0", step="3"))


def test_the_card_of_a_lecture_leads_to_everything_that_its_first_step_shows(own_lectures: Path) -> None:
    step = '[[steps]]\nlink = "learning_curves?curves=lenet&curves=model_two"\nsentence = "Two curves."'
    (own_lectures / "mine.toml").write_text(f'title = "Mine"\n{step}\n')
    app = open_page("home/page.py")
    assert_no_error(app)
    [link] = [link.proto for link in app.get("page_link") if "lecture=mine" in link.proto.query_string]
    assert parse_qs(link.query_string) == {"curves": ["lenet", "model_two"], "lecture": ["mine"], "step": ["1"]}


def test_a_thumbnail_is_made_again(tmp_path: Path) -> None:
    assert thumbnails.main(["--to", str(tmp_path), "learning_curves"]) == 0
    made, shipped = (Image.open(folder / "learning_curves.jpg") for folder in (tmp_path, cards.PICTURES))
    assert made.size == thumbnails.SIZE
    assert np.abs(np.asarray(made, dtype=int) - np.asarray(shipped)).mean() < 4


def test_a_page_that_cannot_be_drawn_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    broken = cards.Card(directory.page("reconstruction"), "", link={"layer": "conv1"}, name="ship")
    monkeypatch.setattr(cards, "FIRST", (broken,))
    monkeypatch.setattr(thumbnails, "_offer", lambda card: thumbnails.Offer())
    assert thumbnails.main(["--to", str(tmp_path), "ship"]) == 1
    assert "No page offers a picture for the thumbnail 'ship'" in capsys.readouterr().out


def test_the_first_cards_ask_for_a_layer_that_their_network_has() -> None:
    for card in cards.FIRST:
        app = open_page("home/page.py", layer="conv2_x")
        app.query_params.update(dict.fromkeys(["layer"], selection.USUAL["layer"]) | card.link)
        app.switch_page(card.page.file).run()
        assert_no_error(app)
        assert not app.warning
