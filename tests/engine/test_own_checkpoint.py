"""A lecturer's own weights become a checkpoint like any other, or one sentence says what does not fit."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from engine import checkpoints, filters, own_checkpoint
from engine.accuracy.figures import accuracy, cross_entropy
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.models import ARCHITECTURES, build
from engine.own_checkpoint import Origin, add
from engine.training import histories
from engine.training.queue import owners

LENET = Origin("lenet", "mine", input_size=16)


def network(architecture: str = "lenet", num_classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    options = {"input_size": 16} if ARCHITECTURES[architecture].fixed_input else {}
    model = build(architecture, num_classes=num_classes, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


def stored(content: object, folder: Path) -> Path:
    path = folder / "theirs.pt"
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def few(bundled_test: LabelledImages) -> LabelledImages:
    """40 test images."""
    return bundled_test.subset(np.arange(40))


def answers(model: nn.Module, size: int = 16) -> torch.Tensor:
    image = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(image)


def refused(content: object, origin: Origin, folder: Path) -> str:
    """The sentence with which a file is refused; nothing may appear among the checkpoints."""
    there = folder / "checkpoints"
    there.mkdir(exist_ok=True)
    before = sorted(there.rglob("*"))
    file = content if isinstance(content, Path) else stored(content, folder)
    with pytest.raises(ConvscopeError) as caught:
        add(file, origin, there)
    assert sorted(there.rglob("*")) == before
    return str(caught.value)


# It fits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["lenet", "model_two", "resnet18_strided"])
def test_it_computes_what_its_own_program_computed(architecture: str, tmp_path: Path, few: LabelledImages) -> None:
    model = network(architecture)
    add(stored(model.state_dict(), tmp_path), replace(LENET, architecture=architecture), tmp_path / "c", few)
    torch.testing.assert_close(
        answers(checkpoints.load("mine", tmp_path / "c").model), answers(model), rtol=1e-4, atol=1e-5
    )


def test_its_figures_are_measured_on_the_test_images(tmp_path: Path, few: LabelledImages) -> None:
    own = (0.5, 0.5, 0.5)
    model, seen = network(), []
    origin = replace(LENET, mean=own, std=own)
    card = add(stored(model.state_dict(), tmp_path), origin, tmp_path / "c", few, seen.append)
    expected = evaluate(model, few.images, few.labels, input_size=16, mean=own, std=own)
    assert (card.test_images, card.test_accuracy) == (40, accuracy(expected).value)
    assert card.test_loss == pytest.approx(cross_entropy(expected), rel=1e-5)
    assert (card.dataset, card.mean, card.options) == ("cifar10", own, {"input_size": 16})
    assert seen[-1] == 40
    kept = checkpoints.predictions("mine", tmp_path / "c")
    np.testing.assert_allclose(kept.test.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert len(kept.validation) == 0


@pytest.mark.parametrize("std", [1, 1 / 255])
def test_pixels_that_were_not_divided_can_be_said(std: float, tmp_path: Path, few: LabelledImages) -> None:
    origin = replace(LENET, mean=(0, 0.5, 1), std=(std,) * 3)
    assert add(stored(network().state_dict(), tmp_path), origin, tmp_path / "c", few).std == origin.std


def test_of_other_classes_nothing_is_measured(tmp_path: Path) -> None:
    origin = replace(LENET, classes=("apple", "banana", "cherry"))
    card = add(stored(network(num_classes=3).state_dict(), tmp_path), origin, tmp_path / "c")
    assert (card.classes, card.dataset, card.test_images) == (("apple", "banana", "cherry"), "own", 0)
    assert math.isnan(card.test_accuracy)
    assert checkpoints.available(tmp_path / "c")["mine"].classes == card.classes
    with pytest.raises(ConvscopeError):
        checkpoints.predictions("mine", tmp_path / "c")


def test_there_is_no_learning_curve_and_one_moment_of_the_filters(
    tmp_path: Path, few: LabelledImages, use_folders: Callable[..., None]
) -> None:
    model = network()
    add(stored(model.state_dict(), tmp_path), LENET, tmp_path / "c", few)
    use_folders(checkpoints=tmp_path / "c")
    assert "mine" not in histories.find()
    kept = filters.snapshots("mine", tmp_path / "c")
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    torch.testing.assert_close(kept.kernels, first.weight.detach()[None], rtol=1e-3, atol=1e-4)


def test_it_can_be_removed_as_a_kept_model_can(tmp_path: Path, few: LabelledImages) -> None:
    folder = tmp_path / "c"
    add(stored(network().state_dict(), tmp_path), LENET, folder, few)
    assert checkpoints.kept(folder) == [folder / "mine"]
    assert not owners.belongs(folder / "mine", ["", "another's right"])  # in a class, the lecturer removes it
    checkpoints.remove("mine", folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["regnet_x_400mf", "mnasnet0_5", "googlenet"])
def test_networks_with_constructors_and_versions_of_their_own_can_be_added(name: str, tmp_path: Path) -> None:
    extra = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=3, **extra).eval()
    origin = Origin(f"torchvision:{name}", "mine", ("a", "b", "c"), input_size=64)
    remarks: list[str] = []
    add(stored(model.state_dict(), tmp_path), origin, tmp_path / "c", on_remark=remarks.append)
    torch.testing.assert_close(answers(checkpoints.load("mine", tmp_path / "c").model, 64), answers(model, 64))
    assert any("aux1.conv.conv.weight" in remark for remark in remarks) == (name == "googlenet")


def test_a_googlenet_that_normalises_its_input_itself_goes_on_doing_so(tmp_path: Path) -> None:
    options = {"aux_logits": False, "init_weights": False, "transform_input": True}
    model = torchvision.models.googlenet(weights=None, num_classes=3, **options).eval()
    origin = Origin("torchvision:googlenet", "mine", ("a", "b", "c"), input_size=64, transform_input=True)
    card = add(stored(model.state_dict(), tmp_path), origin, tmp_path / "c")
    assert card.options == {"transform_input": True}
    torch.testing.assert_close(answers(checkpoints.load("mine", tmp_path / "c").model, 64), answers(model, 64))
    with pytest.raises(ConvscopeError, match="cannot take the options"):
        add(tmp_path / "theirs.pt", replace(origin, architecture="torchvision:alexnet", name="other"), tmp_path / "c")


def test_one_of_torchvision_s_networks_can_be_added(tmp_path: Path) -> None:
    model = torchvision.models.squeezenet1_1(num_classes=3).eval()
    origin = Origin("torchvision:squeezenet1_1", "mine", ("a", "b", "c"), input_size=64)
    card = add(stored(model.state_dict(), tmp_path), origin, tmp_path / "c")
    assert (card.input_size, card.options) == (64, {})
    torch.testing.assert_close(
        answers(checkpoints.load("mine", tmp_path / "c").model, 64), answers(model, 64), rtol=1e-4, atol=1e-5
    )


# It does not ---------------------------------------------------------------------------------------------------


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    assert refused(network("model_two").state_dict(), LENET, tmp_path) == (
        "theirs.pt holds 30 tensors ('features.0.weight' to 'classifier.4.bias') and does not fit a lenet for 10 "
        "classes at 16 px, which needs 10 tensors ('features.0.weight' to 'classifier.3.bias'): it has no "
        "'features.3.weight' (64 x 32 x 5 x 5), and nearest are 'features.9.weight' "
        "(128 x 64 x 5 x 5), 'features.6.weight' (64), 'features.5.weight' (64 x 32 x 5 x 5); "
        "check --architecture, --classes and --input-size."
    )


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    said = refused(network(num_classes=3).state_dict(), LENET, tmp_path)
    assert "is 3 x 64, not 10 x 64; check --architecture, --classes and --input-size." in said


def test_weights_that_the_network_has_no_place_for_are_refused(tmp_path: Path) -> None:
    assert "the network has no 'extra' (1), and nearest are" in refused(
        {**network().state_dict(), "extra": torch.zeros(1)}, LENET, tmp_path
    )


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    weights = network().state_dict()
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], math.nan)
    assert f"holds weights that are no numbers, in {name!r}" in refused(weights, LENET, tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    assert "holds no weights by name" in refused(content, LENET, tmp_path)


def test_a_whole_pickled_model_is_not_run(tmp_path: Path) -> None:
    for content in (network(), {"model": network(), "epoch": 3}):
        assert refused(content, LENET, tmp_path) == (
            "theirs.pt holds a whole object of the class 'LeNet', not its weights: "
            "write one with `torch.save(model.state_dict(), 'theirs.pt')`."
        )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.pt"
    assert refused(path, LENET, tmp_path) == (
        f"{path} cannot be read (No such file or directory): name a file of weights."
    )


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        (replace(LENET, architecture="lenet6"), "There is no architecture 'lenet6': choose one of lenet"),
        (replace(LENET, name="../mine"), "'../mine' cannot be a name: use up to 60 letters"),
        (replace(LENET, name="imagenet_vgg16"), "There is a network called 'imagenet_vgg16' already"),
        (replace(LENET, classes=("cat",)), "two or more different names"),
        (replace(LENET, classes=("cat", "cat")), "two or more different names"),
        (replace(LENET, input_size=-1), "An image cannot be -1 px wide"),
        (replace(LENET, input_size=4), "An image cannot be 4 px wide: give --input-size, 8 to 1,024, as the network"),
        (replace(LENET, input_size=2000), "An image cannot be 2000 px wide: give --input-size, 8 to 1,024"),
        (replace(LENET, classes=("cat", "a" * 201)), "names of at most 200 letters"),
        (replace(LENET, mean=(0.5, 0.5)), "three numbers each"),
        (replace(LENET, std=(0.5, 0, 0.5)), "greater than zero"),
        (replace(LENET, std=(0.2, 1.01, 0.2)), "greater than zero and at most 1, not 0.2 1.01 0.2: give"),
        (replace(LENET, mean=(125, 123, 114), std=(63, 62, 66)), "of pixels in 0 to 1 (divide by 255)."),
        (replace(LENET, mean=(0.5, -0.01, 0.5)), "must lie in 0 to 1, not 0.5 -0.01 0.5"),
    ],
)
def test_what_is_said_about_the_file_must_make_sense(origin: Origin, reason: str, tmp_path: Path) -> None:
    assert reason in refused(network().state_dict(), origin, tmp_path)


def test_a_wrong_architecture_is_said_before_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    origin = replace(LENET, architecture="lenett")
    assert refused(network().state_dict(), origin, tmp_path).startswith("There is no architecture 'lenett'")


def test_a_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    assert refused(network().state_dict(), LENET, tmp_path) == (
        "There is a network called 'mine' already: choose another name with --name."
    )


# The command ---------------------------------------------------------------------------------------------------


def test_the_command_adds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(num_classes=2)
    file = tmp_path / "best model (1).pth.tar"
    torch.save({"net": {f"module.{name}": value for name, value in model.state_dict().items()}, "acc": 93.1}, file)
    given = ["--architecture", "lenet", "--classes", "cat,dog", "--input-size", "16", "--mean", "0.5", "0.5", "0.5"]
    assert own_checkpoint.main([str(file), *given, "--checkpoints", str(tmp_path / "c")]) == 0
    assert capsys.readouterr().out == (
        "Read from 'net' in the file.\nTaken off the names: 'module.'.\nBeside the weights, and not read: acc.\n"
        "best_model_1 is in the sidebar now: no accuracy, since no test images of its classes are shipped.\n"
        "It takes images of 16 px with mean 0.5 0.5 0.5 and std 0.247 0.2435 0.2616: --std as usual for lenet.\n"
    )
    card = checkpoints.available(tmp_path / "c")["best_model_1"]
    assert (card.classes, card.input_size, card.mean) == (("cat", "dog"), 16, (0.5, 0.5, 0.5))
    assert card.std == ARCHITECTURES["lenet"].std


SQUEEZENET = "torchvision:squeezenet1_1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "224 px with mean 0.485 0.456 0.406 and std 0.229 0.224 0.225: --input-size, --mean, --std as usual for "),
        ("--input-size 64 --mean 0.5 0.5 0.5 --std 1 1 1", "64 px with mean 0.5 0.5 0.5 and std 1 1 1: as given."),
    ],
)
def test_the_command_says_which_images_the_network_takes(
    given: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stored(network(SQUEEZENET, num_classes=2).state_dict(), tmp_path)
    arguments = [str(file), "--architecture", SQUEEZENET, "--classes", "a,b", "--checkpoints", str(tmp_path / "c")]
    assert own_checkpoint.main([*arguments, *given.split()]) == 0
    assert f"\nIt takes images of {said}" in capsys.readouterr().out


def test_the_help_says_what_is_usual(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        own_checkpoint.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("the architecture's own if left out") == 3
    assert shown.count("ImageNet's for torchvision:NAME") == 2


@pytest.mark.parametrize("guesses", [True, False])
def test_the_command_says_when_the_accuracy_is_that_of_guessing(
    guesses: bool, few: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    weights = dict(checkpoints.load("lenet").model.state_dict())
    if guesses:  # the same answer to every image
        weights["classifier.3.weight"] = torch.zeros(10, 64)
    monkeypatch.setattr(own_checkpoint, "bundled", lambda part: few)
    arguments = [str(stored(weights, tmp_path)), "--architecture", "lenet", "--checkpoints", str(tmp_path / "c")]
    assert own_checkpoint.main(arguments) == 0
    share = checkpoints.available(tmp_path / "c")["theirs"].test_share
    assert share.total == 40
    assert (share.low <= 0.1) == guesses
    warning = " That is no better than guessing: check --classes, their order, --mean and --std."
    assert capsys.readouterr().out.startswith(
        f"theirs is in the sidebar now: accuracy {share.value:.2%} on 40 test images.{warning if guesses else ''}\n"
    )


def test_the_command_ends_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = stored(network().state_dict(), tmp_path)
    assert own_checkpoint.main([str(file), "--architecture", "vgg", "--checkpoints", str(tmp_path / "c")]) == 1
    assert capsys.readouterr().out.startswith("There is no architecture 'vgg'")
