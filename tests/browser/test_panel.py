"""The panel of a background job in a real browser, which alone shows whether its polling goes on to the end."""

import re
from collections.abc import Callable
from typing import Any

STOPPED = re.compile("Stopped (after|before it began)")
"""A quick click comes before the first step."""


def test_a_job_is_followed_to_its_end_and_can_be_stopped(server: str, open_page: Callable[..., Any]) -> None:
    from playwright.sync_api import expect

    address = f"{server}/inversion?checkpoint=resnet18&layer=conv4_x"
    page = open_page(f"{address}&steps=400")
    stop = page.get_by_role("button", name="Stop", exact=True)  # the only one: Streamlit's own stops no job
    page.get_by_role("button", name="Start", exact=True).click()
    stop.click()
    page.get_by_text(STOPPED).wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("of 400 steps").wait_for()
    stop.click()
    page.get_by_text(STOPPED).wait_for()

    page.goto(f"{address}&steps=100")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("of 100 steps").wait_for()
    told = page.get_by_role("status").and_(page.locator(".announced"))
    expect(told).to_have_text("")
    page.get_by_text("Predicted for the last picture").wait_for()  # nobody has touched the page
    expect(page.get_by_role("button", name="Start again")).to_be_visible(timeout=60_000)
    expect(told).to_have_text("Done: 100 of 100 steps")  # in the place that was there before: so it is announced
    place = page.get_by_test_id("stElementContainer").filter(has=told).last
    expect(place).to_have_css("position", "absolute")  # it takes no room
    assert place.bounding_box()["height"] == 1
