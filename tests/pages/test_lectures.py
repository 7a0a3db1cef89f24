"""Lectures in the app: every step of each, what an address says of them, and a lecture of a reader's own."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from torch import Tensor

from engine import checkpoints, evolution, filters, lectures, pictures, playbacks, weights
from engine.lectures import Lecture, Link, Step, worksheet
from engine.playbacks import Playback
from engine.settings import ROOT
from engine.tape import Tape
from pages import directory
from pages.common import texts
from pages.common.lectures import OWN, PAGES
from pages.lecture import charts_of, meant
from tests.apps import assert_no_error, open_page

HOSTILE = "<img src=x onerror=alert(1)> **bold** [a](javascript:alert(1)) $x$ :red[r]"


def opened(page: str = "home/page.py", **address: str) -> AppTest:
    return open_page(page, **address)


def click(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


def links(app: AppTest) -> dict[str, object]:
    """The strip's links to other steps."""
    return {link.proto.label: link.proto for link in app.get("page_link") if link.proto.label in ("Back", "Next")}


def follow(app: AppTest, label: str) -> AppTest:
    """Follow one of them, as a browser does."""
    link = links(app)[label]
    app.query_params.clear()
    app.query_params.update(parse_qs(link.query_string))
    return app.switch_page(directory.page(link.page).file).run()


def strip(app: AppTest) -> str:
    """The strip's text; empty where there is none."""
    return next((entry.proto.body for entry in app.get("html") if " of " in entry.proto.body), "")


def values(app: AppTest) -> dict[str, list[str]]:
    return {key: list(value) if isinstance(value, list) else [value] for key, value in app.query_params.items()}


# Shipped lectures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", lectures.names())
def test_every_step_of_a_lecture_shows_its_link_and_nothing_has_to_be_said_about_it(name: str) -> None:
    lecture = lectures.load(name, PAGES)
    app = opened(lecture=name, step="1")
    for number, step in enumerate(lecture.steps, start=1):
        assert_no_error(app)
        assert not app.warning
        assert f"{number} of {len(lecture.steps)}</b>" in strip(app)
        assert app.query_params["step"] in (str(number), [str(number)])
        for key, value in step.link.values:
            assert value in values(app)[key]  # what is usual is left out: it would cost the browser one more step back
            control = app.session_state[key]
            assert value in (
                [str(one) for one in control] if isinstance(control, list) else [str(control).lower(), str(control)]
            )
        if number < len(lecture.steps):
            follow(app, "Next")
    assert list(links(app)) == ["Back"]


def test_a_step_is_there_within_a_second_once_its_page_was_seen() -> None:
    app = follow(follow(opened(lecture="batch-norm", step="5"), "Next"), "Back")
    start = time.perf_counter()
    follow(app, "Next")
    assert time.perf_counter() - start < 1


def test_what_a_step_leaves_out_has_its_usual_value_whatever_was_chosen_before() -> None:
    app = opened(lecture="report-0", step="11")
    app.sidebar.selectbox(key="layer").select("conv2_x").run()
    app.sidebar.selectbox(key="images").select("train").run()
    assert "Back to this step" in app.button(key="lecture_back").label  # a screen reader says no more of a button
    click(app, "lecture_back")
    assert app.sidebar.selectbox(key="layer").value == "conv5_x"
    assert app.sidebar.selectbox(key="images").value == "test"
    assert not set(values(app)) - {"class", "lecture", "step"}


def test_a_step_means_its_own_address_whatever_the_browser_adds_to_it() -> None:
    said = dict(lectures.load("report-4", PAGES).steps[9].link.values)
    added = {"lecture": ["report-4"], "step": ["10"], "present": ["true"], "layer": ["conv1"], "rule": ["guided"]}
    found = {key: values[-1] for key, values in meant(added).items()}
    assert found == said | {"lecture": "report-4", "step": "10", "present": "true"}
    for unknown in ({"lecture": ["none"]}, {"lecture": ["report-4"], "step": ["99"]}, {"step": ["1"]}, {}):
        assert meant(unknown) == unknown


