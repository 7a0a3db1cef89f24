"""Lectures: a path through the app's own views, with one sentence, one question and one answer for each.

A lecture is a TOML file in `lectures/`. Its steps are addresses of the app, so whatever a page can show, a lecture can:

    title = "Batch norm in the reconstruction"
    description = "What a deconvnet brings back, and what batch norm has to do with it."
    minutes = 10

    [[steps]]
    link = "reconstruction?checkpoint=model_one&layer=pool5"
    sentence = "What is on the screen, in one sentence; the correlation is {correlation.model_one.pool5.cat.on}."
    question = "..."
    answer = "..."
    look = "What to look at."

Figures in braces are computed when the step is shown (figures.py): no number that this app can measure is typed. A file
may come from anywhere, so its size is limited, and nothing of it may be shown as Markdown or HTML without escaping.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from engine import settings
from engine.errors import ConvscopeError
from engine.names import is_name, is_printable

MOST_BYTES, MOST_STEPS, MOST_MINUTES = 100_000, 100, 600
LONGEST = {
    "title": 100,
    "description": 300,
    "link": 1000,
    "sentence": 500,
    "question": 500,
    "answer": 1000,
    "look": 500,
}
"""Characters of each text."""
REQUIRED = ("link", "sentence")
HOME = "home"
"""The page that an address without a name leads to; nothing answers to this name in a browser."""


@dataclass(frozen=True)
class Link:
    """A view of the app: the address of a page, and the values in the address, as (key, value)."""

    page: str
    values: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        path = "/" if self.page == HOME else self.page
        return f"{path}?{urlencode(self.values)}" if self.values else path


def one_of(values: Mapping[str, str], key: str, offered: Collection[str], usual: str | None = None) -> str:
    """What the values of a link say of a setting; if nothing, `usual`, or the first that is on offer.

    Raises:
        LookupError: what they ask for is not on offer.
    """
    value = values.get(key, next(iter(offered)) if usual is None else usual)
    if value not in offered:
        raise LookupError(f"{key} {value!r}")
    return value


@dataclass(frozen=True)
class Step:
    """One view: what is on the screen, what to look at, a question, and an answer that is hidden at first."""

    link: Link
    sentence: str
    question: str = ""
    answer: str = ""
    look: str = ""


@dataclass(frozen=True)
class Lecture:
    """A path of one or more steps.

    Attributes:
        name: of the file, without its ending; links call the lecture so.
        minutes: about how long it takes in front of a class.
    """

    name: str
    title: str
    description: str
    minutes: int
    steps: tuple[Step, ...]


# Reading -------------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The lectures in the folder, in alphabetical order."""
    return sorted(file.stem for file in settings.folders.lectures.glob("*.toml") if is_name(file.stem))


def load(name: str, pages: Collection[str]) -> Lecture:
    """The lecture of that name; `pages` are the addresses that a step may have.

    Raises:
        ConvscopeError: there is no such lecture, or its file cannot be read or understood; then the message names the
            line.
    """
    if name not in names():
        raise ConvscopeError(f"There is no lecture {name[:60]!r}: choose one on the page Home.")
    file = settings.folders.lectures / f"{name}.toml"
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:  # another user's, a folder, a link to nothing, or deleted a moment ago
        reason = f"{file.name} cannot be read ({error.strerror or error})"
        raise ConvscopeError(f"{reason}: mend it, or take it out of the folder.") from error
    return parse(content, name, pages, file.name)


def parse(content: bytes, name: str, pages: Collection[str], source: str) -> Lecture:
    """The lecture that a file called `source` with this content (TOML) describes, under the name `name`.

    Raises:
        ConvscopeError: it cannot be understood; the message names the line.
    """
    if len(content) > MOST_BYTES:
        raise ConvscopeError(
            f"{source} is larger than {MOST_BYTES // 1000} kB: that is no lecture. Choose another file."
        )
    try:
        text = content.decode("utf-8-sig")
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConvscopeError(f"{source} is no TOML in UTF-8: {str(error)[:200]}. Mend it and open it again.") from error
    return _Reader(text, source, pages).lecture(name, values)


