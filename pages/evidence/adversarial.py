"""A change too small to be seen turns the answer: the image, what was added, and what the methods make of it."""

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import adversarial, data, evaluation, evidence, pictures, weights
from engine.evaluation import Answer
from engine.weights import Weights
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts
from pages.common.controls import Option
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.evidence import charts, code, drawings
from pages.evidence.jobs import EPSILONS, Attack, AttackSettings, attacks_of

LEVELS = ("0.5", "1", "2", "4", "8", "16")
ATTACKS = {"one step (FGSM)": 1, "10 steps (PGD)": 10}
ANY = "any other"


@keep("Looking for the perturbation …")
def perturbed(attack: Attack) -> Tensor:
    """`[1, 3, S, S]`, normalised."""
    trained = resources.trained(attack.view.network)
    return adversarial.perturb(
        trained.model,
        resources.network_input(attack.view),
        attack.label,
        epsilon=attack.level / 255,
        std=trained.card.std,
        mean=trained.card.mean,
        steps=attack.steps,
        target=attack.target,
    )


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    with row:
        level = selection.steps("Epsilon, of 255", LEVELS, "epsilon", "4")
        with layout.options({"attack": Option("attack", tuple(ATTACKS)), "toward": Option("toward", usual=ANY)}):
            steps = ATTACKS[selection.segments("Attack", tuple(ATTACKS), "attack")]
            toward = selection.choose("Toward", "toward", [ANY, *chosen.card.classes], ANY)
    view, classes = chosen.view(), chosen.card.classes
    label = classes.index(chosen.truth) if chosen.truth in classes else resources.answer(view).classes[0]
    target = None if toward == ANY else classes.index(toward)
    attack = Attack(view, label, float(level), steps, target)
    draw_pictures(attack, classes)
    draw_transfer(attack)
    draw_accuracy(attack)
    texts.what_to_look_at(
        "What was added is drawn many times as strong: can you see it in the perturbed image?",
        "The evidence moves with the answer. Is there anything of the new class to be seen?",
        "Another network: does the same picture turn its answer, too?",
    )
    st.latex(formula(steps, target is not None))


def formula(steps: int, is_targeted: bool) -> str:
    """One step (FGSM), or one of several, each followed by a projection (PGD)."""
    sign, label = ("-", "class to move toward") if is_targeted else ("+", "true class")
    if steps == 1:
        return rf"x'=x{sign}\epsilon\,\mathrm{{sign}}\,\nabla_x\,L(x,\text{{{label}}})"
    step = rf"\tfrac{{{adversarial.STRIDE:g}}}{{{steps}}}\,\epsilon"
    return (
        rf"x_{{t+1}}=\Pi_{{|x'-x|\le\epsilon}}\big(x_t{sign}{step}\,\mathrm{{sign}}\,"
        rf"\nabla_x\,L(x_t,\text{{{label}}})\big)"
    )


# The pictures --------------------------------------------------------------------------------------------------


def draw_pictures(attack: Attack, classes: list[str] | tuple[str, ...]) -> None:
    """Image, perturbation and perturbed image; below, the evidence for what is predicted before and after."""
    model = resources.trained(attack.view.network).model
    image, changed = resources.network_input(attack.view), perturbed(attack)
    before, after = resources.answer(attack.view), evaluation.answer(model, changed)
    difference, pixels = changed - image, _pixels(attack, changed)
    shown = {
        f"The image: {_said(before, classes)}": resources.input_pixels(attack.view),
        f"Added, {_times(difference, attack)} times as strong": pictures.signed_each(difference)[0],
        f"Perturbed: {_said(after, classes)}": pixels,
        f"Evidence for {texts.plain(classes[before.classes[0]])}, before": _evidence(
            attack, image, before.classes[0], pixels
        ),
        f"Evidence for {texts.plain(classes[after.classes[0]])}, after": _evidence(
            attack, changed, after.classes[0], pixels
        ),
        "Deconvnet of the new answer": pictures.signed_each(
            evidence.of_class(model, changed, after.classes[0])["deconvnet"].pixels
        )[0],
    }
    with layout.stage(2, all_named=True):
        for start in (0, 3):
            for column, (title, tile) in zip(st.columns(3, gap="small"), list(shown.items())[start:][:3], strict=True):
                with column:
                    sheets.show(drawings.large(tile), title)
                    st.caption(f"**{title}**")
    st.info(in_words(attack, before, after, classes))
    sheet = pictures.sheet(np.stack([drawings.enlarged(tile) for tile in shown.values()]), 3)
    downloads.picture("Pictures (PNG)", pictures.png(sheet), "adversarial.png")
    downloads.code(code.of_attack(attack, evidence.last_maps(model) is not None))


