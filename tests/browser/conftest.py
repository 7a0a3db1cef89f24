"""What the browser tests share: a server, a browser, and what of a page can be compared."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.settings import ROOT

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
NO_CHROMIUM = "no Chromium on this machine: install Debian's `chromium`, or set CHROMIUM to its path"
PATIENCE = 180
"""Seconds for anything that takes a second on a quiet machine."""
IDLE = "[data-testid='stApp'][data-test-script-state='notRunning']"


class Server:
    """A Streamlit server that can be killed and started again at the same address."""

    def __init__(self, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._environment = os.environ | environment
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                "--server.headless=true",
                f"--server.port={self.port}",
            ],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self.answers)

    def answers(self) -> bool:
        """Whether it is healthy."""
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
    """Until it is so; fails after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """The address of one server for all tests; nobody else visits it."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    server = Server()
    yield server.address
    server.kill()


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a profile: it keeps Streamlit's compiled code, which takes longer than the pages themselves."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("profile")
        browser = playwright.chromium.launch_persistent_context(profile, executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def idle_tabs() -> list[Any]:
    """Empty tabs that a test has left: they still hold Streamlit's compiled code."""
    return []


@pytest.fixture
def open_page(browser: Any, idle_tabs: list[Any]) -> Iterator[Callable[..., Any]]:
    """Opens a page in a tab, as a new session of the server; no page may need what its policy forbids."""
    pages, refusals = [], []

    def note_refusal(message: Any) -> None:
        if "Content Security Policy" in message.text:
            refusals.append(message.text)

    def opened(
        address: str, width: int = 1280, height: int = 720, on_request: Callable[..., None] | None = None
    ) -> Any:
        page = idle_tabs.pop() if idle_tabs else browser.new_page()
        listeners = {"console": note_refusal} | ({"request": on_request} if on_request else {})
        pages.append((page, listeners))
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="light")
        page.set_default_timeout(PATIENCE * 1000)
        for event, listener in listeners.items():
            page.on(event, listener)
        page.goto(address)
        return page

    yield opened
    for page, listeners in pages:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        if page.url.startswith("http"):
            page.evaluate("() => localStorage.clear()")  # a sidebar that this test has opened or closed
        page.goto("about:blank")
        idle_tabs.append(page)
    assert refusals == []
