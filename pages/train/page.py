"""Train: put a training together, start it, and look on while the network learns."""

import threading
from dataclasses import dataclass, field

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import settings
from engine.errors import ConvscopeError
from engine.training import live_files, run, toml_text, turns
from engine.training.curves import best_epoch
from engine.training.queue import jobs, limits
from engine.training.recipe import Recipe
from engine.training.records import ALIVE, EpochRecord, Status
from engine.training.run import RunFolder
from pages.common import downloads, selection, texts, visitors
from pages.train import code, estimate, files, images, kept_models, range_test, run_view
from pages.train import form as training_form

NEW = "a new training"
OPEN = "_open_run"
"""In the session: the `Opening`."""

LARGE_START = """<style>
.st-key-train_start button { min-height: 4.5rem; }
.st-key-train_start button p { font-size: 1.8rem; }
</style>"""

ButtonState = tuple[str, int, str, bool]
"""What decides which buttons there are: state, phase, state of keeping, and whether an epoch is over."""


# Which run -----------------------------------------------------------------------------------------------------


@dataclass
class Opening:
    """What a session is to show from its next rerun on.

    Streamlit breaks a script off, at a second click say, wherever it touches its session, and runs the next one beside
    it until then. So a run that has started is noted in this plain object, and the next script waits for that.

    Attributes:
        name: of a run, or `NEW`; empty if the session shows what its link names.
        started: the run that was started from the form which the reader may still see.
        lock: held while a run is being started.
    """

    name: str = ""
    started: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


def _opening() -> Opening:
    return st.session_state.setdefault(OPEN, Opening())


def wanted_run() -> str:
    """The run that this session is to show, whatever its link names; empty if there is none."""
    opening = _opening()
    with opening.lock:
        return opening.name


def choose_run(runs: list[RunFolder], wanted: str) -> RunFolder | None:
    """The run that is `wanted`, or else that the link names; None for a new one."""
    offered = [NEW, *(folder.name for folder in runs)]
    if wanted:
        st.session_state["run"] = wanted
    name = selection.choose("Show", "run", offered, NEW, _no_run, tells_of_loss=True)
    # Only now: this script may be interrupted by a rerun before it gets here.
    _opening().name = ""
    return None if name == NEW else next(folder for folder in runs if folder.name == name)


def _no_run(name: str) -> str:
    return f"There is no run {name!r} (any more)"


def open_run(name: str) -> None:
    """Show another run, or the form of a new one."""
    _opening().name = name
    st.rerun()


# A new training ------------------------------------------------------------------------------------------------


def prepare(runs: list[RunFolder], top: DeltaGenerator) -> None:
    """The form, the Start button, and the runs that there are."""
    form, side = st.columns([1.9, 1], gap="large")
    recipe = None
    visitors.follow_right(None)
    with texts.readable_errors():
        with top:
            base = training_form.starting_point()
        with form:
            recipe = training_form.draw(base)
            if visitors.may_train():
                range_test.draw(recipe)
    with side:
        if recipe is not None:
            with texts.readable_errors():
                offer_start(recipe)
        show_runs(runs)
        kept_models.show()
        visitors.offer_key()


def offer_start(recipe: Recipe) -> None:
    """The button that starts, and how long it will take."""
    start, words = st.container(), st.container()
    with words:
        estimate.show_estimate(recipe)
        ready = images.has_images(recipe)
        if not visitors.may_train():
            st.caption("Only the lecturer trains on this server.")
    st.html(LARGE_START)
    disabled = not (ready and visitors.may_train())
    if start.button("Start", type="primary", width="stretch", disabled=disabled, key="train_start"):
        open_run(_opening().started or submit(recipe).name)
    _opening().started = ""  # whoever presses Start from now on sees this form
    downloads.text("These settings as a recipe", toml_text.to_toml(recipe), f"{recipe.name}.toml")
    downloads.code(code.of_recipe(recipe))


def submit(recipe: Recipe) -> RunFolder:
    """Start the run, which belongs to this visitor where runs have owners, and is shown from the next rerun on.

    Raises:
        ConvscopeError: it cannot be started, or is more than this visitor may do.
    """
    opening = _opening()
    with opening.lock:
        if not visitors.leads():
            limits.check_training(estimate.seconds(recipe))
        right, rights = visitors.new_right(), visitors.rights()
        folder = jobs.submit(recipe, settings.folders.runs, right, may_join())
        # From here on nothing touches the session: the run is there, whatever becomes of this script.
        if right:
            rights.add(right)
        opening.name = opening.started = folder.name
    return folder


