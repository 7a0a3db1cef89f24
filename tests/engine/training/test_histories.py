"""Learning curves: reading them, their figures, and verdicts on made curves whose verdict is known."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from engine import checkpoints, settings
from engine.errors import ConvscopeError
from engine.training import comparisons, curves, histories, verdicts
from engine.training.histories import Budget, HistoryFolder
from engine.training.recipe import Phase, Recipe
from engine.training.records import EpochRecord
from engine.training.run import RunFolder


def curve(validation, training=None, pixels=None, learning_rate=None) -> pd.DataFrame:
    """A history's table with these losses."""
    validation = np.asarray(validation, dtype=float)
    count = len(validation)
    training = 0.9 * validation if training is None else np.asarray(training, dtype=float)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, count + 1),
            "train_loss": training,
            "train_accuracy": np.exp(-training),
            "val_loss": validation,
            "val_accuracy": np.exp(-validation),
            "batch_loss": training,
            "learning_rate": np.full(count, 0.1) if learning_rate is None else learning_rate,
            "optimizer": "sgd",
            "pixels": np.full(count, 32) if pixels is None else pixels,
            "seconds": np.arange(1.0, count + 1),
        }
    )


def falling(count: int, time: float, floor: float = 0.5) -> np.ndarray:
    return floor + 2 * np.exp(-np.arange(count) / time)


# Verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 10, 30, 200])
def test_a_curve_that_falls_to_its_end_is_still_improving(count):
    assert verdicts.verdict(curve(falling(count, count))).kind == verdicts.IMPROVING


@pytest.mark.parametrize("count", [30, 200])
def test_a_curve_that_has_levelled_off_has_converged(count):
    assert verdicts.verdict(curve(falling(count, count / 15))).kind == verdicts.CONVERGED


@pytest.mark.parametrize("count", [4, 5, 50])
def test_a_constant_curve_has_converged(count):
    assert verdicts.verdict(curve(np.full(count, 0.7))).kind == verdicts.CONVERGED


@pytest.mark.parametrize("lowest", [4, 10, 25])
def test_overfitting_is_found_with_its_epoch(lowest):
    epochs = np.arange(1, 31)
    found = verdicts.verdict(curve(0.6 + 0.001 * (epochs - lowest) ** 2, np.exp(-epochs / 10)))
    assert (found.kind, found.since) == (verdicts.OVERFITTING, lowest)
    assert f"since epoch {lowest}" in found.sentence


def test_the_epoch_count_of_the_file_is_used_not_the_line():
    table = curve(0.6 + 0.001 * (np.arange(30) - 10) ** 2, np.exp(-np.arange(30) / 10))
    table["epoch"] += 100
    assert verdicts.verdict(table).since == 111


def test_when_both_losses_rise_it_is_no_overfitting():
    rising = 0.6 + 0.05 * np.abs(np.arange(20) - 8)
    assert verdicts.verdict(curve(rising, rising - 0.1)).kind == verdicts.WORSENING


@pytest.mark.parametrize("count", [4, 6, 10, 20, 60, 120])
def test_noise_alone_is_hardly_ever_taken_for_more(count):
    random = np.random.default_rng(count)
    tables = [curve(*(level + 0.02 * random.standard_normal(count) for level in (0.8, 0.5))) for _ in range(100)]
    assert sum(verdicts.verdict(table).kind != verdicts.CONVERGED for table in tables) <= 8


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_hold_under_noise(seed):
    random = np.random.default_rng(seed)
    epochs = np.arange(1, 41)
    jitter = 0.01 * random.standard_normal((2, 40))
    improving = curve(falling(40, 25) + jitter[0], falling(40, 25, 0.3) + jitter[1])
    overfitting = curve(0.6 + 0.001 * (epochs - 15) ** 2 + jitter[0], np.exp(-epochs / 12) + jitter[1])
    assert verdicts.verdict(improving).kind == verdicts.IMPROVING
    found = verdicts.verdict(overfitting)
    assert found.kind == verdicts.OVERFITTING
    assert abs(found.since - 15) <= 4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_curve_has_no_verdict(count):
    found = verdicts.verdict(curve(falling(count, 2)))
    assert (found.kind, found.since) == (verdicts.TOO_SHORT, None)
    assert ("1 epoch " if count == 1 else f"{count} epochs ") in found.sentence


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("column", ["train_loss", "val_loss"])
def test_a_loss_that_is_no_number_is_named(bad, column):
    table = curve(falling(10, 5))
    table.loc[6, column] = bad
    found = verdicts.verdict(table)
    assert (found.kind, found.since) == (verdicts.BROKEN, 7)


