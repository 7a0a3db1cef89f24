"""A class on one server, in two browsers: the second looks at the first one's run, and changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.training import live_files, run
from engine.training.queue import jobs
from engine.training.run import RunFolder
from tests.browser.conftest import IDLE
from tests.browser.test_train import CHART, training_server

KEY = "correct horse"
COMMANDS = ("Pause", "Stop", "Keep this model", "Delete", "Next phase now", "Cancel")


def test_others_look_on_and_the_lecturer_may_do_everything(open_page: Callable[..., Any], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "first_lesson")
    shared = {"CONVSCOPE_USE": "class", "CONVSCOPE_KEY": KEY, "CONVSCOPE_MINUTES": "99999"}
    with training_server(tmp_path / "runs", **shared) as server:
        mine = open_page(f"{server.address}/train?epochs1=1000")
        mine.get_by_text("epochs: about").wait_for()
        mine.get_by_role("button", name="Start", exact=True).dblclick(delay=60)
        mine.get_by_text("first_lesson is training").wait_for()
        assert [started.name for started in run.runs(tmp_path / "runs")] == ["first_lesson"]
        mine.wait_for_function("() => location.search.includes('right=')")

        other = open_page(f"{server.address}/train?run=first_lesson")
        other.get_by_text("This run is somebody else's").wait_for()
        other.locator(CHART).first.wait_for()
        other.locator(IDLE).wait_for()
        for name in COMMANDS:
            assert other.get_by_role("button", name=name, exact=True).count() == 0
        other.get_by_role("button", name="Lecturer").click()
        other.get_by_label("The lecturer's key").fill(KEY)
        other.keyboard.press("Enter")
        other.get_by_role("button", name="Pause").click()

        mine.get_by_role("button", name="Go on").wait_for()
        assert live_files.read_status(folder).state == "paused"
        mine.reload()  # the address restores the right
        mine.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True).click()
        mine.get_by_role("button", name="Resume").wait_for()
        assert jobs.look(folder).state == "stopped"
