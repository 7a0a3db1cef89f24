"""Torchvision's pretrained networks: the real loading code, on weight files that are made here."""

import hashlib
import io
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import streamlit as st
import torch
import torchvision
from torch import nn
from torchvision.models import Weights

from engine import pretrained, tape
from engine.deconv import reconstruct, whole_map
from engine.errors import ConvscopeError
from engine.inversion import invert
from engine.maximization import Canvas, maximize
from engine.models import parameter_count
from engine.pretrained import DOWNLOADS, NETWORKS, available, download, load, read_card, untrained, weight_file
from pages.common import pretrained_download
from tests.apps import assert_no_error, new_app, open_page
from tests.oracles import fingerprint

NAME, SIZE = "imagenet_alexnet", 64
SHIPPED = "efficientnet_lite0"
"""Its weights come with a package, so it is always there."""
Builder = Callable[..., nn.Module]


def slim(builder: Builder, width: int) -> Builder:
    """AlexNet or VGG-16 with narrow dense layers, which hold nine tenths of the weights."""

    def build(num_classes: int) -> nn.Module:
        device = torch.get_default_device()
        with torch.device("meta"):
            model = builder()
        model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(width, 16), nn.ReLU(True), nn.Linear(16, num_classes))
        model.features.to_empty(device=device)
        for module in model.features:
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        return model

    return build


BUILDERS: dict[str, Builder] = {
    "imagenet_alexnet": slim(torchvision.models.alexnet, 256 * 6 * 6),
    "imagenet_vgg16": slim(torchvision.models.vgg16, 512 * 7 * 7),
    "imagenet_resnet18": torchvision.models.resnet18,
}


@lru_cache(maxsize=1)
def original(name: str) -> nn.Module:
    """The network whose weights are put into a file."""
    torch.manual_seed(1)
    model = BUILDERS[name](num_classes=1000).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def file_of(value: object) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty torch hub cache; the app knows nothing of it before or after."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield tmp_path / "hub" / "checkpoints"
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def expect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Let torchvision's weights of a network be this content; gives the name of its file."""

    def expected(name: str, content: bytes, server: str = "https://weights.example") -> str:
        file = f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        old = NETWORKS[name]
        weights = Weights(f"{server}/{file}", old.weights.transforms, old.weights.meta)
        monkeypatch.setitem(NETWORKS, name, replace(old, builder=BUILDERS[name], weights=weights))
        return file

    return expected


@pytest.fixture
def put(cache: Path, expect: Callable[..., str]) -> Callable[[str, bytes | None], Path]:
    """Put a weight file into the cache, under the name that torchvision expects of its content."""

    def place(name: str, content: bytes | None = None) -> Path:
        content = file_of(original(name).state_dict()) if content is None else content
        path = cache / expect(name, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return place


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConvscopeError) as caught:
        call()
    return str(caught.value)


# What there is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_card_says_what_torchvision_says(name: str) -> None:
    card = read_card(name)
    with torch.device("meta"):
        model = NETWORKS[name].builder(num_classes=1000)
    assert card.parameters == parameter_count(model)
    assert (card.input_size, card.mean, card.std) == (224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert len(set(card.classes)) == len(card.classes) == 1000
    assert (card.classes[281], card.classes[436]) == ("tabby", "beach wagon")
    assert math.isnan(card.test_accuracy)
    assert weight_file(name).name.endswith(f"-{card.weights_sha256}.pth")


def test_a_card_s_digits_are_those_in_the_official_file_s_name() -> None:
    assert {name: read_card(name).weights_sha256 for name in DOWNLOADS} == {
        "imagenet_alexnet": "7be5be79",
        "imagenet_vgg16": "397923af",
        "imagenet_resnet18": "f37072fd",
    }


def test_the_sentence_names_whose_figure_it_is() -> None:
    assert pretrained.reported("imagenet_vgg16") == (
        "VGG-16 was trained on ImageNet by torchvision, which reports an accuracy of 71.6 % on ImageNet's 50,000 "
        "validation images."
    )


def test_only_what_lies_in_the_cache_is_available(put: Callable[..., Path]) -> None:
    assert list(available()) == [SHIPPED]
    put(NAME, b"not even weights: only the name is looked at")
    assert list(available()) == [SHIPPED, NAME]


def test_without_its_file_a_network_says_how_to_get_it(cache: Path) -> None:
    assert refused(lambda: load(NAME)) == (
        f"The weights of {NAME} are not on this machine: fetch them with `python -m engine.pretrained {NAME}`, "
        "or choose another network."
    )
    assert refused(lambda: load("imagenet_lenet")).startswith("There is no pretrained network 'imagenet_lenet': choose")


# Loading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_loaded_network_computes_what_its_file_says(name: str, put: Callable[..., Path]) -> None:
    put(name)
    trained = load(name)
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(trained.model(image), original(name)(image), rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in trained.model.modules())
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in trained.model.parameters())
    assert trained.card.weights_sha256 == available()[name].weights_sha256