def in_words(attack: Attack, before: Answer, after: Answer, classes: list[str] | tuple[str, ...]) -> str:
    """Whether the attack has turned the answer."""
    change = f"No pixel changes by more than {attack.level:g} of 255."
    first, second = (texts.plain(classes[answer.classes[0]]) for answer in (before, after))
    if before.classes[0] == after.classes[0]:
        return (
            f"{change} The answer stays {first}; its probability goes from {before.probabilities[0]:.2f} to "
            f"{after.probabilities[0]:.2f}."
        )
    return (
        f"{change} The answer turns from {first} ({before.probabilities[0]:.2f}) to {second} "
        f"({after.probabilities[0]:.2f})."
    )


def _pixels(attack: Attack, changed: Tensor) -> np.ndarray:
    card = resources.trained(attack.view.network).card
    return data.pixels_of(changed, card.mean, card.std)[0]


def _evidence(attack: Attack, image: Tensor, label: int, pixels: np.ndarray) -> np.ndarray:
    """uint8 `[S, S, 3]`: the class activation map, or Grad-CAM of the view's layer, over the image."""
    model = resources.trained(attack.view.network).model
    if evidence.last_maps(model) is not None:
        coarse = evidence.class_activation_map(model, image, label)
    else:
        coarse = evidence.grad_cam(model, image, attack.view.layer, label)
    return pictures.over_image(pictures.stretched(evidence.enlarged(coarse, *image.shape[2:])), pixels)


def _said(answer: Answer, classes: list[str] | tuple[str, ...]) -> str:
    return f"{texts.plain(classes[answer.classes[0]])}, {texts.percent(answer.probabilities[0])}"


def _times(difference: Tensor, attack: Attack) -> str:
    """How many times as strong as in the image the difference is drawn."""
    card = resources.trained(attack.view.network).card
    scale = pictures.scale_of(difference) * float(np.mean(card.std))
    return pictures.factor(0.5 / scale) if scale > 0 else "0"


# Other networks, many images -----------------------------------------------------------------------------------


def draw_transfer(attack: Attack) -> None:
    """What the other networks say of the image and of the perturbed one, if the reader asks."""
    if selection.switch("Show it to the other networks", "transfer", True, "Loads them all.", usual=False):
        st.table(transfer(attack, with_the_classes_of(attack.view.network)))


def with_the_classes_of(network: Weights) -> tuple[Weights, ...]:
    """The trained networks on this machine that know the same classes."""
    classes = tuple(resources.trained(network).card.classes)
    return tuple(Weights.of(card) for card in weights.cards().values() if tuple(card.classes) == classes)


@st.cache_data(max_entries=32, show_spinner="Asking the other networks …")
def transfer(attack: Attack, networks: tuple[Weights, ...]) -> pd.DataFrame:
    """A row per network: its answer to the image, and to the perturbed picture."""
    own = resources.trained(attack.view.network).card
    image, changed = resources.network_input(attack.view), perturbed(attack)
    rows = {}
    for network in networks:
        trained = resources.trained(network)
        card = trained.card
        size = {"size": card.input_size, "other_std": card.std, "other_mean": card.mean}
        inputs = [adversarial.as_input_of_another(x, std=own.std, mean=own.mean, **size) for x in (image, changed)]
        rows[texts.plain(network)] = [_said(evaluation.answer(trained.model, x), card.classes) for x in inputs]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["the image", "perturbed"]).rename_axis("network")


def draw_accuracy(attack: Attack) -> None:
    """Accuracy against epsilon on test images, once the reader has started it."""
    card = resources.trained(attack.view.network).card
    if not card.dataset.startswith("cifar10"):
        return
    job = attacks_of(AttackSettings(attack.view.network, attack.steps))
    st.markdown("**Accuracy against epsilon**, on 200 test images, each moved away from its true class")
    jobs.buttons(job, start="Attack 200 images", key="attack_all")
    jobs.follow(job, look=lambda: draw_curve(job.accuracies))


def draw_curve(accuracies: list[float]) -> None:
    if accuracies:
        rows = pd.DataFrame({"epsilon, of 255": EPSILONS, "accuracy": accuracies})
        alt = "Accuracy on perturbed images against epsilon"
        st.altair_chart(charts.accuracy_chart(rows), key="accuracy_against_epsilon", alt=alt)
        downloads.table("Numbers (CSV)", rows, "epsilon.csv")
