"""Files are replaced whole or not at all."""

import errno
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from engine.checkpoints import write_weights
from engine.errors import ConvscopeError
from engine.files import sha256, write_atomically, write_text


def message(path: Path, reason: str) -> str:
    return (
        f"{path} could not be written ({reason}): free some space or choose a folder that you may write to; "
        "what was stored before is unharmed."
    )


def failing(code: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def half_written(error: BaseException) -> Any:
    def write(file: BinaryIO) -> None:
        file.write(b"half of the new")
        file.flush()
        raise error

    return write


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def test_the_new_content_replaces_the_old(old: Path) -> None:
    write_atomically(old, lambda file: file.write(b"new"))
    assert old.read_bytes() == b"new"
    assert list(old.parent.iterdir()) == [old]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "Übung")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "Übung".encode()


def test_everybody_may_read_the_file(old: Path) -> None:
    write_text(old, "new")
    assert old.stat().st_mode & 0o777 == 0o644


def test_readers_see_the_old_content_until_the_new_is_complete(old: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        assert old.read_bytes() == b"old"

    write_atomically(old, write)
    assert old.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug")], ids=repr)
def test_a_writer_that_breaks_off_leaves_the_old_content_alone(old: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_atomically(old, half_written(error))
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_a_failing_disk_is_reported_and_leaves_the_old_content_alone(old: Path) -> None:
    with pytest.raises(ConvscopeError) as caught:
        write_atomically(old, half_written(OSError(errno.EIO, os.strerror(errno.EIO))))
    assert str(caught.value) == message(old, "Input/output error")
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize(
    ("place", "name", "code", "reason"),
    [
        (tempfile, "mkstemp", errno.EROFS, "Read-only file system"),
        (tempfile, "mkstemp", errno.EACCES, "Permission denied"),
        (os, "fsync", errno.ENOSPC, "No space left on device"),
        (os, "replace", errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_refusal_by_the_system_is_one_sentence(
    old: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, code: int, reason: str
) -> None:
    monkeypatch.setattr(place, name, failing(code))
    with pytest.raises(ConvscopeError) as caught:
        write_text(old, "new")
    assert str(caught.value) == message(old, reason)
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_a_folder_below_a_file_is_refused(old: Path) -> None:
    with pytest.raises(ConvscopeError) as caught:
        write_text(old / "below.txt", "new")
    assert str(caught.value) == message(old / "below.txt", "File exists")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always-full device")
def test_weights_on_a_full_disk_are_one_sentence(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given such a file, `torch.save` itself would raise a RuntimeError about "unexpected pos"."""

    def on_full_device(dir: Path, prefix: str) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(dir / f"{prefix}full")

    monkeypatch.setattr(tempfile, "mkstemp", on_full_device)
    with pytest.raises(ConvscopeError) as caught:
        write_weights(old, {"weight": torch.zeros(100_000)})
    assert str(caught.value) == message(old, "No space left on device")
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("size", [0, 1, 1_000_003])
def test_sha256_is_that_of_the_content(tmp_path: Path, size: int) -> None:
    content = bytes(index * index % 251 for index in range(size))
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
