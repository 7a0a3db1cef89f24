"""The views of the founding paper's experiments in a real browser: what a click or a pointer does there.

One page for several of them, since to open a page takes longer than what is tried on it.
"""

from collections.abc import Callable
from typing import Any

from engine import weights
from tests.browser.conftest import IDLE
from tests.browser.test_touch import frames_sent, link, point, settled, wait_for_link


def look_at(page: Any, view: str) -> None:
    """Choose another view of the page, and wait until it is drawn."""
    page.get_by_role("radio", name=view, exact=True).click()
    wait_for_link(page, view=view)
    settled(page)


def settled_after_its_jobs(page: Any) -> None:
    """The same as `settled`, once no job draws the pictures anew."""
    page.get_by_text("What to look at").wait_for()
    page.get_by_role("button", name="Stop", exact=True).first.wait_for(state="hidden")
    settled(page)


def wait_for_charts(page: Any, count: int) -> None:
    page.wait_for_function(
        "count => document.querySelectorAll('[data-testid=stVegaLiteChart]').length >= count", arg=count
    )


def test_maps_on_one_sheet_over_the_training_and_inactive_ones(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/feature_maps?checkpoint=lenet&layer=conv2_relu&view=many+maps")
    settled_after_its_jobs(page)
    point(page, "many", (0.95, 0.95))
    page.wait_for_function("() => new URLSearchParams(location.search).has('channel')")
    settled(page)
    assert "view" not in link(page)
    channel = link(page)["channel"]
    assert page.get_by_role("spinbutton", name="Map").input_value() == channel

    look_at(page, "over training")
    assert link(page)["channel"] == channel
    moments = weights.moments("lenet")
    point(page, "moments", (4.5 / (1 + len(moments)), 0.3))  # beside the words at the left one column for each
    wait_for_link(page, weights=moments[3])
    settled(page)
    page.get_by_test_id("stSidebar").get_by_text(moments[3], exact=True).first.wait_for()

    look_at(page, "every layer")
    before = page.get_by_test_id("stVegaLiteChart").count()
    page.get_by_role("button", name="Count on 100 test images").click()
    page.get_by_text("Measured on 100 test images.").wait_for()
    wait_for_charts(page, before + 1)
    page.wait_for_selector(IDLE)
    assert page.get_by_test_id("stException").count() == 0


def test_receptive_fields_a_deconvnet_layer_and_batch_statistics(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/network?checkpoint=model_two&view=receptive+fields")
    page.get_by_text("over 100 test images").first.wait_for()
    settled_after_its_jobs(page)
    point(page, "fields", (0.1, 0.5))
    page.wait_for_function("() => new URLSearchParams(location.search).has('layer')")
    settled(page)

    look_at(page, "one deconvnet layer")
    point(page, "signal", (0.8, 0.3))
    page.wait_for_function("() => new URLSearchParams(location.search).has('row')")
    settled(page)
    row, column = link(page)["row"], link(page)["column"]
    page.get_by_text(f"row {row}, column {column};").wait_for()

    look_at(page, "batch norm")
    wait_for_charts(page, 4)
    page.get_by_text("batches of each size, drawn from 500 test images").wait_for()
    assert page.get_by_test_id("stException").count() == 0


def test_the_occluding_square_follows_the_pointer_and_probes_are_there(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page("about:blank")
    sent = frames_sent(page)
    page.goto(f"{server}/evidence?checkpoint=lenet&logit=airplane&square=16&stride=4")
    page.get_by_text("squares change the predicted class").wait_for()
    settled_after_its_jobs(page)
    page.wait_for_timeout(500)
    before = len(sent)
    point(page, "occlusion-0", (0.4, 0.4), "hover")
    words = page.locator("[class*=st-key-touch-occlusion-0] .words").inner_text()
    assert words.startswith("rows 12-27, columns 12-27 hidden")
    frame = page.locator("[class*=st-key-touch-occlusion-0] .hovered").bounding_box()
    picture = page.locator("[class*=st-key-touch-occlusion-0] img").bounding_box()
    assert abs(frame["width"] - picture["width"] / 2) < 3
    assert abs(frame["x"] - picture["x"] - picture["width"] * 12 / 32) < 3
    assert len(sent) == before

    look_at(page, "probes")
    wait_for_charts(page, 1)
    page.get_by_text("Logistic regression on each layer's maps").wait_for()
    assert page.get_by_test_id("stException").count() == 0
