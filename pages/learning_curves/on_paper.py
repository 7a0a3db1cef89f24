"""The charts of an address, for a worksheet."""

from collections.abc import Iterator, Mapping, Sequence

import altair as alt
import pandas as pd

from engine.errors import ConvscopeError
from engine.lectures import one_of
from engine.training import histories, images_per_class
from pages.learning_curves import charts
from pages.learning_curves import images_per_class as page_images_per_class
from pages.learning_curves.charts import AXES, IMAGES, MOST, SCALES, SMOOTHING, Style
from pages.learning_curves.reading import history, ready_made, usual_curves, version


def charts_of(address: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, alt.TopLevelMixin | str]]:
    """Captions and charts: loss and accuracy of the curves that the address names.

    Of a history that cannot be read the caption says why, and there is no chart ("").

    Raises:
        LookupError: the page does not offer what the address asks for.
    """
    said = {key: values[-1] for key, values in address.items()}
    if said.get("comparison") == page_images_per_class.COMPARISON.name:
        points = images_per_class.points(images_per_class.results())
        yield page_images_per_class.COMPARISON.question, page_images_per_class.chart(pd.DataFrame(points))
        return
    places = histories.find()
    comparison = ready_made(places).get(said.get("comparison", ""))
    keys = comparison.keys if comparison else address.get("curves", usual_curves(places))
    chosen = []
    for key in [key for key in keys if key in places][:MOST]:
        try:
            chosen.append(history(version(places[key])))
        except ConvscopeError as error:
            yield str(error), ""
    style = Style(
        one_of(said, "axis", AXES) == "time",
        IMAGES[one_of(said, "measured_on", IMAGES)],
        one_of(said, "loss_scale", SCALES) == "log",
        SMOOTHING[one_of(said, "smoothing", SMOOTHING)],
        one_of(said, "reports", ("true", "false")) == "true",
    )
    for metric in charts.COLUMNS if chosen else ():
        yield f"Learning curves: {metric}", charts.chart(chosen, metric, style)