def test_files_without_batch_norm_s_counters_load(put: Callable[..., Path]) -> None:
    name = "imagenet_resnet18"
    weights = {key: value for key, value in original(name).state_dict().items() if "num_batches" not in key}
    put(name, file_of(weights))
    assert not any(buffer.is_meta for buffer in load(name).model.buffers())


def test_a_damaged_file_is_refused(put: Callable[..., Path]) -> None:
    path = put(NAME)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert refused(lambda: load(NAME)) == (
        f"The weight file {path.name} in torch hub's cache cannot be used: it is damaged or not torchvision's. "
        f"Delete it and fetch it again with `python -m engine.pretrained {NAME}`, or choose another network."
    )


class Harmful:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_file_can_run_nothing(put: Callable[..., Path], tmp_path: Path) -> None:
    put(NAME, pickle.dumps(Harmful(tmp_path / "harm"), protocol=2))
    assert "it is no PyTorch weights file" in refused(lambda: load(NAME))
    assert not (tmp_path / "harm").exists()


def test_weights_of_another_network_are_refused(put: Callable[..., Path]) -> None:
    put(NAME, file_of({"fc.weight": torch.zeros(2, 2)}))
    assert "it does not fit AlexNet" in refused(lambda: load(NAME))


def test_a_network_before_training_needs_no_file_and_is_always_the_same(
    cache: Path, expect: Callable[..., str]
) -> None:
    expect(NAME, b"")
    before = torch.random.get_rng_state()
    first, second = untrained(NAME), untrained(NAME)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert fingerprint(first.model) == fingerprint(second.model)
    assert first.model.features[0].weight.std() > 0


# Looking inside ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_way_of_looking_works(name: str, put: Callable[..., Path]) -> None:
    put(name)
    trained = load(name)
    model, card = trained.model, trained.card
    before = fingerprint(model)
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    layer = list(tape.layers(model))[3]

    for asked in (layer, tape.logits(model)):
        recording = tape.record(model, image, asked)
        sent = reconstruct(recording, whole_map(recording.activation, 0)).pixels
        assert sent.shape == (1, 3, SIZE, SIZE)
        assert torch.isfinite(sent).all()

    target = tape.features(model, image, layer)
    steps = list(invert(model, layer, target, size=SIZE, steps=4))
    assert steps[-1].error < steps[0].error

    canvas = Canvas(SIZE, card.mean, card.std)
    steps = list(maximize(model, layer, [0, 1], canvas=canvas, steps=4))
    assert (steps[-1].activations > steps[0].activations).all()
    assert fingerprint(model) == before


# Downloading ---------------------------------------------------------------------------------------------------


def test_a_download_reports_its_progress_and_can_then_be_loaded(
    cache: Path, expect: Callable[..., str], tmp_path: Path
) -> None:
    content = file_of(original(NAME).state_dict())
    (tmp_path / expect(NAME, content, tmp_path.as_uri())).write_bytes(content)
    seen: list[tuple[int, int]] = []
    path = download(NAME, lambda done, total: seen.append((done, total)))
    assert path.parent == cache
    assert path.read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    assert len(seen) > 5
    assert list(available()) == [SHIPPED, NAME]
    assert download(NAME, pytest.fail) == path


def test_what_is_not_torchvision_s_file_is_not_kept(cache: Path, expect: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / expect(NAME, b"weights", tmp_path.as_uri())).write_bytes(b"a login page")
    assert refused(lambda: download(NAME)) == (
        "What came instead of the weights of AlexNet is not torchvision's file: try again."
    )
    assert list(cache.iterdir()) == []


class Stopped(Exception):
    """Somebody has pressed Stop."""


