"""What is kept of frozen weights: made once, never out of date, bounded."""

import copy
import gc
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from engine.operations.frozen_weights import FrozenWeights


class Maker:
    """Counts how often something is made of a layer's weights."""

    def __init__(self, frozen: FrozenWeights, layer: nn.Linear) -> None:
        self.frozen, self.layer, self.times = frozen, layer, 0

    def __call__(self, what: str = "double") -> torch.Tensor:
        def make() -> torch.Tensor:
            self.times += 1
            return 2 * self.layer.weight.detach()

        return self.frozen.derived(self.layer, what, [self.layer.weight], make)


def frozen_layer(frozen: FrozenWeights, numbers: int = 16) -> nn.Linear:
    layer = nn.Linear(numbers, 1, bias=False).requires_grad_(False)
    frozen.mark(layer)
    return layer


def test_of_a_frozen_layer_it_is_made_once() -> None:
    frozen = FrozenWeights()
    make = Maker(frozen, frozen_layer(frozen))
    assert make() is make()
    assert make.times == 1
    make("something else")
    assert make.times == 2


def test_of_any_other_layer_it_is_made_each_time() -> None:
    make = Maker(FrozenWeights(), nn.Linear(16, 1, bias=False))
    make(), make()
    assert (make.times, make.frozen.bytes) == (2, 0)


def test_a_copy_is_not_frozen() -> None:
    frozen = FrozenWeights()
    copied = copy.deepcopy(nn.Sequential(frozen_layer(frozen)))[0]
    assert not frozen.holds(copied)


def test_weights_that_change_after_all_are_noticed() -> None:
    frozen = FrozenWeights()
    make = Maker(frozen, frozen_layer(frozen))
    make()
    make.layer.weight.fill_(3.0)
    assert make().eq(6).all()
    make.layer.load_state_dict({"weight": torch.full((1, 16), 5.0)})
    assert make().eq(10).all()


def test_another_precision_is_noticed() -> None:
    frozen = FrozenWeights()
    make = Maker(frozen, frozen_layer(frozen))
    make()
    make.layer.double()
    assert make().dtype is torch.float64


def test_a_layer_with_a_hook_counts_as_not_frozen() -> None:
    frozen = FrozenWeights()
    layer = frozen_layer(frozen)
    handle = layer.register_forward_hook(lambda *_: None)
    assert not frozen.holds(layer)
    handle.remove()
    assert frozen.holds(layer)


def test_what_was_used_longest_ago_makes_room() -> None:
    frozen = FrozenWeights(limit=2 * 64)
    first, second, third = (Maker(frozen, frozen_layer(frozen)) for _ in range(3))
    first(), second(), first(), third()
    assert frozen.bytes == 2 * 64
    first(), third()
    assert (first.times, third.times) == (1, 1)
    second()
    assert second.times == 2


def test_what_is_larger_than_the_limit_is_not_kept() -> None:
    frozen = FrozenWeights(limit=63)
    make = Maker(frozen, frozen_layer(frozen))
    assert make().shape == (1, 16)
    assert frozen.bytes == 0


def test_a_network_that_is_gone_takes_its_share_along() -> None:
    frozen = FrozenWeights()
    make = Maker(frozen, frozen_layer(frozen))
    make()
    assert frozen.bytes == 64
    del make
    gc.collect()
    assert frozen.bytes == 0


def test_threads_may_ask_at_once() -> None:
    frozen = FrozenWeights(limit=3 * 64)
    makers = [Maker(frozen, frozen_layer(frozen)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: makers[number % 8](), range(400)))
    assert all(torch.equal(each, 2 * makers[number % 8].layer.weight) for number, each in enumerate(made))
    assert frozen.bytes <= 3 * 64
