"""How a page lies on the screen: the picture first, what is seldom changed behind one button, and a view to present."""

from collections.abc import Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.common import controls, texts
from pages.common.controls import Option

PRESENT = "present"


def row() -> DeltaGenerator:
    """The row of those controls that are changed mid-sentence."""
    return st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="controls_row")


def options(controls_in_it: Mapping[str, Option]) -> DeltaGenerator:
    """The one place of a page for the controls that stay as they are while somebody speaks.

    Its button names what differs from the usual.

    Args:
        controls_in_it: by their keys.
    """
    return st.popover(" · ".join(["Options", *map(texts.plain, controls.differing(controls_in_it))]), key="options")


def stage(rows: int = 1, caption_lines: int = 1, all_named: bool = False) -> DeltaGenerator:
    """The place of the main pictures or charts, in so many rows; together they are as high as the screen has room.

    Charts in it take their height from it, if they are drawn with `height="stretch"`.

    Args:
        caption_lines: how many lines the captions of the upper of two rows have.
        all_named: whether the captions of the lower row are on the screen, too, while presenting: they say what it is.
    """
    return st.container(key=f"stage_{rows}_lines_{caption_lines}{'_all_named' if all_named else ''}")


def below(high: bool = False) -> DeltaGenerator:
    """The place of a chart below the main picture: half the room of the screen, or more if its letters need it.

    The chart takes its height from it, if it is drawn with `height="stretch"`.

    Args:
        high: whether the chart has a legend of several lines, or long names along its axis.
    """
    return st.container(key=f"stage_2_below{'_high' if high else ''}")


def present_switch() -> DeltaGenerator:
    """A button that hides all but the page and enlarges it; `present=true` in a link does the same.

    Returns:
        the place beside it.
    """
    with st.container(horizontal=True, gap="xsmall", key="presenting"):
        beside = st.container(width="content", key="beside_present")
        presenting = controls.switch("Present", PRESENT, True, "", usual=False)
        st.button("Leave" if presenting else "Present", on_click=_toggle, shortcut="P", key="present_button")
    if presenting:
        st.html(PRESENTING)
    return beside


def is_presenting() -> bool:
    """Whether the page has the whole screen, or is going to have it."""
    return controls.says(PRESENT) in (True, "true")


def _toggle() -> None:
    controls.put(PRESENT, not is_presenting())


PRESENTING = """<style>
html { font-size: clamp(16px, 8px + 0.75vw, 32px) !important; }
[data-testid=stSidebar], [data-testid=stHeader], [data-testid=stExpandSidebarButton] { display: none !important; }
[data-testid=stMainBlockContainer] { padding: 0.2rem 0.6rem 1rem; --above: 6.3rem; }
[data-testid=stMainBlockContainer] [data-testid=stVerticalBlock] { gap: 0.5rem; }
[data-testid=stMain]:not(:has(.st-key-lecture)) [class*=st-key-stage_2] { --caption: 1.1rem; }
[data-testid=stMain]:not(:has(.st-key-lecture)) [class*=st-key-stage_3] { --caption: 1.6rem; }
[data-testid=stMain]:not(:has(.st-key-lecture)) :is(.st-key-stage_2_lines_2, [class*=_all_named]) { --caption: 2.2rem; }
.st-key-controls_row { zoom: 0.85; }
@media (min-width: 1000px) {
  [data-testid=stMain]:not(:has(.st-key-lecture)) .st-key-bars {
    position: fixed; z-index: 1; top: 0.2rem; right: 11rem; width: 20%;
  }
  [data-testid=stMain] h1 { padding-right: 11rem; }
  [data-testid=stMainBlockContainer] { position: relative; }
  :has(> .st-key-presenting) { display: contents; }
  .st-key-presenting { position: absolute; top: calc(var(--strip, 0rem) + 0.2rem); right: 1rem; }
}
@media (max-width: 999px) { .st-key-presenting { top: auto; bottom: 0.5rem; right: 1rem; } }
.st-key-presenting { opacity: 0.35; }
.st-key-presenting:is(:hover, :focus-within) { opacity: 1; }
</style>"""