@dataclass(frozen=True)
class _Reader:
    text: str
    source: str
    pages: Collection[str]

    def lecture(self, name: str, values: dict[str, object]) -> Lecture:
        self.refuse_others(values, ("title", "description", "minutes", "steps"), 0)
        steps, minutes = values.get("steps"), values.get("minutes", 10)
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps) or not steps:
            raise self.error("a lecture needs steps: write each as a table [[steps]]", "steps")
        if len(steps) > MOST_STEPS:
            raise self.error(f"a lecture has at most {MOST_STEPS} steps, not {len(steps)}: split it", "steps")
        if not isinstance(minutes, int) or isinstance(minutes, bool) or not 1 <= minutes <= MOST_MINUTES:
            raise self.error(f"write minutes as a whole number from 1 to {MOST_MINUTES}", "minutes")
        title = self.string(values, "title", required=True)
        read = tuple(self.step(step, number) for number, step in enumerate(steps, start=1))
        return Lecture(name, title, self.string(values, "description"), minutes, read)

    def step(self, values: dict[str, object], number: int) -> Step:
        self.refuse_others(values, tuple(Step.__annotations__), number)
        texts = {key: self.string(values, key, number, key in REQUIRED) for key in Step.__annotations__}
        return Step(self.link(texts.pop("link"), number), **texts)

    def string(self, values: dict[str, object], key: str, number: int = 0, required: bool = False) -> str:
        value = values.get(key, "")
        if not isinstance(value, str):
            raise self.error(f"write {key} as text in quotes", key, number)
        text = " ".join(value.split())
        if required and not text:
            raise self.error(f"{key} is missing: write one", key, number)
        if len(text) > LONGEST[key] or not is_printable(text):
            raise self.error(f"{key} has at most {LONGEST[key]} characters, all of them printable", key, number)
        return text

    def link(self, text: str, number: int) -> Link:
        try:
            parts = urlsplit(text)
            values = tuple(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise self.error("the link is no address: copy one from the browser", "link", number) from None
        page = parts.path.strip("/").rpartition("/")[2] or HOME
        if page not in self.pages:
            offered = ", ".join(str(Link(page)) for page in self.pages)
            raise self.error(f"there is no page {page[:60]!r}: use one of {offered}", "link", number)
        if odd := [key for key, _ in values if not re.fullmatch(r"[a-z][a-z0-9_]*", key)]:
            raise self.error(f"{odd[0][:60]!r} cannot be a setting of a page: leave it out", "link", number)
        return Link(page, tuple((key, value) for key, value in values if key not in ("lecture", "step")))

    def refuse_others(self, values: dict[str, object], known: Collection[str], number: int) -> None:
        for key in values:
            if key not in known:
                raise self.error(f"{key[:60]!r} is no part of it: use {', '.join(known)}", key, number)

    def error(self, reason: str, key: str, number: int = 0) -> ConvscopeError:
        where = f"{self.source}, line {self.line(key, number)}" + (f" (step {number})" if number else "")
        return ConvscopeError(f"{where}: {reason}.")

    def line(self, key: str, number: int) -> int:
        """Where `key` is set in step `number` (0: above all steps), or else where that begins."""
        lines = self.text.splitlines()
        heads = [0, *(n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*steps\s*\]\]", line)), len(lines)]
        begin, end = heads[min(number, len(heads) - 1)], heads[min(number + 1, len(heads) - 1)]
        pattern = re.compile(rf"""\s*(\[\[\s*)?["']?{re.escape(key)}["']?\s*(=|\]\])""")
        return 1 + next((n for n in range(begin, end) if pattern.match(lines[n])), begin)


# Writing -------------------------------------------------------------------------------------------------------


def to_toml(lecture: Lecture) -> str:
    """The text that `parse` reads as `lecture`."""
    head = _settings({"title": lecture.title, "description": lecture.description}, [f"minutes = {lecture.minutes}"])
    return "\n\n".join([head, *(f"[[steps]]\n{_settings(vars(step))}" for step in lecture.steps)]) + "\n"


def _settings(values: dict[str, object], more: Iterable[str] = ()) -> str:
    return "\n".join(
        [
            *(f"{key} = {json.dumps(str(value), ensure_ascii=False)}" for key, value in values.items() if str(value)),
            *more,
        ]
    )
