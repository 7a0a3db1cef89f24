"""Where things lie on the disk, and how this copy is used: the one place that says it, read anew at each call.

Each folder has an environment variable, such as CONVSCOPE_CHECKPOINTS, for a server that shows other ones; and each
entry of `Use`, such as CONVSCOPE_KEY. A program that is running already, such as a test, sets others for a while with
`using` and `used`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from engine.errors import ConvscopeError

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


ALONE, CLASS = "alone", "class"
SHORTEST_KEY = 8
"""Letters: fewer could be found by trying."""


@dataclass(frozen=True)
class Use:
    """How this copy is used.

    Attributes:
        kind: "alone", by people who trust each other: everybody may do everything. Or "class": what a visitor has
            started is theirs, and whoever enters the key may do everything.
        key: the lecturer's; without one nobody is the lecturer.
        minutes: in a class, how long a student's training may take; 0: students do not train.
        models: in a class, how many models students may keep in all; 0: none.
    """

    kind: str = ALONE
    key: str = field(default="", repr=False)
    minutes: int = 30
    models: int = 20

    @staticmethod
    def from_environment() -> "Use":
        """What CONVSCOPE_USE, CONVSCOPE_KEY, CONVSCOPE_MINUTES and CONVSCOPE_MODELS say.

        Raises:
            ConvscopeError: one of them says what it cannot: a server that a class was meant for is not left open.
        """
        given = {name: os.environ.get(f"CONVSCOPE_{name.upper()}", "").strip() for name in ("minutes", "models")}
        if wrong := [name for name, text in given.items() if text and not (text.isdecimal() and len(text) < 6)]:
            raise ConvscopeError(f"CONVSCOPE_{wrong[0].upper()} must be a whole number, 0 for none.")
        kind, key = os.environ.get("CONVSCOPE_USE", ALONE).strip(), os.environ.get("CONVSCOPE_KEY", "").strip()
        if kind not in (ALONE, CLASS):
            raise ConvscopeError(f"CONVSCOPE_USE must be {ALONE!r} or {CLASS!r}, not {kind!r}.")
        if key and len(key) < SHORTEST_KEY:
            raise ConvscopeError(f"CONVSCOPE_KEY must have at least {SHORTEST_KEY} letters.")
        return Use(kind, key, **{name: int(text) for name, text in given.items() if text})


folders = Folders.from_environment()
"""The folders in use; always read as `settings.folders`, never imported by name, since `using` replaces it."""
use = Use.from_environment()
"""The use of this copy; read as `settings.use`, since `used` replaces it."""


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


@contextmanager
def used(**changed: str | int) -> Iterator[None]:
    """Another use for a while, by the names of `Use`, in all threads."""
    global use
    before = use
    use = replace(before, **changed)
    try:
        yield
    finally:
        use = before
