"""The chart of an address, for a worksheet."""

from collections.abc import Iterator, Mapping, Sequence

from engine.lectures import one_of
from pages.accuracy import classes, confusion, two_networks
from pages.accuracy.subject import of_network, subject_called, subjects
from pages.common import selection
from pages.common.downloads import INK, Chart


def charts_of(address: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Chart]]:
    """A caption and a chart, of the views that are charts first of all.

    Raises:
        ConvscopeError: a network is not on this machine.
        LookupError: the page does not offer what the address asks for.
    """
    said = {key: values[-1] for key, values in address.items()}
    subject = subject_called(one_of(said, "of", subjects()), said.get("checkpoint", selection.PREFERRED))
    view = said.get("view", "Classes")
    if view == "Classes":
        yield (
            f"Accuracy of each class of {subject.name}",
            classes.bars(subject, one_of(said, "order", classes.ORDERS), None, INK),
        )
    elif view == "Confusion":
        cells, order = one_of(said, "cells", confusion.CELLS), one_of(said, "order", confusion.ORDERS)
        chart = confusion.matrix(subject, cells, order, None)
        yield f"Confusion matrix of {subject.name}", chart
    elif view == "Two networks":
        second = of_network(one_of(said, "against", two_networks.others(subject)))
        yield f"Accuracy of each class of {subject.name} and of {second.name}", two_networks.dumbbells(subject, second)
