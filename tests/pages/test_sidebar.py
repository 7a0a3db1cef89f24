"""The sidebar: what it makes of a link, and of networks that are replaced while it is open."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine import settings, weights
from engine.data import photographs
from engine.errors import ConvscopeError
from pages.common import resources
from pages.common.resources import View
from tests.apps import MAIN, assert_no_error


@pytest.fixture(autouse=True)
def _fresh_caches() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()


def opened(**link: str) -> AppTest:
    """Home, which has the sidebar and nothing else that a link could ask for."""
    app = AppTest.from_file(MAIN, default_timeout=120)
    for key, value in link.items():
        app.query_params[key] = value
    return app.run()


# Links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["9" * 5_000, "1000", "-1", "1e3", "²", "", "nan"])
def test_a_number_that_there_is_not_is_named_with_what_is_shown_instead(asked: str) -> None:
    app = opened(number=asked)
    assert_no_error(app)
    (warning,) = [warning.value for warning in app.warning if "number" in warning.value]
    assert f": {app.sidebar.number_input(key='number').value} is shown instead" in warning
    assert len(warning) < 200


def test_a_number_that_streamlit_can_read_is_not_called_another_one() -> None:
    app = opened(number="5.0")
    (warning,) = [warning.value for warning in app.warning if "number" in warning.value]
    assert f": {app.sidebar.number_input(key='number').value} is shown instead" in warning


@pytest.mark.parametrize(("key", "asked"), [("class", "SHIP"), ("layer", "CONV1"), ("images", "Test")])
def test_a_value_in_other_letters_is_named(key: str, asked: str) -> None:
    app = opened(**{key: asked})
    assert_no_error(app)
    assert [asked in warning.value for warning in app.warning] == [True]


@pytest.mark.parametrize("asked", ["true", "false", "True", "False"])
def test_a_switch_takes_true_and_false_in_any_letters(asked: str) -> None:
    app = opened(bn=asked)
    assert_no_error(app)
    assert not app.warning
    assert app.sidebar.toggle(key="bn").value == (asked.lower() == "true")


# Networks that are replaced ------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path, use_folders: Callable[..., None]) -> Path:
    """A checkpoint "mine", which is LeNet at first."""
    use_folders(checkpoints=tmp_path)
    shutil.copytree(settings.ROOT / "checkpoints" / "lenet", tmp_path / "mine")
    return tmp_path / "mine"


def test_a_replaced_network_is_looked_at_anew(mine: Path) -> None:
    view = View(weights.find("mine"), "conv3", "test", 3, 32)
    assert_no_error(opened(checkpoint="mine"))
    before, layers = resources.recording(view).activation, resources.layers(weights.find("mine"))
    shutil.rmtree(mine)
    shutil.copytree(settings.ROOT / "checkpoints" / "convnet4", mine)
    assert_no_error(opened(checkpoint="mine"))
    assert resources.layers(weights.find("mine")) != layers
    after = resources.recording(View(weights.find("mine"), "conv3", "test", 3, 128)).activation
    assert after.shape != before.shape


def test_what_is_kept_stays_as_long_as_no_network_is_replaced(mine: Path) -> None:
    view = View(weights.find("mine"), "conv3", "test", 3, 32)
    opened(checkpoint="mine")
    kept = resources.recording(view)
    shutil.copytree(settings.ROOT / "checkpoints" / "model_two", mine.parent / "another")
    opened(checkpoint="mine")
    assert resources.recording(view) is kept


def test_the_answer_is_the_same_work_for_every_layer() -> None:
    first, second = (
        resources.answer(View(weights.find("lenet"), layer, "test", 3, 32)) for layer in ("conv1", "conv3")
    )
    assert first == second


# A reader's own pictures ---------------------------------------------------------------------------------------


def test_a_session_keeps_only_the_latest_of_a_readers_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    monkeypatch.setattr(photographs, "read", lambda content, name: np.full((8, 8, 3), content[0], dtype=np.uint8))
    numbers = [resources.bring_own_picture(bytes([value]), "mine.png") for value in range(6)]
    for value, number in list(enumerate(numbers))[-resources.MOST_OWN_PICTURES :]:
        assert (resources.pixels(resources.OWN, number) == value).all()
    with pytest.raises(ConvscopeError, match="no longer here"):
        resources.pixels(resources.OWN, numbers[0])
