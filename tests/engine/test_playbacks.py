"""Views and playbacks: what is usual, and what stays of a playback when it is varied."""

from dataclasses import replace

import pytest

from engine import data, playbacks, tape, views, weights
from engine.playbacks import STRONGEST, Comparison, Playback
from engine.views import View

VIEW = View(weights.find("lenet"), "conv2_relu", "test", 0, 32)


def labels(compared: Comparison) -> list[str]:
    return [variant.label for variant in compared.variants]


def test_what_was_picked_means_nothing_at_another_layer() -> None:
    picked = Playback(VIEW, playbacks.CHOSEN, (5, 7), place=(1, 1))
    own, other = (one.playback for one in playbacks.comparison("layers", picked, ["conv2_relu", "conv3_relu"]).variants)
    assert own == picked
    assert other == Playback(replace(VIEW, layer="conv3_relu"), STRONGEST, strongest=2)


def test_what_was_picked_stays_at_another_moment_and_on_another_image() -> None:
    picked = Playback(VIEW, playbacks.WHOLE, (5,))
    other = replace(VIEW, index=1)
    for compared in (playbacks.comparison("training", picked), playbacks.comparison("images", picked, other=other)):
        assert {one.playback.channels for one in compared.variants} == {(5,)}
        assert len({one.playback.view for one in compared.variants}) == len(compared.variants) > 1


@pytest.mark.parametrize("by", playbacks.VARIED)
def test_one_setting_varies_and_only_that_of_batch_norm_turns_the_order(by: str) -> None:
    compared = playbacks.comparison(by, Playback(VIEW, playbacks.ALL))
    field, choices = playbacks.VARIED[by]
    assert [getattr(one.playback, field) for one in compared.variants] == list(choices.values())
    assert compared.in_order(True) == compared
    assert labels(compared.in_order(False)) == (labels(compared)[::-1] if by == "batch norm" else labels(compared))


def test_there_are_no_more_channels_than_the_layer_has(bundled_test: data.LabelledImages) -> None:
    trained = weights.load(VIEW.network)
    x = data.prepare(bundled_test.images[:1], 32, trained.card.mean, trained.card.std)
    recorded = tape.record(trained.model, x, "conv1")
    channels, signals = playbacks.signals_of(Playback(VIEW, STRONGEST, strongest=1000), recorded)
    assert sorted(channels) == list(range(recorded.activation.shape[1]))
    assert len(signals) == len(channels)
    assert playbacks.on_offer(recorded, normalises=False, of_a_class=True) == (
        "ReLU rules",
        "training",
        "images",
        "nothing",
    )


def test_what_a_view_shows_at_first() -> None:
    cards = weights.cards()
    assert views.sizes(cards["lenet"]) == (32,)
    assert views.sizes(cards["resnet18"]) == (64, 128, 224)
    assert views.usual_layer(cards["lenet"], ["a", "b"], plays_back=False) == "b"
    assert [views.another_class(("cat", "dog"), truth) for truth in (None, "cat", "dog")] == ["dog", "dog", "cat"]