def test_a_stopped_download_leaves_nothing(cache: Path, expect: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / expect(NAME, b"weights", tmp_path.as_uri())).write_bytes(b"weights")

    def stop(done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        download(NAME, stop)
    assert list(cache.iterdir()) == []


def test_without_a_connection_a_sentence_says_so(
    cache: Path, expect: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = expect(NAME, b"weights", "http://127.0.0.1:9")
    assert pretrained.main([NAME]) == 1
    said = capsys.readouterr().out
    assert said.startswith("The weights of AlexNet could not be downloaded (")
    assert "Errno" not in said
    assert said.endswith(f"connect this machine to the internet, or copy the file {file} into {cache}.\n")


def test_the_command_says_what_is_here(put: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    put(NAME, b"weights")
    assert pretrained.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{NAME}: here"
    assert lines[1] == "imagenet_vgg16: not here, 528 MB to download"


# In the app ----------------------------------------------------------------------------------------------------


@pytest.fixture
def in_the_sidebar(put: Callable[..., Path]) -> str:
    """A pretrained network that can be chosen."""
    put("imagenet_resnet18")
    return "imagenet_resnet18"


@pytest.mark.parametrize("weights", ["trained", "untrained"])
def test_it_can_be_looked_at_like_any_checkpoint(in_the_sidebar: str, weights: str) -> None:
    link = {"checkpoint": in_the_sidebar, "weights": weights, "layer": "conv2_x", "size": SIZE}
    app = open_page("reconstruction/page.py", **{key: str(value) for key, value in link.items()})
    assert_no_error(app)
    assert app.sidebar.selectbox(key="checkpoint").value == in_the_sidebar
    assert pretrained.reported(in_the_sidebar) in [caption.value for caption in app.sidebar.caption]


def test_a_page_that_needs_stored_answers_says_that_there_are_none(in_the_sidebar: str) -> None:
    app = open_page("accuracy/page.py", checkpoint=in_the_sidebar)
    assert not app.exception
    assert len(app.error) == 1


def test_a_link_to_a_network_that_is_not_here_says_how_to_get_it(cache: Path) -> None:
    app = new_app()
    app.query_params["checkpoint"] = "imagenet_vgg16"
    app.run()
    assert_no_error(app)
    assert [warning.value for warning in app.warning] == [
        f"{refused(lambda: load('imagenet_vgg16')).rstrip('.')}: resnet18 is shown instead."
    ]


def test_a_missing_network_can_be_downloaded_in_the_sidebar(
    cache: Path, expect: Callable[..., str], tmp_path: Path
) -> None:
    content = file_of(original(NAME).state_dict())
    (tmp_path / expect(NAME, content, tmp_path.as_uri())).write_bytes(content)
    app = open_page("filters/page.py")
    assert NAME not in app.sidebar.selectbox(key="checkpoint").options
    assert app.sidebar.button(key=f"get_{NAME}_start").label == "Get AlexNet (233 MB)"
    app.sidebar.button(key=f"get_{NAME}_start").click().run()
    pretrained_download.download(NAME).wait(60)
    app.run()
    assert_no_error(app)
    assert NAME in app.sidebar.selectbox(key="checkpoint").options
    assert f"get_{NAME}_start" not in [button.key for button in app.sidebar.button]


def test_a_download_that_fails_says_why_in_the_sidebar(cache: Path, expect: Callable[..., str]) -> None:
    expect(NAME, b"weights", "http://127.0.0.1:9")
    app = open_page("filters/page.py")
    app.sidebar.button(key=f"get_{NAME}_start").click().run()
    pretrained_download.download(NAME).wait(60)
    app.run()
    assert not app.exception
    assert [error.value.partition(" (")[0] for error in app.error] == ["The weights of AlexNet could not be downloaded"]


def test_a_download_can_be_stopped_from_the_sidebar(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def endless(name: str, on_bytes: Callable[[int, int], object]) -> None:
        while True:
            on_bytes(1, 4)
            begun.set()

    monkeypatch.setattr(pretrained, "download", endless)
    app = open_page("filters/page.py")
    app.sidebar.button(key=f"get_{NAME}_start").click().run()
    job = pretrained_download.download(NAME)
    assert begun.wait(60)
    assert (job.alive, job.share) == (True, 0.25)
    assert f"get_{NAME}_start" not in [button.key for button in app.sidebar.button]
    app.sidebar.button(key=f"get_{NAME}_stop").click().run()
    job.wait(60)
    app.run()
    assert (job.alive, job.error) == (False, "")
    assert_no_error(app)
    assert not app.sidebar.button(key=f"get_{NAME}_start").disabled
