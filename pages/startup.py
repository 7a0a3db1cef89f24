"""What the server does before anybody comes, and what each run of a page begins with."""

import atexit
import functools
import gc
import logging
import sys
import threading

import streamlit as st

from engine.errors import ConvscopeError

STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.2rem 2rem 1rem; }
[data-testid="stSidebarHeader"] { height: 2.5rem; }
[data-testid="stImage"] img { image-rendering: pixelated; border-radius: 4px; }
</style>"""
"""Little padding, and pictures that stay crisp when the browser enlarges them."""


def warm_up() -> threading.Thread:
    """Load in the background what the first visitor needs; whoever comes earlier waits for nothing else.

    An error is logged: the page that needs the same thing says it in its own words.
    """
    thread = threading.Thread(target=_warm_up, name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up() -> None:
    try:
        from pages.common import selection  # with PyTorch, which takes seconds

        selection.load_what_is_shown_first()
        exempt_modules()
    except Exception:
        logging.getLogger(__name__).exception("Warming up has failed; the app goes on.")


def show_error(error: Exception) -> bool:
    """Show a `ConvscopeError` of a callback or a fragment as its sentence; whether that has been done."""
    if not isinstance(error, ConvscopeError):
        return False
    st.error(str(error), icon="⚠️")
    return True


def use_the_whole_screen() -> None:
    """Put the style on the page; call it in every run."""
    st.html(STYLE)


# Garbage -------------------------------------------------------------------------------------------------------


def exempt_modules() -> None:
    """Exempt all objects that there are from garbage collection, if modules were loaded since the last call.

    After a rerun Streamlit looks through all objects that could be garbage, so that arrays in reference cycles are
    freed at once. PyTorch's modules alone hold 400,000 such objects, and meanwhile no session of the server gets on. A
    loaded module stays: the collection then sees only newer objects (`gc.freeze` in Python's library reference).
    """
    _exempt(len(sys.modules))


@functools.cache
def _exempt(_modules: int) -> None:
    gc.collect()
    gc.freeze()


# At the end of the program modules are garbage after all, and PyTorch's complain if they are left over.
atexit.register(gc.unfreeze)
