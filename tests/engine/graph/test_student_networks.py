"""Networks as students write them: the three rules equal autograd, with the rule put into PyTorch's own ReLU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from engine.deconv import RELU_RULES, reconstruct
from engine.graph.tracer import innermost
from engine.tape import logits, record
from tests.engine.graph.student_networks import BUILT, NETWORKS, OUT_OF_PLACE, network_of
from tests.oracles import Rectify, noise


class RuleInReLU(TorchFunctionMode):
    """While it is on, autograd goes back through every ReLU of PyTorch's by the rule."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        plain = name.rstrip("_")
        if plain not in ("relu", "relu6") and not (plain == "hardtanh" and kwargs.get("max_val") == 6):
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        passed = kwargs.get("inplace", len(args) > 1 and args[1])
        value = Rectify.apply(x, self.rule, float("inf") if plain == "relu" else 6.0)
        return x.copy_(value) if name.endswith("_") or passed else value


@pytest.mark.parametrize("name", [*NETWORKS, *BUILT])
def test_every_rule_is_autograds_with_that_rule_in_relu(name: str) -> None:
    net = network_of(name)
    forward = partial(OUT_OF_PLACE[name], net) if name in OUT_OF_PLACE else innermost(net)
    x = noise((2, 3, 16, 16))
    tapes = {count: record(net, x[:count], logits(net)) for count in (1, 2)}
    signals = noise(tapes[2].activation.shape, seed=2)
    for rule in RELU_RULES:
        expected, answer = autograd(forward, x, signals, rule)
        assert_close(tapes[2].activation, answer)
        assert_close(reconstruct(tapes[2], signals, relu=rule).pixels, expected)
        expected, _ = autograd(forward, x[:1], signals[:1], rule)
        both = torch.cat([signals[:1], 2 * signals[:1]])  # two signals on one image
        assert_close(reconstruct(tapes[1], both, relu=rule).pixels, torch.cat([expected, 2 * expected]))


def autograd(forward: Callable[[Tensor], Tensor], x: Tensor, signal: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    pixels = x.clone().requires_grad_()
    with RuleInReLU(rule):
        answer = forward(pixels * 1)
    return torch.autograd.grad(answer, pixels, signal)[0], answer.detach()


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).norm()) <= 1e-11 * float(theirs.norm())
