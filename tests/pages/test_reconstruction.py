"""The Reconstruction page's comparisons: each shows what the engine computes for it."""

import io

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine import checkpoints, data, deconv, evaluation, playbacks, tape, weights
from engine.deconv import Reconstruction
from engine.playbacks import Playback
from engine.reconstructions import change_in_words, cosine_similarity, total_gain
from engine.views import View
from pages.common import controls, downloads, resources, sheets, texts, touch
from tests.apps import assert_no_error, open_page

PAGE = "reconstruction/page.py"


PICTURES = {
    "batch norm": 4,
    "layers": 3 * 5,
    "ReLU rules": 6,
    "switches": 4,
    "paths": 6,
    "training": 4,
    "images": 4,
    "nothing": 1,
}


@pytest.mark.parametrize(("asked", "channels"), [(None, "one channel"), ("top 9", "top 9")])
def test_a_click_on_the_image_counts_while_a_link_is_followed_that_has_not_drawn_the_signal_yet(
    asked: str | None, channels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show_units(png, alt, key, grid, unit, put) -> None:
        st.button("Click", key=key, on_click=put, args=(1, 1))

    monkeypatch.setattr(touch, "show_units", show_units)
    app = open_page(PAGE)
    app.segmented_control(key="signal").set_value(app.segmented_control(key="signal").value)
    del app.session_state["signal"]  # as such a link does
    app.session_state[controls.ASKED] = {"signal": asked}
    app.button(key="image").click().run()
    assert_no_error(app)
    assert (app.session_state["signal"], app.session_state["unit"]) == (channels, touch.CHOSEN)


@pytest.mark.parametrize("by", playbacks.RESPECTS)
@pytest.mark.parametrize("signal", ["all channels", "top 9"])
def test_every_comparison_shows_its_pictures(by, signal):
    app = open_page(PAGE, compare=by, signal=signal)
    assert_no_error(app)
    assert not app.warning
    assert len(app.get("image")) == (2 if by == "images" else 1) + PICTURES[by]


def played(layer: str = "conv5_x", signal=deconv.all_channels, **settings: object) -> Reconstruction:
    """The shipped ResNet-18's reconstruction of the first airplane."""
    trained = checkpoints.load("resnet18")
    card, test = trained.card, data.bundled("test")
    index = int((test.labels == 0).nonzero()[0][0])
    image = data.prepare(test.images[index : index + 1], card.input_size, card.mean, card.std)
    recorded = tape.record(trained.model, image, layer)
    return deconv.reconstruct(recorded, signal(recorded.activation), **settings)


def test_the_sentence_on_rules_states_sizes_and_cosines():
    made = {rule: played(relu=rule) for rule in deconv.RELU_RULES}
    sentence = open_page(PAGE, compare="ReLU rules").info[0].value
    for rule, picture in made.items():
        assert f"**{rule}**: {change_in_words(total_gain(picture))}" in sentence
    assert f"guided {cosine_similarity(made['deconvnet'], made['guided']):.2f}" in sentence


def test_the_sentence_on_paths_says_by_how_much_they_do_not_add_up():
    made = {path: played(path=path).pixels for path in deconv.PATHS}
    missed = (made["residual"] + made["shortcut"] - made["both"]).norm() / made["both"].norm()
    sentence = open_page(PAGE, compare="paths").info[0].value
    assert f"misses the picture along both by {float(missed):.0%} of its size" in sentence
    assert float(missed) > 0.01


def test_a_path_can_be_meant_for_one_block_only():
    recorded_gain = total_gain(played(path={"layer3.0": "shortcut"}))
    app = open_page(PAGE, compare="nothing", path="shortcut", block="layer3.0")
    assert_no_error(app)
    assert change_in_words(recorded_gain) in app.info[0].value
    everywhere = open_page(PAGE, compare="nothing", path="shortcut")
    assert everywhere.info[0].value != app.info[0].value


@pytest.mark.parametrize("scale", [("1/2", 0.5), ("4", 4.0)])
def test_the_weight_scale_changes_the_picture_without_batch_norm_only(scale):
    text, factor = scale
    on, off = (played(batch_norm=state, weight_scale=factor) for state in (True, False))
    assert torch.allclose(on.pixels, played().pixels, rtol=1e-3, atol=1e-6)
    sentence = open_page(PAGE, weight_scale=text).info[0].value
    assert change_in_words(total_gain(off)) in sentence.split(";")[0]
    assert change_in_words(total_gain(played())) in sentence.split(";")[1]
    assert change_in_words(total_gain(off)) != change_in_words(total_gain(played(batch_norm=False)))


def test_before_its_batch_norm_a_convolution_has_no_weight_scale():
    app = open_page(PAGE, layer="conv1")
    assert app.select_slider(key="weight_scale").disabled
    assert app.select_slider(key="weight_scale").help.startswith("This layer is a convolution before its batch norm")


def test_the_signal_can_be_a_class():
    trained = checkpoints.load("resnet18")
    made = played(tape.logits(trained.model), lambda logits: deconv.whole_map(logits, 3))
    app = open_page(PAGE, signal="class", logit="cat", compare="nothing")
    assert_no_error(app)
    assert change_in_words(total_gain(made)) in app.info[0].value
    assert any(caption.value.startswith("The logit of cat") for caption in app.caption)


def test_by_default_the_class_is_the_predicted_one():
    trained = checkpoints.load("resnet18")
    card, test = trained.card, data.bundled("test")
    index = int((test.labels == 5).nonzero()[0][0])
    image = data.prepare(test.images[index : index + 1], card.input_size, card.mean, card.std)
    answered = card.classes[evaluation.answer(trained.model, image).classes[0]]
    app = open_page(PAGE, signal="class", **{"class": "dog"})
    assert any(caption.value.startswith(f"The logit of {answered}") for caption in app.caption)


def test_training_is_compared_with_the_random_weights_it_began_with():
    before = checkpoints.untrained("resnet18")
    again = checkpoints.untrained("resnet18")
    assert all(torch.equal(a, b) for a, b in zip(before.model.parameters(), again.model.parameters(), strict=True))
    captions = [caption.value for caption in open_page(PAGE, compare="training").caption]
    assert "**before training**, on one scale" in captions
    assert "**trained**, on one scale" in captions


def test_an_untrained_network_can_be_looked_at():
    app = open_page(PAGE, weights="untrained")
    assert_no_error(app)
    assert any("resnet18 before training" in text.value for text in app.markdown)


def test_two_images_differ():
    app = open_page(PAGE, compare="images", class2="ship", number2="3")
    assert_no_error(app)
    assert app.selectbox(key="class2").value == "ship"
    first, second = ([image.proto.imgs[0].url for image in row] for row in np.split(np.array(app.get("image")), 2))
    assert all(one != other for one, other in zip(first, second, strict=True))
    assert first[0] != first[1]


def test_each_of_two_images_stands_before_its_pictures_with_its_answer():
    ship = int((data.bundled("test").labels == 8).nonzero()[0][3])
    said = captions(open_page(PAGE, compare="images", class2="ship", number2="3"))
    for label, name, index in (("first image", "airplane", first_of(0)), ("second image", "ship", ship)):
        answer = resources.answer(view(index=index))
        predicted = checkpoints.available()["resnet18"].classes[answer.classes[0]]
        answered = f"predicted: {predicted} {texts.percent(answer.probabilities[0])}"
        place = said.index(f"{name}, test image {index}  \n{answered}")
        assert said[place + 1].startswith(f"**{label}**, on one scale")
        assert said[place + 2].startswith(f"**{label}**, ")
    assert captions(open_page(PAGE, compare="images", images="photographs"))[0].startswith("photograph: ")


@pytest.mark.parametrize("photograph", ["cat", "rocket"])
def test_photographs_can_be_reconstructed(photograph):
    app = open_page(PAGE, images="photographs", photograph=photograph, size="128")
    assert_no_error(app)
    assert any(caption.value == f"photograph: {photograph}" for caption in app.caption)


def test_until_there_is_an_own_picture_a_photograph_is_shown():
    app = open_page(PAGE, images="own")
    assert_no_error(app)
    assert any(caption.value.startswith("photograph: ") for caption in app.caption)


# What is said of the pictures --------------------------------------------------------------------------------


def headline(app: AppTest) -> str:
    return next(text.value for text in app.markdown if text.value.startswith("# "))


def captions(app: AppTest) -> list[str]:
    return [caption.value for caption in app.caption]


def view(layer: str = "conv5_x", index: int = 0, moment: str = "trained") -> View:
    return View(weights.find("resnet18", moment), layer, "test", index, 64)


def first_of(label: int) -> int:
    return int((data.bundled("test").labels == label).nonzero()[0][0])


def strongest(of: View, count: int) -> list[int]:
    return deconv.strongest_channels(resources.recording(of).activation, count)


def test_the_answer_is_the_one_of_the_network_in_the_sidebar():
    ship = first_of(8)
    trained, before = (resources.answer(view(index=ship, moment=moment)) for moment in ("trained", "untrained"))
    assert trained.classes[0] != before.classes[0]
    classes = checkpoints.load("resnet18").card.classes
    app = open_page(PAGE, compare="training", **{"class": "ship"})
    assert app.get("progress")[0].proto.text.startswith(classes[trained.classes[0]])
    other = open_page(PAGE, compare="training", weights="untrained", **{"class": "ship"})
    assert other.get("progress")[0].proto.text.startswith(classes[before.classes[0]])


def test_the_headline_names_the_method_and_the_signal():
    assert "Deconvnet reconstruction from conv5_x of resnet18" in headline(open_page(PAGE))
    assert "Gradient from conv5_x of resnet18" in headline(open_page(PAGE, rule="gradient"))
    assert "Deconvnet reconstruction from each layer of resnet18" in headline(open_page(PAGE, compare="layers"))
    assert "Deconvnet reconstruction from the cat logit of resnet18" in headline(
        open_page(PAGE, signal="class", logit="cat")
    )


def test_the_notes_name_the_maps_of_every_layer_shown():
    said = " ".join(captions(open_page(PAGE, compare="layers")))
    for layer, size in (("conv1_relu", 32), ("conv2_x", 16), ("conv5_x", 2)):
        count = resources.recording(view(layer)).activation.shape[1]
        assert f"{layer}: {count} maps of {size} x {size}" in said


def test_the_channels_of_each_picture_are_listed():
    said = " ".join(captions(open_page(PAGE, compare="images", signal="top 9", class2="ship")))
    for label, of in (("first image", view(index=first_of(0))), ("second image", view(index=first_of(8)))):
        listed = ", ".join(str(channel) for channel in strongest(of, 9))
        assert f"**{label}**: Channels {listed}, row by row." in said


def test_channels_that_all_pictures_share_are_listed_once():
    said = captions(open_page(PAGE, compare="ReLU rules", signal="top 9"))
    listed = ", ".join(str(channel) for channel in strongest(view(index=first_of(0)), 9))
    assert sum(f"Channels {listed}, row by row." in caption for caption in said) == 1


def channels_in(by: str, base: Playback, other: View | None = None) -> dict[str, list[int]]:
    variants = playbacks.comparison(by, base, resources.stages(base.view.network).values(), other).variants
    return {variant.label: list(resources.play(variant.playback).channels) for variant in variants}


def test_a_channel_that_the_reader_has_picked_stays_where_the_layer_does():
    base = Playback(view(), "whole map", (5,))
    assert 5 not in strongest(view(), 1)
    assert channels_in("images", base, view(index=1)) == {"first image": [5], "second image": [5]}
    assert set(map(tuple, channels_in("training", base).values())) == {(5,)}
    layers = channels_in("layers", base)
    assert layers["conv5_x"] == [5]
    assert layers["conv2_x"] == strongest(view("conv2_x"), 1)


def test_channels_that_were_picked_by_strength_are_each_images_own():
    base = Playback(view(), "whole map", strongest=9)
    assert channels_in("images", base, view(index=1))["first image"] == strongest(view(), 9)
    assert channels_in("images", base, view(index=1))["second image"] == strongest(view(index=1), 9)


@pytest.mark.parametrize(("bn", "states"), [("true", ["on", "off"]), ("false", ["off", "on"])])
def test_the_saved_pictures_are_in_the_order_of_the_screen(bn, states, monkeypatch):
    shown, saved = {}, []
    show = sheets.show
    monkeypatch.setattr(sheets, "show", lambda png, alt: shown.update({alt: png}) or show(png, alt))
    monkeypatch.setattr(downloads, "picture", lambda label, png, name, caption: saved.append(png()))
    assert_no_error(open_page(PAGE, bn=bn))
    own = [f"batch norm {state}, own scale" for state in states]
    assert [alt for alt in shown if alt in own] == own
    row = np.asarray(Image.open(io.BytesIO(saved[-1])))
    left, right = (np.asarray(Image.open(io.BytesIO(shown[alt]))) for alt in own)
    assert not np.array_equal(left, right)
    np.testing.assert_array_equal(row[:, : left.shape[1]], left)
    np.testing.assert_array_equal(row[:, -right.shape[1] :], right)


def test_the_formula_is_that_of_the_rule() -> None:
    assert r"\max(s, 0) \qquad" in open_page(PAGE, compare="layers").latex[0].value
    assert r"s \mapsto s\,[a > 0]" in open_page(PAGE, compare="layers", rule="gradient").latex[0].value
    assert "guided" in open_page(PAGE, compare="ReLU rules").latex[0].value
