"""How many reruns a second does one server manage for a class, and how long does a student wait?

    python benchmarks/sessions.py [STUDENTS]

Thirty students (or as many as are asked for) have the Reconstruction page of one server open, and each asks for a rerun
as soon as the last one is done, 5 times. Everything that they look at is kept already, so what is measured is what the
app and Streamlit cost, not the networks. Two servers take turns: the app as it is, and the app without
`pages.startup`, where each collection of garbage looks through all of PyTorch. The figure to compare machines by
is the ratio of the two.
"""

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.server import server

STUDENTS = 30
RERUNS = 5
ROUNDS = 3
LINK = "layer=conv5_x"
DONE = ForwardMsg.FINISHED_SUCCESSFULLY
SERVER = """
import sys
from pages import startup
if sys.argv.pop(1) == "without":
    startup.exempt_modules = lambda: None
from streamlit.web.cli import main
main(prog_name="streamlit")
"""


@dataclass(frozen=True)
class Lesson:
    """What a class has seen of a server: reruns a second, and the seconds of each rerun."""

    speed: float
    waits: list[float]


class Student:
    """A browser's connection, without the browser."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection

    async def rerun(self, page: str = "reconstruction", link: str = LINK) -> float:
        """Ask for a rerun of a page; gives the seconds until all of it has arrived."""
        message = BackMsg()
        message.rerun_script.query_string = link
        message.rerun_script.page_name = page
        begun = time.perf_counter()
        await self.connection.send(message.SerializeToString())
        await self.finish()
        return time.perf_counter() - begun

    async def finish(self) -> None:
        """Read until the script has come to its end; one that starts over does so by itself."""
        while True:
            message = ForwardMsg()
            message.ParseFromString(await self.connection.recv())
            self.hear(message)
            if message.WhichOneof("type") == "script_finished" and message.script_finished == DONE:
                return

    def hear(self, message: ForwardMsg) -> None:
        """Take in a message of the server."""
        if message.WhichOneof("type") == "delta":
            self.look(message.delta.new_element)

    def look(self, element: Element) -> None:
        """Look at an element of the page that has arrived."""
        if element.HasField("exception"):
            raise SystemExit(element.exception.message)


async def lesson(port: int, students: int) -> Lesson:
    """All students open the page, one after the other, and then rerun it all at once."""
    address = f"ws://127.0.0.1:{port}/_stcore/stream"
    connections = [
        await websockets.connect(address, max_size=None, subprotocols=["streamlit"]) for _ in range(students)
    ]
    present = [Student(connection) for connection in connections]
    for student in present:
        await student.rerun()
    begun = time.perf_counter()
    waits = await asyncio.gather(*(work(student) for student in present))
    taken = time.perf_counter() - begun
    for connection in connections:
        await connection.close()
    return Lesson(students * RERUNS / taken, [wait for each in waits for wait in each])


async def work(student: Student) -> list[float]:
    return [await student.rerun() for _ in range(RERUNS)]


def show(name: str, lessons: list[Lesson]) -> None:
    """One line: medians over all rounds, and the wait that one rerun in twenty exceeds."""
    waits = sorted(wait for each in lessons for wait in each.waits)
    speed = statistics.median(each.speed for each in lessons)
    late = waits[int(0.95 * len(waits))]
    print(f"{name:<18}{speed:7.1f} reruns/s   wait {statistics.median(waits):6.2f} s (one in twenty {late:.2f} s)")


def main(arguments: list[str]) -> None:
    """Print both servers' figures, and the ratio."""
    students = int(arguments[0]) if arguments else STUDENTS
    lessons: dict[str, list[Lesson]] = {"with": [], "without": []}
    command = (sys.executable, "-c", SERVER)
    with server((*command, "with")) as ours, server((*command, "without")) as theirs:
        for _ in range(ROUNDS):
            lessons["with"].append(asyncio.run(lesson(ours, students)))
            lessons["without"].append(asyncio.run(lesson(theirs, students)))
    print(f"{students} students, {RERUNS} reruns each, {ROUNDS} rounds")
    show("the app", lessons["with"])
    show("without exemption", lessons["without"])
    ratios = [ours.speed / theirs.speed for ours, theirs in zip(lessons["with"], lessons["without"], strict=True)]
    print(f"ratio {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
