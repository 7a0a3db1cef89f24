"""Before the first visitor a network is loaded, and no rerun looks through PyTorch's modules for garbage."""

import gc
import subprocess
import sys
import types
import weakref
from collections.abc import Iterator

import pytest

from engine import data, tape, weights
from engine.errors import ConvscopeError
from engine.settings import ROOT
from pages import startup
from pages.common import selection
from tests.apps import assert_no_error, open_page


@pytest.fixture(autouse=True)
def all_objects_count_again() -> Iterator[None]:
    startup._exempt.cache_clear()
    gc.unfreeze()
    yield
    startup._exempt.cache_clear()
    gc.unfreeze()


def test_after_the_first_run_hardly_anything_is_left_to_look_through() -> None:
    before = len(gc.get_objects())
    open_page("reconstruction/page.py")
    assert gc.get_freeze_count() > 0.9 * before
    assert len(gc.get_objects()) < 0.2 * before


def test_objects_made_later_are_still_collected() -> None:
    """Their own fate is asked, not the number of exempt objects: other threads let go of some of those."""
    startup.exempt_modules()
    cycle = types.ModuleType("cycle")
    cycle.itself = cycle
    alive = weakref.ref(cycle)
    startup.exempt_modules()
    del cycle
    gc.collect()
    assert alive() is None


def test_modules_that_are_loaded_later_become_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    startup.exempt_modules()
    exempt = gc.get_freeze_count()
    late = types.ModuleType("loaded_late")
    late.content = [[] for _ in range(10_000)]  # far more than other threads let go of meanwhile
    monkeypatch.setitem(sys.modules, "loaded_late", late)
    startup.exempt_modules()
    assert gc.get_freeze_count() > exempt + 9_000


def test_garbage_is_not_exempt() -> None:
    gc.collect()
    cycle: list[object] = [[] for _ in range(10_000)]
    cycle.append(cycle)
    del cycle
    before = len(gc.get_objects())
    startup.exempt_modules()
    assert gc.get_freeze_count() < before


def test_while_modules_are_imported_nothing_looks_for_garbage_and_afterwards_they_are_exempt() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTING], cwd=ROOT, capture_output=True, text=True, check=True)
    meanwhile, afterwards, exempt = run.stdout.split()
    assert (meanwhile, afterwards) == ("False", "True")
    assert int(exempt) > 100_000


IMPORTING = """
import gc, sys
from pages import startup

seen = []


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            seen.append(gc.isenabled())


sys.meta_path.insert(0, Finder())
startup.exempt_modules = lambda: None
startup.warm_up().join()
print(seen[0], gc.isenabled(), gc.get_freeze_count())
"""


# Before the first visitor --------------------------------------------------------------------------------------


def test_the_first_visitor_waits_for_no_network(fresh_caches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    startup.warm_up().join()
    for module, work in ((tape, "record"), (weights, "load")):
        monkeypatch.setattr(module, work, lambda *_: pytest.fail("it was not loaded before"))
    assert_no_error(open_page("filters/page.py"))
    assert_no_error(open_page("home/page.py"))


def test_whoever_comes_to_home_waits_neither_for_a_network_nor_for_images(
    fresh_caches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "load", lambda *_: pytest.fail("Home has loaded a network"))
    monkeypatch.setattr(data, "bundled", lambda *_: pytest.fail("Home has unpacked the images"))
    assert_no_error(open_page("home/page.py"))


def test_home_keeps_what_was_chosen_elsewhere(fresh_caches: None) -> None:
    app = open_page("home/page.py")
    app.query_params["checkpoint"] = "lenet"
    app.switch_page("filters/page.py").run().switch_page("home/page.py").run()
    assert app.sidebar.selectbox(key="checkpoint").value == "lenet"


def test_the_sidebar_needs_no_unpacked_images(monkeypatch: pytest.MonkeyPatch, fresh_caches: None) -> None:
    monkeypatch.setattr(data, "bundled", lambda *_: pytest.fail("the images were unpacked"))
    app = open_page("filters/page.py")
    assert_no_error(app)
    assert app.sidebar.selectbox(key="class").options == list(data.CIFAR10_CLASSES)


def test_an_error_before_the_first_visitor_is_logged(
    fresh_caches: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selection, "PREFERRED", "not there")
    startup.warm_up().join()
    assert "Warming up has failed" in caplog.text
    assert "not there" in caplog.text


def test_only_a_readable_error_of_a_callback_is_shown_as_a_sentence() -> None:
    assert startup.show_error(ConvscopeError("Choose another one."))
    assert startup.show_error(MemoryError())
    assert startup.show_error(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not startup.show_error(ValueError())


FREED = """
import re, time
from pathlib import Path
from pages import startup


def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000


startup.TRIM_EVERY, startup.WORTH_A_TRIM = 0.5, 0.0
startup._keep_little_memory()
before = resident()
pieces = [b"x" * 100_000 for _ in range(2_000)]
pieces = pieces[::20]
between = resident() - before
end = time.monotonic() + 20
while resident() - before > 50 and time.monotonic() < end:
    time.sleep(0.1)
print(between, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="The memory of a process is looked up as Linux tells it.")
def test_what_was_freed_goes_back_to_the_system_although_something_beside_it_is_in_use() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], cwd=ROOT, capture_output=True, text=True, check=True)
    freed, later = map(float, done.stdout.split())
    assert freed > 150
    assert later < 50
