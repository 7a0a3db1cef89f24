"""One look at the real app in a real browser: a cold link, its pictures, and no word to anybody else."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: install Debian's `chromium`, or set CHROMIUM to its path"
)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a fresh Streamlit server that nobody has visited."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_healthy(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server stopped at once"
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the server did not answer within 90 s")


def test_a_cold_link_to_reconstruction_without_batch_norm(server):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport={"width": 1920, "height": 1080}).new_page()
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(urlparse(request.url).netloc))
        page.goto(f"{server}/reconstruction?bn=false&layer=conv4_x&class=horse&number=3")
        page.get_by_text("What to look at").wait_for(timeout=120_000)
        page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']")

        sidebar = page.get_by_test_id("stSidebar")
        assert sidebar.get_by_text("Network", exact=True).is_visible()
        switch = sidebar.get_by_role("switch", name="Batch norm in the reconstruction")
        assert not switch.is_checked()
        pictures = page.get_by_test_id("stImage").locator("img")
        assert pictures.count() == 5
        page.wait_for_function(
            "[...document.querySelectorAll('[data-testid=stImage] img')].every(i => i.naturalWidth > 0)"
        )
        assert page.get_by_text("horse, test image").is_visible()
        assert page.locator("[data-testid='stException']").count() == 0

        before = pictures.nth(1).evaluate("image => image.src")
        sidebar.get_by_text("Batch norm in the reconstruction").click()
        page.wait_for_function(
            "before => document.querySelectorAll('[data-testid=stImage] img')[1].src !== before", arg=before
        )
        assert switch.is_checked()
        page.wait_for_function("!location.search.includes('bn=')")

        (ROOT / "screenshots").mkdir(exist_ok=True)
        page.screenshot(path=ROOT / "screenshots" / "reconstruction.png")
        browser.close()
    assert {host for host in hosts if host} == {urlparse(server).netloc}


def test_keyboard_and_network_change_keep_the_link_whole(server):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        page.goto(f"{server}/accuracy?checkpoint=lenet")
        page.get_by_text("How often lenet is right").wait_for(timeout=120_000)
        page.get_by_role("link", name="Reconstruction").click()
        page.get_by_text("of lenet says of this image").wait_for(timeout=60_000)
        assert "checkpoint=lenet" in page.url
        page.keyboard.press("n")
        page.wait_for_function("location.search.includes('number=')", timeout=30_000)
        assert page.locator("[data-testid='stException']").count() == 0
        browser.close()
