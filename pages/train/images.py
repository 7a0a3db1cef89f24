"""Whether the images of a recipe are on this machine, and a job that gets them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import streamlit as st

from engine import settings
from engine.errors import ConvscopeError
from engine.training.recipe import Recipe
from pages.common import visitors
from pages.common.jobs import Job, Jobs, panel

COMMAND = [sys.executable, "-m", "engine.data", "download"]
ARCHIVE, BYTES = "cifar-10-python.tar.gz", 170_498_071
"""The official archive, and its size."""


class Cifar10Download(Job):
    """Downloads CIFAR-10 to `folder` in a process of its own, which ends when the job is stopped."""

    computes = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._archive = folder / ARCHIVE

    def _work(self) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            COMMAND, cwd=settings.ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with process:
            try:
                while process.poll() is None:
                    self._note_progress()
                    self.go_on_unless_stopped()
                    time.sleep(0.1)
            finally:
                process.terminate()
            message = process.stdout.read().strip()
        if process.returncode:
            raise ConvscopeError(message.rpartition("\n")[2])

    def _note_progress(self) -> None:
        size = self._archive.stat().st_size if self._archive.exists() else 0
        self.share, self.words = min(1.0, size / BYTES), f"{size / 1e6:.0f} of {BYTES / 1e6:.0f} MB"


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def downloads() -> Jobs[Cifar10Download]:
    """The downloads that go on, one for each folder, for all sessions."""
    return Jobs()


def has_images(recipe: Recipe) -> bool:
    """Whether the recipe's images are on this machine; if not, say so and offer to get them."""
    folder = settings.folders.cifar10
    if recipe.dataset != "cifar10" or (folder / "train.npz").exists():
        return True
    st.info("The whole of CIFAR-10 (170 MB) is not on this machine yet; the 5,000 shipped images need no network.")
    if not visitors.leads():
        st.caption("Only the lecturer can get it.")
        return False
    job = downloads().get(folder, lambda: Cifar10Download(folder))
    panel(job, start="Download CIFAR-10", again="Download CIFAR-10", stop="Stop the download", key="train_download")
    return False
