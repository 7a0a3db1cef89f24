"""Home looks, when it is asked, whether this copy is ready for a lecture."""

import pytest

from engine import doctor
from engine.doctor import Finding, State
from pages.home.doctor import _examinations
from tests.apps import assert_no_error, open_page


def test_the_findings_are_shown_as_text(monkeypatch: pytest.MonkeyPatch, fresh_caches: None) -> None:
    findings = [Finding("images", State.WELL, "All there."), Finding("networks", State.WRONG, "`*a*` <b>", "Mend.")]
    monkeypatch.setattr(doctor, "checks", lambda: {"images": lambda: iter(findings)})
    app = open_page("home/page.py")
    assert not [shown for shown in app.markdown if "All there" in shown.value]
    app.button(key="doctor_start").click().run()
    _examinations().get("this copy", None).wait(20)
    app.run()
    assert_no_error(app)
    shown = [markdown.value for markdown in app.expander[-1].markdown]
    assert shown[0].startswith("✅ **images**: All there.")
    assert shown[1].startswith("❌ **networks**: `*a*` \\<b\\> Mend.")
    assert shown[2] == "Not ready for a lecture: 1 thing must be mended (marked ✗)."
    assert app.button(key="doctor_start").label == "Look again"
