"""The strip of a lecture above each page, and a reader's own lecture below it.

The address says which lecture is open, at which step (`?lecture=report-0&step=3`). A reader may leave the path, look
at anything and come back with one key; the strip stays. Nothing of a lecture is taken as HTML or Markdown.
"""

import html
from dataclasses import dataclass, replace
from typing import NoReturn

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from engine import lectures
from engine.errors import ConvscopeError
from engine.lectures import Lecture, Link, Step, worksheet
from engine.lectures.figures import NOT_THERE
from pages import directory
from pages.accuracy import on_paper as accuracy
from pages.common import controls, downloads, layout, texts, visitors
from pages.common.controls import Address
from pages.common.lectures import LECTURE, OWN, PAGES, STEP, address, filled, find, keep, own
from pages.learning_curves import on_paper as learning_curves
from pages.network import on_paper as network

PLACES = (LECTURE, STEP)
NOT_OF_A_VIEW = (*PLACES, layout.PRESENT, visitors.RIGHT)
"""Of an address what a kept view leaves out; the right to a run is its owner's alone."""
PLACE, ANSWERED, NOTICE, SENTENCE, UPLOAD = "_lecture", "_answered", "_notice", "_sentence", "_lecture_file"
REPLACED, REFUSAL = "_replaced_lecture", "_refused_view"
"""In the session: the lecture of one's own whose place the one that was opened last has taken; why the view was not
kept."""
AGAIN = "Back to this step as it was"
STYLE = """<style>
.st-key-lecture { border-left: 4px solid #0072B2; padding: 0.1rem 0.6rem; background: rgba(0, 114, 178, 0.08); }
.st-key-lecture p { margin: 0; font-size: 0.95rem; line-height: 1.3; }
.st-key-lecture button { min-height: 0; padding: 0.1rem 0.5rem; }
.st-key-lecture a { border: 1px solid rgba(128, 128, 128, 0.5); border-radius: 0.5rem; padding: 0.1rem 0.6rem; }
@media (max-width: 999px) { .st-key-lecture [data-testid=stColumn] { min-width: 100%; } }
@media (min-width: 1000px) {
  .st-key-lecture [data-testid=stColumn] { flex: 1 1 0; width: 0; min-width: 0; }
  .st-key-lecture [data-testid=stColumn]:last-child { flex: none; width: auto; }
}
[data-testid=stMainBlockContainer] { --strip: calc(var(--lecture-height, 5rem) + 0.6rem); }
</style>"""
"""The keys take the room that they need, the text the rest; the stage is as much lower as the strip is high."""
FOLLOW = """export default ({ data }) => {
  const strip = document.querySelector(".st-key-lecture");
  window.convscopeStrip ??= new ResizeObserver(([{ target }]) =>
    document.documentElement.style.setProperty("--lecture-height", `${target.offsetHeight}px`));
  window.convscopeStrip.disconnect();
  if (strip) window.convscopeStrip.observe(strip);
  strip?.querySelector("[data-testid=stHtml]")?.setAttribute("role", "status");
  window.convscopePlace = data;
  if (window.convscopeKeys) return;
  window.convscopeKeys = true;
  const step = address => new URL(address).searchParams.get("step");
  let wanted = 0, patience = 0, goal = 0;
  const wait = (from, tries) => {
    if (location.href === from && tries > 0) setTimeout(wait, 50, from, tries - 1);
    else goal = 0;
  };
  const want = way => {
    const { number, steps } = window.convscopePlace;
    const last = (goal || Number(step(location.href)) || number) + wanted + way;
    if (1 <= last && last <= steps) wanted += way;
  };
  const follow = () => {
    if (!wanted) return;
    const link = document.querySelector(`.st-key-lecture_${wanted > 0 ? "PageDown" : "PageUp"} a[href]`);
    if (link && !goal && step(link.href) !== step(location.href)) {
      goal = Number(step(link.href));
      wait(location.href, 200);
      link.click();
      wanted -= Math.sign(wanted);
    }
    patience -= link || goal ? 1 : 4;
    if (patience < 0) wanted = 0;
    setTimeout(follow, 50);
  };
  addEventListener("keydown", event => {
    const isOpen = document.querySelector(".st-key-lecture") || step(location.href);
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const writes = event.target.closest?.("textarea, input[type=text]:not([role=combobox])");
    if (writes || document.querySelector("[role=listbox]")) return;
    if (["PageUp", "PageDown"].includes(event.key) && isOpen) {
      event.preventDefault();
      if (event.repeat) return;
      const isIdle = !wanted;
      want(event.key === "PageDown" ? 1 : -1);
      patience = 200;
      if (isIdle) follow();
    }
  });
};"""
_keys = st.components.v2.component("convscope_lecture_keys", js=FOLLOW)
"""Follows the links to the steps by key, one at a time, as many as were asked for, but none beyond the first or last
step. A link that leads to where the browser is, or is on its way to, is an old one: it waits for the next one. Where
there is none, it waits for some seconds: between two pages there is no strip.

It also tells the style how high the strip is, whose text and answer may be long, and screen readers that its text
changes.
"""