def test_an_answer_is_hidden_until_it_is_asked_for_and_in_the_next_step() -> None:
    app = opened(lecture="report-0", step="1")
    assert "Answer:" not in strip(app)
    assert "Answer:" in strip(click(app, "lecture_answer"))
    assert "Answer:" not in strip(follow(app, "Next"))


def test_the_path_can_be_left_and_found_again() -> None:
    app = opened(lecture="report-0", step="4")
    app.switch_page(directory.page("accuracy").file).run()
    assert "4 of 12" in strip(app)
    assert app.query_params["step"] in ("4", ["4"])
    click(app, "lecture_leave")
    assert not strip(app)
    assert not {"lecture", "step"} & set(app.query_params)
    click(app, "lecture_reopen")
    assert "4 of 12" in strip(app)
    assert app.session_state["form"] == "red"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"lecture": "report-9"}, "There is no lecture 'report-9'"),
        ({"lecture": "../recipes/lenet"}, "There is no lecture"),
        ({"lecture": OWN}, "Your own lecture stays in one session"),
        ({"lecture": "report-0", "step": "99"}, "asks for step '99', but there are 1 to 12"),
        ({"lecture": "report-0", "step": "-1"}, "asks for step '-1'"),
        ({"lecture": "report-0", "step": "9" * 5000}, "asks for step '99999"),
    ],
)
def test_an_address_that_asks_for_too_much_is_answered_in_a_sentence(address: dict[str, str], said: str) -> None:
    app = opened(**address)
    assert not app.exception
    assert any(said in one.value for one in [*app.error, *app.warning])


def test_a_bare_address_leads_to_the_steps_own_view() -> None:
    app = opened(lecture="report-0", step="8")
    assert app.session_state["compare"] == "nothing"
    assert values(app)["class"] == ["ship"]


def test_a_bare_address_that_presents_leads_there_too_and_goes_on_presenting() -> None:
    app = opened(lecture="report-0", step="8", present="true")
    assert_no_error(app)
    assert app.session_state["compare"] == "nothing"
    assert values(app)["class"] == ["ship"]
    assert values(app)["present"] == ["true"]
    assert app.session_state["present"] is True


# One's own -----------------------------------------------------------------------------------------------------


def test_kept_views_are_a_lecture_that_is_written_and_read_again() -> None:
    app = opened("reconstruction/page.py", **{"class": "ship", "bn": "false"})
    app.text_input(key="_sentence").set_value(HOSTILE).run()
    click(app, "lecture_keep")
    app.switch_page("learning_curves/page.py").run()
    app.text_input(key="_sentence").set_value("").run()
    click(app, "lecture_keep")
    kept = app.session_state["_own_lecture"]
    assert kept.steps[0].sentence == HOSTILE
    assert dict(kept.steps[0].link.values)["class"] == "ship"
    assert dict(kept.steps[0].link.values)["bn"] == "false"
    assert kept.steps[1] == Step(Link("learning_curves", kept.steps[1].link.values), "Learning curves")
    assert lectures.parse(lectures.to_toml(kept).encode(), OWN, PAGES, "own.toml") == kept
    click(app, "lecture_begin")
    assert_no_error(app)
    assert app.sidebar.toggle(key="bn").value is False
    assert "<img" not in strip(app)
    assert "&lt;img src=x onerror=alert(1)&gt; **bold**" in strip(app)


def test_a_lecture_from_a_file_is_shown_with_its_unknown_settings_named() -> None:
    text = 'title = "T"\n[[steps]]\nlink = "filters?clas=ship"\nsentence = "S {accuracy.nobody}"'
    app = opened("filters/page.py")
    app.file_uploader(key="_lecture_file").upload("mine.toml", text.encode()).run()
    click(app, "lecture_begin")
    assert_no_error(app)
    assert "S {accuracy.nobody} (The figure {accuracy.nobody} cannot be computed: there is nothing" in strip(app)
    click(app, "lecture_leave")
    assert not strip(app)


