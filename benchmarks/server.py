"""What benchmarks of the whole app share: a clock, a server of their own, and clicks in headless Chromium."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STREAMLIT = (sys.executable, "-m", "streamlit")
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def seconds(action: Callable[[], object]) -> float:
    """How long `action` takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


@contextmanager
def server(streamlit: Sequence[str] = STREAMLIT) -> Iterator[int]:
    """A server of the app, which the command `streamlit` runs; yields its port once it answers."""
    with server_process(streamlit) as (port, _):
        yield port


@contextmanager
def server_process(
    streamlit: Sequence[str] = STREAMLIT, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """The same, perhaps with other environment variables; yields its port, and the number of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*streamlit, "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | dict(environment or {}), **SILENT)
    try:
        _wait_for(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(1200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("The server does not answer.")


def click_times(links: Sequence[str], timed_click: str, runs: int) -> list[float] | None:
    """The median seconds of `timed_click` on each of the pages `links`; None without Chromium.

    Args:
        timed_click: JavaScript that clicks, waits for what changes, and returns the seconds between.
        runs: clicks on each page.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    with server() as port:
        return [_click_time(chromium, f"http://127.0.0.1:{port}/{link}", timed_click, runs) for link in links]


def _click_time(chromium: str, address: str, timed_click: str, runs: int) -> float:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        page.goto(address)
        page.get_by_text("What to look at").wait_for(timeout=120_000)
        times = []
        for _ in range(runs):
            page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']")
            page.wait_for_timeout(300)
            times.append(page.evaluate(timed_click))
        browser.close()
    return statistics.median(times)
