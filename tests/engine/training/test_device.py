"""Where a training computes."""

import pytest
import torch

from engine.training import device
from tests.runs import lenet

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "where", "has_it", "said"),
    [
        ("bfloat16", CPU, False, device.SLOW_BFLOAT16),
        ("bfloat16", CPU, True, ""),
        ("bfloat16", torch.device("cuda"), False, ""),
        ("float32", CPU, False, ""),
    ],
)
def test_bfloat16_is_slow_on_a_processor_without_it_alone(
    precision: str, where: torch.device, has_it: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: has_it)
    assert device.slow_precision(lenet(precision=precision), where) == said


def test_this_processor_is_asked() -> None:
    capable = torch.cpu.get_capabilities()
    if capable.get("avx512_bf16") or capable.get("amx_bf16"):
        assert device.has_bfloat16()
    if capable.get("architecture") == "x86_64" and not capable.get("avx512_f") and not capable.get("avx_vnni"):
        assert not device.has_bfloat16()


def test_the_best_device_is_there() -> None:
    assert device.device_named(device.best_device().type).type == device.best_device().type
