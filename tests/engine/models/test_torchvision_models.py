"""Torchvision's classifiers are architectures like the app's own: built when asked, trained, stored and loaded."""

import re
from pathlib import Path

import pytest
import torch
import torchvision

from engine import checkpoints
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES, build, parameter_count, torchvision_models
from engine.tape import layers
from engine.training.__main__ import main
from engine.training.recipe import parse
from tests.pictures import class_folders


def test_the_registry_lists_the_apps_own_and_knows_torchvisions() -> None:
    assert "torchvision:vgg16" not in list(ARCHITECTURES)
    assert "torchvision:vgg16" in ARCHITECTURES
    assert ARCHITECTURES["torchvision:inception_v3"].input_size == 299
    assert ARCHITECTURES.get("torchvision:nothing") is None
    assert ARCHITECTURES.get("vgg16") is None
    assert not ARCHITECTURES["torchvision:vgg16"].fixed_input
    assert ARCHITECTURES["torchvision:vit_b_16"].fixed_input
    assert ARCHITECTURES["resnet18"].torchvision == "resnet18"


def test_each_of_torchvisions_classifiers_has_an_entry() -> None:
    names = torchvision_models.names()
    assert len(names) > 70
    assert {ARCHITECTURES[f"torchvision:{name}"].torchvision for name in names} == set(names)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "googlenet", "vgg11", "densenet121"])
def test_the_network_is_torchvisions_with_as_many_outputs_as_classes(name: str) -> None:
    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, weights=None, num_classes=3, **extra)
        mine = build(f"torchvision:{name}", num_classes=3)
    shapes = {key: value.shape for key, value in mine.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}
    assert type(mine) is type(theirs)


def test_a_network_of_patches_is_built_for_its_size() -> None:
    with torch.device("meta"):
        model = build("torchvision:vit_b_16", num_classes=4, input_size=32)
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_an_unknown_name_is_one_sentence() -> None:
    with pytest.raises(ConvscopeError, match="There is no architecture 'torchvision:vgg17': choose one of lenet, "):
        build("torchvision:vgg17")
    with pytest.raises(ConvscopeError, match=r"cannot take the options \{'colour': 3}"):
        build("torchvision:squeezenet1_1", colour=3)
    with pytest.raises(ConvscopeError, match=r"mine\.toml, line 1: architecture must be one of lenet, .*vgg17"):
        parse('architecture = "torchvision:vgg17"\n[[phases]]\nepochs = 1\nlearning_rate = 0.1\n', "m", "mine.toml")


RECIPE = """\
architecture = "torchvision:{name}"
dataset = "folder"
input_size = {pixels}
batch_size = 8
seed = 1
[[phases]]
epochs = 1
learning_rate = 0.01
"""


def command(tmp_path: Path, name: str, pixels: int) -> list[str]:
    (tmp_path / "mine.toml").write_text(RECIPE.format(name=name, pixels=pixels))
    pictures = class_folders(tmp_path / "pictures", {"a": 20, "b": 20}, side=64)
    folders = ["--data", str(pictures), "--runs", str(tmp_path), "--checkpoints", str(tmp_path / "kept")]
    return [str(tmp_path / "mine.toml"), *folders, "--device", "cpu"]


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_it_learns_from_scratch_and_becomes_a_checkpoint(tmp_path: Path, name: str) -> None:
    assert main(command(tmp_path, name, 64)) == 0
    trained = checkpoints.load("mine", tmp_path / "kept")
    assert (trained.card.architecture, trained.card.classes) == (f"torchvision:{name}", ("a", "b"))
    assert trained.card.mean == (0.485, 0.456, 0.406)
    assert trained.card.parameters == parameter_count(trained.model)
    assert trained.model(torch.zeros(2, 3, 64, 64)).shape == (2, 2)
    assert layers(trained.model)
    start = checkpoints.untrained("mine", tmp_path / "kept").model.state_dict()
    assert any(not torch.equal(value, start[key]) for key, value in trained.model.state_dict().items())


def test_images_that_are_too_small_for_it_are_one_printed_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, "alexnet", 16)) == 1
    assert re.fullmatch(
        r"2 classes: .* to test\.\n"
        r"torchvision:alexnet cannot take images of 16 pixels: choose a larger input_size \(usual are 224\).\n",
        capsys.readouterr().out,
    )
