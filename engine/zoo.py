"""The table of all networks in README: what they reach, beside the reports, computed from the cards.

    python -m engine.zoo                       prints it
    python -m engine.zoo --write [README.md]   puts it between the two marks in README.md
    python -m engine.zoo --check [README.md]   exit status 1 if README.md is out of date

Nothing in it is typed: accuracies come from the cards, with Wilson's interval, and the reports' figures from
`engine.reports`. Nothing is chosen either: every checkpoint and every experiment on disk has its line.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import checkpoints, reports, settings
from engine.accuracy.figures import percent
from engine.checkpoints import Card
from engine.command import exit_status, parser
from engine.errors import ConvscopeError
from engine.files import write_text
from engine.reports import Reported
from engine.training import as_reported
from engine.training.as_reported import BesideReported

README = settings.ROOT / "README.md"
BEGIN, END = "<!-- zoo: written by `python -m engine.zoo --write README.md` -->", "<!-- end of zoo -->"
"""The lines in README between which the table stands."""

HEADINGS = ("network", "parameters", "input", "epochs", "test accuracy (95 % interval)", "the reports")
EXPERIMENT_HEADINGS = ("experiment", "network", "input", "epochs", "test accuracy (95 % interval)")


REPORTED_HEADINGS = ("report", "network", "images", "reported", "ours by the same recipe", "our best")


def tables(shipped: Mapping[str, Card], experiments: Mapping[str, Card], beside: Sequence[BesideReported] = ()) -> str:
    """Markdown: a table of the checkpoints, and, if there are any, one of the experiments and one of the reports."""
    parts = [_markdown(HEADINGS, [checkpoint_row(card) for card in shipped.values()])]
    if experiments:
        parts.append(_markdown(EXPERIMENT_HEADINGS, [experiment_row(card) for card in experiments.values()]))
    if beside:
        parts.append(_markdown(REPORTED_HEADINGS, [reported_row(each) for each in beside]))
    return "\n\n".join(parts)


def checkpoint_row(card: Card) -> tuple[str, ...]:
    """The cells under `HEADINGS`."""
    shared = (f"{card.input_size} px", str(card.epochs), _measured(card))
    reported = "; ".join(_cited(figure) for figure in reports.unseen(card.name))
    return (f"`{card.name}`", f"{card.parameters:,}", *shared, reported)


def experiment_row(card: Card) -> tuple[str, ...]:
    """The cells under `EXPERIMENT_HEADINGS`."""
    return (f"`{card.name}`", card.architecture, f"{card.input_size} px", str(card.epochs), _measured(card))


def reported_row(each: BesideReported) -> tuple[str, ...]:
    """The cells under `REPORTED_HEADINGS`."""
    figure = each.figure
    best = "" if math.isnan(each.best) else percent(each.best)
    return (
        str(figure.report),
        f"`{figure.network}`",
        figure.split,
        percent(figure.accuracy),
        percent(each.same_recipe),
        best,
    )


def _measured(card: Card) -> str:
    if not card.test_images:
        return "not measured"
    share = card.test_share
    return f"**{percent(share.value)}** ({100 * share.low:.1f} to {percent(share.high)})"


def _cited(figure: Reported) -> str:
    split = "" if figure.split == "test" else " on validation images"
    note = f", {figure.note}" if figure.note else ""
    return f"{percent(figure.accuracy)}{split} (report {figure.report}{note})"


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# README --------------------------------------------------------------------------------------------------------


def with_tables(text: str, table: str) -> str:
    """`text` with `table` between the two marks.

    Raises:
        ConvscopeError: a mark is missing, stands there twice, or the end comes first.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ConvscopeError(
            f"The file needs each of these lines once, in this order, for the table: {BEGIN} and {END}"
        )
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConvscopeError(f"{path} cannot be read: name a Markdown file with the two marks.") from error


@exit_status()
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 after a message, or if `--check` finds an old table."""
    options = parser("engine.zoo", "The table of all networks, from their cards.")
    file = {"type": Path, "nargs": "?", "const": README, "metavar": "FILE"}
    action = options.add_mutually_exclusive_group()
    action.add_argument("--write", **file, help="put the table between the marks in FILE")
    action.add_argument("--check", **file, help="exit status 1 if the table in FILE is out of date")
    chosen = options.parse_args(arguments)
    beside = as_reported.beside_reported()
    table = tables(checkpoints.available(), checkpoints.available(settings.folders.experiments), beside)
    path = chosen.write or chosen.check
    if path is None:
        print(table)
        return 0
    old = _read(path)
    new = with_tables(old, table)
    if new == old:
        return 0
    if chosen.write:
        write_text(path, new)
        return 0
    print(f"{path} is out of date: run `python -m engine.zoo --write {path}`.")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
