"""Made-up links: whatever one asks of a page's controls, the page is there, and says what it could not do."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages import directory
from pages.common import controls
from tests.apps import open_page
from tests.fuzzing import LONGEST_SENTENCE, NAMES, NUMBERS, cases, little_memory

PAGES = (directory.HOME, *directory.PAGES)
VALUES = st.sampled_from(
    ["", "0", "-1", "1", "3", "true", "false", "lenet", "convnet2", "conv1", "pool2", "classes", "cat", "own", "none"]
)
WORDS = """checkpoint weights layer bn images class number photograph size split signal unit rule path compare view map
    channel answers kind strength kernels steps seed preset objective lecture step present at scale of with sort
    comparison curves axis measured_on loss_scale smoothing recipe run"""
KEYS = st.sampled_from(WORDS.split())


@pytest.fixture(autouse=True, scope="module")
def memory() -> Iterator[None]:
    """All cases of this file together."""
    open_page("reconstruction/page.py")
    with little_memory():
        yield


@cases(25)
@given(
    page=st.sampled_from(PAGES),
    link=st.dictionaries(KEYS | NAMES, VALUES | NUMBERS.map(str) | NAMES, min_size=2, max_size=12),
)
def test_links(page: directory.Entry, link: dict[str, str]) -> None:
    app = open_page(page.file, **{"checkpoint": "lenet", **link})
    assert not app.exception, (page.address, link, app.exception[0].value)
    for sentence in [*app.error, *app.warning]:
        assert 5 < len(sentence.value) < 2 * LONGEST_SENTENCE
    assert app.session_state[controls.DRAWN]
