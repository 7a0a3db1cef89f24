"""Filters: the kernels as pictures, their preferences in words, how training changes them, and deeper kernels."""

from pages.common import layout, selection, texts
from pages.filters import deeper_layers, first_layer, training

VIEWS = {
    "first layer": first_layer.show,
    "before and after training": training.show,
    "deeper layers": deeper_layers.show,
}


def main() -> None:
    """The page."""
    chosen = selection.current()
    texts.headline(f"What the filters of {chosen.network} respond to")
    row = layout.row()
    with row:
        view = selection.segments("Show", tuple(VIEWS), "view")
    VIEWS[view](chosen, row)


main()
