"""A browser makes nothing of what a link or a folder's name brings, and asks nobody else for anything."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlparse

import pytest

from engine import settings
from tests.browser.conftest import CHROMIUM, IDLE, NO_CHROMIUM, Server

MARKS = r":red[r] $x$ :tada: :material/home: <b>h</b> **s** [l](http:\\evil.example) www.evil.example"
HOSTILE = rf"![a](http:\\evil.example\i.png) {MARKS}".replace("/", "")
LINK = f"![a](http://evil.example/i.png) {MARKS}"
RENDERED = (
    "img:not([src^='http://127']):not([src^='data:']), a[href*='evil']:not([href*='checkpoint='], [href^='#']), "
    ".katex:not(.katex-display .katex), strong b, em, [class*=Colored]"
)
"""What it must not become; the pages' own equations, and links to themselves and their headings, are something else."""


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_no_page_renders_names_or_calls_out_for_them(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    for name in ("lenet", HOSTILE):
        shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / name)
    card = json.loads((tmp_path / HOSTILE / "card.json").read_text())
    card["classes"] = [f"{HOSTILE} {number}" for number in range(10)]
    (tmp_path / HOSTILE / "card.json").write_text(json.dumps(card))
    server = Server(CONVSCOPE_CHECKPOINTS=str(tmp_path))
    asked: list[str] = []
    page = open_page("about:blank", on_request=lambda request: asked.append(request.url))
    try:
        for path, checkpoint in (("", LINK), ("", HOSTILE), ("accuracy", HOSTILE), ("reconstruction", HOSTILE)):
            page.goto(f"{server.address}/{path}?checkpoint={quote(checkpoint)}&{quote(LINK)}={quote(LINK)}")
            page.locator("[data-testid=stMain]").get_by_text("evil.example").first.wait_for()
            page.wait_for_selector(IDLE)
            rendered = page.locator(f"[data-testid=stMain] :is({RENDERED})")
            assert rendered.evaluate_all("all => all.map(element => element.outerHTML)") == [], path
            words = page.get_by_test_id("stMain").inner_text().replace("\u2060", "")
            assert "![a](http:" in words, path
            assert checkpoint == LINK or HOSTILE in words, path
    finally:
        server.kill()
    assert {urlparse(url).hostname for url in asked if not url.startswith(("data:", "blob:"))} == {"127.0.0.1"}
