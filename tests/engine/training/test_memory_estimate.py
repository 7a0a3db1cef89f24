"""The memory that a training needs is known before it starts, and one that does not fit is refused."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from engine.errors import ConvscopeError
from engine.models import registry
from engine.settings import ROOT
from engine.training import estimate
from engine.training.queue import jobs
from engine.training.recipe import Phase, Recipe

MEASURE = """
import re, resource, sys
from engine.training import estimate
from engine.training.recipe import Phase, Recipe
estimate.TIMED_BATCH = 1 << 40
estimate.cost(Recipe("x", {name!r}, (Phase(1, 0.01, {optimizer!r}),), input_size={pixels}, batch_size={batch}), 1.0)
if sys.platform == "linux":
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
"""Linux gives a new process the peak of the one that has started it, in `ru_maxrss`; its own is in /proc."""


def recipe(name: str, pixels: int, batch: int, optimizer: str = "sgd") -> Recipe:
    return Recipe("large", name, (Phase(1, 0.01, optimizer),), input_size=pixels, batch_size=batch)


@pytest.mark.parametrize(
    "what", [("lenet", 32, 64, "sgd"), ("resnet18", 64, 64, "sgd"), ("convnet4", 128, 32, "adam")], ids=str
)
def test_the_estimate_is_near_the_measured_peak(what: tuple[str, int, int, str]) -> None:
    program = MEASURE.format(**dict(zip(("name", "pixels", "batch", "optimizer"), what, strict=True)))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.6 < estimate.memory(recipe(*what)) / int(done.stdout) < 1.6


def test_the_estimate_grows_with_images_batch_and_optimizer() -> None:
    known = [estimate.memory(recipe("resnet18", *rest)) for rest in ((64, 64), (64, 128), (128, 128), (224, 512))]
    assert known == sorted(known)
    assert known[-1] > 8e9
    assert estimate.memory(recipe("resnet18", 64, 64, "adam")) > known[0]


@pytest.mark.parametrize(("name", "pixels"), [("model_two", 32), ("convnet3", 64), ("resnet18", 64)])
def test_a_network_of_zeros_and_one_of_shapes_only_need_the_same(
    name: str, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_zeros = estimate.memory(recipe(name, pixels, 100))
    monkeypatch.setattr(registry, "MOST_ZEROS", 0)
    assert estimate.memory(recipe(name, pixels, 100)) == of_zeros


def test_nothing_is_left_of_what_was_counted() -> None:
    def parameters() -> int:
        gc.collect()
        return sum(type(found) is nn.Parameter for found in gc.get_objects())

    before = parameters()
    estimate.memory(recipe("model_one", 32, 101))
    assert parameters() == before


def test_a_training_that_does_not_fit_is_refused_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "free_memory", lambda: 4e9)
    said = r"needs about \d+\.\d GB of memory, and 4\.0 GB are free: choose a smaller batch than 512"
    with pytest.raises(ConvscopeError, match=said):
        jobs.submit(recipe("resnet18", 224, 512), tmp_path)
    assert list(tmp_path.iterdir()) == []
    estimate.check_memory(recipe("resnet18", 64, 128))


def test_the_free_memory_is_known() -> None:
    assert estimate.free_memory() > 1e8
