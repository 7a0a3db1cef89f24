"""How long from a click into a picture, or from a lecture's step to the next, until the view has changed?

    python benchmarks/touch.py

Medians of several clicks in headless Chromium at 1280 x 720, each on another cell, with a server of its own: from the
click until the page has changed, its script is done and all its pictures are on screen. Run it on a quiet machine: a
click must change the view in under half a second on two cores, a step that was seen before in under a second.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.server import click_times

RUNS = 7
LIMIT, STEP_LIMIT = 0.5, 1.0
STEP = "reconstruction?checkpoint=model_one&class=horse&compare=layers&lecture=batch-norm&step=2"
"""A step of a lecture: PageDown and PageUp in turns lead away from it and back."""
TOUCHES = {
    "filter": ("filters", "filters"),
    "feature map": ("feature_maps?layer=conv3_x", "maps"),
    "box of the diagram": ("network?view=diagram&layer=conv4_x", "diagram"),
    "image point, its unit of a map": ("feature_maps?layer=conv2_x&unit=chosen+unit", "image"),
    "image point, its reconstruction": (
        "reconstruction?layer=conv3_x&signal=one+channel&unit=chosen+unit&compare=nothing",
        "image",
    ),
}
"""A page, and the picture that is clicked."""

TIMED_CLICK = """async () => {
  const seen = () => location.search + document.querySelector('[data-testid=stMain]').innerText +
    [...document.querySelectorAll('[data-testid=stMain] img')].map(image => image.src).join();
  const before = seen(), turn = (window.turn = (window.turn ?? 0) + 1);
  ACT
  const running = () => !document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]");
  const loading = () => [...document.querySelectorAll('[data-testid=stMain] img')].some(image => !image.complete);
  while (running() || loading() || seen() === before) {
    if (performance.now() - begun > 30000) throw new Error('nothing has changed within 30 s');
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  return (performance.now() - begun) / 1000;
}"""
CLICK = """
  const found = selector => document.querySelector('.st-key-touch-KEY')?.querySelectorAll(selector) ?? [];
  const ready = () => found('img').length && [...found('*')].some(one => one.shadowRoot?.querySelector('[aria-label]'));
  while (!ready()) await new Promise(resolve => setTimeout(resolve, 50));
  const picture = found('img')[0];
  const box = picture.getBoundingClientRect();
  const shares = [(0.13 + 0.29 * turn) % 0.9, (0.17 + 0.23 * turn) % 0.9];
  const share = 'KEY' === 'diagram' ? [0.61, turn % 2 ? 0.27 : 0.55] : shares;
  const at = { clientX: box.left + box.width * share[0], clientY: box.top + box.height * share[1], bubbles: true };
  const begun = performance.now();
  picture.dispatchEvent(new MouseEvent('click', at));"""
PRESS = """
  const begun = performance.now();
  dispatchEvent(new KeyboardEvent('keydown', { key: turn % 2 ? 'PageDown' : 'PageUp' }));"""


def main() -> None:
    """Print a line for each kind of click."""
    for name, (link, key) in TOUCHES.items():
        report(name, link, CLICK.replace("KEY", key), LIMIT)
    report("step of a lecture", STEP, PRESS, STEP_LIMIT)


def report(name: str, link: str, act: str, limit: float) -> None:
    """Print the median of what `act` takes on a page."""
    times = click_times([link], TIMED_CLICK.replace("ACT", act), RUNS)
    if times is None:
        raise SystemExit("There is no Chromium here: install Debian's `chromium`.")
    print(f"{name:36}{times[0]:8.3f} s  {'below' if times[0] < limit else 'NOT below'} {limit} s", flush=True)


if __name__ == "__main__":
    main()
