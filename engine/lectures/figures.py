"""The figures in a lecture's texts, computed from cards, histories, predictions and networks when they are asked for.

`{accuracy.resnet18}` becomes "90.6 %": the first word is a function of this module (`FIGURES`), the others are its
arguments. Images are the first test image of a class, at the network's own input size; the deconvnet reconstruction is
that from all channels of a layer.

The correlation of a reconstruction p with the image x says how much of the image is in it: Pearson's, over all pixels,
each colour less its mean,

    r = <p - mean p, x - mean x> / (|p - mean p| |x - mean x|)

1 is the image itself, 0 has nothing to do with it. It compares brightness and colour point by point, so a picture of
the edges alone has a low one.
"""

import functools
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine import (
    adversarial,
    all_networks,
    data,
    deconv,
    evaluation,
    evolution,
    feature_maps,
    invariance,
    network,
    occlusion,
    playbacks,
    probes,
    reconstructions,
    reports,
    sanity,
    tape,
    weights,
)
from engine.accuracy import comparison
from engine.accuracy.figures import Share, accuracy, class_figures, commonest_mistake, confusion_matrix, percent
from engine.all_networks import Candidate
from engine.checkpoints import Card, Trained
from engine.deconv import Reconstruction
from engine.errors import ConvscopeError
from engine.invariance import Curve
from engine.occlusion import Occlusion
from engine.operations import MaxPool
from engine.reports import Reported, ReportedTest
from engine.sanity import SignalChecks
from engine.tape import Tape
from engine.training import curves, histories, images_per_class, verdicts
from engine.training.histories import History
from engine.weights import UNTRAINED, Weights

PLACE = re.compile(r"\{([a-z_]+)((?:\.[A-Za-z0-9_-]+)*)\}")
VARIANTS = {UNTRAINED: {}} | {
    label: {setting: value} for setting, choices in playbacks.VARIED.values() for label, value in choices.items()
}
"""Settings of `engine.deconv.reconstruct`: batch norm "on" or "off", a path, a rule and so on; or random weights."""
SIZES = range(1, 513)
"""The sides of images that a lecture may ask for, in pixels: larger ones take seconds and gigabytes."""
MOST_OCCLUDED = 200_000_000
"""Multiply-adds of a network for one image; one with more takes half a minute for all the squares that are hidden."""
NOT_THERE = (ArithmeticError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)
"""What is raised where a lecture, which may come from anywhere, asks for something that there is not."""


def fill(text: str) -> str:
    """`text` with every figure in braces computed.

    Raises:
        ConvscopeError: there is no such figure, or nothing that it could be computed from.
    """
    return PLACE.sub(_figure, text)


def fill_or_explain(text: str) -> str:
    """`text` with every figure that can be computed; the others stay in their braces, and behind the text is why."""
    reasons: list[str] = []

    def filled(place: re.Match[str]) -> str:
        try:
            return _figure(place)
        except ConvscopeError as error:
            reasons.append(f"({error})")
            return place[0]

    return " ".join([PLACE.sub(filled, text), *reasons])


def _figure(place: re.Match[str]) -> str:
    name, arguments = place[1], place[2].split(".")[1:]
    try:
        return FIGURES[name](*arguments)
    except NOT_THERE as error:
        reason = str(error) if isinstance(error, ConvscopeError) else "there is nothing of that name or size"
        raise ConvscopeError(f"The figure {place[0]} cannot be computed: {reason.rstrip('.')}. Correct it.") from error


def _interval(share: Share) -> str:
    return f"{share.low * 100:.1f} to {percent(share.high)}"


# Accuracy ------------------------------------------------------------------------------------------------------


def _candidate(name: str) -> Candidate:
    return all_networks.candidates()[name]


def _card(name: str) -> Card:
    return _candidate(name).card


def _share(name: str) -> Share:
    return accuracy(_candidate(name).predictions().test)


def _recalls(name: str) -> dict[str, Share]:
    candidate = _candidate(name)
    figures = class_figures(confusion_matrix(candidate.predictions().test))
    return {label: figure.recall for label, figure in zip(candidate.card.classes, figures, strict=True)}


