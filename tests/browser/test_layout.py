"""The picture first: how much of the screen pictures, charts and tables fill as a page opens."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from pages import directory
from tests.browser.conftest import IDLE, wait_for

WITH_PICTURES = [page for page in directory.PAGES if page.address != "train"]
"""All pages but Home and the form of Train."""
PICTURES = (
    "[data-testid=stMain] :is(img, canvas, [data-testid=stVegaLiteChart], [data-testid=stTable], "
    "[data-testid=stProgress])"
)
"""Images, charts and tables; the bars of a network's predictions are a chart, too."""
MEASURE = """pictures => {
    const bar = document.querySelector('[data-testid=stSidebar]')?.getBoundingClientRect();
    const left = bar ? Math.max(0, bar.right) : 0;
    const boxes = [...document.querySelectorAll(pictures)].map(element => {
        const box = element.getBoundingClientRect();
        if (!element.naturalWidth) return box;
        const scale = Math.min(box.width / element.naturalWidth, box.height / element.naturalHeight);
        const [width, height] = [element.naturalWidth * scale, element.naturalHeight * scale];
        const [x, y] = [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2];
        return new DOMRect(x, y, width, height);
    }).filter(box => box.width > 0 && box.height > 0);
    let [filled, all] = [0, 0];
    for (let y = 2; y < innerHeight; y += 4)
        for (let x = left + 2; x < innerWidth; x += 4) {
            all += 1;
            filled += boxes.some(box => x >= box.left && x < box.right && y >= box.top && y < box.bottom);
        }
    const inside = document.documentElement.scrollWidth <= innerWidth;
    return {top: Math.min(...boxes.map(box => box.top)), filled: filled / all, inside};
}"""

COVERED = """() => {
    const boxes = selector => [...document.querySelectorAll(selector)]
        .map(element => [element, element.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
    const meet = (one, two) =>
        one.left < two.right && two.left < one.right && one.top < two.bottom && two.top < one.bottom;
    const toolbars = boxes('[data-testid=stElementToolbar]');
    return boxes('[data-testid=stMain] :is(button, input)')
        .filter(([control, box]) => toolbars.some(([bar, over]) => !bar.contains(control) && meet(box, over)))
        .map(([control]) => control.innerText || control.outerHTML);
}"""
"""The controls over which the toolbar of a picture lies as soon as the mouse is on the picture."""


def measured(page: Any) -> dict[str, Any]:
    """Where the first picture of a page begins, in pixels, and which share of the screen all of them fill."""
    page.locator(PICTURES).first.wait_for()
    before, now = None, page.evaluate(MEASURE, PICTURES)
    while before != now:
        page.wait_for_timeout(1000)
        page.wait_for_selector(IDLE)
        before, now = now, page.evaluate(MEASURE, PICTURES)
    return now


each_page = pytest.mark.parametrize("entry", WITH_PICTURES, ids=lambda entry: entry.address)


