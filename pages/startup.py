"""What the server does before anybody comes, and what each run of a page begins with."""

import atexit
import ctypes
import functools
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from engine.errors import ConvscopeError
from engine.training.memory import OUT_OF_MEMORY, is_out_of_memory
from pages import directory

STYLE = """<style>
html { font-size: clamp(15px, 8px + 0.625vw, 28px) !important; }
[data-testid=stHeader] { height: 2.75rem; min-height: 0; }
[data-testid=stMainBlockContainer] { padding: 2.7rem 1.5rem 1rem; --above: 10rem; }
[data-testid=stMainBlockContainer] [data-testid=stVerticalBlock] { gap: 0.6rem; }
@media (min-width: 768px) { [data-testid=stSidebar][data-collapsed=false] { min-width: 17rem !important; } }
[data-testid=stSidebarHeader] { height: 2.5rem; margin: 0; position: sticky; top: 0; z-index: 1; }
[data-testid=stSidebarContent], [data-testid=stSidebarHeader] { background: inherit; }
[data-testid=stSidebarCollapseButton], [data-testid=stSidebarCollapseButton] button { visibility: visible !important; }
[data-testid=stSidebarUserContent] { padding-bottom: 1rem; }
[data-testid=stSidebar][data-collapsed=true] [data-testid=stSidebarContent] { display: none; }
[data-testid=stSidebar] [data-testid=stVerticalBlock] { gap: 0.6rem; }
[data-testid=stMain] :is(h1, h2) {
  font-size: 1rem; font-weight: 600; letter-spacing: 0; padding: 0; margin-bottom: 1rem;
}
[data-testid=stMain] [data-testid=stHeaderActionElements] { display: none; }
[data-testid=stImage] img { image-rendering: pixelated; border-radius: 4px; }
:has(> [class*=st-key-unused_]), .st-key-presenting .st-key-present { display: none; }
[data-testid=stSidebar]:not(:has([class*=st-key-used_], [data-testid=stSidebarNav])) { display: none; }
[class*=st-key-stage_] {
  --room: max(100vh - var(--above) - var(--slider, 0rem) - var(--strip, 0rem), 18rem);
  --height: min(var(--room), 110vw);
}
[class*=st-key-stage_2] { --height: min(var(--room) / 2, 110vw); --caption: 1.9rem; }
[class*=st-key-stage_3] { --height: min(var(--room) / 3, 110vw); --caption: 1rem; }
.st-key-stage_gains { --caption: 0rem; }
.st-key-under_a_slider { --slider: 5.5rem; }
.st-key-stage_2_below { --lowest: 19rem; }
.st-key-stage_2_below_high { --lowest: 26rem; }
.st-key-stage_2_lines_2 { --caption: 2.7rem; }
@media (max-width: 640px) { [class*=st-key-stage_] { --height: min(var(--room), 110vw); } }
[class*=st-key-stage_] [data-testid=stImage] img {
  max-height: calc(var(--height) - var(--caption, 0rem));
  object-fit: contain;
}
@media (max-width: 640px) { [class*=st-key-touch-image] [data-testid=stImage] img { max-height: 45vw; } }
[class*=st-key-stage_] [data-testid=stElementContainer]:not([class*=st-key-grid]):has([data-testid=stVegaLiteChart]) {
  height: max(var(--height) - var(--caption, 0rem), var(--lowest, 0rem));
}
@media (max-height: 500px) { [class*=st-key-stage_] { --lowest: 20rem; } }
@media (max-width: 640px) { [data-testid=stTable] :is(td, th) { padding: 0.3rem 0.25rem; font-size: 0.8rem; } }
@media (min-width: 641px) and (max-width: 900px) {
  [data-testid=stMain] [data-testid=stColumn]:has([data-testid=stVegaLiteChart]) { min-width: 100%; }
}
.st-key-controls_row [data-testid=stButtonGroup] button { padding: 0 0.6rem; }
.st-key-controls_row .st-key-options { flex: 1 1 12rem; min-width: 0; max-width: max-content; }
.st-key-options button { min-height: 2rem; padding: 0 0.6rem; }
.st-key-options button :is(div, p) { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
[data-testid=stHeader] [data-testid=stTopNav] { padding: 0 0.5rem; }
[data-testid=stTopNavLink] { padding: 0 0.15rem; }
[data-testid=stTopNavLink]:focus-visible { outline: 2px solid light-dark(#0072B2, #56B4E9); }
[data-testid=stToolbar] > div > :last-child { flex: none; padding-left: 8rem; }
[data-testid=stStatusWidget] { position: fixed; bottom: 0.4rem; right: 1rem; }
[data-testid=stStatusWidget]:has([data-testid=stStatusWidgetRunningIcon]) button { display: none; }
:has(> .st-key-presenting) { position: absolute; }
.st-key-presenting { position: fixed; top: 0.35rem; right: 3rem; width: auto; z-index: 999991; }
.st-key-presenting button { min-height: 0; padding: 0.1rem 0.4rem; }
button .stMarkdownColoredText { position: absolute; clip-path: inset(50%); width: 1px; overflow: hidden; }
[data-testid=stElementContainer]:has(> [data-testid=stHtml] > .announced) {
  position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; white-space: nowrap;
}
.st-key-share [data-testid=stIconMaterial] { display: none; }
[data-testid=stPopoverBody]:has(.st-key-share_menu) { width: min(44rem, 96vw); }
.st-key-share_menu pre code { font-size: 0.8rem; }
.st-key-share_menu [data-testid=stDownloadButton] button { min-height: 0; padding: 0.1rem 0.6rem; }
@media (max-width: 640px) {
  body:has([data-testid=stSidebar][data-collapsed=false]) .st-key-presenting { display: none; }
}
[data-testid=stElementToolbar] { top: 0.2rem !important; right: 0.2rem !important; }
[data-testid=stCaptionContainer] { opacity: 0.72; }
[data-testid=stElementToolbar]:focus-within { opacity: 1 !important; }
[class*=st-key-card_] [data-testid=stElementToolbar] { display: none; }
@media (hover: none) { [data-testid=stDataFrame] [data-testid=stElementToolbar] { display: none; } }
[class*=st-key-touch-] { position: relative; }
[class*=st-key-touch-] [data-testid=stElementToolbar] { display: none; }
[class*=st-key-touch-] img { cursor: pointer; }
[class*=st-key-cells-] { position: absolute !important; inset: 0; pointer-events: none; }
</style>"""
"""Type that grows with the screen, little padding, and pictures that stay crisp when the browser enlarges them."""


