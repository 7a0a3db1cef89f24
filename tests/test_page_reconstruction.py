"""The Reconstruction page's contrasts: each shows what the engine computes for it."""

import pytest
import streamlit as st
import torch

from engine import checkpoints, contrast, data, deconv, evaluation, tape
from engine.batch_norm import change_in_words, total_gain
from engine.deconv import Reconstruction
from pages.common import variants
from tests.apps import assert_no_error, open_page

PAGE = "pages/reconstruction.py"


@pytest.fixture(autouse=True)
def _fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


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


@pytest.mark.parametrize("by", variants.CONTRASTS)
@pytest.mark.parametrize("show", ["all channels", "top 9"])
def test_every_contrast_shows_its_pictures(by, show):
    app = open_page(PAGE, compare=by, show=show)
    assert_no_error(app)
    assert not app.warning
    assert len(app.get("image")) == 1 + PICTURES[by]


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
    assert f"guided {contrast.cosine(made['deconvnet'], made['guided']):.2f}" in sentence


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
    sentence = open_page(PAGE, scale=text).info[0].value
    assert change_in_words(total_gain(off)) in sentence.split(";")[0]
    assert change_in_words(total_gain(played())) in sentence.split(";")[1]
    assert change_in_words(total_gain(off)) != change_in_words(total_gain(played(batch_norm=False)))


def test_before_its_batch_norm_a_convolution_has_no_weight_scale():
    app = open_page(PAGE, layer="conv1")
    assert app.select_slider(key="scale").disabled
    assert app.select_slider(key="scale").help.startswith("This layer is a convolution before its batch norm")


def test_a_class_can_be_sent_back():
    trained = checkpoints.load("resnet18")
    made = played(tape.logits(trained.model), lambda logits: deconv.whole_map(logits, 3))
    app = open_page(PAGE, show="class", logit="cat", compare="nothing")
    assert_no_error(app)
    assert change_in_words(total_gain(made)) in app.info[0].value
    assert any(caption.value.startswith("The logit of cat") for caption in app.caption)


def test_by_default_the_class_is_the_networks_answer():
    trained = checkpoints.load("resnet18")
    card, test = trained.card, data.bundled("test")
    index = int((test.labels == 5).nonzero()[0][0])
    image = data.prepare(test.images[index : index + 1], card.input_size, card.mean, card.std)
    answered = card.classes[evaluation.answer(trained.model, image).classes[0]]
    app = open_page(PAGE, show="class", **{"class": "dog"})
    assert any(caption.value.startswith(f"The logit of {answered}") for caption in app.caption)


def test_training_is_compared_with_the_random_weights_it_began_with():
    before = checkpoints.untrained("resnet18")
    again = checkpoints.untrained("resnet18")
    assert all(torch.equal(a, b) for a, b in zip(before.model.parameters(), again.model.parameters(), strict=True))
    captions = [caption.value for caption in open_page(PAGE, compare="training").caption]
    assert "**before training**" in captions
    assert "**trained**" in captions


def test_an_untrained_network_can_be_looked_at():
    app = open_page(PAGE, weights="untrained")
    assert_no_error(app)
    assert any("resnet18 before training" in text.value for text in app.markdown)


def test_two_images_differ():
    app = open_page(PAGE, compare="images", class2="ship", number2="3")
    assert_no_error(app)
    assert app.selectbox(key="class2").value == "ship"
    own = [image.proto.imgs[0].url for image in app.get("image")[-2:]]
    assert own[0] != own[1]


@pytest.mark.parametrize("photograph", ["cat", "rocket"])
def test_photographs_can_be_reconstructed(photograph):
    app = open_page(PAGE, images="photographs", photograph=photograph, size="128")
    assert_no_error(app)
    assert any(caption.value == f"photograph: {photograph}" for caption in app.caption)


def test_until_there_is_an_own_picture_a_photograph_is_shown():
    app = open_page(PAGE, images="own")
    assert_no_error(app)
    assert any(caption.value.startswith("photograph: ") for caption in app.caption)
