"""Can a class work on one server, beside a training, and does everybody see what they would see alone?

    python benchmarks/class_on_one_server.py [--students 30] [--seconds 300] [--no-training] [--address URL]

Each student opens links to random views of all pages, with one to three values that the controls of a page offer: each
is a new session, which costs the server more than a click in an old one. A student looks at a view for 3 to 15 seconds
and opens the next one. The first ones find cold caches. Beside them a
network is trained, unless one is trained already (`--no-training`). Measured: the seconds until a view is complete
(median, 95th percentile, worst), errors, and the server's memory and processor time.

Afterwards a second server shows each of these views to one visitor alone. Streamlit names a picture after its content,
so equal names are equal pictures: any other picture in class is counted as wrong, and any other sentence in red as an
error (a random link may ask for what a network does not have, and is told so). Views that go on by themselves are left
out: their pictures are still forming.

Students speak Streamlit's protocol and draw nothing, so what browsers take is not measured. `--address` tries a server
that runs already, such as several behind a proxy; its memory is then not measured.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import websockets
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.server import SILENT, server_process
from benchmarks.sessions import Student
from pages import directory

VIEWS, SEED = 60, 0
LOOKING = (3.0, 15.0)
"""Seconds that a student looks at a view."""
PATIENCE = 60
"""Seconds for a view to be complete for one visitor alone."""
LIMITS = {"95th percentile": 1.5, "worst": 5.0}
"""Seconds that a class of thirty should not wait longer, on two cores."""
RECIPE = """
architecture = "lenet"
dataset = "cifar10_bundled"
[[phases]]
epochs = 1000
learning_rate = 0.01
"""
"""What is trained beside: it takes one core for longer than any lesson."""
Address = tuple[str, str]
"""A page and the values of a link to it."""


@dataclass
class Visitor(Student):
    """A browser's connection, without the browser, that notes what a view holds.

    Attributes:
        pictures: the names of the view's pictures.
        errors: its errors.
        forming: whether it goes on by itself, as long as work on it does.
        offers: what its controls offer, by their keys in the link.
    """

    connection: websockets.ClientConnection
    pictures: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    forming: bool = False
    offers: dict[str, list[str]] = field(default_factory=dict)

    async def open(self, address: Address) -> float:
        """Open a view; gives the seconds until it is complete."""
        self.pictures, self.errors, self.forming = set(), [], False
        return await self.rerun(*address)

    def hear(self, message: ForwardMsg) -> None:
        self.forming |= message.WhichOneof("type") == "auto_rerun"
        super().hear(message)

    def look(self, element: Element) -> None:
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.errors.append(element.exception.message)
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            self.errors.append(element.alert.body)
        elif kind == "imgs":
            self.pictures |= {image.url for image in element.imgs.imgs}
        elif kind in ("selectbox", "button_group", "radio", "checkbox"):
            self._note(getattr(element, kind), kind)

    def _note(self, control: object, kind: str) -> None:
        if not control.query_param_key or control.disabled:
            return
        if kind == "button_group":
            values = [option.content for option in control.options]
        else:
            values = ["true", "false"] if kind == "checkbox" else list(control.options)
        self.offers[control.query_param_key] = values


def cookies_of(address: str) -> str:
    """What a browser says of itself after it has loaded the page: a proxy may have named it."""
    with urllib.request.urlopen(address) as answer:
        named = SimpleCookie("; ".join(answer.headers.get_all("Set-Cookie") or []))
    return "; ".join(f"{key}={value.value}" for key, value in named.items())


async def visitor(address: str) -> Visitor:
    """Somebody who has just come."""
    headers = {"Cookie": await asyncio.to_thread(cookies_of, address)}
    stream = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    connection = await websockets.connect(
        stream, max_size=None, subprotocols=["streamlit"], additional_headers=headers, ping_timeout=None
    )
    return Visitor(connection)


async def views(address: str, count: int) -> list[Address]:
    """Random views of all pages, by what the controls of each page offer at first."""
    draw = random.Random(SEED)
    offers = {}
    for page in (directory.HOME, *directory.PAGES):
        guest = await visitor(address)
        await guest.open((page.address if page is not directory.HOME else "", ""))
        offers[page.address if page is not directory.HOME else ""] = guest.offers
        await guest.connection.close()
    found = []
    for number in range(count):
        page = list(offers)[number % len(offers)]
        keys = draw.sample(sorted(offers[page]), min(len(offers[page]), draw.randint(1, 3)))
        found.append((page, urlencode({key: draw.choice(offers[page][key]) for key in keys if offers[page][key]})))
    return found


# In class ------------------------------------------------------------------------------------------------------


@dataclass
class Lesson:
    """What happened: the wait for each view, errors with their views, pictures by view, memory in MB by second, and
    the seconds that the server has computed.
    """

    waits: list[tuple[float, Address]] = field(default_factory=list)
    errors: list[tuple[str, Address]] = field(default_factory=list)
    pictures: dict[Address, list[set[str]]] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    computed: float = 0.0

    def note(self, who: Visitor, view: Address, wait: float) -> None:
        self.waits.append((wait, view))
        self.errors += [(error, view) for error in who.errors]
        self.pictures.setdefault(view, []).append(set() if who.forming else who.pictures)


async def work(address: str, choice: list[Address], number: int, end: float, lesson: Lesson) -> None:
    """A student, from the beginning to the end of the lesson."""
    draw = random.Random(number)
    await asyncio.sleep(draw.uniform(0, LOOKING[1]))
    while time.monotonic() < end:
        view = draw.choice(choice)
        try:
            who = await visitor(address)
            lesson.note(who, view, await who.open(view))
            await asyncio.sleep(draw.uniform(*LOOKING))
            await who.connection.close()
        except (OSError, websockets.WebSocketException) as error:
            lesson.errors.append((f"connection: {error}", view))


async def watch(process: int | None, end: float, lesson: Lesson) -> None:
    """Note the server's memory every few seconds, and how long it computes until the end."""
    if process is None:
        return
    begun, before = time.monotonic(), computed(process)
    while time.monotonic() < end:
        lesson.memory.append((time.monotonic() - begun, resident(process)))
        await asyncio.sleep(5)
    lesson.computed = computed(process) - before


