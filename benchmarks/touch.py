"""How long from a click into a picture until the view has changed?

    python benchmarks/touch.py

Medians of several clicks in headless Chromium at 1280 x 720, each on another cell, with a server of its own: from the
click until the page has changed, its script is done and all its pictures are on screen. Run it on a quiet machine: a
click must change the view in under half a second on two cores.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.server import click_times

RUNS = 7
LIMIT = 0.5
TOUCHES = {
    "filter": ("filters", "filters"),
    "feature map": ("feature_maps?layer=conv3_x", "maps"),
    "image point, its unit of a map": ("feature_maps?layer=conv2_x&unit=chosen+unit", "image"),
    "image point, its reconstruction": (
        "reconstruction?layer=conv3_x&signal=one+channel&unit=chosen+unit&compare=nothing",
        "image",
    ),
}
"""A page, and the picture that is clicked."""

TIMED_CLICK = """async () => {
  const place = document.querySelector('.st-key-touch-KEY'), picture = place.querySelector('img');
  const ready = () => [...place.querySelectorAll('*')].some(one => one.shadowRoot?.querySelector('[aria-label]'));
  while (!ready()) await new Promise(resolve => setTimeout(resolve, 50));
  const box = picture.getBoundingClientRect();
  const seen = () => document.querySelector('[data-testid=stMain]').innerText +
    [...document.querySelectorAll('[data-testid=stMain] img')].map(image => image.src).join();
  const before = seen(), turn = (window.turn = (window.turn ?? 0) + 1);
  const share = [(0.13 + 0.29 * turn) % 0.9, (0.17 + 0.23 * turn) % 0.9];
  const at = { clientX: box.left + box.width * share[0], clientY: box.top + box.height * share[1], bubbles: true };
  const begun = performance.now();
  picture.dispatchEvent(new MouseEvent('click', at));
  const running = () => !document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]");
  const loading = () => [...document.querySelectorAll('[data-testid=stMain] img')].some(image => !image.complete);
  while (running() || loading() || seen() === before) {
    if (performance.now() - begun > 30000) throw new Error('nothing has changed within 30 s');
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  return (performance.now() - begun) / 1000;
}"""


def main() -> None:
    """Print a line for each kind of click."""
    for name, (link, key) in TOUCHES.items():
        times = click_times([link], TIMED_CLICK.replace("KEY", key), RUNS)
        if times is None:
            raise SystemExit("There is no Chromium here: install Debian's `chromium`.")
        print(f"{name:36}{times[0]:8.3f} s  {'below' if times[0] < LIMIT else 'NOT below'} {LIMIT} s", flush=True)


if __name__ == "__main__":
    main()
