"""Whose a run or a kept model is, where a class shares one server.

Whoever starts a run is given the right to it: a text that nobody can guess, which the session keeps and a link can
carry. The folder keeps only its SHA-256, in the file `owner`, so that nobody reads it there. A model has the owner of
the run that it was kept from. An empty file is nobody's: so it is of models that are kept where there are no owners, or
added by `engine.own_checkpoint`.
"""

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from engine.checkpoints.writing import OWNER
from engine.files import write_text


def new_right() -> str:
    """A right that nobody else has."""
    return secrets.token_urlsafe(16)


def digest(right: str) -> str:
    """What is stored of a right."""
    return hashlib.sha256(right.encode()).hexdigest()


def give(folder: Path, right: str) -> None:
    """Let the run in `folder` belong to whoever has `right`.

    Raises:
        ConvscopeError: the folder cannot be written.
    """
    write_text(folder / OWNER, digest(right) + "\n")


def of(folder: Path) -> str:
    """The digest of the right to what is in `folder`; empty if it is nobody's."""
    try:
        with (folder / OWNER).open("rb") as file:
            return file.read(100).decode().strip()
    except (OSError, ValueError):
        return ""


def belongs(folder: Path, rights: Iterable[str]) -> bool:
    """Whether one of `rights` is the one to what is in `folder`."""
    owner = of(folder)
    return any(secrets.compare_digest(owner, digest(right)) for right in rights) if owner.isascii() else False
