"""Nobody waits for PyTorch's compiler before a first page or a command; whoever needs it finds it."""

import subprocess
import sys

from engine.settings import ROOT

START = """
import sys
from pages.common import selection

selection.load_what_is_shown_first()

from engine import all_networks, checkpoints, weights
from engine.maximization import maximize
from engine.maximization.fourier import Canvas
from engine.training import estimate
from engine.training.recipe import Phase, Recipe

lenet = checkpoints.load("lenet")
list(maximize(lenet.model, "conv1", [0], canvas=Canvas(32, lenet.card.mean, lenet.card.std), steps=1))
from pages.network import description

description.describe(weights.find("resnet18"), 224)
assert description.sizes(weights.find("convnet5"), 128) == (128, 224, 256)
all_networks.multiply_adds(lenet.card)
phases = tuple(Phase(1, 0.01, optimizer) for optimizer in ("sgd", "adam", "adamw"))
recipe = Recipe("x", "lenet", phases, input_size=32, batch_size=4, ema=0.9, mixup=0.2)
estimate.cost(recipe, budget=0.01)

import tempfile
from pathlib import Path

import torch
from engine import data
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.run import RunFolder

few = data.bundled("train").subset(range(8))
folder = RunFolder(Path(tempfile.mkdtemp()) / "run")
folder.begin(recipe)
assert Training(recipe, Splits(few, few), folder, torch.device("cpu")).run().epoch == 3
loaded = {"torch._dynamo", "sympy"} & set(sys.modules)
assert not loaded, loaded

from torchvision.ops import roi_align

box = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
image = torch.rand(1, 3, 8, 8, requires_grad=True)
roi_align(image, box, 2).sum().backward()
asks = roi_align.__globals__["is_compile_supported"]
adam = torch.optim.Adam([image])
adam.step()
import torch._dynamo.utils

assert asks("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
print(torch.compile(lambda x: x + 1, backend="eager")(torch.tensor(1)).item())
"""


def test_the_first_pictures_need_no_compiler_and_whoever_needs_it_finds_it() -> None:
    run = subprocess.run([sys.executable, "-c", START], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "2\n"), run.stderr


COMMANDS = ("engine.training.__main__", "engine.training.queue.rates", "engine.evaluation", "engine.doctor")


def test_no_command_waits_for_the_compiler_before_it_begins() -> None:
    probe = "import engine, importlib.util; importlib.util.find_spec('torchvision')"  # as libraries ask for each other
    loaded = "print('torchvision' in sys.modules, 'torch._dynamo' in sys.modules)"
    asks = f"{probe}; import sys, {', '.join(COMMANDS)}; {loaded}"
    run = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "True False\n"), run.stderr
