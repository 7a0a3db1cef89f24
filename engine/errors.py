"""The one kind of error that is meant for people.

Whatever a person can cause (a damaged file, a wrong name in a link, a recipe with a typing error) is raised as a
`ConvscopeError` whose text is one sentence: what is wrong, where, and what to do. Pages and command lines print
that sentence; any other exception is a mistake in the program.
"""

from collections.abc import Iterable


class ConvscopeError(ValueError):
    """Something a person can mend; its text is a sentence they can read."""


def quoted(value: object, most: int = 60) -> str:
    """How a sentence shows what somebody else has written: in quotes, and no more of it than a reader takes in."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…{text[-1]}"


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names in a sentence: all of them, or the first, and how many more there are."""
    known = [name if len(name) <= 60 else f"{name[:60]}…" for name in names]
    return ", ".join(known[:most]) + (f" and {len(known) - most:,} more" if len(known) > most else "")
