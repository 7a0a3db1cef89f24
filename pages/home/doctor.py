"""Is this copy complete, and what can its computer do? Looked at when somebody asks."""

import streamlit as st

from engine import doctor
from pages.common import jobs, texts

MARKS = {doctor.State.WELL: "✅", doctor.State.LACKS: "➖", doctor.State.WRONG: "❌"}


class Examination(jobs.Job):
    """All checks of `engine.doctor`, one after the other.

    Attributes:
        findings: what was found so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.findings: list[doctor.Finding] = []

    def _work(self) -> None:
        self.findings = []
        checks = doctor.checks()
        for done, check in enumerate(checks.values()):
            self.advance(done, len(checks), "subjects")
            self.findings += check()


@st.cache_resource(show_spinner=False)
def _examinations() -> jobs.Jobs[Examination]:
    return jobs.Jobs()


def draw() -> None:
    """The panel: a button, and the findings of whoever pressed it last."""
    examination = _examinations().get("this copy", Examination)
    with st.expander("Is this copy ready for a lecture?"):
        jobs.buttons(examination, start="Look", again="Look again", key="doctor")
        jobs.follow(examination, look=lambda: _show(examination))


def _show(examination: Examination) -> None:
    for finding in examination.findings:
        words = f"{MARKS[finding.state]} **{finding.subject}**: {texts.plain(finding.words)}"
        st.markdown(f"{words} {texts.plain(finding.remedy)}")
    if examination.complete:
        st.markdown(texts.plain(doctor.verdict(examination.findings)))
