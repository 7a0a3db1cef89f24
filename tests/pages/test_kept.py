"""Networks, tapes and playbacks share one limit in bytes; what was used least recently goes first."""

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import numpy as np
import pytest
import torch
from streamlit.runtime.scriptrunner import RerunData, RerunException
from torch import nn

from engine import weights
from engine.checkpoints import Trained
from engine.tape import record
from engine.views import View
from pages.common import resources
from pages.common.kept import Kept, _kept, keep
from pages.evidence import jobs
from pages.evidence.jobs import OcclusionSettings, occlusion_of
from tests.engine.operations.checks import chain


def zeros(kilobytes: int) -> np.ndarray:
    return np.zeros(1000 * kilobytes, np.uint8)


def test_the_least_recently_used_value_goes_when_together_they_take_too_much() -> None:
    kept, made = Kept(3000), []

    def value(name: str, kilobytes: int = 1) -> np.ndarray:
        return kept.get(("array", name), lambda: made.append(name) or zeros(kilobytes))

    for name in "abcabc":
        value(name)
    assert made == [*"abc"]
    assert kept.bytes == 3000
    value("a")
    value("d")
    value("a")
    assert made == [*"abcd"]
    value("b")
    assert made == [*"abcdb"]
    value("large", 5)  # more than all may take: kept alone, or each rerun would compute it
    value("large", 5)
    assert made == [*"abcdb", "large"]
    assert kept.bytes == 5000
    kept.forget("array")
    assert kept.bytes == 0


def test_what_raises_is_not_kept() -> None:
    kept = Kept()
    with pytest.raises(ZeroDivisionError):
        kept.get(("number", 1), lambda: 1 / 0)
    assert kept.get(("number", 1), lambda: 2) == 2


def test_a_click_that_ends_the_run_does_not_throw_away_what_is_computed() -> None:
    kept, made = Kept(), []

    @contextmanager
    def clicked() -> Iterator[None]:
        yield
        raise RerunException(RerunData())  # as where a spinner goes

    with pytest.raises(RerunException):
        kept.get(("number", 1), lambda: made.append(1) or 2, clicked)
    assert kept.get(("number", 1), lambda: made.append(1) or 2, clicked) == 2
    assert made == [1]


def test_values_are_kept_by_their_arguments_but_for_those_with_an_underscore(fresh_caches: None) -> None:
    made = []

    @keep()
    def png(name: str, size: int, _maps: object) -> tuple[bytes, ...]:
        made.append((name, size))
        return (bytes(1000 * size),)

    assert len(png("a", 2, object())[0]) == 2000
    assert png("a", 2, object()) is png("a", 2, object())
    assert [len(png("b", 2, None)[0]), len(png("a", 3, None)[0])] == [2000, 3000]
    assert made == [("a", 2), ("b", 2), ("a", 3)]
    assert _kept().bytes == 7000
    png.clear()
    assert _kept().bytes == 0


def test_two_sessions_that_ask_at_once_compute_a_value_once() -> None:
    kept, made, together = Kept(), [], Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        return kept.get(("text", ""), lambda: made.append(1) or "value")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == ["value"] * 8
    assert made == [1]


def test_a_network_counts_once_with_its_tapes() -> None:
    kept, image = Kept(), torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    model = chain(nn.Conv2d(3, 100, 3, bias=False), nn.ReLU())
    weights = next(model.parameters()).nbytes
    kept.get(("network", 1), lambda: Trained(model, None))
    assert kept.bytes == weights
    tape = kept.get(("tape", 1), lambda: record(model, image, "1"))
    assert tape.activation.nbytes <= kept.bytes - weights < weights


def test_a_job_that_is_done_lets_its_network_make_room(fresh_caches: None) -> None:
    network = weights.find("lenet")
    job = occlusion_of(OcclusionSettings(View(network, "pool1", "test", 0, 32), 16, 16, "black", 0))
    job.wait(60)
    assert job.complete
    model = weakref.ref(resources.trained(network).model)
    resources.trained.clear()
    gc.collect()
    assert model() is None
    assert job.trained.card.name == "lenet"


def test_a_lesion_that_is_done_lets_what_it_kept_of_all_images_make_room(
    fresh_caches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "EXAMINED", 2)
    kept, prepare = [], jobs.lesions.prepare
    monkeypatch.setattr(
        jobs.lesions, "prepare", lambda *of, **settings: kept.append(prepare(*of, **settings)) or kept[0]
    )
    job = jobs.operation_on(weights.find("lenet"), "pool3")
    for channel in (0, 1):
        job.ask(jobs.Lesion("pool3", (channel,)))
        job.wait(60)
    assert len(job.found) == 3
    assert len(kept) == 1
    patient = weakref.ref(kept.pop())
    jobs._patient.clear()
    gc.collect()
    assert patient() is None
