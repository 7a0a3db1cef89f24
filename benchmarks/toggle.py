"""How long does a toggle of batch norm take on the Reconstruction page?

    python benchmarks/toggle.py

One signal (all channels of conv5_x) of the shipped ResNet-18 at its own input size. Measured, medians of several runs:

- script: from the changed switch to the end of the page's script, without a browser (Streamlit's AppTest), for a view
  that was never shown (the forward pass is kept, the playbacks and drawings are new) and for one that was;
- browser: from the click to the new picture on screen, in headless Chromium, where there is one.

To compare machines, look at the ratio to one playback of the engine alone, measured in the same run.
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from streamlit.testing.v1 import AppTest

from benchmarks.server import click_times, seconds
from engine import checkpoints, data, deconv, tape
from pages.common import resources
from pages.reconstruction import figure

RUNS = 11


def one_playback() -> float:
    """The engine alone: one signal played back once."""
    trained = checkpoints.load("resnet18")
    card = trained.card
    image = data.prepare(data.bundled("test").images[:1], card.input_size, card.mean, card.std)
    recorded = tape.record(trained.model, image, "conv5_x")
    seed = deconv.all_channels(recorded.activation)
    deconv.reconstruct(recorded, seed)
    return statistics.median(seconds(lambda: deconv.reconstruct(recorded, seed)) for _ in range(RUNS))


def script_times() -> tuple[float, float]:
    """Seconds of the page's script after a toggle: view never shown, view shown before."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("reconstruction/page.py").run()
    new, seen = [], []
    for run in range(RUNS):
        resources.reconstruction.clear()
        figure.figure_of.clear()
        new.append(seconds(lambda run=run: app.toggle(key="bn").set_value(run % 2 == 1).run()))
        seen.append(seconds(lambda run=run: app.toggle(key="bn").set_value(run % 2 == 0).run()))
    return statistics.median(new), statistics.median(seen)


TIMED_CLICK = """async () => {
  const front = () => document.querySelectorAll('[data-testid=stImage] img')[1];
  const before = front().src, begun = performance.now();
  document.querySelector('[data-testid=stSidebar] [role=switch]').click();
  while (front().src === before || !front().complete) {
    if (performance.now() - begun > 10000) throw new Error('no new picture within 10 s');
    await new Promise(resolve => setTimeout(resolve, 2));
  }
  return (performance.now() - begun) / 1000;
}"""


def row(name: str, seconds_taken: float, playback: float) -> str:
    """A line of the table."""
    return f"{name:44}{seconds_taken:8.3f} s  {seconds_taken / playback:6.1f} playbacks"


def main() -> None:
    """Print the table, line by line as it is measured."""
    playback = one_playback()
    print(row("one playback, engine alone", playback, playback))
    new, seen = script_times()
    print(row("script after a toggle, view never shown", new, playback))
    print(row("script after a toggle, view shown before", seen, playback), flush=True)
    browser = click_times(["reconstruction"], TIMED_CLICK, RUNS)
    print(row("browser, click to picture", browser[0], playback) if browser else "browser: no Chromium here")


if __name__ == "__main__":
    main()