def test_a_loss_of_zero_does_no_harm():
    assert verdicts.verdict(curve(np.zeros(8), np.zeros(8))).kind == verdicts.CONVERGED


def test_a_verdict_looks_at_the_final_size_only():
    pixels = np.repeat([32, 64], [20, 10])
    losses = np.concatenate([np.full(20, 0.3), falling(10, 20)])  # the jump at epoch 21 is no rise
    assert verdicts.verdict(curve(losses, pixels=pixels)).kind == verdicts.IMPROVING
    assert verdicts.verdict(curve(losses[:22], pixels=pixels[:22])).kind == verdicts.TOO_SHORT


def test_an_improving_run_whose_rate_ran_down_says_so():
    rates = np.linspace(0.1, 0.0001, 30)
    slowed = verdicts.verdict(curve(falling(30, 30), learning_rate=rates))
    steady = verdicts.verdict(curve(falling(30, 30)))
    assert "learning rate" in slowed.sentence
    assert "learning rate" not in steady.sentence


def test_the_figures_in_the_sentence_are_those_of_a_line():
    table = curve(2.0 - 0.01 * np.arange(30))
    fall = 0.01 * 9 / table["val_loss"].min()
    assert f"over the last 10 epochs the validation loss fell by {100 * fall:.1f} %" in verdicts.verdict(table).sentence


@pytest.mark.parametrize("sigma", [0.001, 0.05])
def test_noise_is_measured_beside_a_trend(sigma):
    random = np.random.default_rng(0)
    values = np.linspace(3, 1, 4000) + sigma * random.standard_normal(4000)
    assert verdicts.noise(values) == pytest.approx(sigma, rel=0.1)


# Figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 0.99])
def test_smoothing_agrees_with_pandas(weight):
    values = np.random.default_rng(1).standard_normal(50)
    expected = pd.Series(values).ewm(alpha=1 - weight, adjust=True).mean()
    np.testing.assert_allclose(curves.smoothed(values, weight), expected, rtol=0, atol=1e-12)


def test_smoothing_steps_over_what_is_no_number():
    values = np.array([1.0, math.nan, 3.0, math.inf, 2.0])
    shown = curves.smoothed(values, 0.5)
    finite = pd.Series([1.0, 3.0, 2.0]).ewm(alpha=0.5, adjust=True).mean()
    np.testing.assert_allclose(shown[[0, 2, 4]], finite)
    assert math.isnan(shown[1])
    assert shown[3] == math.inf
    assert math.isnan(values[1])


@pytest.mark.parametrize("weight", [-0.1, 1.0, 2.0])
def test_smoothing_refuses_other_weights(weight):
    with pytest.raises(ConvscopeError, match="between 0 and below 1"):
        curves.smoothed(np.ones(3), weight)


def test_smoothing_begins_afresh_at_a_new_size():
    table = curve(np.arange(8.0) + 1, pixels=np.repeat([32, 64, 32], [3, 3, 2]))
    expected = np.concatenate([curves.smoothed(part, 0.7) for part in np.split(np.arange(8.0) + 1, [3, 6])])
    np.testing.assert_array_equal(curves.smoothed_by_size(table, "val_loss", 0.7), expected)


def test_best_epochs_are_the_first_best_at_the_final_size():
    table = curve([0.1, 0.9, 0.5, 0.5, 0.7], pixels=[32, 64, 64, 64, 64])
    table["val_accuracy"] = [0.99, 0.3, 0.4, 0.6, 0.6]
    assert curves.best_epochs(table) == (3, 4)


def test_the_kept_epoch_is_the_trainers_where_images_shrink_in_between():
    table = curve([0.1, 0.9, 0.3, 0.4], pixels=[64, 32, 64, 64])
    history = [EpochRecord(**row) for row in table.to_dict("records")]
    assert curves.best_epoch(history, 64).epoch == curves.kept_epoch(table).name == 1
    assert curves.best_epochs(table) == (1, 1)


def test_best_epochs_of_what_is_no_number():
    table = curve([math.nan, math.inf, math.nan]).assign(val_accuracy=math.nan)
    assert curves.best_epochs(table) == (None, None)
    table = curve([math.nan, 0.5, 0.4])
    assert curves.best_epochs(table) == (3, 3)


