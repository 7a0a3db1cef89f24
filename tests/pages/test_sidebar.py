"""The sidebar: what it makes of a link, and of networks that are replaced while it is open."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine import settings, weights
from engine.data import photographs
from engine.errors import ConvscopeError
from engine.views import View
from pages import directory
from pages.common import resources
from tests.apps import assert_no_error, new_app, open_page


def opened(**link: str) -> AppTest:
    """Home, which has the sidebar and nothing else that a link could ask for."""
    return open_page("home/page.py", **link)


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


def test_the_layer_at_first_is_the_last_one_but_where_that_would_play_back_nothing_of_the_image() -> None:
    app = open_page("evidence/page.py", checkpoint="efficientnet_lite0", images="photographs")
    for page, layer in [("reconstruction", "conv7_relu"), ("feature_maps", "conv49_relu"), ("inversion", "conv7_relu")]:
        app.switch_page(f"{page}/page.py").run()
        assert app.sidebar.selectbox(key="layer").value == layer
        assert "layer" not in app.query_params
    for network, layer in [("resnet18", "conv5_x"), ("efficientnet_lite0", "conv7_relu")]:
        app.sidebar.selectbox(key="checkpoint").select(network).run()
        assert app.sidebar.selectbox(key="layer").value == layer
    app.sidebar.selectbox(key="layer").select("conv49_relu").run()
    assert app.sidebar.selectbox(key="layer").value == "conv49_relu"
    assert not app.warning


@pytest.mark.parametrize("asked", ["true", "false", "True", "False"])
def test_a_switch_takes_true_and_false_in_any_letters(asked: str) -> None:
    app = opened(bn=asked)
    assert_no_error(app)
    assert not app.warning
    assert app.sidebar.toggle(key="bn").value == (asked.lower() == "true")


@pytest.mark.parametrize("key", ["checkpoint", "layer", "bn", "images", "class", "number", "weights"])
def test_a_blank_value_is_named(key: str) -> None:
    app = opened(**{key: ""})
    assert_no_error(app)
    assert [f"{key} ''" in warning.value for warning in app.warning] == [True]


@pytest.mark.parametrize("key", ["compare", "signal", "rule", "path"])
def test_a_blank_value_on_a_page_is_named(key: str) -> None:
    app = open_page("reconstruction/page.py", **{key: ""})
    assert_no_error(app)
    assert [f"{key} ''" in warning.value for warning in app.warning] == [True]


def test_a_state_that_the_network_does_not_have_is_named() -> None:
    app = opened(checkpoint="convnet4", weights="15")
    assert_no_error(app)
    assert [warning.value for warning in app.warning] == [
        "The link asks for weights '15', which is not on offer here: trained is shown instead."
    ]
    assert list(app.select_slider(key="weights").options) == ["untrained", "trained"]


def test_a_key_that_no_control_has_is_named_once() -> None:
    app = opened(clas="ship")
    assert_no_error(app)
    assert [warning.value for warning in app.warning] == [
        "The link asks for clas 'ship', but there is no such setting here: it is left out."
    ]
    assert "clas" not in app.query_params
    app.run()
    assert len(app.warning) == 1
    assert not app.sidebar.selectbox(key="class").set_value("ship").run().warning


@pytest.mark.parametrize(
    ("page", "link", "said"),
    [
        ("network/page.py", {"view": "receptive fields", "size": "777", "checkpoint": "lenet"}, "size '777'"),
        ("learning_curves/page.py", {"curves": "nosuch"}, "no learning curve 'nosuch'"),
        ("home/page.py", {"lecture": "report-0", "step": "99", "number": "4"}, "step '99'"),
    ],
)
def test_what_is_said_of_a_link_stays_when_a_job_draws_the_page_once_more(
    page: str, link: dict[str, str], said: str
) -> None:
    app = open_page(page, **link)
    for _ in range(3):
        assert [said in warning.value for warning in app.warning] == [True]
        app.run()
    assert not app.sidebar.number_input(key="number").set_value(3).run().warning


def test_what_is_said_of_a_link_ends_with_the_page() -> None:
    app = opened(**{"class": "zebra"})
    assert len(app.warning) == 1
    assert not app.switch_page("filters/page.py").run().warning


# Links that are clicked ----------------------------------------------------------------------------------------


def clicked(app: AppTest, page: str, **link: str) -> AppTest:
    """`app` after a click on a link, which keeps what the address has, but for the keys that it names."""
    app.query_params.update(link)
    return app.switch_page(page).run()


def test_a_clicked_link_sets_the_controls_that_are_there_already() -> None:
    app = opened(bn="false", number="3")
    app = clicked(app, "reconstruction/page.py", **{"class": "ship", "bn": "true", "number": "0", "compare": "layers"})
    assert_no_error(app)
    assert not app.warning
    assert app.sidebar.selectbox(key="class").value == "ship"
    assert app.sidebar.toggle(key="bn").value is True
    assert app.sidebar.number_input(key="number").value == 0
    assert app.session_state["compare"] == "layers"


def test_a_clicked_link_takes_no_more_than_it_names() -> None:
    app = clicked(opened(bn="false", checkpoint="lenet"), "reconstruction/page.py", **{"class": "ship"})
    assert app.sidebar.toggle(key="bn").value is False
    assert app.sidebar.selectbox(key="checkpoint").value == "lenet"


def test_a_clicked_link_with_a_bad_value_is_named_and_the_usual_one_is_shown() -> None:
    app = clicked(opened(**{"class": "ship"}), "reconstruction/page.py", **{"class": "zebra"})
    assert_no_error(app)
    assert [warning.value for warning in app.warning] == [
        "The link asks for class 'zebra', which is not on offer here: airplane is shown instead."
    ]
    assert app.sidebar.selectbox(key="class").value == "airplane"


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


@pytest.mark.parametrize("goes_on", ["here", "elsewhere"])
def test_a_network_that_is_removed_while_a_reader_looks_at_it_is_named(mine: Path, goes_on: str) -> None:
    shutil.copytree(settings.ROOT / "checkpoints" / "convnet4", mine.parent / "convnet4")
    app = opened(checkpoint="mine", layer="conv3")
    assert not app.warning
    shutil.rmtree(mine)
    if goes_on == "here":
        app.sidebar.number_input(key="number").set_value(3).run()
    else:
        app.switch_page("filters/page.py").run()
    assert_no_error(app)
    said = [warning.value for warning in app.warning]
    assert [one.startswith("There is no checkpoint 'mine'") and "is shown instead" in one for one in said] == [True]
    assert app.sidebar.selectbox(key="checkpoint").value in said[0].split(":")[-1]
    assert not app.sidebar.number_input(key="number").set_value(4).run().warning


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


def test_only_a_page_that_shows_the_image_has_the_button_and_the_key_for_another_one() -> None:
    app = opened()
    for page in (directory.HOME, *directory.PAGES):
        app.switch_page(page.file).run()
        offered = [button for button in app.sidebar.button if button.label == "Random image"]
        assert len(offered) == (directory.IMAGE in page.sidebar), page.title


# A reader's own pictures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "camera"),
    [("https://class.example/inversion", True), ("http://localhost:8501", True), ("http://192.168.0.7:8501", False)],
)
def test_where_a_browser_allows_no_camera_a_file_is_asked_for(address: str, camera: bool, monkeypatch) -> None:
    monkeypatch.setattr(type(st.context), "url", address)
    app = open_page("reconstruction/page.py", images="own")
    app.sidebar.toggle(key="camera").set_value(True).run()
    assert_no_error(app)
    assert any("needs HTTPS" in info.value for info in app.sidebar.info) is not camera
    assert len(app.sidebar.get("camera_input")) == camera
    assert len(app.sidebar.get("file_uploader")) == (not camera)


def with_own_file(app: AppTest, name: str, content: bytes) -> AppTest:
    return app.sidebar.file_uploader(key="own_file").upload(name, content).run()


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("content", [b"words", b""])
def test_a_file_that_is_no_picture_is_named_and_every_page_goes_on(content: bytes) -> None:
    app = with_own_file(open_page("reconstruction/page.py", images="own"), "te_xt.png", content)
    assert [error.value.startswith("te_xt.png is not a picture") for error in app.sidebar.error] == [True]
    assert app.session_state["_selection"].split == "photographs"
    app.switch_page("filters/page.py").run()
    assert app.session_state["_selection"].split == "photographs"
    assert app.get("popover")
    assert not app.exception


def test_a_file_that_is_no_picture_leaves_the_last_one_that_was() -> None:
    app = with_own_file(open_page("reconstruction/page.py", images="own"), "mine.png", png())
    assert_no_error(app)
    with_own_file(app, "text.png", b"words")
    assert len(app.error) == 1
    assert app.session_state["_selection"].image_name == "your picture mine.png"


def test_an_own_picture_is_shown_until_the_reader_takes_it_out_of_the_box() -> None:
    app = with_own_file(open_page("reconstruction/page.py", images="own"), "mine.png", png())
    app.sidebar.file_uploader(key="own_file").clear().run()
    assert_no_error(app)
    assert app.session_state["_selection"].split == "photographs"
    with_own_file(app, "other.png", png("blue"))
    assert app.session_state["_selection"].image_name == "your picture other.png"


def test_an_own_picture_stays_from_page_to_page_and_from_choice_to_choice() -> None:
    app = with_own_file(open_page("reconstruction/page.py", images="own"), "mine.png", png())
    for go_on in (
        lambda: app.sidebar.selectbox(key="images").set_value("test"),
        lambda: app.sidebar.selectbox(key="images").set_value("own"),
        lambda: app.sidebar.file_uploader(key="own_file").clear(),  # as it is anyway
        lambda: app.switch_page("filters/page.py"),
        lambda: app.switch_page("reconstruction/page.py"),
    ):
        go_on().run()
        assert_no_error(app)
    assert app.session_state["_selection"].image_name == "your picture mine.png"


def test_a_link_to_somebodys_own_picture_says_what_is_shown_instead() -> None:
    said = [
        "The link means somebody's own picture, which stayed in their session: "
        f"the photograph {photographs.names()[0]} is shown instead."
    ]
    app = open_page("reconstruction/page.py", images="own")
    assert [warning.value for warning in app.warning] == said
    assert not with_own_file(app, "mine.png", png()).warning
    app = clicked(opened(), "reconstruction/page.py", images="own")
    assert [warning.value for warning in app.warning] == said


def test_a_reader_who_is_yet_to_choose_an_own_picture_is_told_of_no_link() -> None:
    app = open_page("reconstruction/page.py")
    app.sidebar.selectbox(key="images").set_value("own").run()
    assert not app.warning
    for page in ("evidence", "filters", "feature_maps"):
        assert not clicked(app, f"{page}/page.py", images="own").warning
    assert not open_page("filters/page.py", images="own").warning  # uses no image


@pytest.mark.parametrize("images", ["photographs", "own"])
def test_without_the_shipped_photographs_one_sentence_says_so(images: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "names", lambda: ())
    app = opened(images=images)
    assert not app.exception
    assert app.error[0].value.startswith("There are no photographs in data/bundled")


def test_a_session_keeps_only_the_latest_of_a_readers_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    monkeypatch.setattr(photographs, "read", lambda content, name: np.full((8, 8, 3), content[0], dtype=np.uint8))
    numbers = [resources.bring_own_picture(bytes([value]), "mine.png") for value in range(6)]
    for value, number in list(enumerate(numbers))[-resources.MOST_OWN_PICTURES :]:
        assert (resources.pixels(resources.OWN, number) == value).all()
    with pytest.raises(ConvscopeError, match="no longer here"):
        resources.pixels(resources.OWN, numbers[0])


def test_who_goes_on_before_a_page_is_complete_keeps_what_the_link_has_chosen() -> None:
    app = new_app().switch_page("reconstruction/page.py")
    app.session_state["_address"] = ("accuracy", {"checkpoint": ["lenet"]})
    app.session_state["_broken_off"] = True
    app.run()
    assert_no_error(app)
    assert app.sidebar.selectbox(key="checkpoint").value == "lenet"


def said(app: AppTest) -> dict[str, str]:
    """What the address says; AppTest has a text or a list with one."""
    return {key: "".join(value) for key, value in app.query_params.items()}


def test_who_goes_on_before_the_browser_has_read_a_page_keeps_the_link_whole() -> None:
    app = opened(checkpoint="lenet", layer="conv2_relu", present="true")
    app.query_params.clear()
    app.switch_page("reconstruction/page.py").run()
    assert_no_error(app)
    assert app.sidebar.selectbox(key="checkpoint").value == "lenet"
    assert said(app) == {"checkpoint": "lenet", "layer": "conv2_relu", "present": "true"}


def test_what_only_the_last_page_has_is_not_asked_of_the_next() -> None:
    app = new_app().switch_page("accuracy/page.py")
    app.query_params["view"] = "Mistakes"
    app.run()
    app.query_params.clear()
    app.switch_page("evidence/page.py").run()
    assert not app.warning
    assert said(app) == {}


def test_a_key_that_a_link_says_twice_stands_in_the_address_once():
    app = new_app()
    app.query_params.update({"class": ["dog", "dog"], "number": ["3", "17"]})
    app.run()
    assert_no_error(app)
    assert (app.selectbox(key="class").value, app.number_input(key="number").value) == ("dog", 17)
    assert dict(app.query_params) == {"class": "dog", "number": "17"}


def test_a_choice_of_several_keeps_all_of_them_in_the_address():
    app = open_page("learning_curves/page.py", curves=["lenet", "model_one"])
    assert_no_error(app)
    assert app.query_params["curves"] == ["lenet", "model_one"]


def test_what_is_said_of_a_link_is_not_behind_the_options() -> None:
    app = open_page("feature_maps/page.py", size="77")
    (warning,) = app.warning
    assert "size '77'" in warning.value
    behind_buttons = app.get("popover")
    assert behind_buttons
    assert not any(block.warning for block in behind_buttons)


def test_a_number_that_is_the_usual_one_follows_another_image() -> None:
    link = {"checkpoint": "lenet", "layer": "conv3_relu", "signal": "one channel", "compare": "nothing"}
    app = open_page("reconstruction/page.py", **link)
    usual = app.number_input(key="channel").value
    app.sidebar.number_input(key="number").set_value(1).run()
    strongest = app.number_input(key="channel")
    assert strongest.label == f"Channel (strongest: {strongest.value})"
    assert strongest.value != usual
    assert "channel" not in app.query_params
    app.number_input(key="channel").set_value(3).run()
    app.sidebar.number_input(key="number").set_value(0).run()
    assert app.number_input(key="channel").value == 3  # which a reader has chosen


def test_a_slider_at_its_usual_place_follows_another_network() -> None:
    app = open_page("filters/page.py", checkpoint="convnet4")
    before = app.select_slider(key="epoch").value
    app.sidebar.selectbox(key="checkpoint").select("resnet18").run()
    fresh = open_page("filters/page.py", checkpoint="resnet18")
    assert app.select_slider(key="epoch").value == fresh.select_slider(key="epoch").value != before
