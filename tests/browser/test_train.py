"""A training that is started in a real browser, while the server is killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.training import live, run
from engine.training.queue import jobs
from engine.training.run import RunFolder

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 180
"""Seconds for anything that takes a second on a quiet machine."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: install Debian's `chromium`, or set CHROMIUM to its path"
)


class Server:
    """The app, with its runs in another folder, at an address that stays when it is killed and started again."""

    def __init__(self, runs: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.runs = runs
        self.start()

    def start(self) -> None:
        options = ["run", "app.py", "--server.headless=true", f"--server.port={self.port}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", *options],
            cwd=ROOT,
            env={**os.environ, "CONVSCOPE_RUNS": str(self.runs)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, "the server stopped at once"
        try:
            with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End the server and whatever belongs to its session, without a word."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A fresh server whose folder of runs is empty; its trainings are stopped at the end."""
    server = Server(tmp_path / "runs")
    try:
        yield server
    finally:
        server.kill()
        for folder in run.runs(tmp_path / "runs"):
            if folder.alive:
                jobs.cancel(folder)
                wait_for(lambda folder=folder: not folder.alive)


def filters_now(page) -> bytes:
    """The PNG of the filters that the page shows, once it is there."""
    page.wait_for_function(
        "document.querySelectorAll('[data-testid=stImage] img').length == 2 && "
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


def test_a_training_goes_on_while_the_server_is_killed_and_started_again(server: Server) -> None:
    from playwright.sync_api import sync_playwright

    folder = RunFolder(server.runs / "first_lesson")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport={"width": 1920, "height": 1080}).new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{server.address}/train?epochs1=1000")
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_role("button", name="Pause").wait_for()
        wait_for(lambda: len(live.read_steps(folder)) >= 3)
        page.wait_for_function("location.search.includes('run=first_lesson')")
        before = filters_now(page)
        page.locator(CHART).first.wait_for()
        link, pid = page.url, live.read_status(folder).pid

        server.kill()
        steps = live.read_steps(folder)
        wait_for(lambda: len(live.read_steps(folder)) >= len(steps) + 3)
        server.start()

        page.goto(link)
        page.get_by_role("button", name="Pause").wait_for()
        assert filters_now(page) != before
        page.locator(CHART).first.wait_for()
        curve = page.evaluate(LOSS_CURVE)
        page.wait_for_function(f"before => {LOSS_CURVE} && {LOSS_CURVE} !== before", arg=curve)
        later = live.read_steps(folder)
        assert live.read_status(folder).pid == pid
        assert later.step[: len(steps)].tolist() == steps.step.tolist()
        assert later.loss[: len(steps)].tolist() == steps.loss.tolist()
        (ROOT / "screenshots").mkdir(exist_ok=True)
        page.screenshot(path=ROOT / "screenshots" / "train.png", timeout=PATIENCE * 1000)

        other = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        other.set_default_timeout(PATIENCE * 1000)
        other.goto(link)
        other.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go on").wait_for()
        assert live.read_status(folder).state == "paused"
        page.get_by_role("button", name="Stop", exact=True).last.click()
        other.get_by_role("button", name="Resume").wait_for()
        assert jobs.look(folder).state == "stopped"
        assert page.locator("[data-testid='stException']").count() == 0
        browser.close()
