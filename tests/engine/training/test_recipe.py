"""A recipe is understood completely, or refused with the line to mend."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import settings
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES
from engine.names import checked_name
from engine.settings import ROOT
from engine.training.recipe import (
    Phase,
    Recipe,
    Resolution,
    checked_recipe,
    from_dict,
    parse,
    read,
    to_dict,
)

SHORTEST = """\
architecture = "lenet"

[[phases]]
epochs = 3
learning_rate = 0.1
"""


def with_lines(*top: str) -> str:
    return "\n".join([*top, SHORTEST])


def refused(text: str) -> str:
    with pytest.raises(ConvscopeError) as caught:
        parse(text, "mine", source="mine.toml")
    return str(caught.value)


def test_the_shortest_recipe_has_the_documented_defaults() -> None:
    assert parse(SHORTEST, "mine") == Recipe(
        name="mine",
        architecture="lenet",
        phases=(Phase(3, 0.1, "sgd", "one_cycle", 0.2, 0.9, True, 5e-4),),
        dataset="cifar10",
        options={},
        input_size=32,
        resolutions=(),
        batch_size=128,
        crop_padding=4,
        flip=True,
        cutout=0,
        label_smoothing=0.0,
        mixup=0.0,
        ema=0.0,
        precision="float32",
        seed=0,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_input_size_is_the_architectures_unless_it_is_given(architecture: str) -> None:
    text = SHORTEST.replace("lenet", architecture)
    assert parse(text, "mine").input_size == ARCHITECTURES[architecture].input_size
    assert parse("input_size = 160\n" + text, "mine").input_size == 160


def test_every_setting_arrives() -> None:
    text = """
    architecture = "resnet18"
    dataset = "cifar10_bundled"
    input_size = 96
    batch_size = 64
    crop_padding = 2
    flip = false
    cutout = 6
    label_smoothing = 0.2
    mixup = 0.4
    ema = 0.99
    precision = "bfloat16"
    seed = 5
    options = {}
    [[resolutions]]
    from_epoch = 0
    pixels = 64
    [[resolutions]]
    from_epoch = 3
    pixels = 96
    [[phases]]
    epochs = 2
    optimizer = "adamw"
    learning_rate = 1
    schedule = "cosine"
    warmup = 0
    momentum = 0.5
    nesterov = false
    weight_decay = 0.01
    [[phases]]
    epochs = 4
    learning_rate = 0.001
    optimizer = "adam"
    schedule = "constant"
    """
    assert parse(text, "mine") == Recipe(
        name="mine",
        architecture="resnet18",
        dataset="cifar10_bundled",
        input_size=96,
        batch_size=64,
        crop_padding=2,
        flip=False,
        cutout=6,
        label_smoothing=0.2,
        mixup=0.4,
        ema=0.99,
        precision="bfloat16",
        seed=5,
        resolutions=(Resolution(0, 64), Resolution(3, 96)),
        phases=(Phase(2, 1, "adamw", "cosine", 0, 0.5, False, 0.01), Phase(4, 0.001, "adam", "constant")),
    )


@pytest.mark.parametrize("path", sorted(settings.folders.recipes.glob("*.toml")), ids=lambda path: path.stem)
def test_every_committed_recipe_is_understood(path: Path) -> None:
    recipe = read(path)
    assert recipe.name == path.stem
    assert recipe.pixels_at(recipe.epochs - 1) == recipe.input_size
    assert read(path.stem) == recipe


def test_a_recipe_becomes_plain_values() -> None:
    assert to_dict(parse(SHORTEST, "mine"))["phases"][0]["learning_rate"] == 0.1


# Epochs --------------------------------------------------------------------------------------------------------


def test_a_recipe_has_the_epochs_of_all_its_phases() -> None:
    assert Recipe("mine", "lenet", (Phase(2, 0.1), Phase(1, 0.1), Phase(3, 0.1))).epochs == 6


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_resolutions_hold_from_their_epoch_on_in_whichever_order_they_stand(order: tuple[int, int]) -> None:
    entries = (Resolution(1, 48), Resolution(3, 64))
    recipe = Recipe("mine", "resnet18", (Phase(5, 0.1),), input_size=64, resolutions=tuple(entries[i] for i in order))
    assert [recipe.pixels_at(epoch) for epoch in range(5)] == [64, 48, 48, 64, 64]


def test_without_resolutions_all_epochs_are_at_the_input_size() -> None:
    recipe = parse(SHORTEST, "mine")
    assert [recipe.pixels_at(epoch) for epoch in range(3)] == [32, 32, 32]


# Refusals ------------------------------------------------------------------------------------------------------

SETTINGS = (
    "name, architecture, phases, dataset, data_folder, options, input_size, resolutions, batch_size, crop_padding, "
    "flip, cutout, label_smoothing, mixup, ema, precision, normalisation, seed, initialisation, early_stopping, "
    "sample, random_labels, keep_weights, keep_states, group, base, base_sha256, train_last, keep_frozen, views"
)
PHASE_SETTINGS = "epochs, learning_rate, optimizer, schedule, warmup, momentum, nesterov, weight_decay"


def test_an_unknown_setting_names_its_line_and_the_known_ones() -> None:
    message = refused(with_lines("# a comment with batchsize = 3", "seed = 1", "batchsize = 64"))
    assert message == f"mine.toml, line 3: there is no setting 'batchsize': the settings are {SETTINGS}."


def test_an_unknown_setting_of_a_phase_names_its_line() -> None:
    message = refused(SHORTEST + 'optimiser = "adam"\n')
    assert message == f"mine.toml, line 6: there is no setting 'optimiser': the settings are {PHASE_SETTINGS}."


def test_an_unknown_table_names_its_line() -> None:
    message = refused(SHORTEST + "[[phase]]\nepochs = 3\n")
    assert message == f"mine.toml, line 6: there is no setting 'phase': the settings are {SETTINGS}."


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('batch_size = "64"', "batch_size must be a whole number, not '64'."),
        ("batch_size = 64.0", "batch_size must be a whole number, not 64.0."),
        ("seed = true", "seed must be a whole number, not True."),
        ("ema = true", "ema must be a number, not True."),
        ('ema = "0.9"', "ema must be a number, not '0.9'."),
        ("flip = 1", "flip must be true or false, not 1."),
        ("precision = 16", "precision must be a text in quotes, not 16."),
        ("options = 3", "options must be a table, not 3."),
        ("resolutions = 3", "resolutions must be written as [[resolutions]] tables."),
        ("resolutions = [3]", "resolutions must be written as [[resolutions]] tables."),
        ("batch_size = 1", "batch_size must lie between 2 and 65536, not 1."),
        ("crop_padding = -1", "crop_padding must lie between 0 and 16, not -1."),
        ("crop_padding = 32", "crop_padding must lie between 0 and 16, not 32."),
        ("cutout = 33", "cutout must lie between 0 and 32, not 33."),
        ("label_smoothing = 1.0", "label_smoothing must lie between 0 and 0.99, not 1."),
        ("mixup = -1", "mixup must lie between 0 and 100, not -1."),
        ("mixup = 0.001", "mixup must be 0 or at least 0.01, not 0.001."),
        ("label_smoothing = nan", "label_smoothing must lie between 0 and 0.99, not nan."),
        ("ema = 1", "ema must lie between 0 and 0.99999, not 1."),
        ("input_size = 4", "input_size must lie between 8 and 1024, not 4."),
        ("seed = -1", "seed must lie between 0 and 1e+09, not -1."),
        ("seed = 99999999999999999999", "seed must lie between 0 and 1e+09, not 1e+20."),
        ('dataset = "mnist"', "dataset must be one of cifar10, cifar10_bundled, folder, not 'mnist'."),
        ('precision = "float16"', "precision must be one of float32, bfloat16, float64, not 'float16'."),
        ("options = {input_size = 64}", "input_size is a setting of the recipe, not one of its options."),
        ("options = {num_classes = 5}", "num_classes is that of the dataset: leave it out of the options."),
        *(
            (
                f"options = {{dropout = {value}}}",
                f"dropout must be a number, a text, true, false, or a list of these, not {told}.",
            )
            for value, told in {
                "nan": "nan",
                "[0.1, inf]": "[0.1, inf]",
                "2020-01-01": "datetime.date(2020, 1, 1)",
                "{a = 1}": "{'a': 1}",
            }.items()
        ),
    ],
)
def test_an_impossible_setting_names_its_line(line: str, reason: str) -> None:
    assert refused(with_lines("", line)) == f"mine.toml, line 2: {reason}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("epochs = 0", "epochs must lie between 1 and 100000, not 0."),
        ("epochs = 1.5", "epochs must be a whole number, not 1.5."),
        ("learning_rate = 0", "learning_rate must lie between 1e-12 and 1000, not 0."),
        ("learning_rate = -0.1", "learning_rate must lie between 1e-12 and 1000, not -0.1."),
        ("learning_rate = inf", "learning_rate must lie between 1e-12 and 1000, not inf."),
        ("learning_rate = nan", "learning_rate must lie between 1e-12 and 1000, not nan."),
        ("warmup = 1.1", "warmup must lie between 0 and 1, not 1.1."),
        ("momentum = 1", "momentum must lie between 0 and 0.9999, not 1."),
        ("weight_decay = -1", "weight_decay must lie between 0 and 10, not -1."),
        ('optimizer = "lion"', "optimizer must be one of sgd, adam, adamw, not 'lion'."),
        ('schedule = "step"', "schedule must be one of constant, cosine, one_cycle, not 'step'."),
    ],
)
def test_an_impossible_setting_of_the_second_phase_names_the_line_in_the_second_phase(line: str, reason: str) -> None:
    key = line.split(" = ")[0]
    good = {
        "epochs": "1",
        "learning_rate": "0.1",
        "warmup": "0.5",
        "momentum": "0.5",
        "weight_decay": "0.1",
        "optimizer": '"sgd"',
        "schedule": '"cosine"',
    }
    phase = "\n".join(f"{name} = {value}" for name, value in good.items())
    second = "\n".join(line if name == key else f"{name} = {value}" for name, value in good.items())
    text = f'architecture = "lenet"\n[[phases]]\n{phase}\n[[phases]]  # the second\n{second}\n'
    assert text.splitlines().index(line) + 1 == (number := 11 + list(good).index(key))
    assert refused(text) == f"mine.toml, line {number}: {reason}"


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    assert refused(SHORTEST.replace("lenet", "alexnet")) == (
        f"mine.toml, line 1: architecture must be one of {', '.join(ARCHITECTURES)}, or one of torchvision's such as "
        "torchvision:vgg16, not 'alexnet'."
    )


def test_a_missing_architecture_is_named() -> None:
    assert refused("\n".join(SHORTEST.splitlines()[1:])) == "mine.toml: the setting 'architecture' is missing."


@pytest.mark.parametrize("key", ["epochs", "learning_rate"])
def test_a_missing_setting_of_a_phase_names_the_phase(key: str) -> None:
    text = SHORTEST + "\n" + "\n".join(line for line in SHORTEST.splitlines()[2:] if not line.startswith(key))
    assert refused(text) == f"mine.toml, line 7: the setting {key!r} is missing."


def test_a_recipe_without_phases_is_refused() -> None:
    assert refused('architecture = "lenet"') == "mine.toml: a recipe needs at least one [[phases]] table."
    assert refused('architecture = "lenet"\n[phases]\nepochs = 3') == (
        "mine.toml, line 2: phases must be written as [[phases]] tables."
    )


def test_a_border_as_wide_as_the_pictures_of_a_folder_is_refused() -> None:
    text = 'dataset = "folder"\ninput_size = {}\ncrop_padding = 16\n' + SHORTEST
    assert refused(text.format(16)) == (
        "mine.toml, line 3: crop_padding must be smaller than the images, which have 16 pixels."
    )
    assert parse(text.format(17), "mine").crop_padding == 16


RESOLUTIONS = """\
architecture = "resnet18"
[[phases]]
epochs = 3
learning_rate = 0.1
[[resolutions]]
from_epoch = 0
pixels = 32
[[resolutions]]
from_epoch = {epoch}
pixels = {pixels}
"""


@pytest.mark.parametrize(
    ("epoch", "pixels", "message"),
    [
        (2, 48, "line 5: the last one must be input_size, 64 pixels."),
        (3, 64, "line 5: the last one must be input_size, 64 pixels."),
        (1, "true", "line 10: pixels must be a whole number, not True."),
    ],
)
def test_resolutions_that_do_not_end_at_the_input_size_are_refused(epoch: int, pixels: Any, message: str) -> None:
    assert refused(RESOLUTIONS.format(epoch=epoch, pixels=pixels)) == f"mine.toml, {message}"


def test_resolutions_that_do_end_at_the_input_size_are_accepted() -> None:
    recipe = parse(RESOLUTIONS.format(epoch=2, pixels=64), "mine")
    assert [recipe.pixels_at(epoch) for epoch in range(3)] == [32, 32, 64]


@pytest.mark.parametrize("epoch", [-1, 3])
def test_a_resolution_outside_the_recipes_epochs_is_refused(epoch: int) -> None:
    text = RESOLUTIONS.format(epoch=1, pixels=64) + f"[[resolutions]]\nfrom_epoch = {epoch}\npixels = 64\n"
    assert refused(text) == f"mine.toml, line 12: from_epoch must lie between 0 and 2, not {epoch}."


def test_a_resolution_below_8_pixels_is_refused() -> None:
    text = RESOLUTIONS.format(epoch=1, pixels=64).replace("pixels = 32", "pixels = 4")
    assert refused(text) == "mine.toml, line 7: pixels must lie between 8 and 1024, not 4."


@pytest.mark.parametrize(("pixels", "precision"), [(17, "bfloat16"), (16, "float32")])
def test_small_images_in_a_precision_that_can_take_them_are_accepted(pixels: int, precision: str) -> None:
    text = RESOLUTIONS.format(epoch=1, pixels=64).replace("pixels = 32", f"pixels = {pixels}")
    assert parse(f'precision = "{precision}"\n{text}', "mine").resolutions[0].pixels == pixels


def test_small_images_in_bfloat16_are_refused() -> None:
    text = RESOLUTIONS.format(epoch=1, pixels=64).replace("pixels = 32", "pixels = 16")
    assert refused(f'precision = "bfloat16"\n{text}') == (
        "mine.toml, line 1: bfloat16 computes wrong gradients at 16 pixels: use float32."
    )


def test_growing_images_are_refused_for_a_network_of_one_input_size() -> None:
    text = RESOLUTIONS.format(epoch=1, pixels=32).replace("resnet18", "lenet").replace("pixels = 32", "pixels = 16", 1)
    assert refused(text) == "mine.toml, line 7: lenet takes images of one size only, 32 pixels."


def test_what_is_no_toml_is_refused_with_the_parsers_line() -> None:
    message = refused('architecture = "lenet"\nbatch size = 3\n')
    assert message.startswith("mine.toml is no valid TOML: ")
    assert "line 2" in message
    assert message.endswith(").")


# Files ---------------------------------------------------------------------------------------------------------


def test_a_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    (tmp_path / "my_recipe.toml").write_text(SHORTEST)
    assert read(tmp_path / "my_recipe.toml").name == "my_recipe"


@pytest.mark.parametrize(("file", "name"), [("lenet 2", "lenet_2"), ("lenet.v2", "lenet_v2"), ("Äpfel", "Apfel")])
def test_a_file_whose_name_is_no_runs_gives_the_nearest_one(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / f"{file}.toml").write_text(SHORTEST)
    assert read(tmp_path / f"{file}.toml").name == name


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "my_recipe.toml").write_text("sead = 1\n" + SHORTEST)
    with pytest.raises(ConvscopeError, match=r"^my_recipe\.toml, line 1: there is no setting 'sead'"):
        read(str(tmp_path / "my_recipe.toml"))


def test_a_missing_recipe_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "nosuch.toml"
    with pytest.raises(ConvscopeError) as caught:
        read(file)
    known = ", ".join(sorted(path.stem for path in settings.folders.recipes.glob("*.toml")))
    assert str(caught.value) == f"There is no recipe {str(file)!r}: name a TOML file or one of {known}."
    assert "lenet" in known


def test_a_folder_of_the_same_name_does_not_hide_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lenet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read("lenet").architecture == "lenet"


def test_a_recipe_that_the_system_keeps_back_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine.toml").write_text(SHORTEST)
    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConvscopeError, match=r"^mine\.toml cannot be read \(Permission denied\): name a TOML file"):
        read(tmp_path / "mine.toml")


# Settings of experiments and of continued checkpoints ------------------------------------------------------------

NAME_RULE = "use up to 60 letters (a to z), digits, _ and -, with a letter or digit first."


def test_the_later_settings_arrive() -> None:
    recipe = parse(
        with_lines(
            'name = "my-arm_2"',
            'initialisation = "xavier"',
            "early_stopping = 4",
            "sample = 50",
            "random_labels = true",
            "keep_weights = false",
            'group = "depth"',
        ),
        "mine",
    )
    assert (recipe.name, recipe.initialisation, recipe.early_stopping) == ("my-arm_2", "xavier", 4)
    assert (recipe.sample, recipe.random_labels, recipe.keep_weights, recipe.group) == (50, True, False, "depth")
    assert parse(with_lines('base = "lenet"'), "mine").base == "lenet"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('name = "../lenet"', f"'../lenet' cannot be a name: {NAME_RULE}"),
        ("name = 3", f"3 cannot be a name: {NAME_RULE}"),
        ('initialisation = "glorot"', "initialisation must be one of default, xavier, kaiming, not 'glorot'."),
        ("early_stopping = -1", "early_stopping must lie between 0 and 100000, not -1."),
        ("early_stopping = true", "early_stopping must be a whole number, not True."),
        ("sample = -5", "sample must lie between 0 and 1e+06, not -5."),
        ("keep_weights = 1", "keep_weights must be true or false, not 1."),
        ("group = 1", "group must be a text in quotes, not 1."),
        ('base_sha256 = "ab"', "base_sha256 needs base, the checkpoint that it belongs to."),
    ],
)
def test_an_impossible_later_setting_names_its_line(line: str, reason: str) -> None:
    assert refused(with_lines("", line)) == f"mine.toml, line 2: {reason}"


def test_weights_come_from_one_place() -> None:
    assert refused(with_lines('base = "lenet"', 'initialisation = "kaiming"')) == (
        "mine.toml, line 2: weights come from base or from an initialisation, not from both."
    )


@pytest.mark.parametrize("name", ["", "a b", ".hidden", "-x", "ä", "x/y", "x" * 61])
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(ConvscopeError, match="cannot be a name"):
        checked_name(name)
    assert checked_name("x" * 60) == "x" * 60


def test_plain_values_become_the_recipe_again() -> None:
    recipe = parse(RESOLUTIONS.format(epoch=2, pixels=64) + "[[phases]]\nepochs = 2\nlearning_rate = 1\n", "mine")
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == from_dict(to_dict(recipe)) == recipe
    assert checked_recipe(recipe) == recipe
    own_kernels = replace(recipe, options={"kernel_size": None})  # as the Train page's form may say
    assert checked_recipe(own_kernels) == own_kernels


def test_a_recipe_that_was_changed_is_checked_again() -> None:
    recipe = parse(SHORTEST, "mine")
    with pytest.raises(ConvscopeError, match="learning_rate must lie between 1e-12 and 1000, not -1"):
        checked_recipe(replace(recipe, phases=(Phase(1, -1.0),)))
    with pytest.raises(ConvscopeError, match=r"^recipe\.json: there is no setting 'colour'"):
        from_dict({**to_dict(recipe), "colour": 3})


def test_what_can_be_no_name_and_no_toml_is_one_sentence(tmp_path: Path) -> None:
    for path in ("a\0b", "x" * 5000):
        with pytest.raises(ConvscopeError, match=r"^There is no recipe '.*: name a TOML file or one of"):
            read(path)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 2000 + "]" * 2000)
    with pytest.raises(ConvscopeError, match=r"^deep\.toml is no valid TOML: its brackets are nested too deeply"):
        read(tmp_path / "deep.toml")


def test_a_recipe_is_read_as_utf_8_on_every_system(tmp_path: Path) -> None:
    text = 'architecture = "lenet"\ndataset = "folder"\ndata_folder = "Äpfel und 梨"\n[[phases]]\nepochs = 1\n'
    byte_order_mark = b"\xef\xbb\xbf"
    files = [tmp_path / "plain.toml", tmp_path / "with_a_mark.toml"]
    for file, mark in zip(files, (b"", byte_order_mark), strict=True):
        file.write_bytes(mark + f"{text}learning_rate = 0.1\n".encode())
    each = f"for file in {[str(file) for file in files]!r}: print(ascii(read(file).data_folder))"
    code = f"from engine.training.recipe import read\n{each}"
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.splitlines() == [ascii("Äpfel und 梨")] * 2, said.stderr


@pytest.mark.parametrize(
    "content", ['group = "Äpfel"\n'.encode("latin-1"), b"\xff\xfe\x00bad"], ids=["latin-1", "binary"]
)
def test_a_file_in_another_encoding_is_refused_with_the_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(ConvscopeError, match=r"^mine\.toml is not written in UTF-8: save it again with that encoding"):
        read(tmp_path / "mine.toml")