def _recall(name: str, label: str) -> str:
    share = _recalls(name)[label]
    return f"{percent(share.value)} ({_interval(share)})"


def _mistake(name: str) -> str:
    candidate = _candidate(name)
    true, predicted, count = commonest_mistake(confusion_matrix(candidate.predictions().test))
    return f"{count} images of {candidate.card.classes[true]} are predicted as {candidate.card.classes[predicted]}"


def _pair(first: str, second: str) -> str:
    a, b = (_candidate(name).predictions().test for name in (first, second))
    return comparison.in_words(first, second, comparison.pair(a, b)).rstrip(".")


def _points(first: str, second: str) -> str:
    return f"{abs(_share(first).value - _share(second).value) * 100:.1f} points"


# Training ------------------------------------------------------------------------------------------------------


def _history(name: str) -> History:
    places = histories.find()
    return histories.read(places.get(name) or places[f"experiments/{name}"])


def _of_best_epoch(name: str, column: str) -> str:
    table = _history(name).table
    return percent(float(table.set_index("epoch").loc[curves.best_epochs(table)[1], column]))


def _verdict(name: str) -> str:
    return verdicts.verdict(_history(name).table).sentence.rstrip(".")


def _images_per_class(method: str, images: str) -> str:
    """The mean accuracy after so many training images of each class, learned from in that way."""
    found = images_per_class.points(images_per_class.results())
    return percent(next(point.accuracy for point in found if (point.method, str(point.images)) == (method, images)))


# Layers --------------------------------------------------------------------------------------------------------


def _part(name: str, part: str) -> int:
    card = _card(name)
    model = network.shapes_only(card.architecture, len(card.classes), card.input_size, card.options)
    rows = network.stages(network.describe(model, card.input_size))
    return next(row.parameters for row in rows if row.name.replace(" ", "_") == part)


def _share_of_part(name: str, part: str) -> str:
    return percent(_part(name, part) / _card(name).parameters)


def _maps(name: str, layer: str, size: str = "") -> str:
    side = int(size or 0)
    if size and side not in SIZES:
        raise ConvscopeError(f"In a lecture an image is {SIZES[0]} to {SIZES[-1]} px wide.")
    _, count, height, width = _tape(weights.find(name), layer, data.CIFAR10_CLASSES[0], side).activation.shape
    return f"{count} maps of {height} x {width}"


def _similarity(name: str, layer: str, first: str, second: str) -> str:
    network = weights.find(name)
    one, other = (_tape(network, layer, label).activation for label in (first, second))
    return f"{feature_maps.cosine_similarity(one, other):.2f}"


def _settled(name: str, layer: str, label: str) -> str:
    """From when on the layer is about what it is in the end: "after epoch 4"."""
    moments = {moment: trained(weights.find(name, moment)) for moment in weights.moments(name)}
    models = {weights.when(moment): one.model for moment, one in moments.items()}
    image = _input(moments[weights.TRAINED].card, label)
    when = evolution.settled(evolution.similarities(models, image, [layer]), layer)
    return "only at the end" if when == weights.TRAINED else when


def _poolings(name: str, layer: str) -> str:
    steps = _tape(weights.find(name), layer, data.CIFAR10_CLASSES[0]).steps
    words = ("no", "one", "two", "three", "four", "five")
    count = sum(isinstance(step.operation, MaxPool) for step in steps)
    return words[count] if count < len(words) else str(count)


# Reconstructions -----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def trained(network: Weights) -> Trained:
    """A network; the last one is kept, since the figures of a step are mostly of one."""
    return weights.load(network)


@functools.cache
def bundled(split: str) -> data.LabelledImages:
    """The bundled images of a split, kept."""
    return data.bundled(split)


def _input(card: Card, label: str, size: int = 0) -> Tensor:
    test = bundled("test")
    first = int(np.flatnonzero(test.labels == test.classes.index(label))[0])
    return data.prepare(test.images[first : first + 1], size or card.input_size, card.mean, card.std)


