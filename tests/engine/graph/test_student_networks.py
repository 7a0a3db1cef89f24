"""Networks as students write them: the three rules equal autograd, with the rule put into PyTorch's own ReLU."""

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.deconv import RELU_RULES, reconstruct
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.graph.tracer import innermost
from engine.tape import layers, logits, record
from tests.engine.graph.student_networks import BUILT, NETWORKS, OUT_OF_PLACE, Forward, Student, network_of
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


# ----------------------------------------------------------------------------------------- other sizes, names


@pytest.mark.parametrize("name", ["pooled_while_large", "padded_to_a_multiple", "coordinates", "branch_on_a_size"])
def test_a_forward_that_asks_for_sizes_is_right_at_each(name: str) -> None:
    net = network_of(name)
    for size in (16, 24, 12, 16):
        x = noise((2, 3, size, size + 3))
        assert_close(record(net, x, logits(net)).activation, net(x))
    assert trace(net, (2, 3, 16, 19)) is trace(net, (2, 3, 16, 19))


def test_graphs_for_shapes_that_were_not_used_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.graph.MOST_SHAPES", 2)
    net = network_of("branch_on_a_size")
    graphs = {side: weakref.ref(trace(net, (1, 3, side, side))) for side in (16, 20, 16, 24)}
    gc.collect()
    assert {side for side, graph in graphs.items() if graph() is not None} == {16, 24}
    assert trace(net, (1, 3, 16, 16)) is graphs[16]()
    assert trace(net) is trace(net, (1, 3, 64, 64))


def test_a_forward_that_hands_sizes_on_has_one_graph_for_all() -> None:
    for name in ("flat_features_counted_in_a_loop", "view of the batch and -1", "squeeze_and_excite"):
        net = network_of(name)
        assert trace(net) is trace(net, (2, 3, 16, 16))


def test_names_are_unique_and_know_nothing_of_wrappers() -> None:
    assert list(trace(network_of("one ReLU in nn.Sequential")).by_name)[:6] == ["input", "0", "1", "2", "1_1", "4"]
    assert layers(network_of("nn.DataParallel"))["conv1"] == "0.0"
    assert layers(network_of("nn.DataParallel inside")) == layers(network_of("torch.compile"))


# -------------------------------------------------------------------------------------------------- refusals

REFUSED: dict[str, tuple[Forward, str]] = {
    "branch": (lambda net, x: net.tail(net.start(x) if x.mean() > 0 else x), "branches on them: use a network that"),
    "number": (lambda net, x: net.tail(net.start(x) * float(x.max())), "computes with pixel values outside of tensors"),
    "numpy": (
        lambda net, x: net.tail(net.start(torch.from_numpy(x.numpy()))),
        r"cannot be followed \(expected np.ndarray \(got a stand-in for the image\)\)",
    ),
    "no grad": (lambda net, x: _without_gradient(net, x), "on a random image the graph's gradient is .* off"),
    "channels": (lambda net, x: net.tail(net.norm(x)), "does not take RGB images of 64 x 64 px .*should contain 3"),
    "stateful": (lambda net, x: _counted(net, x), "on a random image the graph's answer is .* off"),
}


def _without_gradient(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.start(x)
    return net.tail(x + net.stem(net.drop(x[:, :3])))


def _counted(net: Any, x: Tensor) -> Tensor:
    COUNT[0] += 1
    return net.tail(net.start(x) * COUNT[0])


COUNT = [0]


NO_NETWORKS: dict[str, tuple[Callable[[], Any], str]] = {
    "its class": (lambda: Student, "A network is an object of torch.nn.Module, not <class .*: call its class"),
    "torch.jit": (lambda: torch.jit.script(nn.Sequential(nn.ReLU()).eval()), "was made by torch.jit, which hides its"),
    "ReLU in torch.jit": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), torch.jit.script(nn.ReLU())).eval(),
        "'ReLU' was made by torch.jit, and a ReLU in it is hidden: use it as it was before",
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(3, 3)).eval(), "such as LazyLinear: run it once on an image"),
}


@pytest.mark.parametrize("name", NO_NETWORKS)
def test_what_is_no_network_yet_is_refused(name: str) -> None:
    make, reason = NO_NETWORKS[name]
    with pytest.raises(ConvscopeError, match=reason):
        logits(make())


def test_what_forward_tries_in_vain_is_not_in_the_graph() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        try:
            return net.wide(net.start(x).flatten(1))
        except RuntimeError:
            return net.tail(net.start(x))

    net = type("Student", (Student,), {"forward": forward})().double().eval().requires_grad_(False)
    assert "wide" not in trace(net).by_name
    x = noise((1, 3, 16, 16))
    assert_close(record(net, x, logits(net)).activation, net(x))


def test_the_answer_has_one_name_at_all_sizes() -> None:
    net = network_of("answers_put_together")  # with two images, the node of that name would hold a half of it
    assert logits(net) == "set_item"
    x = noise((2, 3, 16, 16))
    assert_close(record(net, x, "set_item").activation, net(x))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_with_the_true_reason(name: str) -> None:
    forward, reason = REFUSED[name]
    net = type("Student", (Student,), {"forward": forward})().double().eval().requires_grad_(False)
    with pytest.raises(ConvscopeError, match=reason):
        logits(net)


def test_a_network_that_draws_at_random_is_compared_at_one_draw() -> None:
    net = type("Student", (Student,), {"forward": lambda net, x: net.tail(F.dropout(net.start(x)))})().double().eval()
    assert logits(net) == "fc"
