"""One model, many sessions: looking at it takes no turns and leaves nothing behind."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from engine.deconv import all_channels, reconstruct
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.models import build
from engine.operations import Record, Rules
from engine.tape import Step, features, layers, logits, record
from tests.oracles import fingerprint, images, network, noise, randomised


@pytest.fixture(autouse=True)
def one_core_per_operation() -> Iterator[None]:
    """Sums that torch splits among cores may round differently each time; and threads should switch often."""
    threads, interval = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-5)
    yield
    torch.set_num_threads(threads)
    sys.setswitchinterval(interval)


def in_threads(count: int, work: Callable[[int], object]) -> list:
    """`work(0)` ... `work(count - 1)`, all started at once; an exception in any of them is raised here."""
    start = threading.Barrier(count)

    def run(index: int) -> object:
        start.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


LOOKS = [
    ("conv1", {}),
    ("pool1", {"relu": "guided"}),
    ("conv2_x", {"batch_norm": False}),
    ("conv3_x", {"path": "residual"}),
    ("conv4_x", {"relu": "gradient"}),
    ("conv5_x", {"path": {"layer1.0": "shortcut"}}),
    ("conv5_x", {"weight_scale": 2.0}),
    ("fc", {}),
]


def look(model: nn.Module, x: Tensor, layer: str, options: dict) -> tuple[Tensor, Tensor]:
    tape = record(model, x, layer)
    signal = torch.cat([all_channels(tape.activation), -tape.activation])
    inner = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(features(model, inner, layer).square().sum(), inner)
    return reconstruct(tape, signal, **options).pixels, gradient


def test_eight_threads_on_one_model_get_what_one_thread_gets() -> None:
    model, x = network("resnet18"), images("resnet18")
    before = fingerprint(model)
    alone = [look(model, x, layer, options) for layer, options in LOOKS]
    together = in_threads(len(LOOKS), lambda index: [look(model, x, *LOOKS[index]) for _ in range(3)])
    for expected, results in zip(alone, together, strict=True):
        for result in results:
            assert torch.equal(result[0], expected[0])
            assert torch.equal(result[1], expected[1])
    assert fingerprint(model) == before


def test_forward_passes_during_tracing_are_undisturbed() -> None:
    model, x = network("resnet18"), images("resnet18")
    with torch.no_grad():
        expected = model(x)
    calls = nn.Module.__call__, nn.Module.__getattr__
    traced = threading.Event()

    def work(index: int) -> int:
        if index < 3:  # these trace fresh models, one after the other
            try:
                for _ in range(2):
                    assert len(layers(randomised(build("resnet18_strided")))) == 6
            finally:
                traced.set()
            return 0
        passes = 0
        while not traced.is_set() or passes < 3:
            with torch.no_grad():
                assert torch.equal(model(x), expected)
            passes += 1
        return passes

    assert sum(in_threads(6, work)) >= 9
    assert (nn.Module.__call__, nn.Module.__getattr__) == calls


def test_threads_that_meet_a_model_at_once_share_one_graph() -> None:
    model = build("resnet18").eval()
    graphs = in_threads(8, lambda _: trace(model))
    assert all(graph is graphs[0] for graph in graphs)


class Torn(Record):
    """A record that cannot be reversed."""

    def reverse(self, signal: Tensor, rules: Rules) -> tuple[Tensor, ...]:
        raise TypeError("torn")


def test_failed_looks_leave_nothing_behind() -> None:
    model = network("resnet18")
    x = images("resnet18")
    before = fingerprint(model)
    calls = nn.Module.__call__, nn.Module.__getattr__

    def fail(index: int) -> None:
        with pytest.raises(ConvscopeError):
            record(model, x, "nowhere")
        with pytest.raises(RuntimeError):  # in the middle of the pass: single precision meets double
            record(model, x.float(), logits(model))
        with pytest.raises(ConvscopeError):
            reconstruct(record(model, x, "pool1"), noise((1, 3, 4, 4)))
        tape = record(model, x, "conv3_x")
        torn = replace(tape, steps=(Step("maxpool", tape.steps[3].operation, ("relu",), Torn()), *tape.steps[4:]))
        with pytest.raises(TypeError, match="torn"):  # in the middle of the playback
            reconstruct(torn, tape.activation)

    in_threads(8, fail)
    assert fingerprint(model) == before
    assert (nn.Module.__call__, nn.Module.__getattr__) == calls
