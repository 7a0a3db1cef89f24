"""Evidence: what in the image is the network's answer based on?"""

from pages.common import layout, selection, texts
from pages.evidence import adversarial, invariance, lesions, linear_probes, methods, occlusion, sanity_check

VIEWS = {
    "occlusion": occlusion.draw,
    "methods": methods.draw,
    "sanity check": sanity_check.draw,
    "adversarial": adversarial.draw,
    "invariance": invariance.draw,
    "lesions": lesions.draw,
    "probes": linear_probes.draw,
}


def main() -> None:
    """The page."""
    chosen = selection.current()
    texts.headline(f"What in the image the answer of {chosen.network} is based on")
    row = layout.row()
    with row:
        view = selection.segments("Look at", tuple(VIEWS), "view")
    VIEWS[view](chosen, row)


main()
