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
