"""The pages without a browser: what they show and say, also of bad links and damaged files."""

import pytest
import torch

from engine import batch_norm, checkpoints, data, deconv, pretrained, settings, tape
from engine.reconstructions import change_in_words
from pages import directory
from tests.apps import assert_no_error, new_app, open_page


@pytest.mark.parametrize("page", [directory.HOME, *directory.PAGES], ids=lambda page: page.address)
@pytest.mark.parametrize("bn", ["true", "false"])
@pytest.mark.parametrize("checkpoint", ["resnet18", "lenet"])
def test_every_page_opens_with_batch_norm_on_and_off(page, bn, checkpoint):
    app = open_page(page.file, bn=bn, checkpoint=checkpoint)
    assert_no_error(app)
    assert not app.warning
    first, *others = [text.value for text in app.main.markdown if text.value.startswith("#")]
    assert first.startswith("# ")  # a screen reader leads to the page by its first heading
    assert not [other for other in others if other.startswith("# ")]


@pytest.mark.parametrize("layer", list(tape.layers(checkpoints.load("resnet18").model)))
def test_every_layer_can_be_reconstructed(layer):
    app = open_page("reconstruction/page.py", layer=layer, signal="top 9")
    assert_no_error(app)
    assert len(app.get("image")) == 5


@pytest.mark.parametrize("relu", deconv.RELU_RULES)
@pytest.mark.parametrize("path", deconv.PATHS)
def test_every_rule_and_path_can_be_chosen(relu, path):
    assert_no_error(open_page("reconstruction/page.py", layer="conv4_x", rule=relu, path=path))


@pytest.mark.parametrize("signal", ["all channels", "one channel", "top 9", "top 16"])
@pytest.mark.parametrize("unit", ["strongest unit", "whole map"])
def test_every_signal_can_be_chosen(signal, unit):
    assert_no_error(open_page("reconstruction/page.py", layer="conv3_x", signal=signal, unit=unit))


def measured(layer: str, label: str) -> batch_norm.BatchNormComparison:
    """All channels of `layer` on the first test image of class `label`, played back directly."""
    trained = checkpoints.load("resnet18")
    test = data.bundled("test")
    index = int((test.labels == test.classes.index(label)).nonzero()[0][0])
    card = trained.card
    image = data.prepare(test.images[index : index + 1], card.input_size, card.mean, card.std)
    recorded = tape.record(trained.model, image, layer)
    return batch_norm.compare(recorded, deconv.all_channels(recorded.activation))


@pytest.mark.parametrize("layer", ["conv1_relu", "conv2_x", "conv3_x", "conv5_x"])
def test_the_sentence_states_the_recorded_gains(layer):
    compared = measured(layer, "ship")
    sentence = open_page("reconstruction/page.py", layer=layer, **{"class": "ship"}).info[0].value
    assert change_in_words(float(compared.off.gains[-1].ratio)) in sentence.split(";")[0]
    assert change_in_words(float(compared.on.gains[-1].ratio)) in sentence.split(";")[1]
    assert f"cosine similarity {compared.cosine:.2f}" in sentence


def test_at_conv1_the_page_says_that_there_is_no_batch_norm_on_the_way():
    compared = measured("conv1", "ship")
    assert torch.equal(compared.on.pixels, compared.off.pixels)
    sentence = open_page("reconstruction/page.py", layer="conv1", **{"class": "ship"}).info[0].value
    assert sentence.startswith("There is no batch norm between this layer and the pixels")


def test_the_switch_puts_its_picture_first():
    on = open_page("reconstruction/page.py", layer="conv5_x", bn="true")
    off = open_page("reconstruction/page.py", layer="conv5_x", bn="false")
    captions = [[c.value for c in app.caption if c.value.startswith("**batch norm")] for app in (on, off)]
    assert captions[0][0] == "**batch norm on**, on one scale"
    assert captions[1][0] == "**batch norm off**, on one scale"
    assert captions[0][2:] == captions[1][2:][::-1]


def test_without_comparison_the_switch_drives_the_one_picture():
    shown = {
        bn: open_page("reconstruction/page.py", layer="conv5_x", compare="nothing", bn=bn) for bn in ("true", "false")
    }
    texts = {bn: [text.value for text in app.markdown] for bn, app in shown.items()}
    assert "**Batch norm on**" in texts["true"]
    assert "**Batch norm off**" in texts["false"]


