"""A way in the sidebar to get torchvision's pretrained networks, for as long as some are not on this machine.

Each is downloaded once for all sessions, in a thread that never calls Streamlit; whoever looks sees how far it is and
can stop it.
"""

import threading

import streamlit as st

from engine import pretrained
from engine.errors import ConvscopeError


class Stopped(Exception):
    """Somebody has pressed Stop."""


class Download:
    """A download that can be watched and stopped by any session.

    Attributes:
        share: how much has arrived, 0 to 1.
        error: one sentence, if it has failed.
    """

    def __init__(self, name: str) -> None:
        self.name, self.share, self.error = name, 0.0, ""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, unless it is going on already."""
        with self._lock:
            if not self.alive:
                self.share, self.error = 0.0, ""
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ask it to end; what has arrived is thrown away."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Until it has ended, or so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            pretrained.download(self.name, self._note)
        except Stopped:
            pass
        except ConvscopeError as error:
            self.error = str(error)
        except Exception as error:  # a thread has nobody else to tell
            self.error = f"The download has failed ({type(error).__name__}: {error}): try again."

    def _note(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self.share = min(1.0, done / total) if total else 0.0


@st.cache_resource
def download(name: str) -> Download:
    """The one download of a network."""
    return Download(name)


def offer() -> None:
    """A button for each network that is not here, behind one that opens the list."""
    missing = [name for name in pretrained.NETWORKS if name not in pretrained.available()]
    if not missing:
        return
    with st.popover("More networks", width="stretch"):
        st.markdown("Trained by torchvision on ImageNet: 1,000 classes of photographs. They appear under Network.")
        for name in missing:
            _offer(download(name))


def _offer(job: Download) -> None:
    words = f"Get {pretrained.NETWORKS[job.name].title} ({pretrained.megabytes(job.name)} MB)"
    st.button(words, key=f"get_{job.name}", on_click=job.start, disabled=job.alive, width="stretch")
    if job.alive:
        # Outside the fragment: in a browser, a click inside one ends its polling.
        st.button("Stop", key=f"stop_{job.name}", on_click=job.stop)
        st.fragment(_watch, run_every=0.5)(job)
    elif job.error:
        st.error(job.error)


def _watch(job: Download) -> None:
    """How far it is; the app is drawn once more when it ends."""
    st.progress(job.share, f"{job.share:.0%} has arrived".replace("%", " %"))
    if not job.alive:
        st.rerun()
