"""A training that is started in a real browser, while the server is killed and started again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.settings import ROOT
from engine.training import live_files, run
from engine.training.queue import jobs
from engine.training.run import RunFolder
from tests.browser.conftest import CHROMIUM, NO_CHROMIUM, PATIENCE, Server, wait_for


@contextmanager
def training_server(runs: Path, **environment: str) -> Iterator[Server]:
    """A fresh server whose folder of runs is empty; its trainings are stopped at the end."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    server = Server(CONVSCOPE_RUNS=str(runs), **environment)
    try:
        yield server
    finally:
        server.kill()
        for folder in run.runs(runs):
            if folder.alive:
                jobs.cancel(folder)
                wait_for(lambda folder=folder: not folder.alive)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own."""
    with training_server(tmp_path / "runs") as server:
        yield server


def filters_now(page) -> bytes:
    """The PNG of the filters that the page shows, once it is there."""
    page.wait_for_function(
        "() => document.querySelectorAll('[data-testid=stImage] img').length == 2 && "
        "[...document.querySelectorAll('[data-testid=stImage] img')].every(i => i.naturalWidth > 0)",
        timeout=PATIENCE * 1000,
    )
    for _ in range(20):  # the picture may be replaced between the look at its address and the request
        source = page.get_by_test_id("stImage").locator("img").first.evaluate("image => image.src")
        answer = page.request.get(source)
        if answer.ok:
            return answer.body()
    raise AssertionError("the picture could not be had")


CHART = "[data-testid=stVegaLiteChart] svg"
LOSS_CURVE = f"document.querySelector('{CHART}')?.outerHTML"


def test_a_training_goes_on_while_the_server_is_killed_and_started_again(
    own_server: Server, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "runs" / "first_lesson")
    page = open_page(f"{own_server.address}/train?epochs1=1000")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Pause").wait_for()
    wait_for(lambda: len(live_files.read_steps(folder)) >= 3)
    page.wait_for_function("() => location.search.includes('run=first_lesson')")
    before = filters_now(page)
    page.locator(CHART).first.wait_for()
    link, pid = page.url, live_files.read_status(folder).pid

    own_server.kill()
    steps = live_files.read_steps(folder)
    wait_for(lambda: len(live_files.read_steps(folder)) >= len(steps) + 3)
    own_server.start()

    page.goto(link)
    page.get_by_role("button", name="Pause").wait_for()
    assert filters_now(page) != before
    page.locator(CHART).first.wait_for()
    curve = page.evaluate(LOSS_CURVE)
    page.wait_for_function(f"before => {LOSS_CURVE} && {LOSS_CURVE} !== before", arg=curve)
    later = live_files.read_steps(folder)
    assert live_files.read_status(folder).pid == pid
    assert later.step[: len(steps)].tolist() == steps.step.tolist()
    assert later.loss[: len(steps)].tolist() == steps.loss.tolist()
    (ROOT / "screenshots").mkdir(exist_ok=True)
    page.screenshot(path=ROOT / "screenshots" / "train.png", timeout=PATIENCE * 1000)

    other = open_page(link, width=1280, height=720)
    other.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").wait_for()
    assert live_files.read_status(folder).state == "paused"
    page.get_by_role("button", name="Stop", exact=True).last.click()
    other.get_by_role("button", name="Resume").wait_for()
    assert jobs.look(folder).state == "stopped"
    assert page.locator("[data-testid='stException']").count() == 0
