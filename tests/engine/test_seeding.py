"""Seeded weights, while other threads load networks, draw, and seed as well."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine import checkpoints
from engine.checkpoints.reading import fill_
from engine.models import blank, build
from engine.seeding import seeded


def drawn(seed: int) -> Tensor:
    with seeded(seed):
        return torch.cat([torch.rand(10) for _ in range(200)])


def beside(work: Callable[[], object], main: Callable[[], None]) -> None:
    """`main`, while another thread does `work` over and over."""
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        main()
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("other", [lambda: drawn(1), lambda: checkpoints.load("lenet")], ids=["seeds", "loads"])
def test_what_a_seed_gives_does_not_depend_on_other_threads(other: Callable[[], object]) -> None:
    expected = drawn(7)

    def compare() -> None:
        for _ in range(60):
            assert torch.equal(drawn(7), expected)

    beside(other, compare)


def test_the_shared_generator_goes_on_as_if_nothing_had_happened() -> None:
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    drawn(9)
    assert torch.equal(torch.rand(5), expected)


@pytest.mark.parametrize("architecture", ["lenet", "model_two", "resnet18", "convnet3"])
def test_a_blank_network_draws_nothing_and_takes_weights(architecture: str) -> None:
    torch.manual_seed(5)
    model = blank(architecture)
    expected = torch.random.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert all(parameter.is_meta for parameter in model.parameters())
    weights = {
        key: value.half() if value.is_floating_point() else value
        for key, value in build(architecture).state_dict().items()
    }
    fill_(model, weights)
    for key, value in model.state_dict().items():
        assert value.dtype == (torch.float32 if value.is_floating_point() else weights[key].dtype)
        assert torch.equal(value, weights[key].to(value.dtype))
