"""The chart of an address, for a worksheet."""

from collections.abc import Iterator, Mapping, Sequence

from pages.accuracy import classes, confusion, two_networks
from pages.accuracy.subject import SIDEBAR, candidates, of_network, subject_called
from pages.common import selection
from pages.common.downloads import INK, Chart


def charts_of(address: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Chart]]:
    """A caption and a chart, of the views that are charts first of all.

    Raises:
        ConvscopeError: a network is not on this machine.
    """
    said = {key: values[-1] for key, values in address.items()}
    subject = subject_called(said.get("of", SIDEBAR), said.get("checkpoint", selection.PREFERRED))
    view = said.get("view", "Classes")
    if view == "Classes":
        yield (
            f"Accuracy of each class of {subject.name}",
            classes.bars(subject, said.get("order", classes.ORDERS[0]), None, INK),
        )
    elif view == "Confusion":
        chart = confusion.matrix(
            subject, said.get("cells", confusion.CELLS[0]), said.get("order", confusion.ORDERS[0]), None
        )
        yield f"Confusion matrix of {subject.name}", chart
    elif view == "Two networks":
        others = [name for name in candidates() if name != subject.name]
        second = of_network(said.get("against", others[0]))
        yield f"Accuracy of each class of {subject.name} and of {second.name}", two_networks.dumbbells(subject, second)
