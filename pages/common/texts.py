"""Words that all pages share, and how errors reach a reader."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from engine.errors import ConvscopeError


@contextmanager
def readable_errors() -> Iterator[None]:
    """Show a `ConvscopeError` as its sentence, without a traceback, and go on with the code behind the block."""
    try:
        yield
    except ConvscopeError as error:
        st.error(str(error), icon="⚠️")


def headline(statement: str) -> None:
    """What the page shows, in one line; its title stands in the navigation."""
    st.markdown(f"**{statement}**")


def what_to_look_at(*lines: str) -> None:
    """At most three things that a class should notice."""
    st.markdown("**What to look at**\n" + "\n".join(f"- {line}" for line in lines[:3]))


def percent(share: float) -> str:
    """0.8189 as "81.9 %"."""
    return f"{share:.1%}".replace("%", " %")


def verdict(truth: str | None, classes: Sequence[str], predicted: int) -> str:
    """Whether the predicted class is the image's, where that is known."""
    if truth not in classes:
        return "Predicted"
    return "Predicted correctly" if classes[predicted] == truth else "Predicted wrongly"
