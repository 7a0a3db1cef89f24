"""The large files of a run, read once for all sessions.

The page of a run redraws itself twice a second in every browser, and after a night a run has noted hundreds of
thousands of steps. So curves and pictures are cached until the file changes: its time and size are part of the key.
The steps of a run that goes on change all the time; they are read again when the curve has grown visibly.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
import torch

from engine import pictures
from engine.training import live_files
from engine.training.curves import StepCurve, step_curve
from engine.training.plan import Plan
from engine.training.records import ALIVE, Status
from engine.training.run import RunFolder


@dataclass(frozen=True)
class FileVersion:
    """A file as it is on disk at one moment: small enough to be a key.

    Attributes:
        changed: nanoseconds since 1970; 0 for a file that is not there.
        size: in bytes.
    """

    path: Path
    changed: int
    size: int

    @property
    def folder(self) -> RunFolder:
        """The run that the file belongs to."""
        return RunFolder(self.path.parent)


def version(file: Path) -> FileVersion:
    """The present version of `file`."""
    try:
        known = file.stat()
    except OSError:  # not written yet, or deleted
        return FileVersion(file, 0, 0)
    return FileVersion(file, known.st_mtime_ns, known.st_size)


# Steps ---------------------------------------------------------------------------------------------------------


def curve(folder: RunFolder, status: Status) -> StepCurve:
    """The noted steps of a run; while it goes on, the last ones may be missing.

    Raises:
        ConvscopeError: the run's recipe is missing or damaged.
    """
    steps, begun = version(folder.path / "steps.csv"), version(folder.path / "recipe.json")
    if status.state in ALIVE:
        steps = _rounded(steps)
    return _curve(steps, begun, folder.plan(folder.recipe()), status.steps_per_epoch)


def _rounded(growing: FileVersion) -> FileVersion:
    """The same for a file that is less than 1/256 longer: no point of a curve is as small as that."""
    grain = 1 << max(0, growing.size.bit_length() - 9)
    return FileVersion(growing.path, 0, growing.size // grain * grain)


@st.cache_resource(max_entries=8, show_spinner=False)
def _curve(steps: FileVersion, begun: FileVersion, plan: Plan, steps_per_epoch: int) -> StepCurve:
    # `begun` tells a new run from a deleted one of its name, whose steps may have been as many.
    return step_curve(live_files.read_steps(steps.folder), plan, steps_per_epoch)


# Filters -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FilterPictures:
    """PNGs of the first layer's `count` kernels now and before training, on one scale."""

    count: int
    now: bytes
    before: bytes


def filters(folder: RunFolder) -> FilterPictures | None:
    """The first layer's filters at this moment and before training; None before there are any."""
    return _filters(version(folder.path / "filters.npz"), version(folder.path / "filters_now.npy"))


@st.cache_resource(max_entries=8, show_spinner=False)
def _filters(stored: FileVersion, present: FileVersion) -> FilterPictures | None:
    ends = _first_and_last(stored)
    if ends is None:
        return None
    before, last = ends
    now = live_files.read_filters_now(present.folder)
    now = last if now is None else now
    return FilterPictures(len(now), *draw_filters(now, before))


@st.cache_resource(max_entries=8, show_spinner=False)
def _first_and_last(stored: FileVersion) -> tuple[np.ndarray, np.ndarray] | None:
    """The kernels before training, and after the last whole epoch."""
    noted = live_files.read_filters(stored.folder)
    return (noted.filters[0], noted.filters[-1]) if noted is not None and len(noted.filters) else None


def draw_filters(now: np.ndarray, before: np.ndarray) -> tuple[bytes, bytes]:
    """PNGs of two sets of kernels `[O, 3, k, k]` on one shared scale."""
    both = [torch.from_numpy(np.nan_to_num(kernels.astype(np.float32))) for kernels in (now, before)]
    scale = max(pictures.scale_of(kernels) for kernels in both)
    columns = 8 if len(now) <= 32 else 16
    tiles = [pictures.signed(kernels, scale) for kernels in both]
    return tuple(pictures.png(pictures.sheet(kernels, columns, width=800, gap=6)) for kernels in tiles)