def _tape(network: Weights, layer: str, label: str, size: int = 0) -> Tape:
    of_network = trained(network)
    return tape.record(of_network.model, _input(of_network.card, label, size), layer)


def _reconstruction(network: Weights, layer: str, label: str, variant: str) -> Reconstruction:
    recorded = _tape(network.at(UNTRAINED) if variant == UNTRAINED else network, layer, label)
    return deconv.reconstruct(recorded, deconv.all_channels(recorded.activation), gains=False, **VARIANTS[variant])


@functools.lru_cache(maxsize=512)
def _gain(network: Weights, layer: str, label: str, variant: str) -> float:
    return reconstructions.total_gain(_reconstruction(network, layer, label, variant))


@functools.lru_cache(maxsize=512)
def _correlation(network: Weights, layer: str, label: str, variant: str) -> float:
    image = _input(trained(network).card, label)
    values = torch.cat([_reconstruction(network, layer, label, variant).pixels, image]).double().flatten(2)
    ours, theirs = (values - values.mean(dim=2, keepdim=True)).flatten(1)
    return float(ours @ theirs / (ours.norm() * theirs.norm()))


@functools.lru_cache(maxsize=512)
def _cosine(network: Weights, layer: str, label: str) -> float:
    return reconstructions.cosine_similarity(
        *(_reconstruction(network, layer, label, variant) for variant in ("on", "off"))
    )


