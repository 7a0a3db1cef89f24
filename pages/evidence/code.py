"""The code behind the page's views: each line calls the engine as the view does."""

from collections.abc import Sequence

from engine.views import View
from engine.weights import Weights
from pages.common import code, sheets
from pages.evidence.jobs import FILLS, GRAD_CAM, Attack, Lesion, MovingSettings, OcclusionSettings, SanitySettings

PIXELS = "image = data.pixels_of(x, trained.card.mean, trained.card.std)[0]"


def of_occlusion(settings: OcclusionSettings, label: int, one_scale: bool) -> str:
    """The map of the class's probability over the image."""
    shares = "heat.double().numpy()" if one_scale else "pictures.stretched(heat)"
    return _script(
        settings.view,
        _occluded(settings),
        f"heat = found.over_pixels(found.probability({label}))",
        f"picture = pictures.enlarged(pictures.over_image({shares}, image)[None], {sheets.SIDE})[0]",
        code.save("occlusion.png"),
    )


def of_methods(
    settings: Sequence[OcclusionSettings], labels: Sequence[int], cam: bool, as_pictures: bool, columns: int
) -> str:
    """Each image and each method's map of its class; `cam`: a class activation map, not Grad-CAM of the layer."""
    first = settings[0]
    heat, signed = (
        "pictures.over_image(pictures.stretched(heat), image)",
        "pictures.signed_each(played_back[name].pixels)[0]",
    )
    tile = f"{signed} if name in played_back else {heat}" if as_pictures else heat
    of_one = [
        code.prepare(first.view, "of"),
        PIXELS,
        _occluded(first),
        "before = evaluation.answer(trained.model, x).probability(label)",
        "played_back = evidence.of_class(trained.model, x, label)",
        "heats = {",
        "    'occlusion': before - found.over_pixels(found.probability(label)),",
        f"    'activation map': {_activation_map(first.view, 'label', cam)},",
        "    **{rule: evidence.heat(played.pixels) for rule, played in played_back.items()},",
        "}",
        "tiles.append(image)",
        "for name, heat in heats.items():",
        f"    tiles.append({tile})",
        "print(agreement.in_words(heats))",
    ]
    images = [f"({code.image(one.view)}, {label})" for one, label in zip(settings, labels, strict=True)]
    return code.script(
        code.load(first.view.network),
        "tiles = []",
        *code.loop("of, label", images, of_one),
        f"picture = pictures.sheet(pictures.enlarged(np.stack(tiles), {sheets.SIDE}), {columns})",
        code.save("evidence.png"),
    )


def of_sanity_check(settings: SanitySettings, tile: int, ink: str) -> str:
    """The methods' maps while the network becomes random from the answer down."""
    view, label = settings.view, settings.label
    return _script(
        view,
        "def look(model):",
        f"    coarse = evidence.grad_cam(model, x, {view.layer!r}, {label})",
        f"    return {{{GRAD_CAM!r}: evidence.enlarged(coarse, *x.shape[2:]), "
        f"**evidence.heats_of_class(model, x, {label})}}",
        f"steps = list(sanity.cascade(trained.model, look, {settings.seed}))",
        "checks = [(name, step[name]) for name in steps[0] for step in steps]",
        "tiles = [pictures.over_image(pictures.stretched(check.heat), image) for _, check in checks]",
        "labels = [name if check.stage == sanity.TRAINED else check.in_words for name, check in checks]",
        "heads = [(check.stage,) for _, check in checks[: len(steps)]]",
        f"tiles = pictures.enlarged(np.stack(tiles), {tile})",
        f"picture = pictures.sheet(tiles, len(steps), labels=labels, heads=heads, ink={ink!r})",
        code.save("sanity.png"),
    )


def of_attack(attack: Attack, cam: bool) -> str:
    """The image, what was added, the perturbed image; the evidence before and after, and a reconstruction."""
    of_map = _activation_map(attack.view, "label", cam, "of")
    return _script(
        attack.view,
        f"changed = adversarial.perturb(trained.model, x, {attack.label}, epsilon={attack.level:g} / 255, "
        f"std=trained.card.std, mean=trained.card.mean, steps={attack.steps}, target={attack.target})",
        "perturbed = data.pixels_of(changed, trained.card.mean, trained.card.std)[0]",
        "tiles = [image, pictures.signed_each(changed - x)[0], perturbed]",
        "for of in (x, changed):",
        "    label = evaluation.answer(trained.model, of).classes[0]",
        f"    tiles.append(pictures.over_image(pictures.stretched({of_map}), perturbed))",
        "played_back = evidence.of_class(trained.model, changed, label)['deconvnet']",
        "tiles.append(pictures.signed_each(played_back.pixels)[0])",
        f"picture = pictures.sheet(pictures.enlarged(np.stack(tiles), {sheets.SIDE}), 3)",
        code.save("adversarial.png"),
    )


def of_invariance(settings: MovingSettings, view: View, label: int) -> str:
    """The curves of one image."""
    return _script(
        view,
        f"curve = invariance.curve(trained.model, x, {settings.kind!r}, {settings.amounts!r}, {settings.layers!r})",
        f"for name, values in zip({(*settings.layers, 'probability')!r}, [*curve.distances, "
        f"curve.probability({label})]):",
        "    print(name, [round(value, 3) for value in values.tolist()])",
        image=False,
    )


def of_lesion(view: View, lesion: Lesion, of_each_class: int) -> str:
    """The accuracy without the part, on so many test images of each class."""
    without = (
        f"lesions.evaluate_without_branch(trained.model, inputs, labels, {lesion.block!r}, {lesion.branch!r})"
        if lesion.branch
        else f"lesions.evaluate_without(trained.model, inputs, labels, {lesion.layer!r}, {lesion.channels!r})"
    )
    return code.script(
        code.load(view.network),
        "test = data.bundled('test')",
        f"test = test.subset(data.first_of_each_class(test.labels, {of_each_class}))",
        "inputs = data.prepare(test.images, trained.card.input_size, trained.card.mean, trained.card.std)",
        "labels = test.labels",
        f"predictions = {without}",
        "print(figures.accuracy(predictions))",
    )


def _occluded(settings: OcclusionSettings) -> str:
    grey = FILLS[settings.fill]
    fill = "0.0" if grey is None else f"(({grey} - np.array(trained.card.mean)) / np.array(trained.card.std)).tolist()"
    said = f"patch={settings.patch}, stride={settings.stride}, fill={fill}"
    return f"found = occlusion.occlude(trained.model, x, {said})"


def _activation_map(view: View, label: int | str, cam: bool, image: str = "x") -> str:
    of = f"class_activation_map(trained.model, {image}, {label})"
    if not cam:
        of = f"grad_cam(trained.model, {image}, {view.layer!r}, {label})"
    return f"evidence.enlarged(evidence.{of}, {view.size}, {view.size})"


def _script(view: View, *lines: str, image: bool = True) -> str:
    return code.script(code.load(view.network), code.prepare(view), *([PIXELS] if image else []), *lines)


def of_probes(network: Weights) -> str:
    """A linear probe of each stage, and what it reaches."""
    return code.script(
        code.load(network),
        "*_, found = probes.probe_in_steps(trained)  # some minutes",
        "for reading in found.readings:",
        "    print(reading.layer, found.accuracy(reading))",
        "print(probes.in_words(found))",
    )
