"""View "batch norm" of the Network page: batch statistics against running ones, live, on a copy of the network."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import batch_statistics
from engine.batch_statistics import STEPS
from pages.common import downloads, jobs, layout, resources, selection, texts
from pages.common.controls import Option
from pages.common.selection import Selection
from pages.network import charts, code
from pages.network.jobs import BatchSettings, WatchingBatches, batches_of

SEEDS = 1000


def show(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    norms = batch_statistics.norms(resources.trained(chosen.network).model)
    if not norms or not chosen.card.dataset.startswith("cifar10"):
        why = "has no batch norm" if not norms else "does not know the classes of the test images"
        st.info(f"{texts.plain(chosen.card.name)} {why}: choose another network, such as model_two or resnet18.")
        return
    view = chosen.view("")
    with row:
        with layout.options(
            {
                "norm": Option("batch norm", list(norms)),
                "channel": Option("channel", range(max(norms.values()))),
                "logit": Option("class", usual=selection.PREDICTED),
                "seed": Option("seed", range(SEEDS)),
            }
        ):
            norm = selection.choose("Batch norm", "norm", list(norms), next(iter(norms)))
            channel = selection.number_in_link(f"Channel (0 to {norms[norm] - 1})", "channel", norms[norm])
            label = selection.class_to_explain(chosen, view)
            seed = selection.number_in_link("Seed of the batches", "seed", SEEDS)
        settings = BatchSettings(view, norm, label, seed)
        job = batches_of(settings)
        jobs.buttons(job, start="Send batches through", again="Again", key="batches")
    if not job.found and not job.alive:
        st.caption(
            "Batches of 2, 8, 32 and 128 test images go through a copy of the network whose batch norms are in "
            "training mode. The network itself stays as it is."
        )
    jobs.follow(job, look=lambda: draw(chosen, settings, job, channel))
    texts.what_to_look_at(
        "Small batches in training mode: the weights are the same, and yet many answers are wrong.",
        "Each point is the same image among other ones. In evaluation mode (orange) its neighbours do not matter.",
        "The running statistics begin at 0 and 1. Small batches make them tremble: do all sizes end at the same place?",
    )
    st.latex(
        r"y=\gamma\,\frac{x-\mu_B}{\sqrt{\sigma_B^2+\epsilon}}+\beta \qquad"
        r"\mu \leftarrow 0.9\,\mu + 0.1\,\mu_B"
    )


def draw(chosen: Selection, settings: BatchSettings, job: WatchingBatches, channel: int) -> None:
    """Accuracy and one image's answers by batch size; the running statistics over the steps."""
    found = job.found
    if not found:
        return
    label, own = chosen.card.classes[settings.label], resources.answer(settings.view).probability(settings.label)
    accuracies, answers, running = charts.accuracies(found), charts.answers(found), charts.running(found, channel)
    stored = resources.trained(chosen.network).model.get_submodule(settings.norm)
    specs = {
        "Accuracy by batch size, in training and in evaluation mode": charts.accuracy_chart(accuracies),
        f"p({label}) of one image, among other images of its batch": charts.answer_chart(answers, own, label),
        "Running mean over the steps": charts.running_chart(running, "mean", float(stored.running_mean[channel])),
        "Running variance over the steps": charts.running_chart(
            running, "variance", float(stored.running_var[channel])
        ),
    }
    with layout.stage(2):
        places = [*st.columns(2, gap="small"), *st.columns(2, gap="small")]
    for number, (place, (words, spec)) in enumerate(zip(places, specs.items(), strict=True)):
        with place:
            st.altair_chart(spec, height="stretch", key=f"batches_{number}", alt=words)
    st.info(batch_statistics.in_words(found))
    st.caption(
        f"{STEPS} batches of each size, drawn from 500 test images. Below: {texts.plain(settings.norm)}, channel "
        f"{channel}; the dashed line is what is stored with the network, at the end of its own training."
    )
    if job.complete:
        name = f"{chosen.network.file_name}-batches"
        accuracy, answer, mean, _ = specs.values()
        downloads.chart(accuracy, accuracies, f"{name}-accuracy", "Accuracy by batch", "Training and evaluation mode")
        downloads.chart(answer, answers, f"{name}-answers", "One image's answers", f"p({label}) among other images")
        running_name = "Running statistics"
        downloads.chart(mean, running, f"{name}-running", running_name, f"Running mean of {settings.norm}")
        downloads.code(code.of_batches(settings))