def test_a_network_without_batch_norm_disables_the_switch_and_offers_other_contrasts():
    app = open_page("reconstruction/page.py", checkpoint="lenet")
    assert app.toggle(key="bn").disabled
    assert app.get("button_group")
    assert len(app.get("image")) == 1 + 3 * 3


BAD_LINKS = {
    "checkpoint": ("alexnet", "There is no checkpoint 'alexnet'"),
    "layer": ("conv9_x", "resnet18 has no layer 'conv9_x'"),
    "class": ("zebra", "The link asks for class 'zebra'"),
    "images": ("moon", "The link asks for images 'moon'"),
    "number": ("12345", "The link asks for number '12345', but there are 0 to 999"),
    "bn": ("perhaps", "The link asks for bn 'perhaps'"),
    "rule": ("magic", "The link asks for rule 'magic'"),
    "path": ("detour", "The link asks for path 'detour'"),
    "size": ("17", "The link asks for size '17'"),
    "signal": ("all", "The link asks for signal 'all'"),
    "compare": ("magic", "The link asks for compare 'magic'"),
    "weight_scale": ("3", "The link asks for weight_scale '3'"),
    "weights": ("pruned", "The link asks for weights 'pruned'"),
}


@pytest.mark.parametrize("key", BAD_LINKS)
def test_a_bad_value_in_the_link_is_named_and_something_else_is_shown(key):
    value, message = BAD_LINKS[key]
    app = new_app()
    app.query_params[key] = value
    app.run()
    said = [warning.value for warning in app.warning]
    app.query_params[key] = value
    app.switch_page("reconstruction/page.py").run()
    said += [warning.value for warning in app.warning]
    assert_no_error(app)
    assert any(text.startswith(message) and text.endswith("is shown instead.") for text in said), said
    assert len(app.get("image")) == 5


@pytest.fixture
def damaged(tmp_path, use_folders, fresh_caches):
    """Copies of the checkpoints, to be damaged; gives their folder."""
    import shutil

    shutil.copytree(settings.folders.checkpoints, tmp_path / "checkpoints")
    use_folders(checkpoints=tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_a_truncated_weights_file_is_one_sentence_in_the_page(damaged):
    path = damaged / "resnet18" / "weights.pt"
    path.write_bytes(path.read_bytes()[:1000])
    app = open_page("reconstruction/page.py")
    assert not app.exception
    assert app.error[0].value.startswith("The checkpoint 'resnet18' cannot be used: weights.pt is damaged")
    assert path.stat().st_size == 1000


def test_a_truncated_predictions_file_is_one_sentence_in_the_page(damaged):
    path = damaged / "lenet" / "predictions.npz"
    path.write_bytes(path.read_bytes()[:1000])
    app = open_page("accuracy/page.py", checkpoint="lenet")
    assert not app.exception
    assert app.error[0].value.startswith("The checkpoint 'lenet' cannot be used: predictions.npz is damaged.")


def test_a_corrupt_image_pack_is_one_sentence_in_the_page(tmp_path, use_folders, fresh_caches):
    import shutil

    shutil.copytree(settings.folders.bundled, tmp_path / "bundled")
    sheet = tmp_path / "bundled" / "test.webp"
    sheet.write_bytes(sheet.read_bytes()[:5000])
    use_folders(bundled=tmp_path / "bundled")
    app = open_page("reconstruction/page.py")
    assert not app.exception
    assert app.error[0].value.startswith("The bundled images in test.webp cannot be used: it is damaged or incomplete.")


def test_without_any_network_the_app_says_how_to_get_them(tmp_path, use_folders, monkeypatch):
    use_folders(checkpoints=tmp_path)
    monkeypatch.setattr(pretrained, "available", dict)
    app = new_app().run()
    assert not app.exception
    assert app.error[0].value.startswith("There are no trained networks in checkpoints/")


def test_home_lists_every_network():
    app = open_page("home/page.py")
    cards = [*checkpoints.available().values(), *pretrained.available().values()]
    lines = [card.name if card.name == card.architecture else f"{card.name} ({card.architecture})" for card in cards]
    assert list(app.table[0].value.index) == lines
