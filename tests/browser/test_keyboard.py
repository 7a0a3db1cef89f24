"""A reader without a mouse: where the focus is, where it goes, and what it passes over."""

from collections.abc import Callable
from typing import Any

from tests.browser.conftest import IDLE


def test_a_key_leads_into_a_popover_and_escape_back_to_its_button(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/learning_curves", 1280, 720)
    options = page.get_by_role("button", name="Options")
    options.wait_for()
    page.wait_for_selector(IDLE)
    options.press("Enter")
    page.wait_for_function("() => document.activeElement.closest('[data-testid=stPopoverBody]')")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.matches('[data-testid=stPopoverButton]')")


def test_the_button_that_closes_the_sidebar_is_always_there(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/filters", 844, 390)
    close = page.get_by_role("button", name="Collapse sidebar")
    close.wait_for()
    page.get_by_test_id("stSidebarContent").evaluate("sidebar => sidebar.scrollTo(0, 1000)")
    close.press("Enter")
    page.wait_for_function("() => document.activeElement.matches('[data-testid=stExpandSidebarButton]')")


def test_the_focus_goes_from_start_to_stop_and_back(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/inversion?layer=conv4_x&steps=400", 1280, 720)
    page.get_by_text("What to look at").wait_for()
    page.wait_for_selector(IDLE)
    page.get_by_role("button", name="Start", exact=True).focus()
    for name in ("Stop", "Start"):
        page.keyboard.press("Enter")
        page.wait_for_function("name => document.activeElement.innerText === name", arg=name)