def may_join() -> turns.Check:
    """What refuses a run of this visitor the queue."""
    return turns.anybody if visitors.leads() else limits.of_queue(settings.folders.runs, visitors.rights())


def show_runs(runs: list[RunFolder]) -> None:
    """All runs and what they are doing; a click on one shows it."""
    st.markdown("**The runs so far**")
    if not runs:
        st.caption("None yet: press Start.")
        return
    alive = any(jobs.look(folder).state in ALIVE for folder in runs)
    st.fragment(_show_table, run_every=2 if alive else None)(runs)


def _show_table(runs: list[RunFolder]) -> None:
    rows = [row_of(folder) for folder in runs]
    table = pd.DataFrame(rows, columns=["run", "state", "epochs", "validation accuracy"])
    # The whole title has no room in the column.
    short = {
        "validation accuracy": st.column_config.Column("accuracy", help="On validation images, at the best epoch.")
    }
    look = {"hide_index": True, "height": min(480, 46 * (len(rows) + 1) + 4), "column_config": short}
    # The browser says a row's number, which means another run in a table of other ones.
    key = f"train_runs-{hash(tuple(folder.name for folder in runs))}"
    modes = ["single-row", "single-cell"]
    picked = st.dataframe(table, on_select="rerun", selection_mode=modes, key=key, **look)["selection"]
    if chosen := picked["rows"] or [row for row, _ in picked["cells"]]:
        open_run(runs[chosen[0]].name)


def row_of(folder: RunFolder) -> tuple[str, str, str, str]:
    """A run's line in the table."""
    status = jobs.look(folder)
    words = run_view.in_words(status, jobs.place(folder)) if folder.path.exists() else "was deleted"
    return folder.name, words, f"{status.epoch} of {status.epochs}", best_accuracy(folder)


def best_accuracy(folder: RunFolder) -> str:
    """Of the weights that are kept; empty before there are any."""
    try:
        best = best_epoch(live_files.read_history(folder), folder.recipe().input_size)
    except ConvscopeError:  # a damaged recipe; the run's own page says so
        return ""
    return texts.percent(best.val_accuracy) if best else ""


# A run ---------------------------------------------------------------------------------------------------------


def button_state(folder: RunFolder, status: Status) -> ButtonState:
    """What decides which buttons there are."""
    keeping = jobs.keeping(folder)
    state = "running" if status.state == "measuring" else status.state
    return state, status.phase, keeping.state if keeping else "", status.epoch > 0


def show(folder: RunFolder, top: DeltaGenerator) -> None:
    """A run: buttons, and everything that changes while it goes on."""
    visitors.follow_right(folder.path)
    status = jobs.look(folder)
    buttons = button_state(folder, status)
    with top.container(horizontal=True, vertical_alignment="bottom"):
        offer_commands(folder, status)
        visitors.offer_key()
    moving = status.state in ALIVE or buttons[2] == "working"
    st.fragment(follow, run_every=0.5 if moving else None)(folder, buttons)
    explain(folder)


def follow(folder: RunFolder, buttons: ButtonState) -> None:
    """What changes; when the buttons no longer fit, the whole page is drawn again."""
    with texts.readable_errors():
        status = jobs.look(folder)
        if not folder.path.exists() or button_state(folder, status) != buttons:
            st.rerun()
        draw(folder, status)


def draw(folder: RunFolder, status: Status) -> None:
    """Everything that is to be seen of a run at this moment."""
    history = live_files.read_history(folder)
    say_state(folder, status)
    run_view.show_figures(status, history, folder.recipe().input_size)
    curves, filters = st.columns([1.55, 1], gap="medium")
    with curves:
        run_view.show_curves(status, history, files.curve(folder, status))
    with filters:
        run_view.show_filters(folder)
    offer_files(folder, history)


def offer_files(folder: RunFolder, history: list[EpochRecord]) -> None:
    """What a reader takes home of a run, as it is at this moment."""
    if history:
        rows = pd.DataFrame([vars(record) for record in history])
        downloads.table("Curves", rows, f"{folder.name}-history.csv")
        downloads.code(code.of_run(folder))
    if filters := files.filters(folder):
        downloads.picture("Filters", filters.now, f"{folder.name}-filters.png", "The first layer's filters now")


