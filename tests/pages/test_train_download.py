"""The Train page's download of the whole of CIFAR-10, with a process that stands for the real one."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine.training import estimate
from engine.training.estimate import TimePerImage
from pages.train import images
from tests.apps import assert_no_error, open_page

DOWNLOAD, STOP = "Download CIFAR-10", "Stop the download"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_folders: Callable[..., None]) -> AppTest:
    """The form, on a machine that has the shipped images only."""
    st.cache_resource.clear()
    use_folders(runs=tmp_path / "runs")
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(0.01, 0.002))
    use_folders(cifar10=tmp_path / "cifar10")
    (tmp_path / "cifar10").mkdir()
    return open_page("train/page.py", dataset="all of CIFAR-10")


def downloads_with(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(images, "COMMAND", [sys.executable, "-c", program])


def button(page: AppTest, label: str):
    return next(button for button in page.main.button if button.label == label)


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.main.button]


def run_until(page: AppTest, label: str) -> None:
    """Rerun the page until that button is there."""
    end = time.monotonic() + 30
    while label not in labels(page):
        assert time.monotonic() < end
        time.sleep(0.05)
        page.run()


def test_a_download_can_be_stopped_and_begun_again(
    page: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads_with(monkeypatch, "import time; time.sleep(600)")
    for _ in range(2):
        button(page, DOWNLOAD).click().run()
        assert STOP in labels(page)
        assert DOWNLOAD not in labels(page)
        job = images.downloads().get(tmp_path / "cifar10", pytest.fail)
        button(page, STOP).click().run()
        job.wait(30)
        assert job.stopped
        run_until(page, DOWNLOAD)
        assert_no_error(page)


def test_a_second_session_sees_the_same_download(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads_with(monkeypatch, "import time; time.sleep(600)")
    button(page, DOWNLOAD).click().run()
    second = open_page("train/page.py", dataset="all of CIFAR-10")
    assert STOP in labels(second)
    button(second, STOP).click().run()
    run_until(page, DOWNLOAD)


def test_why_a_download_has_failed_is_said_until_it_is_tried_again(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads_with(monkeypatch, "print('CIFAR-10 could not be downloaded: check the network.'); raise SystemExit(1)")
    button(page, DOWNLOAD).click().run()
    end = time.monotonic() + 30
    while not page.error:
        assert time.monotonic() < end
        time.sleep(0.05)
        page.run()
    assert [error.value for error in page.error] == ["CIFAR-10 could not be downloaded: check the network."]
    downloads_with(monkeypatch, "import time; time.sleep(600)")
    button(page, DOWNLOAD).click().run()
    assert_no_error(page)
    button(page, STOP).click().run()
    run_until(page, DOWNLOAD)


def test_after_a_download_training_can_start(page: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads_with(monkeypatch, f"open({str(tmp_path / 'cifar10' / 'train.npz')!r}, 'w').close()")
    assert page.main.button(key="train_start").disabled
    button(page, DOWNLOAD).click().run()
    end = time.monotonic() + 30
    while page.main.button(key="train_start").disabled:
        assert time.monotonic() < end
        time.sleep(0.05)
        page.run()
    assert DOWNLOAD not in labels(page)
    assert_no_error(page)