def test_gaps_seconds_and_size_changes():
    table = curve([1.0, 0.8, 0.7], [0.9, 0.5, 0.2], pixels=[32, 32, 64])
    np.testing.assert_allclose(curves.gaps(table)["loss"], [0.1, 0.3, 0.5])
    expected = table["train_accuracy"] - table["val_accuracy"]
    np.testing.assert_allclose(curves.gaps(table)["accuracy"], expected)
    np.testing.assert_allclose(curves.elapsed(table), [1, 3, 6])
    assert curves.size_changes(table) == [(3, 64)]
    assert list(curves.final_stretch(table)["epoch"]) == [3]


# Files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelves(tmp_path, use_folders):
    """Empty folders for checkpoints, experiments and runs; gives their parent."""
    use_folders(**{source: tmp_path / source for source in histories.SOURCES})
    for source in histories.SOURCES:
        (tmp_path / source).mkdir()
    return tmp_path


def place(folder) -> HistoryFolder:
    return HistoryFolder("runs", folder.name, folder)


def test_every_shipped_history_reads_and_has_a_verdict():
    shipped = {key: where for key, where in histories.find().items() if where.source != "runs"}
    assert set(checkpoints.available()) <= set(shipped)
    for key, where in shipped.items():
        history = histories.read(where)
        assert history.key == key
        assert history.budget is not None
        assert len(history.table) <= history.budget.epochs
        assert verdicts.verdict(history.table).sentence


def test_a_checkpoints_history_has_the_cards_figures():
    card = checkpoints.available()["lenet"]
    history = histories.read(histories.find()["lenet"])
    assert (history.test_accuracy, history.test_loss) == (card.test_accuracy, card.test_loss)
    assert history.architecture == "lenet"
    assert history.budget == Budget(card.epochs, "CIFAR-10's 45,000 training images", card.input_size, card.seed)
    _, best = curves.best_epochs(history.table)
    assert best == card.best_epoch


def test_histories_are_found_in_order_and_under_their_keys(shelves):
    for folder in ("runs/b", "runs/.hidden", "experiments/a", "checkpoints/a", "checkpoints/empty"):
        (shelves / folder).mkdir()
        if "empty" not in folder:
            curve(falling(5, 3)).to_csv(shelves / folder / "history.csv", index=False)
    assert list(histories.find()) == ["a", "experiments/a", "runs/b"]


