"""One look at the real app in a real browser: a cold link, its pictures, and no word to anybody else."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlparse

import pytest

from engine.settings import ROOT
from tests.browser.conftest import CHROMIUM, IDLE, NO_CHROMIUM, Server


@pytest.fixture
def fresh_server() -> Iterator[str]:
    """The address of a server that nobody has visited."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    server = Server()
    yield server.address
    server.kill()


def test_a_cold_link_to_reconstruction_without_batch_norm(fresh_server: str, open_page: Callable[..., Any]) -> None:
    hosts: set[str] = set()
    address = f"{fresh_server}/reconstruction?bn=false&layer=conv4_x&class=horse&number=3"
    page = open_page(address, on_request=lambda request: hosts.add(urlparse(request.url).netloc))
    page.get_by_text("What to look at").wait_for()
    page.wait_for_selector(IDLE)

    sidebar = page.get_by_test_id("stSidebar")
    sidebar.get_by_text("Network", exact=True).wait_for()
    switch = sidebar.get_by_role("switch", name="Batch norm in the reconstruction")
    assert not switch.is_checked()
    pictures = page.get_by_test_id("stImage").locator("img")
    page.wait_for_function(  # the browser draws some of them after the server is done
        "number => { const all = [...document.querySelectorAll('[data-testid=stImage] img')];"
        " return all.length === number && all.every(i => i.naturalWidth > 0); }",
        arg=5,
    )
    page.get_by_text("horse, test image").wait_for()
    assert page.locator("[data-testid='stException']").count() == 0

    before = pictures.nth(1).evaluate("image => image.src")
    sidebar.get_by_text("Batch norm in the reconstruction").click()
    page.wait_for_function(
        "before => document.querySelectorAll('[data-testid=stImage] img')[1].src !== before", arg=before
    )
    page.wait_for_function("() => !location.search.includes('bn=')")
    assert switch.is_checked()

    (ROOT / "screenshots").mkdir(exist_ok=True)
    page.screenshot(path=ROOT / "screenshots" / "reconstruction.png")
    assert {host for host in hosts if host} == {urlparse(fresh_server).netloc}


def test_keyboard_and_network_change_keep_the_link_whole(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/accuracy?checkpoint=lenet", width=1280, height=720)
    page.get_by_text("Test accuracy of lenet").wait_for()
    page.get_by_role("link", name="Reconstruction", exact=True).first.click()
    page.wait_for_url("**/reconstruction?**")
    page.wait_for_selector(IDLE)
    assert "checkpoint=lenet" in page.url
    page.keyboard.press("n")
    page.wait_for_function("() => location.search.includes('number=')", timeout=30_000)
    assert page.locator("[data-testid='stException']").count() == 0
