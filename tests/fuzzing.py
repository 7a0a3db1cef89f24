"""What the fuzz tests share: made-up values and damaged files, and what may come of them.

Whatever somebody gives the app ends in the right thing or in one sentence, and takes little memory. The cases are the
same in every run. CONVSCOPE_FUZZ=20 tries twenty times as many, others each time.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from engine.errors import ConvscopeError
from tests.memory import peak_memory

TIMES = int(os.environ.get("CONVSCOPE_FUZZ", "1"))
MOST_MEMORY = 500_000_000
"""Bytes that all cases of a kind may take above the start."""
LONGEST_SENTENCE = 2_500

Result = TypeVar("Result")


def cases(count: int) -> settings:
    """Decorates a test that is tried with so many made-up cases."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink) if TIMES == 1 else tuple(Phase),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def result_or_sentence(action: Callable[[], Result]) -> Result | None:
    """What `action` gives; None after a ConvscopeError whose text a person can read. Other errors are mistakes."""
    try:
        return action()
    except ConvscopeError as error:
        sentence = str(error)
        assert 10 < len(sentence) < LONGEST_SENTENCE, sentence[:LONGEST_SENTENCE]
        assert sentence.rstrip("`").endswith((".", "?")), sentence
        return None


@contextmanager
def little_memory() -> Iterator[None]:
    """The block takes less than `MOST_MEMORY`."""
    with peak_memory() as taken:
        yield
        assert taken() < MOST_MEMORY


# Made-up values ------------------------------------------------------------------------------------------------

NAMES = st.text(max_size=12) | st.sampled_from(
    ["", "..", "../../etc", "lenet", "x" * 5_000, "\x00", "💥", "<b>", "a/b"]
)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -1, 1, 3, 10, 10**9, 10**30, 2**53, 1e308, float("nan"), float("inf"), True])
)
PLAIN = st.none() | st.booleans() | NUMBERS | NAMES
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
"""Whatever a JSON or TOML file can hold."""


@st.composite
def changed(draw: st.DrawFn, known: dict[str, Any], most: int = 3) -> dict[str, Any]:
    """`known` with some of its entries replaced, others left out, and perhaps one that does not belong there."""
    values = dict(known)
    for key in draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=most, unique=True)):
        if draw(st.integers(0, 4)) == 0:
            del values[key]
        else:
            values[key] = draw(VALUES)
    if draw(st.integers(0, 9)) == 0:
        values[draw(NAMES)] = draw(VALUES)
    return values


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` cut off, overwritten, or with a part of it elsewhere."""
    broken = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(broken) - 1)))
        match draw(st.sampled_from(["cut", "bytes", "bit", "copy", "insert"])):
            case "cut":
                del broken[at:]
            case "bytes":
                new = draw(st.binary(min_size=1, max_size=8))
                broken[at : at + len(new)] = new
            case "bit" if broken:
                broken[at] ^= 1 << draw(st.integers(0, 7))
            case "copy":
                broken[at:at] = broken[: draw(st.integers(0, 2_000))]
            case "insert":
                broken[at:at] = draw(st.binary(max_size=20)) * draw(st.sampled_from([1, 1, 500]))
    return bytes(broken)
