"""Words that all pages share, how text from outside is shown, and how errors reach a reader.

Streamlit shows almost every text as Markdown: in `![a](http://...)` the browser would fetch that address. Whatever a
link, a file or a visitor brings (names of networks, classes, runs, pictures; sentences that repeat them) goes through
`plain`.
"""

import html
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from engine.accuracy.figures import percent
from engine.errors import ConvscopeError
from engine.names import is_printable

__all__ = ["percent"]

_MARKUP = re.compile(
    r"[\\`*\[\]<>$~&|]"  # images, links, emphasis, HTML, formulas, colours, entities, tables
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; not the _ within a name
    r"|^[-+#=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]"  # lists and headings
)
_LINKED = re.compile(r"(?<=[:@])(?=[\w/+-])|(?<=\bwww)(?=\.)", re.IGNORECASE)
_STATEMENT = "_statement"
_JOINER = "\u2060"
"""Has no width. Addresses and codes such as `:tada:` are recognised in spite of backslashes, but not with it inside."""


def plain(text: object) -> str:
    """Markdown that shows `text` letter by letter, in one line; what stands between backticks is shown as code."""
    printable = "".join(letter if is_printable(letter) else "\ufffd" for letter in " ".join(str(text).split()))
    parts = re.split(r"(`[^`]+`)", printable)  # code at the odd places: nothing in it is interpreted
    parts[::2] = [_LINKED.sub(_JOINER, _MARKUP.sub(r"\\\g<0>", part)) for part in parts[::2]]
    return "".join(parts)


def unseen(text: str) -> str:
    """Part of a button's label that only a screen reader says: what the button is about, where the eye sees that.

    The style hides coloured words of buttons from sight; a tooltip (`help`) is no part of a button's name.
    """
    return f":gray[{plain(text)}]"


def announce(words: str) -> None:
    """What only a screen reader says, when it changes: of something that ends by itself, and that the eye sees end.

    Call it in each run, with "" as long as there is nothing to say: what is new in an old place is announced.
    """
    st.html(f'<div role="status" class="announced">{html.escape(words)}</div>')


@contextmanager
def readable_errors() -> Iterator[None]:
    """Show a `ConvscopeError` as its sentence, without a traceback, and go on with the code behind the block."""
    try:
        yield
    except ConvscopeError as error:
        st.error(plain(error), icon="⚠️")


def headline(statement: str) -> None:
    """What the page shows, in one line of plain text: its first heading; its title stands in the navigation."""
    st.session_state[_STATEMENT] = statement
    st.markdown(f"# {plain(statement)}")


def statement() -> str:
    """The headline that was drawn last, as a caption can repeat it; "" before there is any."""
    return st.session_state.get(_STATEMENT, "")


def what_to_look_at(*lines: str) -> None:
    """At most three things that a class should notice."""
    st.markdown("**What to look at**\n" + "\n".join(f"- {line}" for line in lines[:3]))


def verdict(truth: str | None, classes: Sequence[str], predicted: int) -> str:
    """Whether the predicted class is the image's, where that is known."""
    if truth not in classes:
        return "Predicted"
    return "Predicted correctly" if classes[predicted] == truth else "Predicted wrongly"
