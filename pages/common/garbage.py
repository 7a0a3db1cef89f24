"""Keeps what Streamlit does after every rerun cheap: its collection of garbage.

After a rerun Streamlit looks through all objects that could be garbage, so that arrays in reference cycles are freed at
once. PyTorch's modules alone hold 400,000 such objects, and while they are looked through no session of the server gets
on. A module that is loaded stays: what is there after loading is exempt, and the collection sees only what has been
made since (`gc.freeze` in Python's library reference).
"""

import atexit
import functools
import gc
import sys


def exempt_modules() -> None:
    """Exempt all objects that there are, if modules have been loaded since the last call."""
    _exempt(len(sys.modules))


@functools.cache
def _exempt(_modules: int) -> None:
    gc.collect()
    gc.freeze()


# At the end of the program modules are garbage after all, and PyTorch's complain if they are left over.
atexit.register(gc.unfreeze)
