"""A lecture in a real browser: from the first step to the last by PageDown alone, as a presenter's remote sends it."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from engine import lectures
from engine.lectures import Lecture
from pages.common.lectures import PAGES
from tests.browser.conftest import IDLE
from tests.browser.test_links import assert_same, seen

WHOLE = """() => [...document.querySelectorAll("[class*=st-key-stage_] :is(img, [data-testid=stVegaLiteChart])")]
    .every(picture => picture.getBoundingClientRect().bottom <= innerHeight)"""
"""Whether every picture of the stage is on the screen to its lower edge, below a strip of whatever height."""

LISTENS = "() => window.convscopeKeys"
"""Whether the strip has begun to listen to keys: of a page opened cold, a moment after it is seen."""


def arrive(page: Any, lecture: Lecture, number: int) -> None:
    page.locator(".st-key-lecture").get_by_text(f"{lecture.title} · {number} of {len(lecture.steps)}").wait_for()


def test_a_lecture_goes_from_its_first_to_its_last_step_by_page_down_alone(
    server: str, open_page: Callable[..., Any]
) -> None:
    lecture = lectures.load("batch-norm", PAGES)
    last = len(lecture.steps)
    page = open_page(server)
    page.get_by_test_id("stPageLink").filter(has_text=lecture.title).click()
    arrive(page, lecture, 1)
    page.wait_for_function(LISTENS)
    page.keyboard.press("Shift+PageDown")  # the browser's own
    shown = {1: (page.url, seen(page))}
    for number in range(2, last + 1):
        page.keyboard.press("PageDown")
        arrive(page, lecture, number)
        page.wait_for_selector(IDLE)
        if number in (last // 2, last):
            page.wait_for_function(WHOLE)
            shown[number] = (page.url, seen(page))
        assert page.locator("[data-testid=stException]").count() == 0
    cold = open_page("about:blank")
    for number, (address, words_and_pictures) in shown.items():
        cold.goto(address)
        arrive(cold, lecture, number)
        assert seen(cold) == words_and_pictures, number

    for number in range(last - 1, 0, -1):
        page.keyboard.press("PageUp")
        arrive(page, lecture, number)
        page.wait_for_selector(IDLE)
    assert seen(page) == shown[1][1]


def test_keys_pressed_fast_lead_to_the_step_that_the_strip_names(server: str, open_page: Callable[..., Any]) -> None:
    lecture = lectures.load("batch-norm", PAGES)
    last = len(lecture.steps)
    page, cold = (
        open_page(f"{server}/filters?lecture=batch-norm&step={last - 2}&view=training"),
        open_page("about:blank"),
    )
    page.bring_to_front()
    arrive(page, lecture, last - 2)
    page.wait_for_function(LISTENS)
    for _ in range(2):
        page.keyboard.press("PageDown")
        page.wait_for_timeout(60)
    arrive(page, lecture, last)
    cold.goto(page.url)
    assert_same(page, cold, "two keys")


def test_a_key_beyond_the_first_or_last_step_does_not_count_against_the_next_key(
    server: str, open_page: Callable[..., Any]
) -> None:
    lecture = lectures.load("report-4", PAGES)
    last = len(lecture.steps)
    for first, beyond, back, second in ((last, "PageDown", "PageUp", last - 1), (1, "PageUp", "PageDown", 2)):
        page = open_page(f"{server}/filters?lecture=report-4&step={first}&form=green")
        arrive(page, lecture, first)
        page.wait_for_function(LISTENS)
        page.keyboard.press(beyond)
        page.wait_for_timeout(500)
        page.keyboard.press(back)
        arrive(page, lecture, second)


def test_a_double_click_leads_to_the_step_that_the_strip_names(server: str, open_page: Callable[..., Any]) -> None:
    lecture = lectures.load("batch-norm", PAGES)
    last = len(lecture.steps)
    page = open_page(f"{server}/reconstruction?checkpoint=model_one&class=horse&lecture=batch-norm&step={last}")
    arrive(page, lecture, last)
    page.get_by_text("Deconvnet reconstruction from pool5 of model_one").wait_for()
    page.wait_for_selector(IDLE)
    page.locator(".st-key-lecture_PageUp a").first.dblclick()
    arrive(page, lecture, last - 1)
    page.get_by_text("Deconvnet reconstruction from conv5_x of resnet18").wait_for()


@pytest.mark.skipif("CONVSCOPE_EVERY_STEP" not in os.environ, reason="takes some minutes: set CONVSCOPE_EVERY_STEP")
@pytest.mark.parametrize("name", lectures.names())
def test_every_step_shows_what_its_address_shows_cold(server: str, open_page: Callable[..., Any], name: str) -> None:
    lecture = lectures.load(name, PAGES)
    page, cold = open_page(server), open_page("about:blank")
    page.get_by_test_id("stPageLink").filter(has_text=lecture.title).click()
    for number in range(1, len(lecture.steps) + 1):
        if number > 1:
            page.keyboard.press("PageDown")
        arrive(page, lecture, number)
        seen(page)
        cold.goto(page.url)
        arrive(cold, lecture, number)
        assert_same(page, cold, f"step {number}")
