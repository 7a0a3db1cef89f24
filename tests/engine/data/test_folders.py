"""A folder of class folders becomes a dataset: upright, square, split the same everywhere, with nothing left unsaid."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import checkpoints
from engine.data import folders
from engine.data.photographs import KINDS
from engine.errors import ConvscopeError
from engine.evaluation import Predictions, check_card, evaluate
from engine.settings import ROOT
from engine.training import recipe as recipes
from engine.training import run
from engine.training.__main__ import main
from engine.training.start import fresh_network
from tests.engine.checkpoints.test_checkpoints import make_card, make_contents
from tests.pictures import broken_exif, class_folders, write_picture

COLOURS = {"blue": 20, "green": 31, "red": 10}


def digests(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_each_class_is_split_80_10_10_and_no_picture_is_in_two_parts(tmp_path: Path) -> None:
    read = folders.read(class_folders(tmp_path, COLOURS), 12)
    parts = (read.train, read.validation, read.test)
    counts = [np.bincount(part.labels, minlength=3).tolist() for part in parts]
    assert counts == [[16, 25, 8], [2, 3, 1], [2, 3, 1]]
    assert {part.classes for part in parts} == {("blue", "green", "red")}
    seen = [digests(part.images) for part in parts]
    assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, parts)) == 61
    assert read.report == folders.Report()
    assert read.report.sentences == ()


def test_the_split_depends_on_names_alone(tmp_path: Path) -> None:
    first = class_folders(tmp_path / "here", COLOURS)
    for file in sorted(first.rglob("*.png"), reverse=True):
        target = tmp_path / "elsewhere" / file.relative_to(first)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    mine, theirs = folders.read(first, 12), folders.read(tmp_path / "elsewhere", 12)
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(mine, part).images, getattr(theirs, part).images)


def test_pictures_keep_their_labels(tmp_path: Path) -> None:
    read = folders.read(class_folders(tmp_path, COLOURS), 12)
    for part in (read.train, read.validation, read.test):
        brightest = part.images.mean(axis=(1, 2)).argmax(axis=1)
        assert np.array_equal(brightest, part.labels)  # the n-th class is brightest in the n-th channel


def test_train_and_val_as_imagenette_has_them(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", COLOURS, seed=1)
    class_folders(tmp_path / "val", {"blue": 3, "green": 4, "red": 2, "violet": 1}, seed=2)
    read = folders.read(tmp_path, 12)
    assert np.bincount(read.test.labels).tolist() == [3, 4, 2]
    assert np.bincount(read.validation.labels).tolist() == [2, 3, 1]
    assert len(read.train) == 61 - 6
    assert read.report.unknown == ("violet",)


def test_train_val_and_test_are_taken_as_they_are(tmp_path: Path) -> None:
    for seed, (name, count) in enumerate({"train": 12, "val": 3, "test": 5}.items()):
        class_folders(tmp_path / name, {"a": count, "b": count}, seed=seed)
    read = folders.read(tmp_path, 12)
    assert [len(part) for part in (read.train, read.validation, read.test)] == [24, 6, 10]


@pytest.mark.parametrize("empty", ["val", "test"])
def test_the_part_that_has_no_pictures_is_named(tmp_path: Path, empty: str) -> None:
    for name in ("train", "val", "test"):
        class_folders(tmp_path / name, {"a": 12, "b": 12})
    for file in (tmp_path / empty).rglob("*.png"):
        file.unlink()
    with pytest.raises(ConvscopeError, match=rf"has no pictures of its classes in '{empty}': put some there\."):
        folders.read(tmp_path, 12)


def test_a_picture_is_upright_resized_by_its_shorter_side_and_cut_in_its_middle(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 10, "b": 10})
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = (250, 120, 10)  # the middle square
    wide[:10, 20:40] = (10, 120, 250)  # its upper half
    exif = Image.Exif()
    exif[274] = 3  # held upside down
    for index in range(10):
        write_picture(tmp_path / "c" / f"{index}.png", wide)
        write_picture(tmp_path / "d" / f"{index}.png", wide, exif=exif)
    read = folders.read(tmp_path, 10)
    upright, turned = read.train.images[read.train.labels == 2][0], read.train.images[read.train.labels == 3][0]
    assert upright.shape == (10, 10, 3)
    np.testing.assert_allclose(upright[:4].mean((0, 1)), (10, 120, 250), atol=6)
    np.testing.assert_allclose(upright[6:].mean((0, 1)), (250, 120, 10), atol=6)
    assert np.array_equal(turned, upright[::-1, ::-1])


def test_what_cannot_be_used_is_reported(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 12, "b": 12, "few": 9})
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    whole = (tmp_path / "b" / "b-0.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    write_picture(tmp_path / "b" / "exif.jpg", np.zeros((12, 12, 3), dtype=np.uint8), exif=broken_exif())
    (tmp_path / "b" / "notes.txt").write_text("no picture, and not meant to be one")
    (tmp_path / ".hidden").mkdir()
    grey = Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12))
    grey.save(tmp_path / "a" / "grey.png")
    read = folders.read(tmp_path, 12)
    assert read.train.classes == ("a", "b")
    assert len(read.train) + len(read.validation) + len(read.test) == 26
    assert read.report.unreadable == ("a/broken.jpg", "b/cut.png")
    assert read.report.too_few == (("few", 9),)
    assert read.report.sentences == (
        "Files that are no readable pictures (2): a/broken.jpg, b/cut.png.",
        "Files that were skipped (1): 1 .txt.",
        "Classes with fewer than 10 pictures, which are left out (1): few (9).",
    )


def test_every_file_that_is_skipped_is_counted_by_kind(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 20, "b": 20})
    class_folders(tmp_path / "a" / "@eaDir", {"a-1.png": 2})
    class_folders(tmp_path / "b", {".ipynb_checkpoints": 3})
    class_folders(tmp_path, {"__MACOSX": 12, ".thumbnails": 11})
    class_folders(tmp_path / "a", {"close up": 2})
    for name in ("a/one.heic", "a/two.HEIC", "b/IMG_0001", "a/._a-1.png", "labels.csv", "loose.png"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a" / "elsewhere").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "linked.png").symlink_to(tmp_path / "a" / "a-0.png")
    read = folders.read(tmp_path, 12)
    assert read.train.classes == ("a", "b")
    assert len(read.train) + len(read.validation) + len(read.test) == 20 + 2 + 20 + 1
    assert dict(read.report.skipped) == {
        ".csv": 1,
        ".heic": 2,
        "broken links": 1,
        "hidden": 1,
        "in '.ipynb_checkpoints'": 3,
        "in '.thumbnails'": 11,
        "in '@eaDir'": 2,
        "in '__MACOSX'": 12,
        "links to folders": 1,
        "pictures outside the class folders": 1,
        "without a suffix": 1,
    }
    assert read.report.sentences[0].startswith("Files that were skipped (36): 1 .csv, 2 .heic, 1 broken links, ")
    assert read.report.sentences[1:] == (f"Pictures must be {KINDS} files: save the .heic files as one of them.",)


def test_readme_names_the_formats_that_are_read() -> None:
    assert KINDS in (ROOT / "README.md").read_text()


# Parts ---------------------------------------------------------------------------------------------------------

TWO = [
    ("train", "valid"),
    ("train", "validation"),
    ("Training", "Testing"),
    ("train_set", "test_set"),
    ("training-data", "dev"),
    ("images_train", "images_val"),
    ("trainset", "holdout"),
    ("train2017", "val2017"),
    ("01 Train", "02 Test"),
    ("Trainingsdaten", "Testdaten"),
    ("entraînement", "x_test"),
    ("训练集", "测试集"),
]


@pytest.mark.parametrize(("train", "test"), TWO)
@pytest.mark.parametrize("inside", [False, True], ids=["around the classes", "inside each class"])
def test_two_parts_are_never_classes(tmp_path: Path, train: str, test: str, inside: bool) -> None:
    for seed, (part, count) in enumerate({train: 20, test: 12}.items()):
        for name in ("cat", "dog"):
            place = tmp_path / name / part if inside else tmp_path / part / name
            place.parent.mkdir(parents=True, exist_ok=True)
            class_folders(tmp_path / "made", {name: count}, seed=seed)
            (tmp_path / "made" / name).rename(place)
    (tmp_path / "made").rmdir()
    read = folders.read(tmp_path, 12)
    assert read.train.classes == ("cat", "dog")
    assert [np.bincount(part.labels).tolist() for part in (read.train, read.validation, read.test)] == [
        [18, 18],
        [2, 2],
        [12, 12],
    ]
    where = " of each class" if inside else ""
    assert read.report.sentences == (
        f"Of the folders{where}, {train!r} is learned from, {test!r} is the test set, and a tenth of {train!r} picks "
        "the epoch.",
    )


@pytest.mark.parametrize("names", [("Train", "Valid", "Test"), ("training_set", "validation_set", "test_set")])
def test_three_parts_in_a_folder_around_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    for seed, (name, count) in enumerate(zip(names, (12, 3, 5), strict=True)):
        class_folders(tmp_path / "archive" / "pets" / name, {"a": count, "b": count}, seed=seed)
    (tmp_path / "archive" / "pets" / "test-unlabelled").mkdir()
    read = folders.read(tmp_path, 12)
    assert [len(part) for part in (read.train, read.validation, read.test)] == [24, 6, 10]
    assert read.report.sentences == (
        f"Of the folders, {names[0]!r} is learned from, {names[1]!r} is what picks the epoch, {names[2]!r} is the test "
        "set.",
    )


def test_what_lies_beside_the_parts_is_counted(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "val", {"a": 5, "b": 5})
    class_folders(tmp_path, {"test": 7, "extra": 4})  # pictures that nobody has labelled
    read = folders.read(tmp_path, 12)
    assert [len(part) for part in (read.train, read.validation, read.test)] == [36, 4, 10]
    assert read.report.skipped == (("in 'extra'", 4), ("in 'test'", 7))


def test_class_folders_in_one_other_folder_are_used_and_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "PetImages", {"cat": 20, "dog": 20})
    read = folders.read(tmp_path, 12)
    assert read.train.classes == ("cat", "dog")
    assert read.report.sentences == ("The class folders are those in 'PetImages'.",)


def test_classes_that_hold_the_same_folders_are_said_to_be_classes(tmp_path: Path) -> None:
    for name in ("fold1", "fold2"):
        class_folders(tmp_path / name, {"cat": 10, "dog": 10})
    (said,) = folders.read(tmp_path, 12).report.sentences
    assert said == (
        "The folders 'fold1', 'fold2' are taken as classes, and each holds 'cat', 'dog': if they are parts, call them "
        "'train' and 'test'."
    )


def test_a_part_in_a_folder_of_its_name_is_that_part(tmp_path: Path) -> None:
    class_folders(tmp_path / "train" / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "test" / "test", {"a": 5, "b": 5})
    read = folders.read(tmp_path, 12)
    assert [len(part) for part in (read.train, read.validation, read.test)] == [36, 4, 10]


def test_classes_are_spelled_alike_in_all_parts(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"B\u00e4r": 20, "Cat": 20})
    class_folders(tmp_path / "test", {"Ba\u0308r": 5, "cat": 6})
    read = folders.read(tmp_path, 12)
    assert read.train.classes == ("B\u00e4r", "Cat")
    assert np.bincount(read.test.labels).tolist() == [5, 6]
    class_folders(tmp_path / "train", {"cat": 20})
    with pytest.raises(ConvscopeError, match="has the folders 'Cat' and 'cat', which differ in capitals or in"):
        folders.read(tmp_path, 12)


@pytest.mark.skipif(os.name == "nt", reason="Windows has Unicode names only")
def test_names_that_are_no_unicode_are_read_or_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 20, "b": 20})
    strange = os.fsencode(tmp_path) + b"/a/\xe4.png"
    with open(strange, "wb") as file:  # noqa: PTH123
        file.write((tmp_path / "a" / "a-0.png").read_bytes())
    assert len(folders.read(tmp_path, 12).train) == 33
    with open(strange, "wb") as file:  # noqa: PTH123
        file.write(b"no picture")
    assert folders.read(tmp_path, 12).report.unreadable == ("a/?.png",)
    os.mkdir(os.fsencode(tmp_path) + b"/\xe4")  # noqa: PTH102
    with pytest.raises(ConvscopeError, match=r"has a folder '\?', whose name is no Unicode: rename it"):
        folders.read(tmp_path, 12)


def test_class_folders_that_no_checkpoint_can_name_are_refused_before_they_are_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folders.read(class_folders(tmp_path, {"a" * 200: 10, "b": 10}), 12).train.classes[0] == "a" * 200
    (tmp_path / ("c" * 201)).mkdir()
    with pytest.raises(ConvscopeError, match=r"has a folder 'c{59}…', whose name has more than 200 letters: rename it"):
        folders.read(tmp_path, 12)
    monkeypatch.setattr(folders, "MOST_CLASSES", 2)
    with pytest.raises(ConvscopeError, match=r"has 3 class folders: leave at most 2 of them\."):
        folders.read(tmp_path, 12)


def test_a_link_back_is_no_class(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 20, "b": 20})
    (tmp_path / "again").symlink_to(tmp_path)
    assert folders.read(tmp_path, 12).train.classes == ("a", "b")


def test_a_train_is_a_class_among_other_vehicles(tmp_path: Path) -> None:
    assert folders.read(class_folders(tmp_path, {"bus": 10, "car": 10, "train": 10}), 12).train.classes[2] == "train"
    assert folders.read(class_folders(tmp_path / "x", {"invalid": 10, "valid": 10}), 12).train.classes[1] == "valid"


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["train/a", "train/b", "extra"], "has 'train' beside 'extra', so that it is unclear what to learn from"),
        (["test/a", "test/b"], "has 'test', so that it is unclear what to learn from: put all class folders"),
        (
            ["train", "test"],
            "has no class folders in 'test', 'train': put one folder of pictures for each class there.",
        ),
        (["train/a", "train/b", "Val/a", "valid/a"], "has 'Val' and 'valid', which are names for one part"),
    ],
)
def test_what_could_be_parts_or_classes_is_refused(tmp_path: Path, places: list[str], message: str) -> None:
    for place in places:
        class_folders(tmp_path / place, {".": 10})
    with pytest.raises(ConvscopeError) as caught:
        folders.read(tmp_path, 12)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "needs at least two folders, one for each class, with at least 10 pictures each; it has none at all."),
        ({"a": 12}, "it has a (12)."),
        ({"a": 12, "b": 3}, "it has a (12), b (3)."),
    ],
)
def test_too_few_classes_are_one_sentence(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    with pytest.raises(ConvscopeError) as raised:
        folders.read(class_folders(tmp_path, classes), 12)
    assert str(raised.value).endswith(message)


def test_too_few_pictures_are_said_with_what_was_skipped(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 12, "b": 3})
    for name in ("b/one.heic", "b/two.heic", "b/broken.png", "loose.png"):
        (tmp_path / name).touch()
    with pytest.raises(ConvscopeError) as raised:
        folders.read(tmp_path, 12)
    assert str(raised.value).endswith(
        "it has a (12), b (3) (skipped: 1 pictures outside the class folders, 2 .heic, 1 that are no readable "
        "pictures). Pictures must be PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or PPM files: save the .heic files as one "
        "of them."
    )


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConvscopeError, match=r"There is no folder '.*nowhere': name one with a folder of pictures"):
        folders.read(tmp_path / "nowhere", 12)


# Training on it ------------------------------------------------------------------------------------------------

RECIPE = """\
architecture = "lenet"
dataset = "folder"
input_size = 12
batch_size = 16
crop_padding = 1
[[phases]]
epochs = 3
learning_rate = 0.02
"""


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of checkpoints, after the command was given a folder of three classes."""
    (tmp_path / "mine.toml").write_text(RECIPE)
    pictures = class_folders(tmp_path / "my-colours", {"blue": 40, "green": 40, "red": 40})
    paths = ["--data", str(pictures), "--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "kept")]
    assert main([str(tmp_path / "mine.toml"), *paths, "--device", "cpu"]) == 0
    return tmp_path / "kept"


def test_a_checkpoint_of_a_folder_knows_its_classes_and_its_test_pictures(trained: Path, tmp_path: Path) -> None:
    loaded = checkpoints.load("mine", trained)
    card = loaded.card
    assert (card.dataset, card.classes, card.test_images) == ("folder:my-colours", ("blue", "green", "red"), 12)
    assert json.loads((trained / "mine" / "recipe.json").read_text())["data_folder"] == str(tmp_path / "my-colours")
    test = folders.read(tmp_path / "my-colours", 12).test
    live = evaluate(loaded.model, test.images, test.labels, input_size=12, mean=card.mean, std=card.std)
    assert live.logits.shape == (12, 3)
    assert card.test_accuracy == live.correct.mean()
    assert card.test_accuracy > 0.8  # the colour tells the class
    np.testing.assert_allclose(checkpoints.predictions("mine", trained).test.logits, live.logits, atol=1e-5)


def test_its_figures_are_not_compared_with_the_bundled_images(trained: Path, use_folders: Callable[..., None]) -> None:
    use_folders(checkpoints=trained)
    with pytest.raises(ConvscopeError, match="'mine' were measured on 'folder:my-colours', which is not shipped"):
        check_card("mine")


def test_its_training_can_be_continued_without_naming_the_folder_again(trained: Path, tmp_path: Path) -> None:
    paths = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(trained), "--device", "cpu"]
    assert main(["--continue", "mine", "--epochs", "1", *paths]) == 0
    assert checkpoints.load("mine_continued", trained).card.classes == ("blue", "green", "red")