def test_the_figures_of_a_lecture_are_of_the_networks_that_there_are_now(
    tmp_path: Path, use_folders: Callable[..., None]
) -> None:
    use_folders(checkpoints=tmp_path)
    shutil.copytree(ROOT / "checkpoints" / "lenet", tmp_path / "lenet")
    text = 'title = "T"\n[[steps]]\nlink = "filters?checkpoint=lenet"\nsentence = "It has {parameters.mine}."'
    app = opened("filters/page.py", checkpoint="lenet")
    app.file_uploader(key="_lecture_file").upload("mine.toml", text.encode()).run()
    assert "{parameters.mine} cannot be computed" in strip(click(app, "lecture_begin"))
    for network in ("lenet", "model_two"):
        shutil.copytree(ROOT / "checkpoints" / network, tmp_path / "mine")
        assert f"It has {checkpoints.load('mine').card.parameters:,}." in strip(app.run())
        shutil.rmtree(tmp_path / "mine")


def test_views_that_were_kept_come_back_after_a_file_has_taken_their_place() -> None:
    app = opened("filters/page.py")
    click(click(app, "lecture_keep"), "lecture_keep")
    app.file_uploader(key="_lecture_file").upload("mine.toml", own_lecture("Other", 1)).run()
    assert app.session_state["_own_lecture"].title == "Other"
    for title, steps in (("Your lecture", 2), ("Other", 1)):
        click(app, "bring_back")
        assert_no_error(app)
        lecture = app.session_state["_own_lecture"]
        assert (lecture.title, len(lecture.steps)) == (title, steps)


def own_lecture(title: str, steps: int) -> bytes:
    step = '[[steps]]\nlink = "filters"\nsentence = "S."\nanswer = "Because."\n'
    return f'title = "{title}"\n{step * steps}'.encode()


@pytest.mark.parametrize("leave", [True, False])
def test_another_lecture_of_ones_own_begins_at_its_beginning_with_its_answer_hidden(leave: bool) -> None:
    app = opened("filters/page.py")
    app.file_uploader(key="_lecture_file").upload("first.toml", own_lecture("First", 3)).run()
    click(app, "lecture_begin")
    assert "Answer:" in strip(click(app, "lecture_answer"))
    assert "First · 3 of 3" in strip(follow(follow(app, "Next"), "Next"))
    if leave:
        click(app, "lecture_leave")
    app.file_uploader(key="_lecture_file").upload("second.toml", own_lecture("Second", 2)).run()
    assert (strip(app), [warning.value for warning in app.warning]) == ("", [])
    click(app, "lecture_begin")
    assert_no_error(app)
    assert not app.warning
    assert "Second · 1 of 2" in strip(app)
    assert "Answer:" not in strip(app)


def test_the_next_view_begins_without_the_last_ones_words_and_none_replaces_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lectures, "MOST_STEPS", 2)
    app = opened("filters/page.py")
    for said in ("One", "Two", "Three"):
        assert app.text_input(key="_sentence").value == ""
        app.text_input(key="_sentence").set_value(said).run()
        click(app, "lecture_keep")
    assert [step.sentence for step in app.session_state["_own_lecture"].steps] == ["One", "Two"]
    (menu,) = (popover for popover in app.get("popover") if popover.proto.popover.label.startswith("Your lecture"))
    assert ["at most 2 steps, not 3" in error.value for error in menu.get("error")] == [True]
    assert len(app.error) == 1
    assert app.text_input(key="_sentence").value == "Three"