@dataclass(frozen=True)
class Place:
    """Where the reader is: a lecture's name, the number of a step, and whether the lecture is open at present."""

    name: str
    number: int
    is_open: bool = True


def draw() -> None:
    """The strip, if a lecture is open; call it before any control is drawn."""
    place = _place()
    if place is None:
        return
    try:
        lecture = find(place.name)
    except ConvscopeError:
        _close(None)
        raise
    if not 1 <= place.number <= len(lecture.steps):
        asked = st.query_params.get(STEP, "")[:20]
        st.session_state[NOTICE] = (
            f"The link asks for step {asked!r}, but there are 1 to {len(lecture.steps)}: step 1 is shown."
        )
        place = replace(place, number=1)
    page, said = st.session_state[controls.ADDRESS]
    own_view = lecture.steps[place.number - 1].link
    is_elsewhere = own_view.values or own_view.page != page
    is_bare = PLACE not in st.session_state and not set(said) - {*PLACES, layout.PRESENT}
    st.session_state[PLACE] = place
    if is_bare and is_elsewhere:  # an address that says no more than this means the step's own view
        _go_to(lecture, place.number)
    if place.is_open:
        _write_address(place)
        _draw_strip(lecture, place)


def meant(said: Address) -> Address:
    """The address of the step that an address names, without what the browser has added; itself if there is none."""
    try:
        lecture, number = find(said[LECTURE][-1]), int(said[STEP][-1])
        values = address(lecture, number) if 1 <= number <= len(lecture.steps) else []
    except (ConvscopeError, LookupError, ValueError):
        values = []
    if not values:
        return said
    present = [(layout.PRESENT, value) for value in said.get(layout.PRESENT, ())]
    return controls.by_key([*present, *values])


def _place() -> Place | None:
    """What the address says, or else where the session was."""
    controls.bound(LECTURE)
    controls.bound(STEP)
    went_back = st.session_state.pop(controls.BACK, False)
    if LECTURE not in st.query_params:
        if went_back:  # to before the lecture
            st.session_state.pop(PLACE, None)
        return st.session_state.get(PLACE)
    asked = st.query_params.get(STEP, "1")
    return Place(st.query_params[LECTURE], int(asked) if asked.isdecimal() and len(asked) < 5 else 0)


def _write_address(place: Place) -> None:
    said = {LECTURE: place.name, STEP: str(place.number)}
    if any(st.query_params.get(key) != value for key, value in said.items()):
        st.query_params.update(said)


def _close(left: Place | None) -> None:
    st.session_state[PLACE] = left
    for key in (LECTURE, STEP):
        st.query_params.pop(key, None)


def _go_to(lecture: Lecture, number: int) -> NoReturn:
    st.session_state[PLACE] = Place(lecture.name, number)
    controls.go_to(*_address(lecture, number))


def _address(lecture: Lecture, number: int) -> tuple[str, list[tuple[str, str]]]:
    """The file of a step's page, and the values of its address."""
    present = [(layout.PRESENT, "true")] if layout.is_presenting() else []
    return directory.page(lecture.steps[number - 1].link.page).file, [*present, *address(lecture, number)]


def _draw_strip(lecture: Lecture, place: Place) -> None:
    st.html(STYLE)
    if notice := st.session_state.pop(NOTICE, None):
        controls.notice(notice)
    number = place.number
    with st.container(key="lecture"):
        said, keys = st.columns([2.2, 1], gap="small", vertical_alignment="center")
        said.html(_in_html(lecture, number, st.session_state.get(ANSWERED) == place))
        with keys.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
            _link(lecture, number - 1, "Back", "PageUp")
            _link(lecture, number + 1, "Next", "PageDown")
            if lecture.steps[number - 1].answer:
                st.button("Answer", shortcut="A", key="lecture_answer", on_click=_toggle_answer, args=(place,))
            label = f"↺ {texts.unseen(AGAIN)}"
            again = st.button(label, shortcut="B", key="lecture_back", help=AGAIN)
            st.button("Leave", key="lecture_leave", on_click=_close, args=(replace(place, is_open=False),))
            _keys(key="lecture_keys", height="content", data={"number": number, "steps": len(lecture.steps)})
    if again:
        _go_to(lecture, number)


def _link(lecture: Lecture, number: int, label: str, key: str) -> None:
    """A link to a step, if there is one, which the key follows too."""
    if 1 <= number <= len(lecture.steps):
        file, values = _address(lecture, number)
        with st.container(key=f"lecture_{key}", width="content"):
            st.page_link(file, label=label, help=key, query_params=values)


def _toggle_answer(place: Place) -> None:
    st.session_state[ANSWERED] = None if st.session_state.get(ANSWERED) == place else place


def _in_html(lecture: Lecture, number: int, with_answer: bool) -> str:
    step = lecture.steps[number - 1]
    head = f"{lecture.title} · {number} of {len(lecture.steps)}"
    lines = [[(head, step.sentence)], [("?", step.question), ("Look at:", step.look)]]
    lines += [[("Answer:", step.answer)]] if with_answer else []
    bold = "<b>{}</b> {}".format
    said = [[bold(html.escape(head), html.escape(filled(text))) for head, text in line if text] for line in lines]
    return "".join(f"<p>{' '.join(line)}</p>" for line in said)


