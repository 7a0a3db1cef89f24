"""The code behind the page's pictures: the maps of one layer, of two images, or of every layer."""

from collections.abc import Sequence

from engine.map_sheets import BRIGHTNESS
from engine.views import View
from engine.weights import TRAINED
from pages.common import code
from pages.feature_maps.drawings import WIDTH, Sheet
from pages.feature_maps.jobs import ManyMaps

FOUR = "four = activation[0, list(feature_maps.order_by_strength(activation)[:4])]"
OWN_SCALE = "feature_maps.scales([four[None]], together=True)"


def of_maps(sheet: Sheet) -> str:
    """All maps of a layer."""
    body = [*code.looking_at(sheet.view), "activation = recorded.activation"]
    scales = f"scales = feature_maps.scales([activation], together={_together(sheet)})"
    shown = "maps = tiles.coloured(activation[0], scales, feature_maps.is_signed(activation))"
    return code.script(*body, scales, shown, _arranged(sheet), code.save("maps.png"))


def of_patches(sheet: Sheet, whole: bool) -> str:
    """The strongest patch of each map in the image; `whole`: whether each unit sees all of it."""
    size = sheet.view.size
    body = [
        *code.looking_at(sheet.view),
        "activation = recorded.activation",
        "inactive, units = deconv.silent_channels(activation), feature_maps.strongest_units(activation)",
        f"seen, image = receptive_field(trained.model, {sheet.view.layer!r}), ({size}, {size})",
        "shown = [None if c in inactive else unit for c, unit in enumerate(units)]",
        f"boxes = [unit and {'Box(0, 0, *image)' if whole else 'seen.box(*unit, image)'} for unit in shown]",
        "pixels = data.pixels_of(x, trained.card.mean, trained.card.std)[0]",
        "maps = tiles.lit(tiles.fitted(pixels, 64), boxes, image)",
    ]
    if whole:
        body += [
            "high, wide = activation.shape[2:]",
            f"at = [unit and ((2 * unit[0] + 1) * {size} // (2 * high), (2 * unit[1] + 1) * {size} // (2 * wide))"
            " for unit in shown]",
            "maps = tiles.dotted(maps, at, image)",
        ]
    return code.script(*body, _arranged(sheet), code.save("patches.png"))


def of_two_images(sheet: Sheet) -> str:
    """All maps of a layer on two images, on one scale, side by side."""
    views = (sheet.view, sheet.partner)
    scales = f"feature_maps.scales(both, together={_together(sheet)})"
    body = [
        code.load(sheet.view.network),
        "both = []",
        *code.loop(
            "image",
            [code.image(view) for view in views],
            [
                code.prepare(sheet.view, "image"),
                f"both.append(tape.record(trained.model, x, {sheet.view.layer!r}).activation)",
            ],
        ),
        f"scales, signed = {scales}, any(map(feature_maps.is_signed, both))",
        "sheets = []",
        "for activation in both:",
        "    maps = tiles.coloured(activation[0], scales, signed)",
        f"    {_arranged(sheet)}",
        "    sheets.append(picture)",
        "picture = pictures.sheet(np.stack(sheets), 2, gap=32)",
    ]
    return code.script(*body, code.save("two-images.png"))


def of_every_layer(view: View, side: int, of_stages: bool) -> str:
    """The four strongest maps of every layer (`of_stages`: of the last one of each stage), `side` pixels each."""
    body = [
        code.load(view.network),
        code.prepare(view),
        "maps = feature_maps.all_maps(trained.model, x)",
        *(["maps = map_sheets.with_room(trained.model, maps)"] if of_stages else []),
        "columns = []",
        "for activation in maps.values():",
        f"    {FOUR}",
        f"    shown = tiles.coloured(four, {OWN_SCALE}, feature_maps.is_signed(activation))",
        f"    columns.append([tiles.fitted(one, {side}) for one in shown])",
        'heads = [(name, "{1} of {2} x {3}".format(*one.shape)) for name, one in maps.items()]',
        f"rows = np.stack(columns, axis=1).reshape(-1, {side}, {side}, 3)",
        'picture = pictures.sheet(rows, len(maps), heads=heads, ink="black", ground=pictures.WHITE)',
    ]
    return code.script(*body, code.save("every-layer.png"))


def of_many_maps(settings: ManyMaps) -> str:
    """Many maps of a layer with their strongest images and the reconstructions from these."""
    search = "patches.search(trained)  # all images: some minutes"
    stored = f"patches.load(trained) or {search}"
    body = [
        code.load(settings.network),
        'images = data.bundled("test").images',
        f"index = {stored if settings.network.moment == TRAINED else search}",
        f"top = index.of({settings.layer!r})",
        f"seen = receptive_field(trained.model, {settings.layer!r})",
        f"look = (trained, {settings.layer!r}, seen, top)",
        "nines = []",
        f"for channel in {list(settings.channels)}:",
        "    nines.append(",
        f"        patch_sheets.nine_of(*look, channel, images, {settings.crop!r}, batch_norm={settings.batch_norm})",
        "    )",
        "picture = patch_sheets.sheet(nines, len(nines))",
    ]
    return code.script(*body, code.save("many-maps.png"))


def over_training(view: View, channel: int, batch_norm: bool, moments: Sequence[str]) -> str:
    """One map, and the reconstruction from its strongest unit on the image, at each moment."""
    of_each = [
        code.load(view.network, "moment"),
        code.prepare(view),
        code.record(view),
        f"of_moment = evolution.of_kernel(trained.model, {view.layer!r}, {channel})",
        f"of_moment |= evolution.of_image(recorded, {channel}, batch_norm={batch_norm})",
        "columns.append(evolution.Moment((moment,), of_moment))",
    ]
    lines = ["columns = []", *code.loop("moment", [repr(one) for one in moments], of_each)]
    return code.script(*lines, "picture = evolution.sheet(columns)", code.save("over-training.png"))


def _together(sheet: Sheet) -> bool:
    return sheet.brightness == BRIGHTNESS[0]


def _arranged(sheet: Sheet) -> str:
    """The line that lays the maps out; in their own order nothing is picked."""
    in_order = sheet.order == tuple(range(len(sheet.order)))
    maps = "maps" if in_order else f"maps[{list(sheet.order)}]"
    return f"picture = pictures.sheet({maps}, {sheet.columns}, width={WIDTH}, gap={sheet.gap})"
