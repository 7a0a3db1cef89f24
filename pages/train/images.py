"""Whether the images of a recipe are on this machine, and a button that gets them."""

import os
import subprocess
import sys
from pathlib import Path

import streamlit as st

from engine import settings
from engine.training.recipe import Recipe
from pages.common import texts

COMMAND = [sys.executable, "-m", "engine.data", "download"]
FAILED = "_download_failed"
"""Why the last download that this session has seen has ended."""


class Download:
    """A download of CIFAR-10 in a process of its own, which can be stopped."""

    ARCHIVE = "cifar-10-python.tar.gz"
    BYTES = 170_498_071
    """The size of the official archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            COMMAND, cwd=settings.ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def share(self) -> float:
        """How much has arrived, 0 to 1."""
        archive = self.folder / self.ARCHIVE
        return min(1.0, archive.stat().st_size / self.BYTES) if archive.exists() else 0.0

    def stop(self) -> None:
        self.process.terminate()

    def message(self) -> str:
        """What it said at its end: nothing, if all went well."""
        said = self.process.stdout.read().strip() if self.process.stdout else ""
        return said.rpartition("\n")[2] if self.process.returncode else ""


@st.cache_resource(show_spinner=False)
def _downloads() -> dict[str, Download]:
    """The download that goes on, for all sessions."""
    return {}


def has_images(recipe: Recipe) -> bool:
    """Whether the recipe's images are on this machine; if not, say so and offer to get them."""
    if recipe.dataset != "cifar10" or (settings.folders.cifar10 / "train.npz").exists():
        return True
    if message := st.session_state.pop(FAILED, ""):
        st.error(message, icon="⚠️")
    st.info("The whole of CIFAR-10 (170 MB) is not on this machine yet; the 5,000 shipped images need no network.")
    under_way = _downloads().get("cifar10")
    if under_way is not None:
        st.fragment(_follow, run_every=0.5)(under_way)
        if st.button("Stop the download"):
            under_way.stop()
    elif st.button("Download CIFAR-10"):
        _downloads()["cifar10"] = Download(settings.folders.cifar10)
        st.rerun()
    return False


def _follow(download: Download) -> None:
    """How far it is; the whole page is drawn again at its end."""
    if not download.running:
        if _downloads().pop("cifar10", None) is download and (message := download.message()):
            st.session_state[FAILED] = message
        st.rerun()
    st.progress(download.share, f"Downloading CIFAR-10: {texts.percent(download.share)}")
