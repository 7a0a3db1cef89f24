"""Made-up answers of made-up networks, the odd cases among them, on which every figure is tried out."""

import numpy as np

from engine.evaluation import Predictions


def random_predictions(count: int, classes: int, seed: int, scale: float = 3) -> Predictions:
    """Predictions that are right more often than chance, and on which no two logits of an image are equal."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    logits = random.normal(size=(count, classes)).astype(np.float32) * np.float32(scale)
    logits[np.arange(count), labels] += scale / 2
    return Predictions(logits, labels)


def _empty_class() -> Predictions:
    predictions = random_predictions(300, 5, seed=4)
    return Predictions(predictions.logits, np.where(predictions.labels == 3, 1, predictions.labels))


def _all_the_same() -> Predictions:
    logits = np.zeros((50, 4), np.float32)
    logits[:, 2] = 1
    return Predictions(logits, np.arange(50) % 4)


CASES = {
    "ten classes": random_predictions(2_000, 10, seed=1),
    "two classes": random_predictions(101, 2, seed=2),
    "one image": random_predictions(1, 10, seed=3),
    "a class without images": _empty_class(),
    "all predictions the same": _all_the_same(),
    "all right": Predictions(np.eye(7, dtype=np.float32), np.arange(7)),
    "all wrong": Predictions(np.eye(7, dtype=np.float32), (np.arange(7) + 1) % 7),
    "huge logits": random_predictions(60, 3, seed=5, scale=1e4),
    "ties": Predictions(np.random.default_rng(6).integers(3, size=(200, 5)).astype(np.float32), np.arange(200) % 5),
}

NOTHING = Predictions(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
"""The answers to no images at all."""