@each_page
def test_the_picture_is_first_and_fills_the_screen_and_more_of_it_while_presenting(
    entry: directory.Entry, server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/{entry.address}", 1280, 720)
    found = measured(page)
    assert found["top"] < 200
    assert found["filled"] >= 0.45
    assert page.evaluate(COVERED) == []
    page.keyboard.press("p")
    page.wait_for_function("() => location.search.includes('present=true')")
    page.get_by_test_id("stSidebar").wait_for(state="hidden")
    assert measured(page)["filled"] >= 0.7


LOWER_EDGES = """() => [...document.querySelectorAll('[class*=st-key-stage_] [data-testid=stImage] img')]
    .map(picture => picture.getBoundingClientRect().bottom)"""


@pytest.mark.parametrize(
    "view",
    ["reconstruction?compare=images", "reconstruction?compare=layers", "evidence?view=methods&compare=images"],
)
def test_all_rows_of_pictures_are_on_the_screen_while_presenting(
    view: str, server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/{view}&present=true", 1280, 720)
    page.get_by_text("What to look at").wait_for()
    assert measured(page)["filled"] >= 0.5
    edges = page.evaluate(LOWER_EDGES)
    assert len(edges) >= 6
    assert max(edges) <= 720


COVERED_WHILE_PRESENTING = """() => {
    const over = document.querySelector('.st-key-presenting').getBoundingClientRect();
    return [...document.querySelectorAll('[data-testid=stMain] :is(img, canvas, svg text, p, td, input, button)')]
        .filter(element => !element.closest('.st-key-presenting')).filter(element => {
            const box = element.getBoundingClientRect();
            return box.width > 0 && box.height > 0 && box.left < over.right && over.left < box.right
                && box.top < over.bottom && over.top < box.bottom;
        }).map(element => element.textContent || element.outerHTML);
}"""
"""What lies below the buttons Share and Leave."""
ROOM_BESIDE_THE_HEADLINE = """() => {
    const headline = document.querySelector('[data-testid=stMain] h1');
    const end = headline.getBoundingClientRect().right - parseFloat(getComputedStyle(headline).paddingRight);
    return document.querySelector('.st-key-presenting').getBoundingClientRect().left - end;
}"""
"""Pixels between the longest headline that there could be and the buttons."""


@pytest.mark.parametrize("view", ["reconstruction?", "accuracy?", "reconstruction?lecture=batch-norm&step=2&"])
def test_the_buttons_cover_nothing_while_presenting(view: str, server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/{view}present=true", 1280, 720)
    page.get_by_text("What to look at").wait_for()
    measured(page)
    page.get_by_role("button", name="Leave").last.wait_for()
    assert page.evaluate(COVERED_WHILE_PRESENTING) == []
    assert page.evaluate(ROOM_BESIDE_THE_HEADLINE) >= 0


def test_pictures_in_the_lower_row_have_their_names_on_the_screen_while_presenting(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/evidence?view=methods&present=true", 1280, 720)
    page.get_by_text("What to look at").wait_for()
    measured(page)
    for name in ("gradient", "guided", "deconvnet"):
        box = page.get_by_test_id("stCaptionContainer").get_by_text(name, exact=True).bounding_box()
        assert box["y"] + 20 <= 720, name


def test_a_job_that_begins_moves_no_picture_while_presenting(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/inversion?present=true", 1280, 720)
    page.get_by_text("What to look at").wait_for()
    measured(page)
    edges = page.evaluate(LOWER_EDGES)
    page.locator("[class*=_start] button").click()
    bars = page.locator(".st-key-bars")
    bars.wait_for()
    title, beside = page.get_by_role("heading").first.bounding_box(), bars.bounding_box()
    assert beside["y"] < title["y"] + title["height"]
    assert page.evaluate(LOWER_EDGES) == edges
    page.locator("[class*=_stop] button").click()
    bars.get_by_text("Stopped").wait_for()
    page.wait_for_function(f"edges => JSON.stringify(({LOWER_EDGES})()) === JSON.stringify(edges)", arg=edges)


OTHER_VIEWS = (
    "learning_curves?comparison=optimizer",
    "learning_curves?comparison=images",
    *(
        f"accuracy?view={view}"
        for view in ("Confusion", "Mistakes", "Two+networks", "All+networks", "Confidence", "Live")
    ),
    *(f"network?view={view}" for view in ("diagram", "one+convolution", "receptive+fields")),
    *(f"network?checkpoint=model_two&view={view}" for view in ("one+deconvnet+layer", "batch+norm")),
    *(f"filters?view={view}" for view in ("before+and+after+training", "deeper+layers")),
    *(f"feature_maps?view={view}" for view in ("every+layer", "two+images", "many+maps")),
    "feature_maps?view=over+training&checkpoint=lenet",
    *(f"reconstruction?compare={by}" for by in ("layers", "ReLU+rules", "switches", "paths", "images", "nothing")),
    *(
        f"evidence?view={view}"
        for view in ("methods", "sanity+check", "adversarial", "invariance", "lesions", "probes")
    ),
    "evidence?view=methods&compare=images",
    "evidence?logit=cat&beside=dog",
    "inversion?view=layers+in+a+row",
    *(f"maximization?view={view}" for view in ("one+channel", "classes")),
)


@pytest.mark.skipif("CONVSCOPE_EVERY_VIEW" not in os.environ, reason="takes some minutes: set CONVSCOPE_EVERY_VIEW")
@pytest.mark.parametrize("view", OTHER_VIEWS)
def test_pictures_fill_the_screen_in_every_view(view: str, server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/{view}", 1280, 720)
    page.get_by_text("What to look at").wait_for()
    page.get_by_role("button", name="Stop", exact=True).first.wait_for(state="hidden")  # a job makes the picture first
    assert measured(page)["filled"] >= 0.44


@each_page
def test_the_picture_is_on_the_first_screen_of_a_phone(
    entry: directory.Entry, server: str, open_page: Callable[..., Any]
) -> None:
    found = measured(open_page(f"{server}/{entry.address}", 390, 844))
    assert found["top"] < 600
    assert found["inside"]


def test_charts_have_room_on_a_phone_that_lies_on_its_side(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/evidence?view=invariance&checkpoint=lenet", 844, 390)
    page.get_by_text("What to look at").wait_for()
    measured(page)
    boxes = [chart.bounding_box() for chart in page.get_by_test_id("stVegaLiteChart").all()]
    assert len(boxes) == 3
    assert min(box["height"] for box in boxes) > 200
    assert min(box["width"] for box in boxes) > 500
    plots = page.locator(".role-frame.root > g > .background").all()
    assert min(plot.bounding_box()["height"] for plot in plots) > 100
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_a_chart_below_the_pictures_grows_with_the_screen(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/reconstruction?compare=layers&checkpoint=lenet", 1280, 720)
    chart = page.get_by_test_id("stVegaLiteChart")
    chart.wait_for()
    wait_for(lambda: 400 <= chart.bounding_box()["height"] <= 430)
    page.set_viewport_size({"width": 1920, "height": 1080})
    wait_for(lambda: chart.bounding_box()["height"] >= 500)


OUTSIDE = """selector => [...document.querySelectorAll(selector)]
    .filter(cell => cell.getBoundingClientRect().right > innerWidth || cell.scrollWidth > cell.clientWidth)
    .map(cell => cell.innerText)"""
"""The cells of a table that do not show all of what they say."""


def test_figures_and_drawings_can_be_read_on_a_phone(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/home", 390, 844)
    page.get_by_test_id("stTable").wait_for()
    page.wait_for_selector(IDLE)
    assert page.evaluate(OUTSIDE, "[data-testid=stTable] :is(td, th)") == []
    page.goto(f"{server}/network")
    page.get_by_text("What to look at").wait_for()
    assert page.evaluate(OUTSIDE, ".st-key-layer_table tbody :is(td, th)") == []
    page.get_by_text("diagram", exact=True).click()
    drawing = page.locator(".st-key-touch-diagram img")
    drawing.wait_for()
    page.locator(".st-key-cells-diagram .cells").wait_for()
    assert drawing.bounding_box()["width"] > 2 * 390
    assert page.locator(".st-key-cells-diagram").bounding_box()["width"] == drawing.bounding_box()["width"]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_the_sidebar_of_a_phone_is_closed_by_its_button(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/reconstruction?number=5", 390, 844)
    page.get_by_text("What to look at").wait_for()
    number = page.get_by_role("spinbutton", name="Number")
    assert number.count() == 0  # closed, it is neither read aloud nor reached by Tab
    page.get_by_test_id("stExpandSidebarButton").click()
    wait_for(lambda: number.input_value() == "5")
    page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
    page.get_by_test_id("stExpandSidebarButton").wait_for()


def test_the_sidebar_grows_with_the_type(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/feature_maps", 1920, 1080)
    page.get_by_role("button", name="Collapse sidebar").wait_for()
    size = page.evaluate("() => parseFloat(getComputedStyle(document.documentElement).fontSize)")
    wait_for(lambda: abs(page.get_by_test_id("stSidebar").bounding_box()["width"] - 17 * size) < 1)


def test_every_page_is_named_in_the_navigation(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/reconstruction", 1280, 720)
    titles = [entry.title for entry in (directory.HOME, *directory.PAGES)]
    page.wait_for_function(
        "titles => [...document.querySelectorAll('[data-testid=stTopNavLink]')].filter(link => "
        "link.checkVisibility({opacityProperty: true}) && link.getBoundingClientRect().right < innerWidth - 130)"
        ".map(link => link.innerText).join() === titles",
        arg=",".join(titles),
        timeout=60_000,
    )


def test_options_stay_open_while_they_change_and_name_what_is_not_usual(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/learning_curves?smoothing=light", 1280, 720)
    page.get_by_role("button", name="Options · smoothing light").click()
    page.get_by_role("radio", name="log", exact=True).click()
    page.get_by_role("button", name="Options · loss log · smoothing light").wait_for()
    page.wait_for_selector(IDLE)
    page.get_by_role("radio", name="log", exact=True).wait_for()


def test_presenting_hides_what_surrounds_the_page_and_p_leaves_it(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/accuracy", 1280, 720)
    page.get_by_test_id("stVegaLiteChart").first.wait_for()
    page.get_by_test_id("stSidebar").wait_for()
    page.keyboard.press("p")
    page.wait_for_function("() => location.search.includes('present=true')")
    page.get_by_test_id("stSidebar").wait_for(state="hidden")
    page.get_by_test_id("stHeader").wait_for(state="hidden")
    page.keyboard.press("p")
    page.get_by_test_id("stSidebar").wait_for()


def test_shortcuts_work_after_a_click_on_a_slider_or_a_switch(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{server}/reconstruction", 1280, 720)
    measured(page)
    box = page.locator(".st-key-weight_scale").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"])
    page.wait_for_function("() => location.search.includes('weight_scale=2')", timeout=30_000)
    page.keyboard.press("n")
    page.wait_for_function("() => location.search.includes('number=')", timeout=30_000)
    page.keyboard.press("ArrowLeft")  # the slider has kept the focus
    page.wait_for_function("() => !location.search.includes('weight_scale=')", timeout=30_000)
    page.get_by_test_id("stSidebar").get_by_text("Batch norm in the reconstruction").click()
    page.wait_for_function("() => location.search.includes('bn=false')", timeout=30_000)
    page.keyboard.press("p")
    page.wait_for_function("() => location.search.includes('present=true')", timeout=30_000)


def test_letters_on_the_light_blue_of_a_dark_page_are_black(server: str, open_page: Callable[..., Any]) -> None:
    page = open_page("about:blank", 1280, 720)
    page.emulate_media(color_scheme="dark")
    page.goto(f"{server}/inversion")
    letters = page.locator("[class*=_start] button p")
    letters.wait_for()
    page.wait_for_selector(IDLE)
    assert letters.evaluate("letters => getComputedStyle(letters).color") == "rgb(0, 0, 0)"


def test_images_of_mistakes_grow_with_the_screen_and_can_all_be_seen(
    server: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{server}/accuracy?view=Mistakes", width=1280, height=720)
    grid = page.locator("[class*=st-key-grid-mistakes]")
    grid.locator("canvas, svg").first.wait_for()
    small = grid.bounding_box()["height"]
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.wait_for_function(
        "least => document.querySelector('[class*=st-key-grid-mistakes]').getBoundingClientRect().height > least",
        arg=1.1 * small,
    )
    chosen = page.get_by_test_id("stMain").get_by_test_id("stSelectbox").last
    box = chosen.bounding_box()
    assert box["y"] + box["height"] <= 1080