def resident(process: int) -> float:
    """MB of memory that a process has."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


def computed(process: int) -> float:
    """Seconds that a process has computed in all of its threads."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def in_class(address: str, students: int, seconds: float, process: int | None) -> Lesson:
    """The whole lesson."""
    choice = await views(address, VIEWS)
    lesson, end = Lesson(), time.monotonic() + seconds
    everybody = [work(address, choice, number, end, lesson) for number in range(students)]
    await asyncio.gather(*everybody, watch(process, end, lesson))
    return lesson


async def alone(address: str, wanted: list[Address]) -> dict[Address, set[str]]:
    """The pictures and the errors of each view, shown to one visitor."""
    known = {}
    for view in wanted:
        who = await visitor(address)
        await who.open(view)
        end = time.monotonic() + PATIENCE
        while who.forming and time.monotonic() < end:
            await asyncio.sleep(1)
            await who.open(view)
        known[view] = who.pictures | set(who.errors)
        await who.connection.close()
    return known


@contextmanager
def training(runs: str) -> Iterator[None]:
    """A training goes on, in a process and a folder of its own."""
    recipe = Path(runs, "beside.toml")
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "engine.training", str(recipe), "--run", f"{runs}/beside", "--no-checkpoint"]
    process = subprocess.Popen(command, cwd=ROOT, **SILENT)
    try:
        yield
        print("the training beside", "went on to the end" if process.poll() is None else "HAS ENDED BEFORE", flush=True)
    finally:
        process.terminate()
        process.wait()


# Figures -------------------------------------------------------------------------------------------------------


def show(lesson: Lesson, students: int, known: dict[Address, set[str]]) -> bool:
    """Print the figures; gives whether all is as it should be."""
    waits = sorted(wait for wait, _ in lesson.waits)
    figures = {
        "median": statistics.median(waits),
        "95th percentile": waits[int(0.95 * len(waits))],
        "worst": waits[-1],
    }
    print(f"{students} students, {len(waits)} views, {len(lesson.pictures)} different ones; {os.cpu_count()} cores")
    for name, seconds in figures.items():
        verdict = f"  {'below' if seconds < LIMITS[name] else 'NOT below'} {LIMITS[name]} s" if name in LIMITS else ""
        print(f"wait, {name:<18}{seconds:7.2f} s{verdict}")
    for wait, (page, link) in sorted(lesson.waits, reverse=True)[:3]:
        print(f"  {wait:.2f} s: {page or 'home'}?{link}")
    compared = [(view, seen) for view, each in lesson.pictures.items() for seen in each]
    wrong = [(view, seen - known[view]) for view, seen in compared if seen - known[view]]
    print(f"pictures: {sum(len(seen) for _, seen in compared)} in {len(compared)} views, {len(wrong)} views WRONG")
    for view, _ in wrong[:3]:
        print(f"  {view[0] or 'home'}?{view[1]}")
    errors = [(error, view) for error, view in lesson.errors if error not in known.get(view, ())]
    print(f"errors: {len(errors)}")
    for error, (page, link) in errors[:3]:
        print(f"  {page or 'home'}?{link}: {error}")
    if lesson.memory:
        print(f"computed: {lesson.computed / len(waits):.2f} s of one core for each view")
        steps = lesson.memory[:: -(-len(lesson.memory) // 8)]
        print("memory:", ", ".join(f"{seconds:.0f} s {size:.0f} MB" for seconds, size in [*steps, lesson.memory[-1]]))
    return not wrong and not errors and all(figures[name] < limit for name, limit in LIMITS.items())


def main() -> int:
    """Print what a class has seen; exit status 1 if somebody waited too long, or saw an error or a wrong picture."""
    parser = argparse.ArgumentParser(description="Thirty students on one server, beside a training.")
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--no-training", action="store_true", help="one goes on already, or there should be none")
    parser.add_argument("--address", help="of a server that runs already")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as runs:
        own = {"CONVSCOPE_RUNS": runs}
        started = nullcontext((0, None)) if chosen.address else server_process(environment=own)
        with started as (port, process), nullcontext() if chosen.no_training else training(runs):
            address = chosen.address or f"http://127.0.0.1:{port}"
            lesson = asyncio.run(in_class(address, chosen.students, chosen.seconds, process))
        with server_process(environment=own) as (port, _):
            known = asyncio.run(alone(f"http://127.0.0.1:{port}", list(lesson.pictures)))
    return int(not show(lesson, chosen.students, known))


if __name__ == "__main__":
    raise SystemExit(main())