# Evidence ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=16)
def _occlusion(network: Weights, label: str) -> Occlusion:
    """As the page Evidence hides squares at first: a quarter of the image wide, a sixteenth apart.

    Raises:
        ConvscopeError: the network is too large to be asked that often while a reader waits for a text.
    """
    of_network = trained(network)
    if all_networks.multiply_adds(of_network.card) > MOST_OCCLUDED:
        raise ConvscopeError(f"{network.checkpoint} takes too long with each square hidden: show the page Evidence")
    size = of_network.card.input_size
    return occlusion.occlude(of_network.model, _input(of_network.card, label), patch=size // 4, stride=size // 16)


def _class(network: Weights, label: str) -> int:
    return trained(network).card.classes.index(label)


def _lowest(name: str, label: str) -> str:
    network = weights.find(name)
    return f"{float(_occlusion(network, label).probability(_class(network, label)).min()):.2f}"


def _turned(name: str, label: str) -> str:
    network = weights.find(name)
    found, own = _occlusion(network, label), _moved_curve(network, label, "shift", 0).logits[0].argmax()
    return f"{int((found.predicted() != own).sum())} of {found.squares}"


@functools.lru_cache(maxsize=64)
def _moved_curve(network: Weights, label: str, kind: str, amount: float, layers: tuple[str, ...] = ()) -> Curve:
    of_network = trained(network)
    return invariance.curve(of_network.model, _input(of_network.card, label), kind, [amount], layers)


def _distance(name: str, layer: str, label: str, kind: str, amount: str) -> str:
    return f"{float(_moved_curve(weights.find(name), label, kind, float(amount), (layer,)).distances[0, 0]):.2f}"


def _moved(name: str, label: str, kind: str, amount: str) -> str:
    network = weights.find(name)
    curve = _moved_curve(network, label, kind, float(amount))
    return f"{float(curve.probability(_class(network, label))[0]):.2f}"


@functools.lru_cache(maxsize=16)
def _signals(network: Weights, layer: str, label: str, other: str) -> SignalChecks:
    of_network = trained(network)
    images = (_input(of_network.card, which) for which in (label, other))
    return sanity.check_signals(of_network.model, *images, layer)


def _perturbed(name: str, label: str, level: str) -> str:
    """The probability of the class after one step of at most `level` of 255."""
    network = weights.find(name)
    of_network, true = trained(network), _class(network, label)
    scale = {"std": of_network.card.std, "mean": of_network.card.mean}
    image = _input(of_network.card, label)
    changed = adversarial.perturb(of_network.model, image, true, epsilon=int(level) / 255, **scale)
    answer = evaluation.answer(of_network.model, changed)
    return f"{answer.probability(true):.2f}"


# The reports ---------------------------------------------------------------------------------------------------


def _reported(report: str, name: str, split: str) -> Reported:
    return next(one for one in reports.FIGURES if (str(one.report), one.network, one.split) == (report, name, split))


def _reported_test(number: str) -> ReportedTest:
    return {str(place): test for place, test in enumerate(reports.TESTS)}[number]  # by name: -1 is none


def _reported_class(number: str, label: str) -> tuple[float, Share]:
    test = _reported_test(number)
    place = test.classes.index(label)
    return test.printed[place], test.shares[place]


def _as_printed(share: float) -> str:
    """With all its decimals: how many a report prints says something about the number of images."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


def _agreeing(name: str) -> str:
    """How many of the ten intervals of report 1 hold our recall."""
    (test,) = (test for test in reports.TESTS if test.classes == data.CIFAR10_CLASSES)
    ours = _recalls(name)
    return str(
        sum(
            share.low <= ours[label].value <= share.high for label, share in zip(test.classes, test.shares, strict=True)
        )
    )


def _counted(share: Share) -> str:
    return f"{share.hits} of {share.total}"


def _probe(name: str, layer: str) -> str:
    """The accuracy of the linear probe of a layer, as it is stored with the network."""
    found = probes.load(trained(weights.find(name)))
    if found is None:
        raise KeyError(name)
    return percent(next(found.accuracy(reading).value for reading in found.readings if reading.layer == layer))


FIGURES: dict[str, Callable[..., str]] = {
    "accuracy": lambda name: percent(_share(name).value),
    "interval": lambda name: _interval(_share(name)),
    "recall": _recall,
    "settled": _settled,
    "hardest": lambda name: min(_recalls(name).items(), key=lambda entry: entry[1].value)[0],
    "mistake": _mistake,
    "pair": _pair,
    "points": _points,
    "training": lambda name: _of_best_epoch(name, "train_accuracy"),
    "validation": lambda name: _of_best_epoch(name, "val_accuracy"),
    "verdict": _verdict,
    "images_per_class": _images_per_class,
    "epochs": lambda name: str(_card(name).epochs),
    "size": lambda name: str(_card(name).input_size),
    "parameters": lambda name: f"{_card(name).parameters:,}",
    "part": lambda name, part: f"{_part(name, part):,}",
    "share": _share_of_part,
    "work": lambda name: f"{all_networks.multiply_adds(_card(name)) / 1e6:.0f} million",
    "maps": _maps,
    "poolings": _poolings,
    "similarity": _similarity,
    "change": lambda name, *of: reconstructions.change_in_words(_gain(weights.find(name), *of)),
    "gain": lambda name, *of: f"{_gain(weights.find(name), *of):.2g}",
    "cosine": lambda name, *of: f"{_cosine(weights.find(name), *of):.2f}",
    "correlation": lambda name, *of: f"{_correlation(weights.find(name), *of):.2f}",
    "lowest": _lowest,
    "turned": _turned,
    "distance": _distance,
    "moved": _moved,
    "noise": lambda name, layer, label: f"{_signals(weights.find(name), layer, label, label).noise_correlation:.2f}",
    "other_switches": lambda name, *of: f"{_signals(weights.find(name), *of).others_correlation:.2f}",
    "perturbed": _perturbed,
    "probe": _probe,
    "report": lambda *of: percent(_reported(*of).accuracy),
    "counted_overall": lambda number: _interval(_reported_test(number).overall),
    "listed": lambda *of: _as_printed(_reported_class(*of)[0]),
    "counted": lambda *of: _counted(_reported_class(*of)[1]),
    "counted_interval": lambda *of: _interval(_reported_class(*of)[1]),
    "agreeing": _agreeing,
    "quoted": lambda report, what: reports.QUOTED[int(report), what],
}
"""What may stand in braces, by its first word."""
