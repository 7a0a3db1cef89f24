"""What a link, a file or a visitor brings is shown as text: no page makes a picture, a link or a formula of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from engine import settings
from engine.errors import ConvscopeError
from engine.training import live_files
from engine.training.queue import worker
from engine.training.records import Status
from engine.training.run import RunFolder
from pages import directory
from pages.common import controls
from pages.common.texts import plain
from tests.apps import open_page
from tests.runs import lenet

HOSTILE = r"![a](http:\\evil.example\b) :red[r] $x$ :tada: <b>h www.evil.example"
RAW = ("![a]", ":red[r]", "$x$", ":tada:", "<b>", "www.evil")
"""Parts of it that would be rendered if they stood in Markdown as they are."""
NO_MARKDOWN = (
    "alt",
    "code_text",
    "option",
    "spec",
    "id",
    "key",
    "url",
    "file_name",
    "query_string",
    "default",
    "raw_value",
)
"""Fields that the browser shows as they are, or not at all."""


def texts_in(message: Message, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of an element that may be Markdown, with the field that it stands in."""
    for field, value in message.ListFields():
        if field.name.rstrip("s") in NO_MARKDOWN and not isinstance(value, Message) and field.message_type is None:
            continue
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from texts_in(one, f"{path}.{field.name}")
            elif isinstance(one, str):
                yield f"{path}.{field.name}", one


def elements(block: Any) -> Iterator[Message]:
    """The messages of all elements and containers of a page."""
    if getattr(block, "proto", None) is not None:
        yield block.proto
    for child in getattr(block, "children", {}).values():
        yield from elements(child)


def assert_nothing_is_rendered(app: AppTest) -> list[str]:
    """No text of the page has a raw part of `HOSTILE`; gives those that show it."""
    assert not app.exception, app.exception[0]
    shown = [text for message in elements(app._tree) for text in texts_in(message)]
    assert not [(where, text) for where, text in shown for part in RAW if part in text]
    return [text for _, text in shown if "evil" in text]


@pytest.fixture
def hostile(tmp_path: Path, use_folders: Any, fresh_caches: None) -> None:
    """A checkpoint, an experiment and runs whose folders, classes and messages are hostile."""
    card = json.loads((settings.folders.checkpoints / "lenet" / "card.json").read_text())
    card["classes"] = [f"{HOSTILE} {number}" for number in range(10)]
    for place in ("checkpoints", "experiments"):
        for name in ("lenet", f"{HOSTILE} {place}"):
            shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / place / name)
        (tmp_path / place / name / "card.json").write_text(json.dumps(card))
    for state in ("failed", "queued", "finished"):
        folder = RunFolder(tmp_path / "runs" / f"{HOSTILE} {state}")
        folder.begin(lenet(name=HOSTILE, group=HOSTILE))
        live_files.write_status(folder, Status(state, message=HOSTILE))
        worker.note_keeping(folder.path, worker.Keeping("done" if state == "queued" else "failed", HOSTILE, HOSTILE))
        shutil.copy(settings.folders.checkpoints / "lenet" / "history.csv", folder.path)
    use_folders(**{name: tmp_path / name for name in ("checkpoints", "experiments", "runs")})


NETWORK = {"checkpoint": f"{HOSTILE} checkpoints"}
CURVES = f"{HOSTILE} checkpoints"
VIEWS = [
    ("accuracy", {"view": view})
    for view in ("Classes", "Confusion", "Mistakes", "Two networks", "All networks", "Live")
] + [
    ("accuracy", {"view": "Confidence", "of": f"{HOSTILE} experiments"}),
    ("accuracy", {"view": "Mistakes", "answers": "wrong label"}),
    ("learning_curves", {"curves": CURVES}),
    ("maximization", {"view": "classes"}),
    ("network", {"view": "one convolution"}),
    ("reconstruction", {"signal": "class logit", "compare": "nothing"}),
    ("learning_curves", {"curves": f"runs/{HOSTILE} failed"}),
    *[("train", {"run": f"{HOSTILE} {state}"}) for state in ("failed", "queued", "finished")],
]


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize(
    ("page", "link"),
    [*[(page.address, {}) for page in directory.PAGES if page.address != "learning_curves"], *VIEWS, ("home", {})],
)
def test_names_and_classes_are_shown_as_text(page: str, link: dict[str, str]) -> None:
    app = open_page(f"{page}/page.py", **NETWORK, **link)
    assert assert_nothing_is_rendered(app) or page in ("home", "train") or link.get("view") == "All networks"
    assert not [cell for table in app.table for cell in table.value.index for part in RAW if part in cell]


SILENT = {"step", "lecture"}
"""Keys that no control has: what they name is shown, or nothing is."""


@pytest.mark.parametrize("value", [HOSTILE, ""], ids=["hostile", "blank"])
@pytest.mark.parametrize("page", [directory.HOME, *directory.PAGES], ids=lambda page: page.address)
def test_every_control_shows_what_a_link_asks_of_it_as_text(page: directory.Entry, value: str) -> None:
    keys = open_page(page.file).session_state[controls.DRAWN]
    app = open_page(page.file, **dict.fromkeys([*keys, "unknown"], value))
    assert_nothing_is_rendered(app)
    asked = {*keys, "unknown"} - SILENT - ({"curves"} if value == "" else set())  # of which there may be none
    assert len({sentence.value for sentence in app.warning}) == len(asked)


def test_an_error_shows_a_file_name_as_text_and_a_command_as_code() -> None:
    def page() -> None:
        from engine.errors import ConvscopeError
        from pages.common.texts import headline, readable_errors
        from tests.pages.test_text_from_outside import HOSTILE

        with readable_errors():
            headline(HOSTILE)
            raise ConvscopeError(f"{HOSTILE} is damaged: get it with `git checkout -- {HOSTILE}`.")

    app = AppTest.from_function(page).run()
    assert not [part for part in RAW if part in app.markdown[0].value]
    words, code, end = app.error[0].value.split("`")
    assert not [part for part in RAW if part in words]
    assert (code, end) == (f"git checkout -- {HOSTILE}", ".")


@pytest.mark.parametrize(
    "text",
    ["lenet_2", "my-net", "one, two (three)", "a car, 12.5 %", "There is no network 'x': choose one.", "3 = 3", ""],
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("- a", r"\- a"),
        ("12. a", r"12\. a"),
        ("# a", r"\# a"),
        ("a\n\n# b", "a # b"),
        ("_a_", r"\_a\_"),
        ("a`b", r"a\`b"),
        ("``a`b`", r"\``a`b\`"),
        ("\u202egnp", "\ufffdgnp"),
        ("me@evil.example", "me@\u2060evil.example"),
        (ConvscopeError("**a**"), r"\*\*a\*\*"),
    ],
)
def test_marks_of_markdown_lose_their_meaning(text: object, markdown: str) -> None:
    assert plain(text) == markdown
