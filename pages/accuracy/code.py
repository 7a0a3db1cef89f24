"""The code behind the page's figures: from stored predictions, or from a report's counts."""

import numpy as np

from pages.accuracy.jobs import BATCH, PerturbedTest
from pages.accuracy.subject import Subject
from pages.common import code


def confusion(subject: Subject) -> list[str]:
    """The lines that count (true class, predicted class)."""
    if subject.stored is None:
        return [
            f"test = next(test for test in reports.TESTS if test.name == {subject.name!r})",
            "confusion = test.confusion",
        ]
    return [*predictions(subject.name), "confusion = figures.confusion_matrix(predictions)"]


def predictions(name: str, variable: str = "predictions") -> list[str]:
    """The line that reads a network's predictions for the test images."""
    return [f"{variable} = all_networks.candidates()[{name!r}].predictions().test"]


def of_classes(subject: Subject) -> str:
    """Recall, precision and F1 of each class."""
    return code.script(
        *confusion(subject),
        f"names = {list(subject.classes)!r}",
        "for name, figure in zip(names, figures.class_figures(confusion)):",
        "    print(name, figure.recall, figure.precision, figure.f1)",
        "print(figures.accuracy_of(confusion))",
    )


def of_confusion(subject: Subject) -> str:
    """The matrix."""
    return code.script(*confusion(subject), "print(confusion)", "print(figures.commonest_mistake(confusion))")


def of_images(subject: Subject, indices: np.ndarray, columns: int) -> str:
    """A grid of test images, with the predictions for each."""
    return code.script(
        *predictions(subject.name),
        f"shown = {indices.tolist()!r}",
        f"names = {list(subject.classes)!r}",
        "for index in shown:",
        "    true, predicted = predictions.labels[index], predictions.predicted[index]",
        "    print(index, names[true], names[predicted], predictions.confidence[index])",
        "test = data.bundled('test')",
        f"picture = pictures.sheet(pictures.enlarged(test.images[shown], 96), {columns})",
        code.save("images.png"),
    )


def of_two(first: str, second: str) -> str:
    """Which network is better, and where."""
    return code.script(
        *predictions(first, "first"),
        *predictions(second, "second"),
        "paired = comparison.pair(first, second)",
        f"print(comparison.in_words({first!r}, {second!r}, paired))",
        "for one, other in zip(figures.accuracy_per_class(first), figures.accuracy_per_class(second)):",
        "    print(one, other)",
        "print(comparison.confusion_difference(first, second))",
    )


def of_confidence(name: str) -> str:
    """Reliability before and after a temperature, and accuracy against coverage."""
    return code.script(
        f"kept = all_networks.candidates()[{name!r}].predictions()",
        "temperature = calibration.fit_temperature(kept.validation)",
        "after = calibration.scaled(kept.test, temperature)",
        "for predictions in (kept.test, after):",
        "    print(calibration.calibration_error(predictions), calibration.reliability(predictions), sep='\\n')",
        "print(calibration.coverage(kept.test))",
        "print([calibration.top_k(kept.test, k) for k in range(1, 6)])",
    )


def of_all_networks() -> str:
    """Each network's accuracy and what it costs."""
    return code.script(
        "for candidate in all_networks.candidates().values():",
        "    entry = all_networks.entry(candidate)",
        "    print(entry.name, entry.accuracy, entry.parameters, entry.multiply_adds)",
    )


def of_perturbed(test: PerturbedTest) -> str:
    """The accuracy on perturbed images."""
    return code.script(
        code.load(test.network),
        "card, test = trained.card, data.bundled('test')",
        f"test = test.subset(data.first_of_each_class(test.labels, {test.count} // len(test.classes)))",
        f"images = perturbations.perturbed(test.images, {test.kind!r}, {test.strength})",
        "predictions = evaluation.evaluate(trained.model, images, test.labels, input_size=card.input_size,",
        f"                                  mean=card.mean, std=card.std, batch_size={BATCH})",
        "print(figures.accuracy(predictions))",
    )
