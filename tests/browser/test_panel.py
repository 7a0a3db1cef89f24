"""The panel of a background job in a real browser, which alone shows whether its polling goes on to the end."""

import pytest

from tests.browser.test_cold_link import CHROMIUM, FLAGS, server

__all__ = ["server"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install Debian's `chromium`")


def test_a_job_is_followed_to_its_end_and_can_be_stopped(server: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{server}/inversion?checkpoint=resnet18&layer=conv4_x&steps=100")
        page.get_by_role("button", name="Start", exact=True).click(timeout=120_000)
        page.get_by_role("button", name="Stop", exact=True).click(timeout=60_000)
        page.get_by_text("Stopped after").wait_for(timeout=60_000)
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_text("of 100 steps").wait_for(timeout=60_000)
        page.get_by_text("Predicted for the last picture").wait_for(timeout=120_000)  # nobody has touched the page
        expect(page.get_by_role("button", name="Start again")).to_be_visible(timeout=60_000)
        browser.close()
