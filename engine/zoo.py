"""The table of results for README: what our networks reach, beside the reports, computed from the cards.

    python -m engine.zoo                       prints it
    python -m engine.zoo --write [README.md]   puts it between the two marks in README.md
    python -m engine.zoo --check [README.md]   exit status 1 if README.md is out of date

Nothing in it is typed: accuracies come from the cards, with Wilson's interval, and the reports' figures from
`engine.citations`. Nothing is chosen either: every checkpoint and every experiment on disk has its line.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import checkpoints, citations, settings
from engine.accuracy.figures import wilson
from engine.checkpoints import Card
from engine.citations import Reported
from engine.errors import ConvscopeError
from engine.files import write_text

README = settings.ROOT / "README.md"
BEGIN, END = "<!-- zoo: written by `python -m engine.zoo --write README.md` -->", "<!-- end of zoo -->"
"""The lines in README between which the table stands."""

ASKED = {
    "lenet": 0.86, "model_one": 0.90, "model_two": 0.86, "resnet18_strided": 0.84, "resnet18": 0.90,
    "convnet2": 0.70, "convnet3": 0.70, "convnet4": 0.70, "convnet5": 0.70,
}  # fmt: skip
"""Test accuracies that the design asks for on a CPU; of the ConvNets, only the best depth has to reach its figure."""
BEST_OF = tuple(name for name in ASKED if name.startswith("convnet"))

HEADINGS = ("network", "parameters", "input", "epochs", "test accuracy (95 % interval)", "asked for", "the reports")
EXPERIMENT_HEADINGS = ("experiment", "network", "input", "epochs", "test accuracy (95 % interval)")


def tables(shipped: Mapping[str, Card], experiments: Mapping[str, Card]) -> str:
    """Markdown: a table of the checkpoints, and one of the experiments if there are any."""
    parts = [_markdown(HEADINGS, [checkpoint_row(card) for card in shipped.values()])]
    if experiments:
        parts.append(_markdown(EXPERIMENT_HEADINGS, [experiment_row(card) for card in experiments.values()]))
    return "\n\n".join(parts)


def checkpoint_row(card: Card) -> tuple[str, ...]:
    """The cells under `HEADINGS`."""
    asked = (
        f"{_percent(ASKED[card.name])}{' (best depth)' if card.name in BEST_OF else ''}" if card.name in ASKED else ""
    )
    size = f"{card.input_size} px"
    return (
        f"`{card.name}`",
        f"{card.parameters:,}",
        size,
        str(card.epochs),
        _measured(card),
        asked,
        _reports(card.name),
    )


def experiment_row(card: Card) -> tuple[str, ...]:
    """The cells under `EXPERIMENT_HEADINGS`."""
    return (f"`{card.name}`", card.architecture, f"{card.input_size} px", str(card.epochs), _measured(card))


def _measured(card: Card) -> str:
    if not card.test_images:
        return "not measured"
    share = wilson(round(card.test_accuracy * card.test_images), card.test_images)
    return f"**{_percent(share.value)}** ({100 * share.low:.1f} to {_percent(share.high)})"


def _reports(network: str) -> str:
    return "; ".join(_cited(figure) for figure in citations.unseen(network))


def _cited(figure: Reported) -> str:
    split = "" if figure.split == "test" else " on validation images"
    note = f", {figure.note}" if figure.note else ""
    return f"{_percent(figure.accuracy)}{split} (report {figure.report}{note})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 after a message, or if `--check` finds an old table."""
    parser = argparse.ArgumentParser(prog="python -m engine.zoo", description="The table of results, from the cards.")
    file = {"type": Path, "nargs": "?", "const": README, "metavar": "FILE"}
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", **file, help="put the table between the marks in FILE")
    action.add_argument("--check", **file, help="exit status 1 if the table in FILE is out of date")
    options = parser.parse_args(arguments)
    table = tables(checkpoints.available(), checkpoints.available(settings.folders.experiments))
    try:
        return _obey(options.write, options.check, table)
    except ConvscopeError as error:
        print(error)
        return 1


def _obey(write: Path | None, check: Path | None, table: str) -> int:
    path = write or check
    if path is None:
        print(table)
        return 0
    old = _read(path)
    new = with_tables(old, table)
    if write is not None and new != old:
        write_text(path, new)
    if check is not None and new != old:
        print(f"{path} is out of date: run `python -m engine.zoo --write {path}`.")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
