"""How long until all feature maps of a layer are on screen, and one map's nine strongest images beside it?

    python benchmarks/feature_maps.py

The shipped ResNet-18 at its own input size, medians of several runs, each with an image that was not shown before:

- engine: one forward pass to the layer;
- script: from the changed image to the end of the page's script, without a browser (Streamlit's AppTest); this includes
  the nine images played back from another map;
- browser: from the click on the next image to the new sheet on screen, in headless Chromium, where there is one.

To compare machines, look at the ratio to the forward pass, measured in the same run.
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from streamlit.testing.v1 import AppTest

from benchmarks.server import click_times, seconds
from engine import checkpoints, data, tape

RUNS = 7
LAYERS = ("conv1_relu", "conv2_x", "conv5_x")


def forward_time(layer: str) -> float:
    """The engine alone: one recorded forward pass."""
    trained = checkpoints.load("resnet18")
    card = trained.card
    image = data.prepare(data.bundled("test").images[:1], card.input_size, card.mean, card.std)
    tape.record(trained.model, image, layer)
    return statistics.median(seconds(lambda: tape.record(trained.model, image, layer)) for _ in range(RUNS))


def script_time(layer: str) -> float:
    """Seconds of the page's script for the next image of the class."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params["layer"] = layer
    app.run()
    app.switch_page("feature_maps/page.py").run()
    return statistics.median(
        seconds(lambda number=number: app.number_input(key="number").set_value(number).run())
        for number in range(1, RUNS + 1)
    )


TIMED_CLICK = """async () => {
  const sheet = () => [...document.querySelectorAll('[data-testid=stImage] img')].find(i => i.alt.startsWith('All '));
  const next = '[data-testid=stSidebar] [data-testid=stNumberInputStepUp]';
  const before = sheet().src, begun = performance.now();
  document.querySelector(next).click();
  while (!sheet() || sheet().src === before || !sheet().complete) {
    if (performance.now() - begun > 20000) throw new Error('no new sheet within 20 s');
    await new Promise(resolve => setTimeout(resolve, 2));
  }
  return (performance.now() - begun) / 1000;
}"""


def main() -> None:
    """Print the table, line by line as it is measured."""
    forward = {layer: forward_time(layer) for layer in LAYERS}
    for layer in LAYERS:
        taken = script_time(layer)
        print(f"{layer:12} forward {forward[layer]:.3f} s   whole script {taken:.3f} s", flush=True)
    browser = click_times([f"feature_maps?layer={layer}" for layer in LAYERS], TIMED_CLICK, RUNS)
    for layer, taken in zip(LAYERS, browser or (), strict=False):
        print(f"{layer:12} browser, click to sheet {taken:.3f} s  ({taken / forward[layer]:.0f} forward passes)")


if __name__ == "__main__":
    main()