@pytest.mark.parametrize(("was", "becomes"), [("red", "violet"), (None, "violet"), ("red", None)])
def test_a_run_whose_classes_have_changed_is_not_gone_on_with_and_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], was: str | None, becomes: str | None
) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    pictures = class_folders(tmp_path / "colours", {"blue": 20, "green": 20, "red": 20})
    paths = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "kept"), "--device", "cpu"]
    assert main([str(tmp_path / "mine.toml"), "--data", str(pictures), *paths, "--stop-after", "1"]) == 0
    if was:
        (pictures / was).rename(tmp_path / "away")
    if becomes:
        class_folders(pictures, {becomes: 20})
    capsys.readouterr()
    changed = ", ".join(name for name in (was, becomes) if name)
    for action in ("--resume", "--keep"):
        assert main([action, "mine", *paths]) == 1
        *counts, said = capsys.readouterr().out.splitlines(keepends=True)
        assert [line.endswith(" to test.\n") for line in counts] == [True] * (action == "--resume")
        assert said == (
            f"The pictures have other classes than when the run began (added or missing: {changed}): give the folders "
            "the names that they had, or start a new run.\n"
        )


def test_a_recipe_without_a_folder_is_one_printed_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    assert main([str(tmp_path / "mine.toml"), "--runs", str(tmp_path / "runs")]) == 1
    assert capsys.readouterr().out == (
        "The recipe learns from a folder and does not say which: write data_folder into it, or add --data.\n"
    )
    assert not (tmp_path / "runs" / "mine").exists()  # it would stand in the way of the corrected command


def test_the_folder_in_which_the_command_is_given_is_one_that_a_run_finds_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    monkeypatch.chdir(class_folders(tmp_path / "colours", {"blue": 40, "green": 40}))
    command = [str(tmp_path / "mine.toml"), "--runs", str(tmp_path / "runs"), "--no-checkpoint", "--device", "cpu"]
    assert main([*command, "--data", ".", "--stop-after", "1"]) == 0
    assert run.find("mine", tmp_path / "runs").recipe().data_folder == str(tmp_path / "colours")


def test_many_classes_are_stored_with_their_numbers(tmp_path: Path) -> None:
    labels = np.arange(300)
    predictions = Predictions(np.eye(300, dtype=np.float32), labels)
    stored = checkpoints.StoredPredictions(predictions, predictions)
    card = replace(make_card(), classes=tuple(map(str, labels)))
    checkpoints.save(card, replace(make_contents(), predictions=stored), tmp_path)
    assert np.array_equal(checkpoints.predictions("tiny", tmp_path).test.labels, labels)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_for_ones_own_pictures_are_understood(path: Path) -> None:
    recipe = recipes.read(path)
    assert (recipe.name, recipe.dataset) == (path.stem, "folder")
    assert fresh_network(recipe, 2)
