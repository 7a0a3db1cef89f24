"""A browser refuses what a page did not bring itself: code in its text, and pictures of other servers."""

import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.browser.conftest import IDLE

INJECTED = """() => new Promise(done => {
  const refused = [];
  addEventListener('securitypolicyviolation', event => {
    refused.push(event.effectiveDirective);
    if (refused.length === 3) done(refused.sort());
  });
  document.body.insertAdjacentHTML('beforeend', '<img src="http://127.0.0.2:9/"><b onclick="window.run = 1">b</b>');
  document.body.lastElementChild.click();
  const script = document.createElement('script');
  script.textContent = 'window.run = 1';
  document.body.append(script);
})"""


def test_markup_that_got_into_a_page_does_nothing(server: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(server)
    page.wait_for_selector(IDLE)
    assert page.evaluate(INJECTED) == ["img-src", "script-src-attr", "script-src-elem"]
    assert page.evaluate("window.run") is None
    page.close()


def test_the_server_does_not_count_its_visitors_for_anybody(server: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server}/_stcore/metrics")
