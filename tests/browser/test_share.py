"""What leaves the room: one menu at one place, and the link that it copies."""

from collections.abc import Callable
from typing import Any

from pages import directory
from tests.browser.conftest import IDLE


def test_the_menu_is_at_the_same_place_on_every_page_and_copies_the_address(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/network?checkpoint=lenet", 1280, 720)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    menu, places = page.get_by_role("button", name="Share", exact=True), set()
    for entry in (directory.HOME, *directory.PAGES):
        page.get_by_test_id("stTopNavLink").get_by_text(entry.title, exact=True).click()
        path = "" if entry is directory.HOME else entry.address
        page.wait_for_function("path => location.pathname.replaceAll('/', '') === path", arg=path)
        page.wait_for_selector(IDLE)
        assert page.title() == ("Convscope" if entry is directory.HOME else f"{entry.title} · Convscope")
        menu.click()
        page.get_by_role("button", name="Copy link").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == page.url
        places.add(tuple(menu.bounding_box().values()))
        page.keyboard.press("Escape")
    assert len(places) == 1


def test_a_slide_is_saved_and_the_link_is_copied_without_a_secure_page(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/filters?checkpoint=lenet&channel=7", 1280, 720)
    page.get_by_role("button", name="Share", exact=True).click()
    slide = page.get_by_role("button", name="Slide of Filters", exact=True)  # what a screen reader says
    assert slide.get_by_text("of Filters", exact=True).bounding_box()["width"] <= 1  # the eye sees "Slide"
    with page.expect_download() as saved:
        slide.click()
    assert saved.value.suggested_filename == "lenet-filters-slide.png"
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(document.getSelection()); })")
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("document.activeElement.shadowRoot.activeElement.textContent") == "Copied"


def test_the_code_is_that_of_the_step_on_the_screen(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/network?view=one+convolution&checkpoint=lenet&channel=0&row=3&column=4", 1280, 720)
    for column in (5, 6):
        page.get_by_role("button", name="Next position").click()
        page.get_by_role("spinbutton", name="Column").and_(page.locator(f"[value='{column}']")).wait_for()
    page.wait_for_selector(IDLE)
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_text("As code").click()
    page.locator(".st-key-share_menu pre").get_by_text("window_sum(done, 0, 3, 6)").wait_for()
