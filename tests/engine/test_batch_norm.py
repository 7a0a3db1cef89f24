"""What batch norm does on the way back: gains, cosines and sentences, against figures computed another way."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from engine import batch_norm, checkpoints, deconv, tape
from engine.data import bundled, prepare
from engine.models import build
from engine.reconstructions import ZERO_SIGNAL, change_in_words
from tests.oracles import randomised


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(3)
    return randomised(build("resnet18"))


@pytest.fixture(scope="module")
def recorded(resnet) -> tape.Tape:
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return tape.record(resnet, image, "conv4_x")


def test_gains_and_cosine_are_those_of_the_pictures(recorded):
    signal = deconv.all_channels(recorded.activation)
    compared = batch_norm.compare(recorded, signal)
    on, off = compared.on.pixels.flatten(), compared.off.pixels.flatten()
    assert compared.gain_on == pytest.approx(float(on.norm() / signal.norm()), rel=1e-12)
    assert compared.gain_off == pytest.approx(float(off.norm() / signal.norm()), rel=1e-12)
    assert compared.cosine == pytest.approx(float(on @ off / (on.norm() * off.norm())), rel=1e-12)
    assert not torch.equal(compared.on.pixels, compared.off.pixels)


def test_of_several_signals_the_median_counts(recorded):
    channels = deconv.strongest_channels(recorded.activation, 3)
    compared = batch_norm.compare(recorded, deconv.unit_signals(recorded.activation, channels))
    alone = [batch_norm.compare(recorded, deconv.strongest_unit(recorded.activation, channel)) for channel in channels]
    assert compared.gain_off == pytest.approx(sorted(one.gain_off for one in alone)[1], rel=1e-9)
    assert compared.cosine == pytest.approx(sorted(one.cosine for one in alone)[1], rel=1e-9)


def test_the_median_of_an_even_number_lies_between_the_two_middle_ones(recorded):
    channels = deconv.strongest_channels(recorded.activation, 2)
    compared = batch_norm.compare(recorded, deconv.unit_signals(recorded.activation, channels))
    alone = [batch_norm.compare(recorded, deconv.strongest_unit(recorded.activation, channel)) for channel in channels]
    assert compared.gain_off == pytest.approx(sum(one.gain_off for one in alone) / 2, rel=1e-9)
    assert compared.cosine == pytest.approx(sum(one.cosine for one in alone) / 2, rel=1e-9)
    assert abs(alone[0].gain_off / alone[1].gain_off - 1) > 0.01


def test_a_signal_that_is_zero_does_not_count_among_several(recorded):
    signal = deconv.all_channels(recorded.activation)
    silent = torch.zeros_like(signal)
    alone, among = (batch_norm.compare(recorded, torch.cat(s)) for s in ([signal], [silent, signal, silent]))
    assert among.gain_off == pytest.approx(alone.gain_off, rel=1e-9)
    assert among.cosine == pytest.approx(alone.cosine, rel=1e-9)


@pytest.mark.parametrize("normalised", [True, False])
def test_of_a_silent_channel_the_sentence_says_that_nothing_is_sent(recorded, normalised):
    compared = batch_norm.compare(recorded, torch.zeros_like(recorded.activation))
    assert batch_norm.in_words(compared, normalised) == ZERO_SIGNAL
    assert compared.gain_on == compared.gain_off == 0


def test_where_one_picture_is_empty_nothing_is_said_of_the_content(recorded):
    compared = batch_norm.compare(recorded, deconv.all_channels(recorded.activation))
    empty = replace(compared.off, pixels=torch.zeros_like(compared.off.pixels))
    sentence = batch_norm.in_words(batch_norm.BatchNormComparison(compared.on, empty), normalised=True)
    assert sentence.startswith("Without batch norm the signal vanished altogether by the time it")
    assert "cosine" not in sentence


def test_settings_reach_both_playbacks(recorded):
    signal = deconv.all_channels(recorded.activation)
    compared = batch_norm.compare(recorded, signal, relu="guided", path="shortcut")
    for switch, ours in ((True, compared.on), (False, compared.off)):
        expected = deconv.reconstruct(recorded, signal, batch_norm=switch, relu="guided", path="shortcut")
        assert torch.equal(ours.pixels, expected.pixels)


def test_the_raw_first_convolution_has_no_batch_norm_below_it(resnet):
    image = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    assert not batch_norm.has_batch_norm(tape.record(resnet, image, "conv1"))
    assert batch_norm.has_batch_norm(tape.record(resnet, image, "conv1_relu"))


def test_networks_with_and_without_batch_norm():
    assert batch_norm.normalises(build("model_two"))
    assert not batch_norm.normalises(build("model_two", batch_norm=False))
    assert not batch_norm.normalises(build("lenet"))


def test_the_sentence_names_both_gains_and_the_cosine(recorded):
    compared = batch_norm.compare(recorded, deconv.all_channels(recorded.activation))
    sentence = batch_norm.in_words(compared, normalised=True)
    assert f"Without batch norm the signal {change_in_words(compared.gain_off)} by the time" in sentence
    assert f"with batch norm it {change_in_words(compared.gain_on)}." in sentence
    assert f"cosine similarity {compared.cosine:.2f}" in sentence


@pytest.fixture(scope="module")
def effects() -> dict[str, batch_norm.LayerEffect]:
    """The shipped ResNet-18 on one test image of each class."""
    trained = checkpoints.load("resnet18")
    test, card = bundled("test"), trained.card
    first = [int((test.labels == label).nonzero()[0][0]) for label in range(10)]
    images = prepare(test.images[first], card.input_size, card.mean, card.std)
    return {effect.layer: effect for effect in batch_norm.effect_per_layer(trained.model, images)}


def test_at_the_raw_conv1_of_the_shipped_network_on_and_off_are_identical(effects):
    assert effects["conv1"].gain_on == effects["conv1"].gain_off
    assert effects["conv1"].cosine == pytest.approx(1.0, abs=1e-6)


def test_in_the_shipped_network_the_pictures_differ_in_content(effects):
    assert min(effect.cosine for effect in effects.values()) < 0.8


def test_the_command_prints_a_line_per_layer(capsys):
    assert batch_norm.main(["resnet18", "--images", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("resnet18 at ")
    assert lines[0].endswith("medians over 10 test images, 1 of each class")
    assert [line.split()[0] for line in lines[2:]] == list(tape.layers(checkpoints.load("resnet18").model))


def test_the_images_are_shared_out_among_their_own_classes(monkeypatch, capsys):
    model = checkpoints.load("model_two")
    seven = replace(model, card=replace(model.card, classes=model.card.classes[:7]))
    monkeypatch.setattr(checkpoints, "load", lambda name: seven)
    monkeypatch.setattr(batch_norm, "effect_per_layer", lambda model, images: [])
    for wanted, said in ((7, "10 test images, 1 of"), (25, "20 test images, 2 of"), (30, "30 test images, 3 of")):
        assert batch_norm.main(["seven", "--images", str(wanted)]) == 0
        assert capsys.readouterr().out.splitlines()[0].endswith(f"medians over {said} each class")


@pytest.mark.parametrize("option", [["--images", "0"], ["--images", "-5"], ["--images", "x"], ["--size", "-8"]])
def test_what_is_no_count_shows_the_usage(option, capsys):
    with pytest.raises(SystemExit):
        batch_norm.main(["model_two", *option])
    assert "must be a whole number from 1 on" in capsys.readouterr().err


def test_the_command_says_what_is_wrong_in_a_sentence(capsys):
    assert batch_norm.main(["nothing"]) == 1
    assert capsys.readouterr().out.startswith("There is no checkpoint 'nothing': choose one of ")
