"""What all tests share: the bundled images, small runs, and a network that is not there."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner

from engine import data, settings
from engine.data import LabelledImages, bundled
from engine.settings import ROOT
from engine.training.datasets import Splits
from engine.training.run import RunFolder


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process have all browser tests, which mostly wait, from the start; the other files go to either."""
    for item in items:
        file = item.path.relative_to(ROOT)
        item.add_marker(pytest.mark.xdist_group("browser" if "browser" in file.parts else str(file)))


@pytest.fixture(scope="session")
def bundled_test() -> LabelledImages:
    """The 10,000 bundled test images; shared, so not to be written to."""
    return bundled("test")


@pytest.fixture(scope="session")
def bundled_train() -> LabelledImages:
    """The 5,000 bundled training images; shared, so not to be written to."""
    return bundled("train")


@pytest.fixture
def use_folders() -> Iterator[Callable[..., None]]:
    """Sets other folders for one test, by the names in `settings.Folders`: `use_folders(runs=tmp_path)`."""
    with ExitStack() as stack:
        yield lambda **changed: stack.enter_context(settings.using(**changed))


@pytest.fixture
def fresh_caches() -> Iterator[None]:
    """Empty caches of the app, for a test that damages what they may hold; nothing of it stays there."""
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def splits(bundled_train: LabelledImages) -> Splits:
    """64 training and 32 validation images."""
    return Splits(bundled_train.subset(np.arange(64)), bundled_train.subset(np.arange(4_000, 4_032)))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that has not begun."""
    return RunFolder(tmp_path / "run")


@pytest.fixture(scope="session", autouse=True)
def once() -> Iterator[None]:
    """Do once what every new app would do again: look for Streamlit components, and unpack the bundled images."""
    patch = pytest.MonkeyPatch()
    patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
    unpack = data.read_sheet

    @cache
    def unpacked(path: Path, count: int, changed: int, size: int) -> np.ndarray:
        return unpack(path, count)

    def read(path: Path, count: int) -> np.ndarray:
        if not path.exists():
            return unpack(path, count)
        return unpacked(path, count, path.stat().st_mtime_ns, path.stat().st_size).copy()

    patch.setattr(data, "read_sheet", read)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"The tests run offline, but something asked for {address[0]}.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
