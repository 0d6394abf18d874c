"""
The page: how long a move of a slider takes, and how large pages with a what-if part are.

`python benchmarks/page.py` prints a Markdown table; with --write it becomes benchmarks/results/page.md too. Needs
Chromium (found by name) and the package playwright.
"""

import argparse
import base64
import gzip
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from mixwright import LikelihoodTable, MixMin
from mixwright.report import write_what_if

SIZES = ((3, 2_000), (20, 10_000), (300, 2_000), (1_000, 5_000))
HEAD = (
    "sources",
    "rows here",
    "of",
    "page, MB",
    "to write it, s",
    "ready, s",
    "arithmetic, ms",
    "script, ms",
    "frame, ms",
)
MOVES = 60
FLAGS = "--no-sandbox --disable-gpu"
TIMED = """async (moves) => {
  const slider = document.querySelector("#wi-list .wi-slider");
  const payload = JSON.parse(document.getElementById("what-if-data").textContent);
  const targets = whatIfNumbers.targetsOf(payload, await whatIfNumbers.unzipped(payload.data));
  const w = Float64Array.from(payload.marks.find((mark) => mark.kind === "uniform").weights);
  const [script, frame, sums] = [[], [], []];
  for (let i = 0; i < moves; i++) {
    let start = performance.now();
    slider.value = slider.max * (0.1 + (0.8 * i) / moves);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));  // what follows the frame: style, layout, paint
    frame.push(performance.now() - start);
    script.push(performance.getEntriesByName("what-if").at(-1).duration);
    start = performance.now();
    for (const target of targets) whatIfNumbers.lossOf(target, w);
    sums.push(performance.now() - start);
  }
  const at = (values, share) => values.sort((a, b) => a - b)[Math.floor(share * (values.length - 1))];
  return [sums, script, frame].map((values) => [at(values, 0.5), at(values, 0.95)]);
}"""


def page_of(k, n, path):
    rng = np.random.default_rng(0)
    logs = rng.normal(-140, 20, (n, 1)) + rng.normal(0, 3, (n, k)) + rng.normal(0, 1, k)
    table = LikelihoodTable.from_array(logs, [f"group {i % 7}/source {i}" for i in range(k)])
    result = MixMin(shrinkage=0.01).fit(table, sizes=rng.integers(1, 100, k))
    start = time.perf_counter()
    write_what_if(result, path, interval=None)
    return time.perf_counter() - start


def measure(browser, k, n, folder):
    path = folder / "page.html"
    writing = page_of(k, n, path)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-what-if=ready]", state="attached", timeout=120_000)
    ready = time.perf_counter() - start
    page.evaluate("document.querySelector('#wi-list').scrollIntoView()")
    times = page.evaluate(TIMED, MOVES)
    rows = page.evaluate("JSON.parse(document.getElementById('what-if-data').textContent).targets[0].rows")
    page.close()
    cells = [f"{middle:.1f} ({high:.1f})" for middle, high in times]
    return (k, f"{rows:,}", f"{n:,}", f"{path.stat().st_size / 1e6:.2f}", f"{writing:.1f}", f"{ready:.1f}", *cells)


def library():
    """The size of the chart library that a run's page holds too, MB."""
    from plotly.offline import get_plotlyjs

    return len(base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9))) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with sync_playwright() as started, tempfile.TemporaryDirectory() as folder:
        browser = started.chromium.launch(executable_path=chromium, args=FLAGS.split())
        rows = [measure(browser, k, n, Path(folder)) for k, n in SIZES]
        version = browser.version
        browser.close()
    table = "\n".join(" | ".join(("", *map(str, row), "")).strip() for row in (HEAD, ["---"] * len(HEAD), *rows))
    text = f"""# The what-if part of a page

`python benchmarks/page.py --write`; {os.cpu_count()} cores, {platform.machine()}, headless Chromium {version} without
a GPU, other work on the machine (load {os.getloadavg()[0]:.0f}). {MOVES} moves of one slider; the median (and the 95th
percentile) of: the arithmetic of one loss; all of the page's script for a move (loss, figures, the position of every
slider, limits, groups); from the move to the end of the frame that shows it, waiting for the frame included (16.7 ms
at 60 per second). Every move changes all sliders.
The figures of one point more and the text to copy follow 150 ms after the last move and are not counted.

{table}

A page has at most 2,000 rows of a target and 2.4 MB of float32, all targets together. A run's page holds the chart
library too, {library():.1f} MB; the pages here do not need it. Beyond 400 sources the list shows the first 400 until
all are asked for.
"""
    print(text)
    if arguments.write:
        (Path(__file__).parent / "results" / "page.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
