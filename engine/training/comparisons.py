"""Which histories belong on one chart: the arms of the reports' experiments, and of one's own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from engine.training.histories import Budget


@dataclass(frozen=True)
class CurveComparison:
    """Histories that belong on one chart: `keys` as in `histories.find`, and the question that they answer."""

    name: str
    question: str
    keys: tuple[str, ...]


def _of_experiments(name: str, question: str, arms: str) -> CurveComparison:
    return CurveComparison(name, question, tuple(f"experiments/{arm}" for arm in arms.split()))


AS_REPORTED = _of_experiments(
    "as reported",
    "Do the reports' recipes give us what they gave the reports?",
    "report2_adam_then_sgd report4_lenet report4_model_one report4_model_two",
)
READY_MADE = (
    _of_experiments(
        "optimizer",
        "Does Adam, SGD, or first one and then the other train the same network best?",
        "optimizer_sgd optimizer_adam optimizer_adam_then_sgd",
    ),
    _of_experiments("depth", "How many convolutions should a ConvNet have?", "depth_2 depth_3 depth_4 depth_5"),
    _of_experiments("dropout", "What does more dropout do to the same network?", "depth_4 dropout_30"),
    _of_experiments("element", "Can strided convolutions replace pooling?", "depth_4 strided_convolutions"),
    _of_experiments(
        "ablation",
        "What does Model 2 lose without one of its ideas?",
        "ablation_base ablation_no_batch_norm ablation_dropout_30 ablation_sgd",
    ),
    _of_experiments(
        "rate",
        "What does batch norm do where the learning rate is too large?",
        "rate_batch_norm rate_no_batch_norm",
    ),
    _of_experiments("labels", "Can a network memorise classes that were drawn at random?", "true_labels random_labels"),
    CurveComparison(
        "networks",
        "How do the reports' networks learn, from LeNet to ResNet-18?",
        ("lenet", "model_one", "model_two", "resnet18"),
    ),
    CurveComparison(
        "transfer",
        "What does a network gain that has learned from photographs before?",
        ("model_one", "resnet18", "transfer"),
    ),
    AS_REPORTED,
    _of_experiments(
        "report 2",
        "Which optimizer trains best as report 2 used them: on all images, at constant rates?",
        "report2_sgd report2_adam report2_adam_then_sgd",
    ),
    _of_experiments(
        "report 4",
        "What does Model 2 lose without one of its ideas, trained as report 4 says?",
        "report4_model_two report4_model_two_no_batch_norm report4_model_two_dropout_30 report4_model_two_sgd",
    ),
)
"""The reports' questions."""


def comparisons(groups: Mapping[str, str]) -> list[CurveComparison]:
    """The comparisons with at least two arms among the histories at hand.

    Args:
        groups: the `group` of each history at hand, by key; arms of a group that is not ready-made form one of its own.
    """
    others = sorted({group for group in groups.values() if group} - {known.name for known in READY_MADE})
    at_hand = []
    for known in (*READY_MADE, *(CurveComparison(name, "", ()) for name in others)):
        arms = tuple(key for key, group in groups.items() if key in known.keys or group == known.name)
        at_hand.append(replace(known, keys=arms))
    return [comparison for comparison in at_hand if len(comparison.keys) > 1]


def budget_in_words(budgets: Iterable[Budget | None]) -> str:
    """Whether all arms had the same budget, and which; or in what they differ."""
    known = list(budgets)
    if not known or None in known:
        return "What budget every arm had is not known: a card or a recipe is missing."
    facets = {
        "epochs": [f"{budget.epochs} epochs" for budget in known],
        "images": [budget.images for budget in known],
        "image size": [f"{budget.pixels} px" for budget in known],
        "seed": [f"seed {budget.seed}" for budget in known],
    }
    shared = [values[0] for values in facets.values() if len(set(values)) == 1]
    differing = [f"{name} ({', '.join(values)})" for name, values in facets.items() if len(set(values)) > 1]
    if not differing:
        return f"All had the same budget: {', '.join(shared)}."
    same = f" They share {', '.join(shared)}." if shared else ""
    return f"These did not have the same budget; they differ in {' and in '.join(differing)}.{same}"
