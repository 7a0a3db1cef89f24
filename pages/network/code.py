"""The code behind the page's figures."""

from engine.checkpoints import Card
from engine.models import ARCHITECTURES
from engine.network.deconvnet_layer import FilteredSum
from engine.views import View
from engine.weights import Weights
from pages.common import code
from pages.network.jobs import DRAWN, PER_CLASS, BatchSettings, FieldSettings


def of_table(network: Weights, card: Card, size: int, by_parts: bool) -> str:
    """The layer table, row by row."""
    rows = "network.stages(table)" if by_parts else "table.operations"
    return code.script(
        *_described(network, card, size),
        f"for row in {rows}:",
        "    print(row.name, network.shape_in_words(row.output), row.arithmetic, row.multiply_adds, "
        "row.receptive_field.size)",
        "print(network.arithmetic_of_all(table), table.multiply_adds)",
    )


def of_diagram(network: Weights, card: Card, size: int) -> str:
    """The boxes of the diagram, and which of them each reads."""
    return code.script(
        *_described(network, card, size),
        "drawn = diagram.diagram(table)",
        "for box in drawn.boxes:",
        "    print(box.name, box.words, box.shape, box.inputs, drawn.places[box.name])",
    )


def _described(network: Weights, card: Card, size: int) -> list[str]:
    if card.architecture not in ARCHITECTURES:
        return [code.load(network), f"table = network.describe(trained.model, {size})"]
    return [
        f"card = weights.cards()[{card.name!r}]",
        f"empty = network.shapes_only(card.architecture, len(card.classes), {size}, card.options)",
        f"table = network.describe(empty, {size})",
    ]


def of_one_step(view: View, channel: int, row: int, column: int) -> str:
    """One step of the first convolution."""
    return code.script(
        code.load(view.network),
        code.prepare(view),
        "done = convolution.convolved(trained.model, x, convolution.first_convolution(trained.model))",
        f"step = convolution.window_sum(done, {channel}, {row}, {column})",
        "print(step.window, step.kernel, step.products, sep='\\n')",
        "print(step.sums, step.bias, step.total)",
    )


def of_deconvnet_layer(view: View, unit: tuple[int, int, int], found: FilteredSum) -> str:
    """One deconvnet layer, with the switch of one unit and one number of the filtered map."""
    place = f"{found.below}, {found.row}, {found.column}"
    return code.script(
        code.load(view.network),
        code.prepare(view),
        f"done = deconvnet_layer.deconvnet_layer(trained.model, x, {view.layer!r})",
        f"print(done.node, done.signal[{unit}], done.switch{unit})",
        "for part in done.parts:",
        "    print(part.kind, part.node, part.signal.shape)",
        f"found = deconvnet_layer.filtered_sum(done, {unit[0]}, {place})",
        "print(found.products, found.share, found.others, found.total)",
    )


def of_fields(settings: FieldSettings) -> str:
    """The effective receptive fields of several layers."""
    return code.script(
        code.load(settings.network),
        'test = data.bundled("test")',
        f"images = test.images[data.first_of_each_class(test.labels, {PER_CLASS})]",
        f"x = data.prepare(images, {settings.size}, trained.card.mean, trained.card.std)",
        f"found = effective_field.measure(trained.model, x, {list(settings.layers)})",
        "for layer, field in found.items():",
        "    print(effective_field.in_words(field, receptive_field(trained.model, layer)))",
    )


def of_batches(settings: BatchSettings) -> str:
    """Batches of several sizes in training mode."""
    return code.script(
        code.load(settings.view.network),
        code.prepare(settings.view),
        'test = data.bundled("test")',
        f"drawn = test.subset(data.first_of_each_class(test.labels, {DRAWN}))",
        "images = data.prepare(drawn.images, trained.card.input_size, trained.card.mean, trained.card.std)",
        f"image, label, norm = x, {settings.label}, {settings.norm!r}",
        "*_, found = batch_statistics.watch_in_steps(",
        f"    trained.model, images, drawn.labels, image, label, norm, seed={settings.seed}",
        ")",
        "for one in found:",
        "    print(one.size, one.changed, one.probabilities, one.means[-1], one.variances[-1])",
        "print(batch_statistics.in_words(found))",
    )