# A lecture of one's own ----------------------------------------------------------------------------------------


def draw_own(page: str) -> None:
    """The button that keeps the present view, and what a reader may do with a lecture; call it below the page."""
    place: Place | None = st.session_state.get(PLACE)
    if place and not place.is_open and st.button("Back to the lecture", shortcut="B", key="lecture_reopen"):
        _go_to(find(place.name), place.number)
    lecture = own()
    with st.popover(f"Your lecture ({len(lecture.steps)})" if lecture else "Your lecture", key="own_lecture"):
        st.text_input("What is to be seen here", key=SENTENCE, max_chars=lectures.LONGEST["sentence"])
        st.button("Keep this view", key="lecture_keep", on_click=_keep_view, args=(page,))
        if refusal := st.session_state.pop(REFUSAL, None):
            st.error(texts.plain(refusal), icon="⚠️")
        with texts.readable_errors():
            _open_file(st.file_uploader("Open a lecture (TOML)", "toml", key=UPLOAD))
        if replaced := st.session_state.get(REPLACED):
            st.button(
                f"Bring back what stood here before ({steps_of(replaced)})", on_click=_bring_back, key="bring_back"
            )
        _offer_files(lecture, "own")
        if lecture and st.button("Begin your lecture", key="lecture_begin"):
            _forget_own()
            _go_to(lecture, 1)
        if place and place.is_open and place.name != OWN:
            _offer_files(find(place.name), "open")


def _keep_view(page: str) -> None:
    keys = [key for key in st.query_params if controls.is_known(key) and key not in NOT_OF_A_VIEW]
    link = Link(page, tuple((key, value) for key in keys for value in st.query_params.get_all(key)))
    sentence = st.session_state[SENTENCE].strip() or directory.page(page).title
    lecture = own() or Lecture(OWN, "Your lecture", "", 10, ())
    kept = replace(lecture, steps=(*lecture.steps, Step(link, sentence)))
    try:
        keep(lectures.parse(lectures.to_toml(kept).encode(), OWN, PAGES, "Your lecture"))
        st.session_state[SENTENCE] = ""
    except ConvscopeError as error:  # what a callback draws stands at the top of the page, far from its button
        st.session_state[REFUSAL] = str(error)


def _open_file(file: UploadedFile | None) -> None:
    if file is not None and st.session_state.get("_opened") != file.file_id:
        opened = lectures.parse(file.getvalue(), OWN, PAGES, file.name[:60])
        st.session_state[REPLACED] = own()
        keep(opened)
        _forget_own()
        st.session_state["_opened"] = file.file_id
        st.rerun()


def _bring_back() -> None:
    """Exchange the lecture that was opened for the one whose place it took."""
    replaced, st.session_state[REPLACED] = st.session_state[REPLACED], own()
    keep(replaced)
    _forget_own()


def _forget_own() -> None:
    """Forget the place and the answer that were looked at in the last lecture of one's own: they are not the new one's.

    If it is open, it is left.
    """
    if (place := st.session_state.get(PLACE)) and place.name == OWN:
        _close(None)
    if (answered := st.session_state.get(ANSWERED)) and answered.name == OWN:
        st.session_state[ANSWERED] = None


def steps_of(lecture: Lecture) -> str:
    """How many it has, in words."""
    return "1 step" if len(lecture.steps) == 1 else f"{len(lecture.steps)} steps"


def _offer_files(lecture: Lecture | None, key: str) -> None:
    if lecture is None:
        return
    st.caption(f"{texts.plain(lecture.title)}: {steps_of(lecture)}")
    with st.container(horizontal=True):
        for label, content, name, mime in (
            ("TOML", lambda: lectures.to_toml(lecture), f"{lecture.name}.toml", "text/plain"),
            ("Worksheet", lambda: worksheet.to_html(lecture, False, charts_of), f"{lecture.name}.html", "text/html"),
            (
                "With answers",
                lambda: worksheet.to_html(lecture, True, charts_of),
                f"{lecture.name}-answers.html",
                "text/html",
            ),
        ):
            st.download_button(label, content, name, mime, on_click="ignore", key=f"{key}-{name}")


CHARTS = {
    "accuracy": accuracy.charts_of,
    "learning_curves": learning_curves.charts_of,
    "network": network.charts_of,
}
"""Pages that are charts or drawings first of all, and what makes them from an address."""


def charts_of(link: Link) -> list[tuple[str, str]]:
    """The captions and SVGs of a view's charts, or why one is missing (`worksheet.Charts`).

    Nothing for other pages, or if the link asks for what there is not.
    """
    said = controls.by_key(link.values)
    try:
        drawn = list(CHARTS[link.page](said)) if link.page in CHARTS else []
        return [(words, one if isinstance(one, str) else downloads.svg_of(one)) for words, one in drawn]
    except NOT_THERE:
        return []
