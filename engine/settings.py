"""Where things lie on the disk: the one place that names the folders, read anew at each call.

Each folder has an environment variable, such as CONVSCOPE_CHECKPOINTS, for a server that shows other ones. A program
that is running already, such as a test, sets others for a while with `using`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Folders:
    """The folders that the engine reads and writes.

    Attributes:
        checkpoints: trained networks, one folder each.
        experiments: the same without weights.
        bundled: the images that are shipped, and the photographs.
        cifar10: the whole of CIFAR-10, once it is downloaded.
        features: what frozen layers answer, kept for transfers; may be deleted whenever none is trained.
        runs: trainings that go on or are over, one folder each.
        recipes: what to train, and how.
        lectures: paths through the app's views.
    """

    checkpoints: Path = ROOT / "checkpoints"
    experiments: Path = ROOT / "experiments"
    bundled: Path = ROOT / "data" / "bundled"
    cifar10: Path = ROOT / "data" / "cifar10"
    features: Path = ROOT / "data" / "features"
    runs: Path = ROOT / "runs"
    recipes: Path = ROOT / "recipes"
    lectures: Path = ROOT / "lectures"

    @staticmethod
    def from_environment() -> "Folders":
        """The folders of this repository, except those that the environment names."""
        named = {field.name: os.environ.get(f"CONVSCOPE_{field.name.upper()}") for field in fields(Folders)}
        return Folders(**{name: Path(path).resolve() for name, path in named.items() if path})


folders = Folders.from_environment()
"""The folders in use; always read as `settings.folders`, never imported by name, since `using` replaces it."""


@contextmanager
def using(**changed: Path) -> Iterator[None]:
    """Some other folders for a while, by the names of `Folders`, in all threads."""
    global folders
    before = folders
    folders = replace(before, **changed)
    try:
        yield
    finally:
        folders = before
