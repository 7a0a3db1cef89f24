"""The Python behind a view: about ten lines with `engine` that compute the page's picture from the page's selection.

A page's own `code.py` makes the lines from the frozen values that its picture was made from; here is what they begin
and end with. Whatever comes from a link, a file or a card gets into a line through `repr` only.
"""

import re
from collections.abc import Sequence

from engine.views import PHOTOGRAPHS, View
from engine.weights import TRAINED, Weights
from pages.common import resources
from pages.common.resources import OWN

MODULES = {
    "engine": (
        "adversarial, agreement, all_networks, batch_statistics, checkpoints, data, deconv, effective_field, "
        "evaluation, evidence, evolution, feature_maps, filters, inactivity, invariance, inversion, lesions, "
        "map_sheets, network, occlusion, patch_sheets, patches, pictures, probes, reports, sanity, tape, tiles, "
        "weights"
    ),
    "engine.accuracy": "calibration, comparison, figures, images",
    "engine.data": "perturbations, photographs",
    "engine.graph.receptive_field": "Box, receptive_field",
    "engine.maximization": "stored",
    "engine.network": "convolution, deconvnet_layer, diagram",
    "engine.training": "curves, histories, images_per_class, live_files, recipe, run, start, toml_text",
    "pathlib": "Path",
}
"""What the lines of all pages may use, and where it is."""


def script(*lines: str) -> str:
    """A script of these lines, with the imports that they need."""
    body = "\n".join(lines) + "\n"
    used = [(module, [name for name in names.split(", ") if _uses(body, name)]) for module, names in MODULES.items()]
    imports = [f"from {module} import {', '.join(names)}\n" for module, names in sorted(used) if names]
    numpy = "import numpy as np\n\n" if _uses(body, "np") else ""
    first = [line for line in imports if line.startswith("from pathlib")]
    own = "".join(line for line in imports if line not in first)
    return "".join([*first, "\n" if first and not numpy else "", numpy, own, "\n", body])


def _uses(body: str, name: str) -> bool:
    return re.search(rf"(?<![\w.'\"]){name}[.(]", body) is not None


def load(network: Weights, moment: str | None = None) -> str:
    """The line that loads a network; `moment`: an expression instead of its own moment."""
    said = moment or ("" if network.moment == TRAINED else repr(network.moment))
    return f"trained = weights.load(weights.find({network.checkpoint!r}{f', {said}' if said else ''}))"


def image(view: View) -> str:
    """An expression for the view's image, uint8 `[1, S, S, 3]`."""
    if view.split == PHOTOGRAPHS:
        return f"photographs.shipped({resources.photograph_name(view.index)!r})[None]"
    if view.split == OWN:
        name = resources.own_picture_name(view.index)
        return f"photographs.read(Path({name!r}).read_bytes(), {name!r})[None]"
    return f"data.bundled({view.split!r}).images[[{view.index}]]"


def prepare(view: View, of: str | None = None) -> str:
    """The line that makes the network's input; `of`: an expression instead of the view's image."""
    return f"x = data.prepare({of or image(view)}, {view.size}, trained.card.mean, trained.card.std)"


def record(view: View, layer: str | None = None) -> str:
    """The line that records the forward pass; `layer`: an expression instead of the view's layer."""
    return f"recorded = tape.record(trained.model, x, {layer or repr(view.layer)})"


def looking_at(view: View) -> list[str]:
    """The lines up to the recorded forward pass."""
    return [load(view.network), prepare(view), record(view)]


def save(name: str) -> str:
    """The line that saves `picture`, uint8 `[H, W, 3 or 4]`."""
    return f"Path({name!r}).write_bytes(pictures.png(picture))"


def loop(variable: str, values: Sequence[str], body: Sequence[str]) -> list[str]:
    """A loop over expressions."""
    listed = ", ".join(values) + ("," if len(values) == 1 else "")
    return [f"for {variable} in ({listed}):", *(f"    {line}" for line in body)]
