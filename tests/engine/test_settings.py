"""Folders are read when they are needed, so a test, a person or a server can use others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import checkpoints, settings
from engine.training import run


def test_other_folders_hold_for_a_while_even_after_an_error(tmp_path: Path) -> None:
    before = settings.folders

    def look() -> None:
        with settings.using(checkpoints=tmp_path, runs=tmp_path / "runs"):
            assert checkpoints.available() == {}
            assert run.runs() == []
            assert settings.folders.experiments == before.experiments
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look()
    assert settings.folders == before
    assert "lenet" in checkpoints.available()


def test_the_environment_names_other_folders(tmp_path: Path) -> None:
    look = "from engine import checkpoints, settings; print(settings.folders.recipes, checkpoints.available())"
    environment = {**os.environ, "CONVSCOPE_CHECKPOINTS": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", look], cwd=settings.ROOT, env=environment, text=True, capture_output=True, check=True
    )
    assert answer.stdout == f"{settings.ROOT / 'recipes'} {{}}\n"


def test_an_unknown_folder_is_an_error() -> None:
    with pytest.raises(TypeError), settings.using(nothing=Path()):
        pass


def told(**environment: str) -> subprocess.CompletedProcess[str]:
    look = "from engine import settings; print(*settings.use.__dict__.values(), sep='|')"
    known = {**os.environ, **{f"CONVSCOPE_{name}": value for name, value in environment.items()}}
    return subprocess.run([sys.executable, "-c", look], cwd=settings.ROOT, env=known, text=True, capture_output=True)


def test_the_environment_says_how_this_copy_is_used_and_says_it_right_or_nothing_starts() -> None:
    assert settings.Use() == settings.Use("alone", "", 30, 20)
    alone, shared, misspelt, weak, endless = (
        told(),
        told(USE="class", KEY="a long word", MINUTES="5", MODELS="0"),
        told(USE="klass"),
        told(USE="class", KEY="short"),
        told(MINUTES="-1"),
    )
    assert alone.stdout == "alone||30|20\n"
    assert shared.stdout == "class|a long word|5|0\n"
    assert misspelt.stderr.endswith("CONVSCOPE_USE must be 'alone' or 'class', not 'klass'.\n")
    assert weak.stderr.endswith("CONVSCOPE_KEY must have at least 8 letters.\n")
    assert endless.stderr.endswith("CONVSCOPE_MINUTES must be a whole number, 0 for none.\n")
    with settings.used(kind="class"):
        assert settings.use.kind == "class"
    assert settings.use.kind == "alone"
