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