def test_what_a_link_says_of_a_step_is_shown_as_it_is() -> None:
    app = opened(lecture="report-0", step="![](//evil.example)")
    assert "evil" in app.warning[0].value
    assert "![](" not in app.warning[0].value


def test_a_kept_view_leaves_out_what_the_page_does_not_know() -> None:
    app = opened("filters/page.py", checkpoint="lenet", Foo="1", bar="2")
    click(app, "lecture_keep")
    assert_no_error(app)
    [step] = app.session_state["_own_lecture"].steps
    assert dict(step.link.values)["checkpoint"] == "lenet"
    assert not {"Foo", "bar"} & set(dict(step.link.values))


def test_a_sentence_may_have_emoji_that_are_joined() -> None:
    app = opened("filters/page.py")
    app.text_input(key="_sentence").set_value("Look \U0001f469\u200d\U0001f3eb, \u2764\ufe0f").run()
    click(app, "lecture_keep")
    assert_no_error(app)
    [step] = app.session_state["_own_lecture"].steps
    assert step.sentence == "Look \U0001f469\u200d\U0001f3eb, \u2764\ufe0f"
    assert texts.plain(step.sentence) == step.sentence


def test_a_kept_view_says_nothing_of_the_right_to_a_run() -> None:
    app = opened("filters/page.py")
    app.query_params["right"] = "of-somebody"
    click(app, "lecture_keep")
    [step] = app.session_state["_own_lecture"].steps
    assert "right" not in dict(step.link.values)


# The worksheet -------------------------------------------------------------------------------------------------


def test_a_worksheet_is_one_file_with_pictures_questions_and_room() -> None:
    lecture = lectures.load("batch-norm", PAGES)
    sheet = worksheet.to_html(lecture, answers=False)
    assert sheet.count('<img alt="') >= 2 * len(lecture.steps)
    assert sheet.count('class="room"') == len(lecture.steps)
    assert set(re.findall(r'(?:src|href)="(\w+:[^;,]*)', sheet)) == {"data:image/png"}
    assert "<details" not in sheet
    assert worksheet.to_html(lecture, answers=True).count("<details open>") == len(lecture.steps)  # paper: open ones


def test_a_worksheet_escapes_everything() -> None:
    link = Link("reconstruction", (("checkpoint", HOSTILE), ("class", '"><script>')))
    lecture = Lecture(OWN, HOSTILE, HOSTILE, 5, (Step(link, HOSTILE, HOSTILE, HOSTILE, HOSTILE),))
    for answers in (False, True):
        sheet = worksheet.to_html(lecture, answers)
        assert "<img" not in sheet
        assert "<script" not in sheet


def test_a_worksheet_prints_the_charts_of_a_view() -> None:
    shown = {
        "learning_curves?curves=lenet&axis=time": ["Learning curves: loss", "Learning curves: accuracy"],
        "accuracy?checkpoint=lenet&order=best+first": ["Accuracy of each class of lenet"],
        "accuracy?of=report%3A+four+layers+on+ImageNet-10&view=Confusion": [
            "Confusion matrix of report: four layers on ImageNet-10"
        ],
        "accuracy?checkpoint=lenet&view=Two+networks&against=model_two": [
            "Accuracy of each class of lenet and of model_two"
        ],
        "accuracy?checkpoint=nobody": [],
        "learning_curves?smoothing=much": [],
        "network?checkpoint=lenet": ["The layers of lenet at 32 px"],
        "network?checkpoint=lenet&view=diagram&size=64": ["Block diagram of lenet at 64 px"],
        "network?checkpoint=lenet&view=batch+norm": [],
        "network?checkpoint=lenet&size=100": [],
        "accuracy?checkpoint=lenet&view=Confusion&cells=many": [],
        "accuracy?of=nobody": [],
        f"network?checkpoint=lenet&size={'9' * 20}": [],
        "evidence": [],
    }
    for address, captions in shown.items():
        page, _, query = address.partition("?")
        link = Link(page, tuple(parse_qsl(query)))
        drawn = charts_of(link)
        assert [caption for caption, _ in drawn] == captions
        assert all(svg.startswith("<svg") for _, svg in drawn)
    step = Step(Link("accuracy", (("checkpoint", "lenet"),)), "One step")
    sheet = worksheet.to_html(Lecture(OWN, "t", "", 5, (step,)), answers=False, charts=charts_of)
    assert sheet.count('src="data:image/svg+xml;base64,') == 1


