"""A way in the sidebar to get torchvision's pretrained networks, for as long as some are not on this machine."""

from typing import ClassVar

import streamlit as st

from engine import pretrained
from pages.common import visitors
from pages.common.jobs import Job, panel


class Download(Job):
    """The download of one network, for all sessions; it waits for no turn, and is thrown away when it is stopped."""

    computes: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _work(self) -> None:
        pretrained.download(self.name, self._note)

    def _note(self, done: int, total: int) -> None:
        self.go_on_unless_stopped()
        self.share = min(1.0, done / total) if total else 0.0
        self.words = f"{self.share:.0%}".replace("%", " %")


@st.cache_resource
def download(name: str) -> Download:
    """The one download of a network."""
    return Download(name)


def offer() -> None:
    """A button for each network that is not here, behind one that opens the list; in a class only for the lecturer."""
    if not visitors.leads():
        return
    missing = [name for name in pretrained.DOWNLOADS if name not in pretrained.available()]
    if not missing:
        return
    with st.popover("More networks", width="stretch"):
        st.markdown("Trained by torchvision on ImageNet: 1,000 classes of photographs. They appear under Network.")
        for name in missing:
            words = f"Get {pretrained.NETWORKS[name].title} ({pretrained.megabytes(name)} MB)"
            panel(download(name), start=words, again=words, key=f"get_{name}")
