"""`python -m engine.training RECIPE`: train a network, and store it as a checkpoint.

Started again after an interruption of any kind, it goes on after the last whole epoch.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from engine import checkpoints, data
from engine.errors import ConvscopeError
from engine.training import run
from engine.training.finish import make_checkpoint
from engine.training.loop import Splits, StepReport, Training
from engine.training.recipe import Recipe, read


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when the checkpoint is stored, 1 after a message, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        recipe = read(options.recipe)
        folder = run.RunFolder(options.run or run.FOLDER / recipe.name)
        folder.begin(recipe)
        _train(recipe, folder, options)
    except ConvscopeError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the same command goes on after the last whole epoch.")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.training", description="Train a network from a recipe.")
    parser.add_argument("recipe", help="a TOML file, or a name in recipes/ such as lenet")
    parser.add_argument("--run", type=Path, help="the run's folder (default: runs/NAME)")
    parser.add_argument("--data", type=Path, default=data.CIFAR10, help="where the whole CIFAR-10 lies")
    parser.add_argument("--checkpoints", type=Path, default=checkpoints.FOLDER, help="where the checkpoint goes")
    parser.add_argument("--device", default=_best_device(), help="cpu, cuda or mps (mps is untested)")
    return parser


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _train(recipe: Recipe, folder: run.RunFolder, options: argparse.Namespace) -> None:
    full = data.bundled("train") if recipe.dataset == "cifar10_bundled" else data.cifar10("train", options.data)
    splits = Splits(*data.split_validation(full))
    with _Bar(recipe) as bar:
        training = Training(recipe, splits, folder, torch.device(options.device), bar.show)
        bar.training = training
        progress = training.run()
    card = make_checkpoint(recipe, progress, folder, splits, data.bundled("test"), options.checkpoints)
    print(f"{recipe.name}: {card.test_accuracy:.2%} of {card.test_images:,} test images, epoch {card.best_epoch} kept")


class _Bar:
    """A progress bar over all epochs, with the last epoch's figures beside it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.training: Training | None = None
        self.bar: tqdm | None = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, report: StepReport) -> None:
        done = report.epoch * report.steps_per_epoch + report.step + 1
        if self.bar is None:
            total = self.recipe.epochs * report.steps_per_epoch
            self.bar = tqdm(total=total, initial=done - 1, unit=" steps", mininterval=1, dynamic_ncols=True)
        self.bar.update(done - self.bar.n)
        self.bar.set_postfix_str(self._figures(report), refresh=False)

    def _figures(self, report: StepReport) -> str:
        figures = f"epoch {report.epoch + 1}/{self.recipe.epochs}, loss {report.loss:.3f}"
        history = self.training.progress.history if self.training else []
        return figures + (f", validation {history[-1].val_accuracy:.1%}" if history else "")


if __name__ == "__main__":
    raise SystemExit(main())
