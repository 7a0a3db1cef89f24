"""A link does the same whether a reader clicks it in the app or opens it as the first thing."""

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

from tests.browser.conftest import IDLE

COMPLETE = "() => [...document.querySelectorAll('[data-testid=stMain] img')].every(image => image.naturalWidth > 0)"


def seen(page: Any) -> tuple[str, list[str]]:
    """What a reader sees beside the sidebar, once it no longer changes: the words, and the pictures' bytes, hashed."""
    before, now = None, glance(page)
    while now != before or not now[0]:
        page.wait_for_timeout(1000)
        before, now = now, glance(page)
    return now


def glance(page: Any) -> tuple[str, list[str]]:
    """The same, of this moment."""
    page.wait_for_selector(IDLE)
    page.wait_for_function(COMPLETE)
    sources = page.locator("[data-testid=stMain] img").evaluate_all("images => images.map(image => image.src)")
    pictures = [
        source.encode() if source.startswith("data:") else page.request.get(source).body() for source in sources
    ]
    words = page.get_by_test_id("stMain").inner_text()
    if "/train" in page.url:  # it also says how long a training would take on this machine at this moment
        words = words.partition("\n")[0]
    return words, [hashlib.sha256(picture).hexdigest()[:12] for picture in pictures]


def wait_for_page(page: Any, path: str) -> None:
    """Until the address is that of a page."""
    page.wait_for_function("path => location.pathname.replaceAll('/', '') === path", arg=path.strip("/"))


def go_back_to(page: Any, path: str) -> None:
    """Press Back until the address is that of a page: one that puts more into its own address needs it twice."""
    for _ in range(3):
        page.go_back()
        page.wait_for_timeout(500)
        page.wait_for_selector(IDLE)
        if urlparse(page.url).path == path:
            return
    raise AssertionError(f"Back leads to {page.url}, not to {path}")


def click(page: Any, link: Any, open_page: Callable[..., Any]) -> tuple[str, tuple[str, list[str]]]:
    """Click a link: it must show what its address shows when opened cold; gives its path, and what it shows."""
    path, words = urlparse(link.locator("a").get_attribute("href")).path, link.inner_text()
    link.click()
    page.mouse.move(0, 0)  # off the pictures, which say what is under it
    wait_for_page(page, path)
    clicked = seen(page)
    cold = open_page(page.url)
    shown = seen(cold)
    for _ in range(5):  # what a job makes meanwhile reaches one of the two pages first
        if shown == clicked:
            break
        page.wait_for_timeout(2000)
        clicked, shown = seen(page), seen(cold)
    assert shown == clicked, words
    cold.close()
    return path, clicked


def test_every_link_on_home_shows_what_its_address_shows(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(server)
    page.get_by_text("Lectures, and views to begin with").wait_for()
    home = seen(page)
    links = page.get_by_test_id("stMain").get_by_test_id("stPageLink")
    assert links.count() > 10
    for number in range(links.count()):
        path, clicked = click(page, links.nth(number), open_page)
        address = page.url
        go_back_to(page, "/")
        assert seen(page) == home, path
        if number % 4 == 2:
            page.go_forward()
            wait_for_page(page, path)
            if page.url == address:
                assert seen(page) == clicked, path
            go_back_to(page, "/")


def test_an_image_of_the_accuracy_page_opens_on_other_pages(server: str, open_page: Callable[..., Any]) -> None:
    for number in range(3):
        page = open_page(f"{server}/accuracy?checkpoint=lenet&view=Mistakes&class=cat&number=5&bn=false")
        links = page.get_by_test_id("stMain").get_by_test_id("stPageLink")
        links.nth(2).wait_for()
        page.wait_for_selector(IDLE)
        assert links.count() == 3
        click(page, links.nth(number), open_page)
        page.close()
