"""Windows played back instead of maps: the same pictures, from less work."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import deconv
from engine.deconv import reconstruct, unit
from engine.graph.receptive_field import Box, receptive_field
from engine.graph.runs import play_back
from engine.operations import Rules
from engine.operations.signals import Place, Signals, Span
from engine.tape import Tape, logits, record
from tests.oracles import Lambda, SlowTwin, assert_same, noise, randomised, relative_error

CORNERS_AND_MIDDLE = ((0, 0), (0, -1), (-1, 0), (-1, -1), (1, 2), (3, 3))


def units(activation: Tensor, places: tuple[tuple[int, int], ...] = CORNERS_AND_MIDDLE) -> Tensor:
    """One unit at each of the places, of channels in turn, and a signal that is zero: `[K, C, H, W]`."""
    _, channels, height, width = activation.shape
    chosen = [unit(activation, k % channels, y % height, x % width) for k, (y, x) in enumerate(places)]
    return torch.cat([*chosen, torch.zeros_like(activation)])


def on_whole_maps(tape: Tape, signals: Tensor, rules: Rules) -> Tensor:
    """The slow twin: every map is played back from edge to edge."""
    seeds = {tape.node: Signals(signals.unsqueeze(1))}
    return play_back(tape.steps, seeds, tape.input, tape.input_shape, rules, {})


class Everything(nn.Module):
    """Two residual blocks, one strided; overlapping pools; a concatenation; a dilated convolution in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.residual = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1))
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, 2), nn.BatchNorm2d(6))
        self.wide = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
        self.last = nn.Sequential(nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 5, (1, 3), padding=(1, 0)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = F.relu(self.residual(x) + self.shortcut(x))
        x = F.relu(self.wide(x) + x)
        return self.last(torch.cat([x, F.max_pool2d(x, 3, 1, 1)], dim=1))


@pytest.fixture(scope="module")
def everything() -> nn.Module:
    torch.manual_seed(0)
    return randomised(Everything())


@pytest.mark.parametrize("relu", ["deconvnet", "gradient", "guided"])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("layer", ["stem.0", "pool", "add", "relu_1", "last.2"])
def test_pictures_of_units_are_autograds(everything: nn.Module, layer: str, relu: str, batch_norm: bool) -> None:
    x = noise((1, 3, 41, 50))
    tape, twin = record(everything, x, layer), SlowTwin(everything, relu, batch_norm)
    signals = units(tape.activation)
    expected = torch.cat([twin.play_back(x, tape.node, signal[None]) for signal in signals])
    ours = reconstruct(tape, signals, relu=relu, batch_norm=batch_norm)
    assert_same(ours.pixels, expected)
    assert_same(ours.sent, signals.flatten(1).norm(dim=1))
    for alone, together in zip(signals, ours.pixels, strict=True):
        assert (reconstruct(tape, alone[None], relu=relu, batch_norm=batch_norm).pixels - together).norm() < 1e-11
    assert_same(on_whole_maps(tape, signals, Rules(batch_norm, relu)), expected)


def test_many_signals_on_a_large_image_go_in_groups(everything: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = record(everything, noise((1, 3, 41, 50)), "relu_1")
    signals = units(tape.activation)
    at_once = reconstruct(tape, signals)
    monkeypatch.setattr(deconv, "_PIXELS_AT_ONCE", 3 * 41 * 50)
    in_groups = reconstruct(tape, signals)
    assert_same(in_groups.pixels, at_once.pixels)
    assert_same(in_groups.sent, at_once.sent)
    for ours, theirs in zip(in_groups.gains, at_once.gains, strict=True):
        assert ours.node == theirs.node
        torch.testing.assert_close(ours.ratio, theirs.ratio)
    assert reconstruct(tape, signals, gains=False).gains == ()


def test_a_unit_of_each_image(everything: nn.Module) -> None:
    x = noise((7, 3, 41, 50))
    tape = record(everything, x, "relu_1")
    signals = units(tape.activation[:1])
    expected = SlowTwin(everything, "guided").play_back(x, tape.node, signals)
    assert_same(reconstruct(tape, signals, relu="guided").pixels, expected)


GEOMETRIES = [
    nn.Conv2d(3, 2, 3, 2, 1),
    nn.Conv2d(3, 2, 7, 2, 3),
    nn.Conv2d(3, 2, (2, 5), (3, 2), (1, 0)),
    nn.Conv2d(3, 2, 3, padding=2, dilation=2),
    nn.Conv2d(3, 2, 1, 3, padding=2),
    nn.Conv2d(3, 2, 2, 4),
    nn.Conv2d(3, 6, 3, padding=1, groups=3),
    nn.Conv2d(3, 20, 11, 4, 2),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.MaxPool2d((1, 2), 3),
    nn.MaxPool2d(2, 1, dilation=3),
    nn.AvgPool2d(3, 2, 1),
    nn.ReLU6(),
    nn.Sequential(),
]


@pytest.mark.parametrize("module", GEOMETRIES, ids=str)
@pytest.mark.parametrize("switches", ["recorded", "centre"])
@pytest.mark.parametrize("size", [(17, 22), (24, 18)])
def test_windows_of_one_operation_are_parts_of_its_maps(
    module: nn.Module, switches: str, size: tuple[int, int]
) -> None:
    model = randomised(nn.Sequential(nn.Identity(), module))
    x = (noise((1, 3, *size)) * 2).round()  # so that there are ties
    tape = record(model, x, logits(model))
    signals, rules = units(tape.activation + 10), Rules(switches=switches)
    expected = on_whole_maps(tape, signals, rules)
    assert_same(reconstruct(tape, signals, switches=switches).pixels, expected)
    block = F.pad(noise(tape.activation.shape)[..., 1:, 1:], (1, 0, 1, 0))
    expected = on_whole_maps(tape, block, rules)
    assert_same(reconstruct(tape, block, switches=switches).pixels, expected)


@pytest.mark.parametrize("module", [module for module in GEOMETRIES if not isinstance(module, nn.AvgPool2d)], ids=str)
def test_a_units_window_is_its_receptive_field(module: nn.Module) -> None:
    model = randomised(nn.Sequential(module))
    tape = record(model, noise((1, 3, 24, 18)), logits(model))
    rows, columns = tape.activation.shape[2:]
    for row, column in ((0, 0), (1, 1), (rows // 2, columns // 2), (rows - 1, columns - 1)):
        seed = Signals.narrowed(unit(tape.activation + 10, 1, row, column)[None])
        assert seed.values.shape == (1, 1, tape.activation.shape[1], 1, 1)
        for step in reversed(tape.steps):
            (seed,) = step.record.reverse_windows(seed, Rules())
        seen = receptive_field(model, tape.node).box(row, column, (24, 18)).clipped((24, 18))
        rows, columns = seed.where.rows, seed.where.columns
        if seen.height and seen.width:
            assert seen == Box(rows.first[0], columns.first[0], rows.end[0], columns.end[0])


def test_a_whole_map_is_no_window() -> None:
    maps = noise((2, 1, 3, 4, 5))
    assert Signals.narrowed(maps).place is None
    assert torch.equal(Signals.narrowed(maps).values, maps)
    assert Signals.narrowed(noise((2, 10))).place is None
    assert Signals.narrowed(torch.zeros(2, 1, 3, 4, 5)).values.shape == (2, 1, 3, 1, 1)


def test_windows_move_into_their_maps_and_their_sum_holds_both() -> None:
    first, second = torch.zeros(2, 1, 2, 6, 7), torch.zeros(2, 1, 2, 6, 7)
    first[0, 0, 0, 0, 0] = first[0, 0, 1, 1, 2] = first[1, 0, 1, 5, 6] = 1
    second[0, 0, 1, 2, 0] = second[1, 0, 0, 5, 6] = 2
    narrow = Signals.narrowed(first)
    assert narrow.values.shape == (2, 1, 2, 2, 3)
    assert (narrow.where.rows.first, narrow.where.columns.first) == ((0, 4), (0, 4))
    total = narrow + Signals.narrowed(second)
    assert total.values.shape == (2, 1, 2, 3, 3)
    assert torch.equal(total.everything(), first + second)
    assert torch.equal((narrow + Signals(second)).everything(), first + second)
    recorded = noise((1, 2, 6, 7))
    shown = total.of_record(recorded)
    assert torch.equal(shown[1, 0], recorded[0, :, 3:6, 4:7])


def test_in_single_precision_windows_are_maps_too(everything: nn.Module) -> None:
    model = Lambda(lambda net, x: net.inner(x), inner=everything).float().eval()
    tape = record(model, noise((1, 3, 224, 224)).float(), logits(model))
    signals = units(tape.activation)
    whole = on_whole_maps(tape, signals, Rules())
    assert relative_error(reconstruct(tape, signals).pixels, whole) < 1e-6


def test_a_window_beyond_the_border_is_cut_off() -> None:
    place = Place(Span((-3, 4), 2, 5), Span((1, 4), 3, 5)).within()
    assert (place.rows, place.columns) == (Span((0, 4), 1, 5), Span((1, 2), 3, 5))