def test_a_run_is_read_with_its_own_recipe(shelves):
    folder = shelves / "runs" / "mine"
    folder.mkdir()
    recipe = {
        "name": "mine",
        "architecture": "lenet",
        "dataset": "cifar10_bundled",
        "input_size": 32,
        "seed": 7,
        "group": "trial",
        "sample": 100,
        "phases": [{"epochs": 6, "learning_rate": 0.1}, {"epochs": 4, "learning_rate": 0.01}],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    curve(falling(5, 3)).to_csv(folder / "history.csv", index=False)
    history = histories.read(place(folder))
    assert (history.group, history.architecture, len(history.table)) == ("trial", "lenet", 5)
    assert history.budget == Budget(10, "100 per class of 4,500 bundled training images", 32, 7)
    assert math.isnan(history.test_accuracy)


def test_runs_on_two_folders_have_two_budgets(shelves):
    budgets = []
    for name in ("flowers", "x-rays"):
        recipe = Recipe(name, "lenet", (Phase(5, 0.1),), dataset="folder", data_folder=f"/data/{name}", input_size=32)
        RunFolder(shelves / "runs" / name).begin(recipe)
        curve(falling(5, 3)).to_csv(shelves / "runs" / name / "history.csv", index=False)
        budgets.append(histories.read(place(shelves / "runs" / name)).budget)
    assert [budget.images for budget in budgets] == ["the images of folder:flowers", "the images of folder:x-rays"]
    assert "did not have the same budget; they differ in images" in comparisons.budget_in_words(budgets)


@pytest.mark.parametrize("recipe", [None, "{", "[1]", "{}", '{"phases": 3}'])
def test_a_run_without_a_usable_recipe_still_has_its_curve(shelves, recipe):
    folder = shelves / "runs" / "mine"
    folder.mkdir()
    if recipe is not None:
        (folder / "recipe.json").write_text(recipe)
    curve(falling(5, 3)).to_csv(folder / "history.csv", index=False)
    history = histories.read(place(folder))
    assert history.budget is None
    assert len(history.table) == 5


GOOD = curve(falling(6, 3)).to_csv(index=False)
LINES = GOOD.splitlines()
DAMAGED = {
    "empty": "",
    "header only": LINES[0] + "\n",
    "binary": "\x00\x01\x02",
    "other text": "hello\nworld\n",
    "cut in a line": GOOD[: GOOD.rindex("sgd")],
    "too many fields": GOOD + "7,1,1,1,1,1,1,sgd,32,1,1,1,1\n",
    "column missing": "\n".join(line.split(",", 1)[1] for line in LINES),
    "word for a number": GOOD.replace(LINES[2].split(",")[1], "soon"),
    "epoch twice": "\n".join([*LINES, LINES[-1]]),
    "epochs backwards": "\n".join([LINES[0], *LINES[:0:-1]]),
    "half an epoch": GOOD.replace("\n3,", "\n2.5,"),
    "epoch missing": GOOD.replace("\n3,", "\n,"),
    "accuracy of 300": curve(falling(4, 3)).assign(val_accuracy=300.0).to_csv(index=False),
    "no size": curve(falling(4, 3)).assign(pixels=math.nan).to_csv(index=False),
    "negative time": curve(falling(4, 3)).assign(seconds=-1.0).to_csv(index=False),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_sentence(tmp_path, kind):
    file = tmp_path / "runs" / "mine" / "history.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(DAMAGED[kind].encode())
    with pytest.raises(
        ConvscopeError, match=r"^The learning curve in runs/mine/history\.csv cannot be shown: .+"
    ) as said:
        histories.read_table(file)
    assert "\n" not in str(said.value)


def test_a_missing_or_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(ConvscopeError, match="cannot be read"):
        histories.read_table(tmp_path / "history.csv")
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(ConvscopeError, match="cannot be read"):
        histories.read_table(tmp_path / "history.csv")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "history.csv").write_bytes(GOOD.encode() + b"\xff\xfe")
    with pytest.raises(ConvscopeError, match="cannot be shown"):
        histories.read_table(tmp_path / "latin" / "history.csv")


def test_losses_that_are_no_numbers_can_be_read(tmp_path):
    table = curve([1.0, math.nan, math.inf, 0.5])
    table.to_csv(tmp_path / "history.csv", index=False)
    read = histories.read_table(tmp_path / "history.csv")
    pd.testing.assert_frame_equal(read[list(table.columns)], table, check_dtype=False)


def test_a_damaged_card_leaves_the_curve(shelves):
    shutil.copytree(settings.ROOT / "checkpoints" / "lenet", shelves / "checkpoints" / "lenet")
    (shelves / "checkpoints" / "lenet" / "card.json").write_text("{")
    (shelves / "checkpoints" / "lenet" / "recipe.json").unlink()  # it would say the budget
    history = histories.read(histories.find()["lenet"])
    assert math.isnan(history.test_accuracy)
    assert history.budget is None


# Comparisons ---------------------------------------------------------------------------------------------------


def test_ready_made_comparisons_need_two_arms():
    groups = dict.fromkeys(["experiments/depth_4", "lenet", "resnet18", "experiments/dropout_30"], "")
    found = {comparison.name: comparison.keys for comparison in comparisons.comparisons(groups)}
    assert found == {"dropout": ("experiments/depth_4", "experiments/dropout_30"), "networks": ("lenet", "resnet18")}
    assert comparisons.comparisons({"lenet": ""}) == []


def test_a_group_joins_its_comparison_or_makes_one():
    groups = {"experiments/ablation_base": "", "runs/a": "ablation", "runs/b": "mine", "runs/c": "mine", "runs/d": "d"}
    found = {comparison.name: comparison.keys for comparison in comparisons.comparisons(groups)}
    assert found == {"ablation": ("experiments/ablation_base", "runs/a"), "mine": ("runs/b", "runs/c")}


def test_budgets_are_compared_in_words():
    one, other = Budget(10, "all images", 32, 1), Budget(20, "all images", 32, 1)
    assert comparisons.budget_in_words([one, one]) == ("All had the same budget: 10 epochs, all images, 32 px, seed 1.")
    words = comparisons.budget_in_words([one, other])
    assert "differ in epochs (10 epochs, 20 epochs)." in words
    assert words.endswith("They share all images, 32 px, seed 1.")
    assert "not known" in comparisons.budget_in_words([one, None])
