"""The code behind the page's curves."""

from collections.abc import Sequence

from pages.common import code
from pages.learning_curves.charts import COLUMNS, Style


def of(keys: Sequence[str], style: Style) -> str:
    """The numbers that are drawn, curve by curve, and the best epochs."""
    columns = [columns[images] for columns in COLUMNS.values() for images in style.images if images in columns]
    against = "curves.elapsed(table)" if style.time else "table['epoch']"
    return code.script(
        "places = histories.find()",
        f"for key in {list(keys)!r}:",
        "    table = histories.read(places[key]).table",
        f"    print(key, list({against}))",
        f"    for column in {columns!r}:",
        f"        print(column, curves.smoothed_by_size(table, column, {style.weight}))",
        "    print(curves.best_epochs(table))",
    )


def of_images_per_class() -> str:
    """The points of the chart, and what they say."""
    return code.script(
        "points = images_per_class.points(images_per_class.results())",
        "for point in points:",
        "    print(point)",
        "print(images_per_class.in_words(points))",
    )
