"""Streamlit's collection of garbage after every rerun does not look through PyTorch's modules."""

import gc
import sys
import types
from collections.abc import Iterator

import pytest

from pages.common import garbage
from tests.apps import open_page


@pytest.fixture(autouse=True)
def all_objects_count_again() -> Iterator[None]:
    garbage._exempt.cache_clear()
    gc.unfreeze()
    yield
    garbage._exempt.cache_clear()
    gc.unfreeze()


def test_after_the_first_run_hardly_anything_is_left_to_look_through() -> None:
    before = len(gc.get_objects())
    open_page("reconstruction/page.py")
    assert gc.get_freeze_count() > 0.9 * before
    assert len(gc.get_objects()) < 0.2 * before


def test_objects_made_later_are_still_collected() -> None:
    garbage.exempt_modules()
    exempt = gc.get_freeze_count()
    cycle: list[object] = []
    cycle.append(cycle)
    garbage.exempt_modules()
    assert gc.get_freeze_count() == exempt
    del cycle
    assert gc.collect() >= 1


def test_modules_that_are_loaded_later_become_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage.exempt_modules()
    exempt = gc.get_freeze_count()
    late = types.ModuleType("loaded_late")
    late.content = [[] for _ in range(10_000)]
    monkeypatch.setitem(sys.modules, "loaded_late", late)
    garbage.exempt_modules()
    assert gc.get_freeze_count() >= exempt + 10_000


def test_garbage_is_not_exempt() -> None:
    gc.collect()
    cycle: list[object] = [[] for _ in range(10_000)]
    cycle.append(cycle)
    del cycle
    before = len(gc.get_objects())
    garbage.exempt_modules()
    assert gc.get_freeze_count() < before
