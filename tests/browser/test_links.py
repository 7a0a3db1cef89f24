"""A link does the same whether a reader clicks it in the app or opens it as the first thing."""

import difflib
import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

from tests.browser.conftest import IDLE

Sight = tuple[list[str], list[str]]
"""Lines of text, and pictures."""
COMPLETE = """() => !document.querySelector('[data-testid=stSkeleton]') &&
  [...document.querySelectorAll('[data-testid=stMain] img')].every(image => image.naturalWidth > 0)"""


def seen(page: Any) -> Sight:
    """What a reader sees beside the sidebar, once it no longer changes: words, and pictures by their content."""
    before, now = None, glance(page)
    while now != before or not any(now[0]):
        page.wait_for_timeout(300)
        before, now = now, glance(page)
    return now


def glance(page: Any) -> Sight:
    """The same, of this moment."""
    page.bring_to_front()  # behind another one a browser draws nothing new
    page.wait_for_selector(IDLE)
    page.wait_for_function(COMPLETE)
    sources = page.locator("[data-testid=stMain] img").evaluate_all("images => images.map(image => image.src)")
    words = page.get_by_test_id("stMain").inner_text()
    if "/train" in page.url:  # it also says how long a training would take on this machine at this moment
        words = words.partition("\n")[0]
    return words.split("\n"), [content(source) for source in sources]


def content(source: str) -> str:
    """What tells a picture from others: the server names a file after its content."""
    is_file = urlparse(source).path.startswith("/media/")
    return source if is_file else hashlib.sha256(source.encode()).hexdigest()[:12]


def assert_seen(page: Any, expected: Sight, what: str) -> None:
    """The page comes to show this, and goes on showing it."""
    for _ in range(40):
        if glance(page) == expected:
            break
        page.wait_for_timeout(250)
    lines, pictures = seen(page)
    assert [line for line in difflib.ndiff(expected[0], lines) if line[0] != " "] == [], what
    assert pictures == expected[1], what


def assert_same(page: Any, cold: Any, what: str) -> Sight:
    """Two pages come to show the same: what a job makes, or Streamlit loads late, reaches one of them first."""
    for _ in range(20):
        clicked = seen(page)
        if glance(cold) == clicked:
            break
    assert_seen(cold, clicked, what)
    return clicked


def wait_for_page(page: Any, path: str) -> None:
    """Until the address is that of a page."""
    page.wait_for_function("path => location.pathname.replaceAll('/', '') === path", arg=path.strip("/"))


def go_back_to(page: Any, path: str) -> None:
    """Press Back, once: whatever a page puts into its own address."""
    page.go_back()
    wait_for_page(page, path)
    page.wait_for_timeout(200)
    page.wait_for_selector(IDLE)
    assert urlparse(page.url).path == path


def click(page: Any, link: Any, cold: Any) -> tuple[str, Sight]:
    """Click a link: it must show what its address shows when opened cold; gives its path, and what it shows."""
    path, words = urlparse(link.locator("a").evaluate("link => link.href")).path, link.inner_text()
    link.click()
    page.mouse.move(0, 0)  # off the pictures, which say what is under it
    wait_for_page(page, path)
    seen(page)
    cold.goto(page.url)
    return path, assert_same(page, cold, words)


def test_every_link_on_home_shows_what_its_address_shows(server: str, open_page: Callable[..., Any]) -> None:
    page, cold = open_page(server), open_page("about:blank")
    page.get_by_text("Lectures, and views to begin with").wait_for()
    home = seen(page)
    links = page.get_by_test_id("stMain").get_by_test_id("stPageLink")
    assert links.count() > 10
    for number in range(links.count()):
        path, clicked = click(page, links.nth(number), cold)
        address = page.url
        go_back_to(page, "/")
        assert_seen(page, home, path)
        if number % 4 == 2:
            page.go_forward()
            wait_for_page(page, path)
            if page.url == address:
                assert_seen(page, clicked, path)
            go_back_to(page, "/")


def test_an_image_of_the_accuracy_page_opens_on_other_pages(server: str, open_page: Callable[..., Any]) -> None:
    page, cold = open_page("about:blank"), open_page("about:blank")
    for number in range(3):
        page.goto(f"{server}/accuracy?checkpoint=lenet&view=Mistakes&class=cat&number=5&bn=false")
        links = page.get_by_test_id("stMain").get_by_test_id("stPageLink")
        links.nth(2).wait_for()
        page.wait_for_selector(IDLE)
        assert links.count() == 3
        click(page, links.nth(number), cold)


def test_back_leads_to_each_page_as_it_was_left(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/evidence?checkpoint=lenet&view=methods&compare=images&class2=ship&number2=3")
    page.set_default_timeout(60_000)
    page.get_by_text("What to look at").wait_for()
    addresses = [page.url]
    for title in ("Reconstruction", "Filters"):
        page.wait_for_timeout(500)
        page.wait_for_selector(IDLE)
        addresses[-1] = page.url
        page.get_by_test_id("stTopNavLink").get_by_text(title, exact=True).click()
        wait_for_page(page, title.lower())
        addresses.append(page.url)
    assert "compare=images&class2=ship" in addresses[1]
    for address in addresses[-2::-1]:
        page.wait_for_timeout(500)
        page.wait_for_selector(IDLE)
        page.go_back()
        wait_for_page(page, urlparse(address).path)
        page.wait_for_function("address => location.href === address", arg=address)
    page.get_by_role("button", name="Options · compare images").wait_for()
    assert page.url == addresses[0]
