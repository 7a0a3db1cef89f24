"""How long does the first visitor of a new server wait for a complete page?

    python benchmarks/cold_start.py [ROUNDS]

Measured from the start of the server's process to the last message of the page, for Home and for Reconstruction, by
somebody who comes at once; medians over the rounds, 5 unless told. They speak Streamlit's protocol and draw nothing,
so what a browser takes is not measured. The floor beside it is a process that imports PyTorch, torchvision, pandas,
Altair and Streamlit and does nothing: the figure to compare machines by is the ratio of the two.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.class_on_one_server import Address, visitor
from benchmarks.server import seconds, server

ROUNDS = 5
LIBRARIES = "import torch, torchvision, pandas, altair, streamlit"
PAGES: dict[str, Address] = {"Home": ("", ""), "Reconstruction": ("reconstruction", "")}


def cold(page: Address) -> float:
    """The seconds from the start of a server to the page's last message."""
    begun = time.perf_counter()
    with server() as port:
        asyncio.run(_open(f"http://127.0.0.1:{port}", page))
        return time.perf_counter() - begun


async def _open(address: str, page: Address) -> None:
    who = await visitor(address)
    await who.open(page)
    await who.connection.close()
    if who.errors:
        raise SystemExit(f"The page shows an error: {who.errors[0]}")


def libraries() -> float:
    """The seconds that a process takes which imports the libraries, and nothing else."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", LIBRARIES], check=True))


def main(rounds: int = ROUNDS) -> None:
    """Measure in turns, and print."""
    times: dict[str, list[float]] = {name: [] for name in ("libraries", *PAGES)}
    libraries()  # from the disk
    for _ in range(rounds):
        times["libraries"].append(libraries())
        for name, page in PAGES.items():
            times[name].append(cold(page))
    floor = statistics.median(times["libraries"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:15} {median:5.2f} s  ({min(measured):.2f} to {max(measured):.2f})  {median / floor:.2f} x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
