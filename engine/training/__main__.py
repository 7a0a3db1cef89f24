"""`python -m engine.training RECIPE`: train a network, and store it as a checkpoint.

Started again after an interruption of any kind, it goes on after the last whole epoch. Ctrl-C ends it after the
present step.

    python -m engine.training lenet                             train by recipes/lenet.toml
    python -m engine.training --list                            all runs
    python -m engine.training --resume lenet                    go on with the run runs/lenet
    python -m engine.training --keep lenet --as my_lenet        its best state so far becomes a checkpoint
    python -m engine.training --delete lenet
    python -m engine.training --continue lenet --epochs 5       train a finished checkpoint for 5 more epochs
    python -m engine.training lenet --range-test                which learning rates does it learn with?
    torchrun --nproc_per_node=2 -m engine.training lenet        two processes share every batch, see team.py
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from engine import command, settings
from engine.errors import ConvscopeError
from engine.names import checked_name
from engine.training import finish, live_files, run
from engine.training.continuation import continued
from engine.training.control import stopping_on_signals
from engine.training.curves import best_epoch
from engine.training.datasets import Dataset
from engine.training.device import best_device, device_named, slow_precision
from engine.training.loop import Training
from engine.training.memory import keep_freed_memory
from engine.training.progress_bar import ProgressBar
from engine.training.range_test import range_test, suggested, write_csv
from engine.training.recipe import Recipe, read
from engine.training.run import RunFolder
from engine.training.start import with_known_base
from engine.training.team import ALONE, ScratchFolder, Team, joined
from engine.training.telemetry import reporting

TRAINS = ("recipe", "--resume", "--continue")
BELONGS_TO = {
    "--epochs": ("--continue",),
    "--learning-rate": ("--continue",),
    "--as": ("--keep", "--continue"),
    "--precision": ("recipe", "--continue"),
    "--run": ("recipe", "--continue"),
    "--stop-after": TRAINS,
    "--no-checkpoint": TRAINS,
    "--range-test": TRAINS,
}
"""The options that change what one of these commands does, and would do nothing beside another one."""

STOPPED = "Stopped; the same command goes on after the last whole epoch."


@command.exit_status(STOPPED)
def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command; its exit status is 128 + n after signal n (130 after Ctrl-C)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _refuse_idle(parser, options)
    if options.list:
        return _list(options.runs)
    if options.delete:
        return _delete(options.delete, options.runs)
    if options.keep:
        return _keep(run.find(options.keep, options.runs), options)
    recipe, folder = _resumed(options) if options.resume else _named(parser, options)
    return _test_rates(recipe, folder, options) if options.range_test else _train(recipe, folder, options)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("engine.training", "Train a network from a recipe.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("recipe", nargs="?", help="a TOML file, or a name in recipes/ such as lenet")
    what.add_argument("--resume", metavar="RUN", help="go on with a run: its name in runs/, or its folder")
    what.add_argument("--continue", dest="base", metavar="CHECKPOINT", help="train a checkpoint for --epochs more")
    what.add_argument("--keep", metavar="RUN", help="make the best state of a run a checkpoint")
    what.add_argument("--delete", metavar="RUN", help="remove a run of that name in runs/")
    what.add_argument("--list", action="store_true", help="show all runs")
    parser.add_argument("--epochs", type=command.count, help="of --continue")
    parser.add_argument("--learning-rate", type=float, help="of --continue (default: that of its recipe's last phase)")
    parser.add_argument("--as", dest="name", metavar="NAME", help="what --keep or --continue call the new checkpoint")
    parser.add_argument("--stop-after", type=command.count, metavar="N", help="stop after N epochs; --resume goes on")
    parser.add_argument("--range-test", action="store_true", help="try rising learning rates, and train nothing")
    parser.add_argument("--no-checkpoint", action="store_true", help="only train; --keep makes the checkpoint")
    parser.add_argument("--run", type=Path, help="the run's folder (default: NAME in the folder of all runs)")
    folders = settings.folders
    parser.add_argument("--runs", type=Path, default=folders.runs, help="the folder of all runs")
    parser.add_argument("--data", type=Path, help="where the whole CIFAR-10 lies, or the folder of class folders")
    parser.add_argument("--checkpoints", type=Path, default=folders.checkpoints, help="where the checkpoint goes")
    parser.add_argument("--experiments", type=Path, default=folders.experiments, help="where it goes without weights")
    parser.add_argument("--device", default=best_device().type, help="cpu, cuda or mps (mps is untested)")
    parser.add_argument("--precision", choices=("float32", "float64"), help="in place of the recipe's")
    return parser


def _refuse_idle(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a sentence if an option is there that this command does not look at."""
    attributes = vars(options) | {"as": options.name, "continue": options.base}
    command = next(name for name in (*TRAINS, "--keep", "--delete", "--list") if attributes[name.lstrip("-")])
    for option, commands in BELONGS_TO.items():
        value = attributes[option.lstrip("-").replace("-", "_")]
        if value is not None and value is not False and command not in commands:
            belongs = " or ".join("a recipe" if name == "recipe" else name for name in commands)
            parser.error(f"{option} goes with {belongs}, not with {'a recipe' if command == 'recipe' else command}")
    if options.range_test and options.stop_after:
        parser.error("--range-test trains nothing: leave out --stop-after")


