"""What all tests share: the bundled images, small runs, and a network that is not there."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import LabelledImages, bundled
from engine.training.loop import Splits
from engine.training.run import RunFolder


@pytest.fixture(scope="session")
def bundled_test() -> LabelledImages:
    """The 10,000 bundled test images; shared, so not to be written to."""
    return bundled("test")


@pytest.fixture(scope="session")
def bundled_train() -> LabelledImages:
    """The 5,000 bundled training images; shared, so not to be written to."""
    return bundled("train")


@pytest.fixture
def splits(bundled_train: LabelledImages) -> Splits:
    """64 training and 32 validation images."""
    return Splits(bundled_train.subset(np.arange(64)), bundled_train.subset(np.arange(4_000, 4_032)))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that has not begun."""
    return RunFolder(tmp_path / "run")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"The tests run offline, but something asked for {address[0]}.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
