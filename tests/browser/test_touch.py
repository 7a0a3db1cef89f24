"""Pictures that are touched, in a real browser: what is sent, what changes, and that the link restores it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from tests.browser.conftest import IDLE, wait_for
from tests.browser.test_links import COMPLETE

Share = tuple[float, float]
"""How far to the right and down in a picture, 0-1."""


def settled(page: Any) -> None:
    """Wait until the page is drawn and its cells lie over its pictures."""
    page.get_by_text("What to look at").wait_for()
    page.wait_for_selector(IDLE)
    page.wait_for_function(COMPLETE)
    if page.locator("[class*=st-key-touch-]").count():
        page.locator("[class*=st-key-touch-] .cells[aria-label]").first.wait_for()


def picture(page: Any, key: str) -> Any:
    return page.locator(f"[class*=st-key-touch-{key}] img").first


def point(page: Any, key: str, share: Share, act: str = "click") -> None:
    """Click on a place of a picture, or hover over it."""
    box = picture(page, key).bounding_box()
    place = {"x": box["width"] * share[0], "y": box["height"] * share[1]}
    getattr(picture(page, key), act)(position=place)


def chosen(page: Any, key: str) -> int:
    """The cell that has the frame."""
    return int(page.locator(f"[class*=st-key-touch-{key}] .cells").first.get_attribute("aria-valuenow"))


def link(page: Any) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlparse(page.url).query).items()}


def wait_for_link(page: Any, **expected: str) -> None:
    for key, value in expected.items():
        page.wait_for_function(
            "([key, value]) => new URLSearchParams(location.search).get(key) === value", arg=[key, value]
        )
    page.wait_for_selector(IDLE)


def frames_sent(page: Any) -> list[int]:
    """Grows by one with each message to the server; call it before the page is opened."""
    sent: list[int] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(len(frame))))
    return sent


def test_hovering_sends_nothing_and_resting_keys_send_once(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page("about:blank", 1280, 720)
    sent = frames_sent(page)
    page.goto(f"{server}/filters")
    settled(page)
    page.wait_for_timeout(500)
    before = len(sent)
    for place in ((0.1, 0.1), (0.5, 0.3), (0.9, 0.6), (0.31, 0.3)):
        point(page, "filters", place, "hover")
    assert "filter 18: " in page.locator("[class*=st-key-touch-filters] .words").inner_text()
    assert len(sent) == before

    point(page, "filters", (0.31, 0.3))
    wait_for_link(page, channel="18")
    after_click = len(sent)
    assert after_click > before
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert chosen(page, "filters") == 28  # at once
    assert len(sent) == after_click
    wait_for_link(page, channel="28")
    assert len(sent) == after_click + 1
    assert page.get_by_role("spinbutton", name="Filter").input_value() == "28"


def test_where_a_choice_leads_away_arrows_look_round_and_enter_chooses(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/maximization?layer=conv4_x", 1280, 720)
    settled(page)
    page.locator("[class*=st-key-touch-pictures] .cells").focus()
    words = page.locator("[class*=st-key-touch-pictures] .words")
    for key, tile in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert chosen(page, "pictures") == tile
        assert "activation" in words.inner_text()
    page.wait_for_timeout(1_000)
    assert "view" not in link(page)
    page.keyboard.press("Enter")
    wait_for_link(page, view="one channel")


CLICKS = {
    "filter": ("filters", "filters", (0.5, 0.5), {}, ("channel",)),
    "map": ("feature_maps?layer=conv3_x", "maps", (0.5, 0.6), {}, ("channel",)),
    "image point": ("feature_maps?layer=conv2_x", "image", (0.3, 0.6), {"unit": "chosen unit"}, ("row", "column")),
    "seed": (
        "reconstruction?layer=conv3_x",
        "image",
        (0.7, 0.4),
        {"unit": "chosen unit", "signal": "one channel"},
        ("row", "column", "channel"),
    ),
    "top tile": ("reconstruction?signal=top+9", "batch-norm-on", (0.5, 0.5), {"signal": "one channel"}, ("channel",)),
    "box": ("network?view=diagram", "diagram", (0.61, 0.55), {"layer": "conv4_x"}, ("layer",)),
    "tile": ("maximization?layer=conv4_x", "pictures", (0.6, 0.6), {"view": "one channel"}, ("channel",)),
}


@pytest.mark.parametrize("name", CLICKS)
def test_a_click_is_in_the_link_and_the_link_restores_it(server: str, open_page: Callable[..., Any], name: str) -> None:
    address, key, place, expected, keys = CLICKS[name]
    page = open_page(f"{server}/{address}", 1280, 720)
    settled(page)
    point(page, key, place)
    wait_for_link(page, **expected)
    page.wait_for_function(
        "keys => keys.every(key => new URLSearchParams(location.search).has(key))", arg=list(keys), timeout=60_000
    )
    settled(page)
    shown = sources(page)
    other = open_page(page.url, 1280, 720)
    settled(other)
    wait_for(lambda: sources(other) == shown)  # a job may make them first
    assert link(other) == link(page)
    assert other.get_by_test_id("stException").count() == 0


def sources(page: Any) -> list[str]:
    """The addresses of all pictures, which follow from their content."""
    return page.get_by_test_id("stImage").locator("img").evaluate_all("all => all.map(i => new URL(i.src).pathname)")


TAP = """([x, y]) => {
  const picture = document.elementFromPoint(x, y), place = picture.closest("[class*=st-key-touch-]");
  const tap = {clientX: x, clientY: y, bubbles: true, pointerType: "touch"};
  picture.dispatchEvent(new PointerEvent("pointermove", tap));
  place.dispatchEvent(new PointerEvent("pointerleave", tap));
  picture.dispatchEvent(new PointerEvent("click", tap));
}"""
"""What a browser tells a page of a finger: it leaves before it clicks."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_cells_lie_over_the_picture(server: str, open_page: Callable[..., Any], scheme: str) -> None:
    page = open_page("about:blank", 390, 844)
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{server}/feature_maps?layer=conv3_x")
    settled(page)
    box, cells = (page.locator(f"[class*=st-key-touch-maps] {what}").bounding_box() for what in ("img", ".cells"))
    assert all(abs(box[side] - cells[side]) < 1.5 for side in box)
    page.evaluate(TAP, [box["x"] + 0.03 * box["width"], box["y"] + 0.02 * box["height"]])
    assert "map 0" in page.locator("[class*=st-key-touch-maps] .words").inner_text().lower()
    wait_for_link(page, channel="0")


def test_a_tap_beside_the_open_sidebar_of_a_phone_only_closes_it(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/feature_maps?layer=conv3_x", 390, 844)
    settled(page)
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_test_id("stSidebarCollapseButton").wait_for()
    point(page, "maps", (0.95, 0.02))
    page.get_by_test_id("stExpandSidebarButton").wait_for()
    page.wait_for_timeout(500)
    assert "channel" not in link(page)
    point(page, "maps", (0.03, 0.02))
    wait_for_link(page, channel="0")
