"""From "cats are worst" to the reconstruction of one cat in three clicks, in a real browser."""

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
from PIL import Image

from engine import checkpoints
from engine.accuracy import images
from engine.data import LabelledImages
from tests.browser.conftest import IDLE


def click_the_bar(page, name: str) -> None:
    """Click into the row of a class."""
    chart = page.locator("[class*='st-key-class-bars']")
    label = chart.locator("svg.marks text", has_text=name).first
    label.wait_for()
    row, whole = label.bounding_box(), chart.bounding_box()
    page.mouse.click(whole["x"] + whole["width"] / 2, row["y"] + row["height"] / 2)


def click_the_first_tile(page) -> None:
    """Click the first image among the mistakes."""
    sheet = page.locator("[class*='st-key-grid-wrong'] svg.marks")
    sheet.wait_for()
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 12, box["y"] + 40)


def first_picture(page) -> np.ndarray:
    """The first picture of the page as it is sent, one pixel for each of the image's own."""
    source = page.get_by_test_id("stImage").locator("img").first.evaluate("image => image.src")
    sent = np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB"))
    step = sent.shape[0] // 32
    return sent[step // 2 :: step, step // 2 :: step][:32, :32]


def test_three_clicks_lead_from_the_worst_class_to_the_reconstruction_of_one_of_its_images(
    server: str, open_page: Callable[..., Any], bundled_test: LabelledImages
) -> None:
    stored = checkpoints.predictions("lenet").test
    expected = int(images.of_class(stored, 3, correct=False)[0])
    page = open_page(f"{server}/accuracy?checkpoint=lenet&layer=pool2")
    page.get_by_text("What to look at").wait_for()
    page.wait_for_selector(IDLE)

    click_the_bar(page, "cat")
    page.get_by_text("images of cat are predicted as another class").wait_for()
    page.wait_for_selector(IDLE)

    click_the_first_tile(page)
    page.get_by_text(f"test image {expected}: cat").wait_for()
    page.wait_for_selector(IDLE)

    page.get_by_test_id("stPageLink").get_by_text("Reconstruction").click()
    page.wait_for_url("**/reconstruction?**")
    page.wait_for_selector(IDLE)
    page.wait_for_function("() => document.querySelector('[data-testid=stImage] img')?.naturalWidth > 0")

    link = parse_qs(urlparse(page.url).query)
    assert (set(link["checkpoint"]), set(link["class"])) == ({"lenet"}, {"cat"})
    assert np.flatnonzero(stored.labels == 3)[int(link["number"][0])] == expected
    page.get_by_text(f"cat, test image {expected}").wait_for()
    assert np.array_equal(first_picture(page), bundled_test.images[expected])

    page.goto(page.url)  # the link alone, as somebody else would open it
    page.get_by_text(f"cat, test image {expected}").wait_for()
