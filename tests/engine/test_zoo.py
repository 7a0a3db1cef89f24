"""The table of results: its figures are the cards', and README is replaced whole or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from engine import checkpoints, reports, zoo
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES

CARD = checkpoints.available()["lenet"]
TEXT = f"# Title\n\nbefore\n\n{zoo.BEGIN}\nold\n{zoo.END}\n\nafter\n"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_holds_the_cards_figures():
    row = zoo.checkpoint_row(replace(CARD, test_accuracy=0.8677, test_images=10_000))
    low, high = proportion_confint(8677, 10_000, method="wilson")
    assert row[:4] == ("`lenet`", "390,410", "32 px", "30")
    assert row[4] == f"**86.8 %** ({100 * low:.1f} to {100 * high:.1f} %)"
    assert row[5].startswith("71.5 % (report 4, which counts 390,400 parameters")


def test_every_checkpoint_and_experiment_has_its_line():
    cards = {name: replace(CARD, name=name) for name in (*ARCHITECTURES, "mine")}
    lines = zoo.tables(cards, {"arm": replace(CARD, name="arm")}).splitlines()
    assert [cells(line)[0] for line in lines[2 : 2 + len(cards)]] == [f"`{name}`" for name in cards]
    assert cells(lines[-1])[0] == "`arm`"
    assert len({len(cells(line)) for line in lines[: 2 + len(cards)]}) == 1
    assert "experiment" not in zoo.tables(cards, {})


def test_every_reported_figure_belongs_to_a_network():
    assert {figure.network for figure in reports.FIGURES} <= set(ARCHITECTURES)


def test_a_report_without_test_figure_is_cited_with_its_validation_figure():
    row = zoo.checkpoint_row(replace(CARD, name="resnet18"))[-1]
    assert "83.0 % (report 0" in row
    assert "81.9 % on validation images (report 1" in row
    assert "64.6 % (report 3, ImageNet-10" in row
    assert "report 4" not in row


def test_the_citations_stand_in_the_order_of_the_reports_and_within_bounds():
    assert [figure.report for figure in reports.FIGURES] == sorted(figure.report for figure in reports.FIGURES)
    assert all(0 <= figure.accuracy <= 1 and figure.report < len(reports.TITLES) for figure in reports.FIGURES)
    assert all(figure.split in ("train", "validation", "test") for figure in reports.FIGURES)
    assert [figure.accuracy for figure in reports.unseen("lenet")] == [0.7149]
    assert [figure.split for figure in reports.unseen("resnet18")] == ["test", "validation", "test"]
    assert reports.unseen("alexnet") == ()


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    return path


def test_write_then_check(readme, capsys):
    assert zoo.main(["--check", str(readme)]) == 1
    assert "out of date" in capsys.readouterr().out
    assert readme.read_text() == TEXT
    assert zoo.main(["--write", str(readme)]) == 0
    written = readme.read_text()
    assert written.startswith("# Title\n\nbefore\n\n")
    assert written.endswith("\n\nafter\n")
    assert "old" not in written.split(zoo.BEGIN)[1].split(zoo.END)[0].split()
    assert all(f"| `{name}` |" in written for name in checkpoints.available())
    assert zoo.main(["--check", str(readme)]) == 0
    assert zoo.main(["--write", str(readme)]) == 0
    assert readme.read_text() == written


def test_the_file_is_readme_unless_another_is_named(readme, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "README", readme)
    assert zoo.main(["--check"]) == 1
    assert zoo.main(["--write"]) == 0
    assert zoo.main(["--check"]) == 0
    assert "lenet" in readme.read_text()


def test_without_options_it_prints(capsys):
    assert zoo.main([]) == 0
    assert capsys.readouterr().out.startswith("| network |")


@pytest.mark.parametrize("text", ["no marks", f"{zoo.END}\n{zoo.BEGIN}", f"{zoo.BEGIN}\n", TEXT + TEXT])
def test_a_file_without_its_marks_is_left_alone(readme, text, capsys):
    readme.write_text(text)
    assert zoo.main(["--write", str(readme)]) == 1
    assert "needs each of these lines once" in capsys.readouterr().out
    assert readme.read_text() == text
    with pytest.raises(ConvscopeError):
        zoo.with_tables(text, "table")


def test_a_missing_file_is_one_sentence(tmp_path, capsys):
    assert zoo.main(["--check", str(tmp_path / "none.md")]) == 1
    assert "cannot be read" in capsys.readouterr().out