DARK = """<style>
[data-testid=stBaseButton-primary]:enabled, [data-testid=stMultiSelect] [data-tag] :is(span, button) { color: black; }
</style>"""
"""Black letters on the light blue of a dark page: white ones had a contrast of 2.3 to 1."""


_FIRST_OF_GROUPS = [1 + [entry.group for entry in directory.PAGES].index(group) for group in directory.GROUPS]
_GROUPS = "".join(
    f"<style>[data-testid=stTopNav] > :nth-child({1 + place}) {{ border-left: 1px solid #8888; }}</style>"
    for place in _FIRST_OF_GROUPS
)
"""A line in the navigation before each group of pages; Home comes first."""


M_ARENA_MAX = -8
"""What `malloc.h` calls the option."""
TRIM_EVERY, WORTH_A_TRIM = 5.0, 0.2
"""Seconds between two looks at freed memory, which takes some 10 ms; and seconds of computing that free any."""

IMPORTS = threading.Lock()
"""Held while modules are imported: two threads that import modules which import each other see half of them."""


def warm_up() -> threading.Thread:
    """Load in the background what the first visitor needs; whoever comes earlier waits for nothing else.

    Call it before other threads need memory.

    An error is logged: the page that needs the same thing says it in its own words.
    """
    _keep_little_memory()
    thread = threading.Thread(target=_warm_up, name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up() -> None:
    try:
        with IMPORTS, _no_garbage_collection():  # takes seconds: PyTorch, and all that a first page needs
            from pages import lecture  # noqa: F401
            from pages.common import selection

        selection.load_what_is_shown_first()
        exempt_modules()
    except ConvscopeError as error:
        logging.getLogger(__name__).warning("Warming up has failed; the app goes on. %s", error)
    except Exception:
        logging.getLogger(__name__).exception("Warming up has failed; the app goes on.")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Look for no garbage while modules are imported, and exempt them all: they stay, and make hardly any.

    Python would look through all of PyTorch's objects several times on the way: a fifth of the time that it takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _keep_little_memory() -> None:
    """Let the threads of all visitors share two arenas of memory, and hand back to the system what they have freed.

    glibc gives up to eight arenas for each core, and what a thread has freed stays in its arena: thirty visitors held
    180 MB in eight, and up to 300 in two, that nobody used. `mallopt` and `malloc_trim` in Linux's manual pages; where
    there is no glibc, nothing is to be done.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
        library.mallopt(M_ARENA_MAX, 2)
        threading.Thread(target=_trim, args=(library.malloc_trim,), name="trim", daemon=True).start()


def _trim(trim: Callable[[int], int]) -> None:
    computed = 0.0
    while True:
        time.sleep(TRIM_EVERY)
        if time.process_time() > computed + WORTH_A_TRIM:
            trim(0)
            computed = time.process_time()


def show_error(error: Exception) -> bool:
    """Show a `ConvscopeError` of a callback or fragment, or a lack of memory, as a sentence; whether that was done."""
    lacks_memory = is_out_of_memory(error)
    if not (lacks_memory or isinstance(error, ConvscopeError)):
        return False
    from pages.common import texts

    st.error(OUT_OF_MEMORY if lacks_memory else texts.plain(error), icon="⚠️")
    return True


def use_the_whole_screen() -> None:
    """Put the style on the page; call it in every run."""
    st.html(STYLE + _GROUPS + (DARK if st.context.theme.type == "dark" else ""))


# The browser's history -----------------------------------------------------------------------------------------

ONE_ENTRY = """export default () => {
  if (window.convscopeHistory) return;
  window.convscopeHistory = true;
  const push = history.pushState.bind(history);
  let acted = false;
  const note = () => { acted = true; };
  ["pointerdown", "keydown", "click", "input"].forEach(kind => addEventListener(kind, note, true));
  addEventListener("popstate", () => { acted = false; }, true);
  addEventListener("click", event => {
    if (event.detail > 1 && event.target.closest?.("[data-testid=stPageLink]")) {
      event.preventDefault();
      event.stopPropagation();
    }
  }, true);
  history.pushState = (...entry) => {
    if (acted) push(...entry);
    else history.replaceState(...entry);
    acted = false;
  };
};"""
_one_entry = st.components.v2.component("convscope_history", js=ONE_ENTRY)


def keep_one_entry_of_each_act() -> None:
    """Let a link or a click in a picture have one entry in the browser's history; call it in every run.

    A control has none: its value replaces the one in its page's entry, so Back leads to the page before, as it was
    left. Without this Streamlit adds an entry whenever the server changes the address: where a page is left, first one
    without the page's own keys, and behind it one for each key that the next page puts into its address. Back then
    leads to views that nobody chose.

    A double click follows a link once: with its second click the browser would send the values that the controls had
    before the first one.
    """
    with st.container(key="unused_history"):
        _one_entry(key="history")


# The page's keys -----------------------------------------------------------------------------------------------

LETTERS_FOR_THE_PAGE = """export default () => {
  if (window.convscopeLetters) return;
  window.convscopeLetters = true;
  addEventListener("keydown", event => {
    const takesNoText = event.target.matches?.("input:is([type=range], [type=checkbox], [type=radio])");
    if (!takesNoText || !/^[a-z]$/i.test(event.key)) return;
    event.stopImmediatePropagation();
    document.body.dispatchEvent(new KeyboardEvent("keydown", event));
  }, true);
};"""
_letters_for_the_page = st.components.v2.component("convscope_letters", js=LETTERS_FOR_THE_PAGE)


def let_shortcuts_work_on_sliders() -> None:
    """Let a letter that is pressed on a slider or a switch reach the page; call it in every run.

    Whoever has clicked one has left the focus on it, and Streamlit hears no shortcut while any input has the focus. The
    focus stays where it is, for the arrow keys that move a slider on.
    """
    with st.container(key="unused_letters"):
        _letters_for_the_page(key="letters")


# The focus -----------------------------------------------------------------------------------------------------

FOCUS = r"""export default () => {
  if (window.convscopeFocus) return;
  window.convscopeFocus = true;
  const takesFocus = "input, button, a[href], [tabindex='0']";
  const isReady = element => element.matches(takesFocus) && !element.disabled && element.checkVisibility();
  const first = root => {
    for (const element of root?.querySelectorAll("*") ?? []) {
      const found = isReady(element) ? element : first(element.shadowRoot);
      if (found) return found;
    }
  };
  const enter = tries => {
    const found = first(document.querySelector("[data-testid=stPopoverBody]"));
    if (found) found.focus();
    else if (tries > 0) setTimeout(enter, 50, tries - 1);
  };
  addEventListener("click", event => {
    const isByKey = event.detail === 0;
    const opens = event.target.closest?.("[data-testid=stPopoverButton][aria-expanded=false]");
    if (isByKey && opens) setTimeout(enter, 150, 20);
  }, true);
  const inPlaceOf = {
    start: ["stop"], stop: ["start", "again"], again: ["stop"], pause: ["resume"], resume: ["pause"],
  };
  const successors = button => {
    if (button.closest("[data-testid=stSidebarCollapseButton]")) return "[data-testid=stExpandSidebarButton]";
    if (button.matches("[data-testid=stExpandSidebarButton]")) return "[data-testid=stSidebarCollapseButton] button";
    const [, name, act] = button.closest("[class*=st-key-]")?.className.match(/st-key-(\S+)_([a-z]+)(?=\s|$)/) ?? [];
    return inPlaceOf[act]?.concat(act).map(next => `.st-key-${name}_${next} button`).join();
  };
  const watch = (button, next, tries) => {
    if (document.activeElement === button) setTimeout(watch, 100, button, next, 100);
    else if (!button.isConnected && document.activeElement === document.body && tries > 0) {
      document.querySelector(next)?.focus();
      setTimeout(watch, 100, button, next, tries - 1);
    }
  };
  addEventListener("focusin", event => {
    const next = successors(event.target);
    if (next) watch(event.target, next, 100);
  });
  let closes = false;
  addEventListener("pointerdown", event => {
    const isOver = innerWidth < 768 && document.querySelector("[data-testid=stSidebar][data-collapsed=false]");
    closes = Boolean(isOver && event.target.closest?.("[data-testid=stMain]"));
  }, true);
  addEventListener("click", event => {
    if (!closes) return;
    closes = false;
    event.preventDefault();
    event.stopPropagation();
  }, true);
};"""
_focus = st.components.v2.component("convscope_focus", js=FOCUS)


def lead_the_focus() -> None:
    """Lead the focus to where a reader goes on; call it in every run.

    Into a popover that a key has opened: its body stands at the end of the document, behind the rest of the page. From
    a button that vanishes to the one that comes in its place: from Start to Stop, and back. And to nothing by a tap
    beside the sidebar that lies over a phone's page: it closes the sidebar, and does no more.
    """
    with st.container(key="unused_focus"):
        _focus(key="focus")


# Garbage -------------------------------------------------------------------------------------------------------


def exempt_modules() -> None:
    """Exempt all objects that there are from garbage collection, if modules were loaded since the last call.

    After a rerun Streamlit looks through all objects that could be garbage, so that arrays in reference cycles are
    freed at once. PyTorch's modules alone hold 400,000 such objects, and meanwhile no session of the server gets on. A
    loaded module stays: the collection then sees only newer objects (`gc.freeze` in Python's library reference).
    """
    _exempt(len(sys.modules))


@functools.cache
def _exempt(_modules: int) -> None:
    gc.collect()
    gc.freeze()


# At the end of the program modules are garbage after all, and PyTorch's complain if they are left over.
atexit.register(gc.unfreeze)