def test_a_worksheet_says_which_learning_curve_is_damaged_and_prints_the_others(
    tmp_path: Path, use_folders: Callable[..., None]
) -> None:
    use_folders(checkpoints=tmp_path)
    for network in ("lenet", "model_two"):
        shutil.copytree(ROOT / "checkpoints" / network, tmp_path / network)
    (tmp_path / "lenet" / "history.csv").write_text("damaged")
    for others in ((), ("model_two",)):
        link = Link("learning_curves", tuple(("curves", name) for name in ("lenet", *others)))
        sheet = worksheet.to_html(Lecture(OWN, "t", "", 5, (Step(link, "S"),)), answers=False, charts=charts_of)
        assert sheet.count("lenet/history.csv cannot be shown: ") == 1
        assert sheet.count("data:image/svg+xml") == 2 * len(others)


def test_a_worksheet_has_the_rows_of_the_page() -> None:
    (_, usual), (_, parts), (_, every) = (
        drawn
        for rows in ((), (("rows", "parts"),), (("rows", "every operation"),))
        for drawn in charts_of(Link("network", (("checkpoint", "lenet"), *rows)))
    )
    assert usual == parts != every


@pytest.mark.parametrize(
    ("address", "captions"),
    [
        ("feature_maps?checkpoint=lenet&layer=conv2_relu", ["airplane", "all 64 maps of conv2_relu, in order"]),
        ("feature_maps?checkpoint=lenet&view=many+maps", []),
        (
            "feature_maps?checkpoint=lenet&view=every+layer",
            ["airplane", "the four strongest maps of every layer"],
        ),
        (
            "feature_maps?checkpoint=lenet&view=two+images&class2=ship",
            ["airplane", "all 128 maps of pool3, in order", "ship", "all 128 maps of pool3, in the same order"],
        ),
        (
            "feature_maps?checkpoint=lenet&view=two+images&order=strongest+first",
            ["airplane", "all 128 maps of pool3, strongest first", "truck", "all 128 maps of pool3, in the same order"],
        ),
        ("feature_maps?checkpoint=lenet&view=two+images&images=photographs", ["photograph", "all", "truck", "all"]),
        ("feature_maps?checkpoint=lenet&view=two+images&class=truck", ["truck", "all", "ship", "all"]),
        ("feature_maps?checkpoint=lenet&tiles=patches+in+the+image", ["airplane", "the strongest patch of each map"]),
        ("feature_maps?checkpoint=lenet&view=nobody", []),
        ("filters?checkpoint=lenet&brightness=all+together", ["filters, RGB, on one scale"]),
        ("filters?checkpoint=lenet&epoch=999", []),
        ("filters?checkpoint=lenet&view=deeper+layers", []),
        ("filters?checkpoint=lenet&weights=untrained", []),
        ("filters?checkpoint=lenet", ["filters, RGB"]),
        (
            "filters?checkpoint=lenet&view=before+and+after+training",
            [f"filters, RGB {when}" for when in ("before training", "halfway", "after training")],
        ),
        ("reconstruction?checkpoint=lenet", ["airplane", "conv1_relu", "conv2_relu", "conv3_relu"]),
        ("reconstruction?checkpoint=lenet&layer=conv1&compare=nothing", ["airplane", "deconvnet reconstruction"]),
        ("reconstruction?checkpoint=model_one&layer=pool1", ["airplane", "batch norm on", "batch norm off"]),
        ("reconstruction?checkpoint=lenet&signal=one+channel&unit=chosen+unit&row=1&column=1", []),
        ("reconstruction?checkpoint=lenet&compare=images&class2=ship", []),
        ("reconstruction?layer=conv2_x&path=residual&block=layer1.0", []),
        ("reconstruction?checkpoint=resnet18&weight_scale=1/4", ["airplane", "batch norm on", "batch norm off"]),
        ("reconstruction?checkpoint=resnet18&weight_scale=1/0", []),
        ("reconstruction?checkpoint=resnet18&weight_scale=1e400", []),
        ("reconstruction?checkpoint=lenet&layer=conv1&size=-3", []),
        ("reconstruction?checkpoint=lenet&compare=paths", []),
        ("reconstruction?checkpoint=lenet&signal=one+channel&channel=-1", []),
        ("reconstruction?checkpoint=lenet&number=-1", []),
        ("feature_maps?checkpoint=lenet&size=0", []),
    ],
)
def test_a_worksheet_draws_what_a_view_shows_or_nothing(address: str, captions: list[str]) -> None:
    page, _, query = address.partition("?")
    drawn = [caption for caption, _ in worksheet._pictures(Link(page, tuple(parse_qsl(query))), 1)]
    assert [caption[: len(expected)] for caption, expected in zip(drawn, captions, strict=True)] == captions