def _resumed(options: argparse.Namespace) -> tuple[Recipe, RunFolder]:
    folder = run.find(options.resume, options.runs)
    return folder.recipe(), folder


def _named(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[Recipe, RunFolder]:
    """The recipe that the command names, or makes of a checkpoint, and the run's folder."""
    if options.base and not options.epochs:
        parser.error("--continue needs --epochs")
    recipe = _continuation(options) if options.base else with_known_base(read(options.recipe), options.checkpoints)
    if recipe.dataset == "folder" and options.data:
        recipe = replace(recipe, data_folder=str(options.data.resolve()))
    if options.precision:
        recipe = replace(recipe, precision=options.precision)
    return recipe, RunFolder(options.run or options.runs / recipe.name)


# Training ------------------------------------------------------------------------------------------------------


def _continuation(options: argparse.Namespace) -> Recipe:
    name = checked_name(options.name or f"{options.base}_continued")
    return continued(options.base, name, options.epochs, options.learning_rate, options.checkpoints)


def _train(recipe: Recipe, folder: RunFolder, options: argparse.Namespace) -> int:
    with joined(options.device) as team:
        try:
            return _lead(recipe, folder, options, team) if team.leads else _help(recipe, options, team)
        except RuntimeError as error:
            if team is ALONE:
                raise
            raise ConvscopeError(
                f"The processes that trained together have lost each other ({str(error).splitlines()[0]}): the same "
                "command goes on after the last whole epoch."
            ) from error


def _lead(recipe: Recipe, folder: RunFolder, options: argparse.Namespace, team: Team) -> int:
    """Train, as the one process or the one that writes."""
    target = options.checkpoints if recipe.keep_weights else options.experiments
    if not options.no_checkpoint:
        finish.check_target(recipe, target, _other_name(recipe, folder, options))
    dataset = Dataset(recipe, options.data)
    if not folder.has_begun:
        _check_start(dataset, options, team)
    with folder.held():
        folder.begin(recipe)
        with reporting(folder):
            _say_remarks(dataset)
            device = device_named(options.device, team)
            with ProgressBar() as bar:
                training = Training(recipe, dataset.splits, folder, device, bar.show, options.checkpoints, team)
                _say_if_slow(recipe, device, options)
                bar.training, training.observe_kept = training, bar.show_kept
                with stopping_on_signals(training.control.ask_to_stop) as signals:
                    training.run(options.stop_after)
        if training.finished and not options.no_checkpoint:
            print(finish.summary(finish.store(recipe, folder, dataset, target)))
        elif not training.finished:
            print(STOPPED if signals else f"Stopped; `--resume {folder.path}` goes on.")
    return 128 + signals[0] if signals and not training.finished else 0


def _other_name(recipe: Recipe, folder: RunFolder, options: argparse.Namespace) -> str:
    """How the result gets another name: the end of the sentence "choose another name"."""
    if options.resume:
        return f": go on with --no-checkpoint, and then --keep {folder.name} --as NAME"
    return " with --as" if options.base else f', such as name = "my_{recipe.name}" in the recipe'


def _help(recipe: Recipe, options: argparse.Namespace, team: Team) -> int:
    """Train, as one of the processes that only compute."""
    with TemporaryDirectory() as scratch:
        splits, device = Dataset(recipe, options.data).splits, device_named(options.device, team)
        folder = ScratchFolder(Path(scratch))
        training = Training(recipe, splits, folder, device, bases=options.checkpoints, team=team)
        with stopping_on_signals(training.control.ask_to_stop):
            training.run(options.stop_after)
    return 0


def _check_start(dataset: Dataset, options: argparse.Namespace, team: Team) -> None:
    """Read the images and find the device, so that a mistake in --data or --device leaves no run behind."""
    _ = dataset.splits
    device_named(options.device, team)


def _say_remarks(dataset: Dataset) -> None:
    for remark in dataset.remarks:
        print(remark)


def _say_if_slow(recipe: Recipe, device: torch.device, options: argparse.Namespace) -> None:
    sentence = slow_precision(recipe, device)
    if sentence and not options.resume:  # which keeps the run's precision
        print(f"{sentence}: add --precision float32.")


def _test_rates(recipe: Recipe, folder: RunFolder, options: argparse.Namespace) -> None:
    """Print and store the curve of a learning-rate range test; the run, if there is one, stays as it is."""
    dataset, device = Dataset(recipe, options.data), device_named(options.device)
    splits = dataset.splits
    _say_remarks(dataset)
    _say_if_slow(recipe, device, options)
    points = []
    print(f"{'learning rate':>13} {'loss':>9} {'smoothed':>9}")
    for point in range_test(recipe, splits, device, bases=options.checkpoints):
        points.append(point)
        print(f"{point.learning_rate:>13.3g} {point.loss:>9.4f} {point.smoothed:>9.4f}")
    file = folder.path / "range_test.csv"
    write_csv(points, file)
    rate = suggested(points)
    print(f"Suggested: {rate:.2g}" if rate else "No rate is suggested: the loss never fell.")
    print(f"The curve is in {file}.")


# Runs ----------------------------------------------------------------------------------------------------------


def _keep(folder: RunFolder, options: argparse.Namespace) -> None:
    card = finish.keep(folder, options.name or folder.recipe().name, options.checkpoints, options.data)
    print(finish.summary(card))


def _delete(name: str, root: Path) -> None:
    run.delete(name, root)
    print(f"The run {name!r} is deleted.")


def _list(root: Path) -> None:
    folders = run.runs(root)
    heading = f"{'run':<30} {'state':<12} {'epochs':>11} {'best validation accuracy':>25}"
    print(heading if folders else f"No runs in {root}.")
    for folder in folders:
        status = live_files.read_status(folder)
        done = f"{status.epoch}/{status.epochs}"
        reason = f"  {status.message}".rstrip() if status.state in ("failed", "interrupted") else ""
        print(f"{folder.name:<30} {status.state:<12} {done:>11} {_best_accuracy(folder):>25}{reason}")


def _best_accuracy(folder: RunFolder) -> str:
    """Of the weights that are kept."""
    try:
        best = best_epoch(live_files.read_history(folder), folder.recipe().input_size)
    except ConvscopeError as error:
        return str(error)
    return f"{best.val_accuracy:.2%}" if best else "-"


if __name__ == "__main__":
    keep_freed_memory()
    raise SystemExit(main())