def say_state(folder: RunFolder, status: Status) -> None:
    """Why a run does not go on, and how the keeping of its model goes on; a screen reader hears that it has ended."""
    texts.announce("" if status.state in ALIVE else f"The run {run_view.in_words(status)}.")
    if status.state == "failed":
        st.error(texts.plain(status.message) or "The training ended without a word: look into its log.txt.", icon="⚠️")
    elif status.state == "interrupted":
        why = texts.plain(status.message) or "Its process has ended before its time."
        st.warning(f"{why} Resume goes on after the last whole epoch.", icon="⚠️")
    elif status.state == "queued" and (place := jobs.place(folder)):
        st.info(f"One network is trained at a time; this run is number {place} in the queue.", icon="⏳")
    run_view.show_keeping(folder)


def offer_commands(folder: RunFolder, status: Status) -> None:
    """The buttons that make sense now; for others than its owner there are none."""
    if not visitors.may_change(folder.path):
        st.caption("This run is somebody else's: look on, or start one of your own.")
        return
    with texts.readable_errors():
        if status.state in ("running", "measuring") and visitors.leads():  # it keeps its turn: all others would wait
            command(folder, "Pause", "pause", ":material/pause:")
        if status.state == "paused":
            command(folder, "Go on", "resume", ":material/play_arrow:")
        if status.state in ("running", "measuring", "paused") and status.phase + 1 < status.phases:
            command(folder, "Next phase now", "next_phase", ":material/skip_next:")
        if status.state in ALIVE:
            if st.button("Cancel" if status.state == "queued" else "Stop", key="train_stop", icon=":material/stop:"):
                jobs.cancel(folder)
            return
        if status.state != "finished" and st.button(
            "Resume", key="train_again", type="primary", icon=":material/play_arrow:"
        ):
            jobs.resume(folder, may_join())
            st.rerun()
        offer_keeping(folder)
        offer_deletion(folder)


def command(folder: RunFolder, label: str, word: str, icon: str) -> None:
    """A button that sends a command to the run."""
    if st.button(label, key=f"train_{word}", icon=icon):
        run.send(folder, word)


def offer_keeping(folder: RunFolder) -> None:
    """A name, and a button that makes the best state a network that all pages offer."""
    with st.popover("Keep this model", icon=":material/save:"):
        name = st.text_input("Name", folder.name, max_chars=60, key=f"train_keep_name-{folder.name}")
        st.caption("The best epoch's weights answer the test images, and become a network for all pages.")
        if st.button("Keep", key="train_keep", type="primary"):
            target = settings.folders.checkpoints
            if not visitors.leads():
                limits.check_keeping(target, settings.folders.runs, visitors.rights())
            jobs.keep(folder, name.strip(), target, is_owners=visitors.owns(folder.path))
            st.rerun()


def offer_deletion(folder: RunFolder) -> None:
    """Delete the run, after a second look."""
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(
            f"Delete the run **{texts.plain(folder.name)}** with its curves and weights? Models that were kept stay."
        )
        if st.button("Delete it for good", key="train_delete"):
            jobs.delete(folder)
            open_run(NEW)


def explain(folder: RunFolder) -> None:
    """What to look at, and the equation."""
    if not visitors.leads() and visitors.owns(folder.path):
        st.caption(
            "This run is yours. The address of this page carries the right to it: keep it to come back, and leave out "
            "`right` when you give it to others, who then only look on."
        )
    left, right = st.columns([1.55, 1], gap="medium")
    with left:
        texts.what_to_look_at(
            "Where the two curves part, a generalisation gap opens; where validation rises, the network overfits.",
            "The grey line jumps: it is the loss of single batches, and each step sees other images.",
            "Noise turns into edges and colours: nobody has drawn these filters, the error alone has.",
        )
    with right:
        st.latex(r"w \leftarrow w - \eta\,\nabla_w \text{loss}(w)\qquad(\eta:\ \text{learning rate})")


def main() -> None:
    """The page."""
    title = st.container()
    left, top = st.columns([1, 2.4], vertical_alignment="bottom")
    with left:
        wanted = wanted_run()  # before the runs are listed: it may be that another one is being started
        runs = run.runs()
        folder = choose_run(runs, wanted)
    if folder is None:
        with title:
            texts.headline("Train a network: choose, press Start, and look on while it learns")
        prepare(runs, top)
    else:
        with title:
            texts.headline(f"{folder.name} {run_view.in_words(jobs.look(folder))}")
        show(folder, top)


main()