@pytest.mark.parametrize(
    "address",
    [
        "checkpoint=model_one&signal=one+channel&channel=5&compare=layers",
        "checkpoint=lenet&signal=one+channel&compare=training&class=ship&layer=conv2_relu&size=32",
        "checkpoint=model_one&signal=top+16&unit=whole+map&compare=layers&images=photographs&photograph=moose",
        "checkpoint=resnet18&bn=false&weight_scale=1/4&size=128&images=train&class=frog&number=3",
        "checkpoint=resnet18&compare=paths&rule=guided&weight_scale=4",
        "checkpoint=resnet18&layer=conv1&compare=batch+norm&weight_scale=2",
        "checkpoint=lenet&weights=4&signal=top+9&layer=conv1&compare=nothing",
    ],
)
def test_a_worksheet_plays_back_what_the_page_does(
    address: str, fresh_caches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: dict[Playback, tuple[int, ...]] = {}
    signals_of = playbacks.signals_of

    def noted(playback: Playback, recorded: Tape) -> tuple[tuple[int, ...], Tensor]:
        channels, signals = signals_of(playback, recorded)
        played[playback] = channels
        return channels, signals

    monkeypatch.setattr(playbacks, "signals_of", noted)
    app = open_page("reconstruction/page.py", **dict(parse_qsl(address)))
    assert_no_error(app)
    on_the_page = played.copy()
    played.clear()
    assert len(worksheet._pictures(Link("reconstruction", tuple(parse_qsl(address))), 1)) == len(on_the_page) + 1
    assert played == on_the_page


Tiles = Callable[[str, dict[str, str]], set[bytes]]


@pytest.fixture
def tiles_of(fresh_caches: None, monkeypatch: pytest.MonkeyPatch) -> Tiles:
    """The tiles of each sheet that a page or (without one) a worksheet draws, in their order."""
    drawn: set[bytes] = set()
    sheet = pictures.sheet

    def noted(tiles: np.ndarray, *how: object, **more: object) -> np.ndarray:
        drawn.add(tiles.tobytes())
        return sheet(tiles, *how, **more)

    monkeypatch.setattr(pictures, "sheet", noted)

    def tiles(page: str, values: dict[str, str]) -> set[bytes]:
        drawn.clear()
        if page.endswith(".py"):
            assert_no_error(open_page(page, **values))
        else:
            assert worksheet._pictures(Link(page, tuple(values.items())), 1)
        return drawn.copy()

    return tiles


@pytest.mark.parametrize(
    ("address", "count"),
    [
        ("feature_maps?checkpoint=lenet&layer=conv2", 1),
        ("feature_maps?checkpoint=resnet18&class=ship&order=strongest+first&brightness=each+its+own&size=128", 1),
        ("feature_maps?checkpoint=lenet&layer=conv1_relu&tiles=patches+in+the+image&class=cat&number=2", 1),
        ("feature_maps?checkpoint=lenet&tiles=patches+in+the+image&images=photographs", 1),
        ("feature_maps?checkpoint=model_one&view=every+layer&class=frog", 1),
        ("feature_maps?checkpoint=lenet&view=two+images&order=strongest+first", 2),
        ("feature_maps?checkpoint=lenet&view=two+images&class2=cat&number2=3&brightness=each+its+own&layer=conv1", 2),
        ("filters", 1),
        ("filters?checkpoint=lenet&brightness=all+together&form=red&epoch=0", 1),
        ("filters?checkpoint=lenet&view=before+and+after+training&brightness=all+together&weights=untrained", 3),
    ],
)
def test_a_worksheet_draws_the_tiles_of_the_page(address: str, count: int, tiles_of: Tiles) -> None:
    page, _, query = address.partition("?")
    values = dict(parse_qsl(query))
    on_paper = tiles_of(page, values)
    assert len(on_paper) == count
    assert on_paper <= tiles_of(f"{page}/page.py", values)


@pytest.mark.parametrize(
    "address", ["checkpoint=lenet&class=ship", "checkpoint=resnet18&layer=conv1&bn=false&channel=7"]
)
def test_a_worksheet_shows_the_moments_of_the_page(
    address: str, fresh_caches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = []
    sheet = evolution.sheet
    monkeypatch.setattr(evolution, "sheet", lambda moments, *how: sheets.append(moments) or sheet(moments, *how))
    values = dict(parse_qsl(address)) | {"view": "over training"}
    assert_no_error(open_page("feature_maps/page.py", **values))
    worksheet._pictures(Link("feature_maps", tuple(values.items())), 1)
    on_the_page, on_paper = sheets[0], sheets[-1]
    assert [one.heads for one in on_paper] == [one.heads for one in on_the_page]
    for ours, theirs in zip(on_paper, on_the_page, strict=True):
        assert {evolution.MAP, evolution.PICTURE} <= ours.pictures.keys()
        assert all(np.array_equal(picture, theirs.pictures[row]) for row, picture in ours.pictures.items())


def test_a_worksheet_puts_first_what_the_switch_of_batch_norm_asks_for() -> None:
    link = Link("reconstruction", (("checkpoint", "model_one"), ("layer", "pool1"), ("bn", "false")))
    assert [words for words, _ in worksheet._pictures(link, 1)][1:] == ["batch norm off", "batch norm on"]


def test_a_worksheet_draws_the_filters_of_the_epoch_that_a_link_names() -> None:
    def drawn(*values: tuple[str, str]) -> bytes:
        [(_, picture)] = worksheet._pictures(Link("filters", (("checkpoint", "lenet"), *values)), 1)
        return picture.tobytes()

    kept = filters.snapshots("lenet")
    best = checkpoints.load("lenet").card.best_epoch
    usual = kept.epochs[kept.index_after(best)]
    assert drawn() == drawn(("epoch", str(usual))) != drawn(("epoch", "0"))


def test_a_worksheet_draws_a_map_at_each_moment() -> None:
    link = Link("feature_maps", (("checkpoint", "lenet"), ("layer", "conv1_relu"), ("view", "over training")))
    [_, (caption, sheet)] = worksheet._pictures(link, 1)
    assert re.fullmatch(r"map \d+ of conv1_relu, moment by moment", caption)
    moments = len(weights.moments("lenet"))
    assert sheet.shape[1] == (moments + 1) * (evolution.TILE + evolution.GAP) - evolution.GAP
