"""Is this copy of the app complete, and what can this computer do? In plain words, with what to do.

`python -m engine.doctor` looks at what a lecture needs: the images, every network from its weights on, the folders that
are written to, memory, processor, the port that the server takes, and the browser that the tests drive. Its exit status
is 1 if anything must be done before a lecture. Nothing is changed or downloaded.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

from engine import checkpoints, data, pretrained, settings
from engine.command import exit_status, parser
from engine.errors import ConvscopeError
from engine.training.estimate import PROCESS
from engine.training.memory import free_memory

PORT = 8501
"""The one that Streamlit's server takes unless it is told another."""
ROOM = 1 << 30
"""Bytes that should be left on the disk: a run of a large network keeps some hundred megabytes."""


class State(Enum):
    """How a finding is meant: all is well; something is missed that a lecture may do without; or it must be mended."""

    WELL = "✓"
    LACKS = "–"
    WRONG = "✗"


@dataclass(frozen=True)
class Finding:
    """What was found of one subject, and what to do about it (nothing, if that is empty)."""

    subject: str
    state: State
    words: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state.value} {self.subject}: {self.words}{f' {self.remedy}' if self.remedy else ''}"


Check = Callable[[], Iterator[Finding]]


def checks() -> dict[str, Check]:
    """What can be looked at on a server that runs, by subject; together they take some seconds."""
    return {
        "images": _images,
        "networks": _networks,
        "folders": _folders,
        "memory": _memory,
        "processor": _processor,
        "browser": _browser,
    }


def _images() -> Iterator[Finding]:
    for split in ("test", "train"):
        try:
            count = len(data.bundled(split))
        except ConvscopeError as error:
            yield Finding("images", State.WRONG, str(error))
        else:
            yield Finding(
                "images", State.WELL, f"The {count:,} bundled images of {split} are the ones that were shipped."
            )
    if all((settings.folders.cifar10 / f"{split}.npz").is_file() for split in ("train", "test")):
        yield Finding("images", State.WELL, "The whole of CIFAR-10 is here, for training.")
    else:
        remedy = "Get it with `python -m engine.data download`, or train on the bundled images."
        yield Finding("images", State.LACKS, "The whole of CIFAR-10 is not here; only training needs it.", remedy)


def _networks() -> Iterator[Finding]:
    names = sorted(card.parent.name for card in settings.folders.checkpoints.glob("*/card.json"))
    own = {name: checkpoints.load for name in names if not name.startswith(".")}
    if not own:
        remedy = "Set CONVSCOPE_CHECKPOINTS to the folder that holds them, or get a fresh copy of the app."
        yield Finding("networks", State.WRONG, f"There is none in {settings.folders.checkpoints}.", remedy)
    others = {name: pretrained.load for name in pretrained.available() if name not in own}
    good = []
    for name, load in {**own, **others}.items():
        try:
            load(name)
        except ConvscopeError as error:
            yield Finding("networks", State.WRONG, str(error))
        else:
            good.append(name)
    if good:
        words = f"{len(good)} load, and their weights are those that their cards name: {', '.join(good)}."
        yield Finding("networks", State.WELL, words)
    if missing := [name for name in pretrained.NETWORKS if name not in others]:
        remedy = f"Where there is a network: {', '.join(f'`{pretrained.command(name)}`' for name in missing)}."
        yield Finding("networks", State.LACKS, f"Not here, but not needed: {', '.join(missing)}.", remedy)


def _folders() -> Iterator[Finding]:
    for name, folder in (("runs", settings.folders.runs), ("checkpoints", settings.folders.checkpoints)):
        first = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(first, os.W_OK | os.X_OK):
            remedy = f"Make it writable, or set CONVSCOPE_{name.upper()} to another folder."
            what = "train" if name == "runs" else "keep a network that they trained"
            yield Finding("folders", State.LACKS, f"{folder} cannot be written to: nobody can {what}.", remedy)
            continue
        free = shutil.disk_usage(first).free
        state = State.WELL if free >= ROOM else State.LACKS
        remedy = "" if free >= ROOM else "Delete old runs (`python -m engine.training --list`)."
        yield Finding("folders", state, f"{name} can be written to; {free / 1e9:.1f} GB are free.", remedy)


def _memory() -> Iterator[Finding]:
    free = free_memory()
    if free == float("inf"):
        yield Finding("memory", State.LACKS, "How much is free cannot be read on this system.")
    elif free < 2 * PROCESS:
        words = f"{free / 1e9:.1f} GB are free; the app takes {PROCESS / 1e9:.1f} GB, and a training as much again."
        yield Finding("memory", State.LACKS, words, "Close other programs before you train.")
    else:
        yield Finding("memory", State.WELL, f"{free / 1e9:.1f} GB are free: enough for the app and a training.")


def _processor() -> Iterator[Finding]:
    has = torch.cpu.get_capabilities()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    speed = next((words for key, words in _FAST.items() if has.get(key)), "no wide instructions: it will be slow")
    yield Finding("processor", State.WELL, f"{cores} core{'s' if cores != 1 else ''}, {speed}.")
    if torch.cuda.is_available():
        yield Finding("processor", State.WELL, f"A GPU: {torch.cuda.get_device_name(0)}; trainings use it.")
    else:
        yield Finding("processor", State.LACKS, "No GPU that PyTorch can use; everything runs on the processor.")


_FAST = {
    "amx_tile": "with AMX: trainings can compute in bfloat16",
    "avx512_f": "with AVX-512",
    "avx2": "with AVX2",
    "neon": "with NEON",
}
"""The widest instructions come first, by PyTorch's name."""


def _browser() -> Iterator[Finding]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path and Path(path).is_file():
        yield Finding("browser", State.WELL, f"The browser tests drive {path}.")
    else:
        remedy = "On Debian: `apt-get install chromium`; or set CHROMIUM to its path."
        yield Finding("browser", State.LACKS, "There is no Chromium; only the browser tests need it.", remedy)


def port(number: int) -> Finding:
    """Whether a server could take port `number`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except (OSError, OverflowError):
            words = f"{number} is taken, perhaps by the app itself."
            remedy = f"Open http://localhost:{number}, or start it with `--server.port {number + 1}`."
            return Finding("port", State.LACKS, words, remedy)
    return Finding("port", State.WELL, f"{number} is free: the app will be at http://localhost:{number}.")


def verdict(findings: Sequence[Finding]) -> str:
    """One sentence on all of them."""
    wrong = sum(finding.state is State.WRONG for finding in findings)
    if not wrong:
        return "Ready for a lecture."
    return (
        f"Not ready for a lecture: {wrong} thing{'s' if wrong > 1 else ''} must be mended (marked {State.WRONG.value})."
    )


@exit_status()
def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m engine.doctor`: prints the findings; exit status 1 if something must be mended."""
    options = parser("engine.doctor", "Look whether everything is here that a lecture needs.")
    options.add_argument("--port", type=int, default=PORT, help="where the server is to be (%(default)s)")
    chosen = options.parse_args(arguments)
    findings = []
    for check in (*checks().values(), lambda: iter([port(chosen.port)])):
        for finding in check():
            findings.append(finding)
            print(finding, flush=True)
    print(verdict(findings))
    return int(any(finding.state is State.WRONG for finding in findings))


if __name__ == "__main__":
    raise SystemExit(main())
