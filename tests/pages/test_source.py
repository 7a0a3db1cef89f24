"""What the source of every page keeps to, also in what only a job draws."""

import ast
import re
from collections.abc import Iterator

import pytest

from engine.settings import ROOT

SOURCES = sorted((ROOT / "pages").rglob("*.py"))
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


def strings(source: str) -> Iterator[str]:
    """All strings of a program; pieces that stand side by side are one."""
    yield from (
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@each_source
def test_no_letter_runs_into_the_space_of_a_formula(source):
    assert [text for text in strings(source.read_text()) if re.search(r"\\q?quad[A-Za-z]", text)] == []


@each_source
def test_every_chart_has_words_for_those_who_do_not_see_it(source):
    calls = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call)]
    charts = [call for call in calls if getattr(call.func, "attr", "") in ("altair_chart", "vega_lite_chart")]
    assert [chart.lineno for chart in charts if all(keyword.arg != "alt" for keyword in chart.keywords)] == []
