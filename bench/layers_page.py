"""Aim: on a log of 100 million rows, from opening the page Layers to the drawn heatmap at most 2.5 s, a zoom at most
1 s, the server at most 600 MB, and at most 300,000 cells sent to a chart; of a run that goes on, steps are on the
screen at most 5 s after they were flushed; hours of refreshing do not grow the server's or the browser's memory. On a
slow line (200 KB/s, 400 ms) a new browser says within 5 s how the runs stand, and has drawn the heatmap within 15 s.

The log is that of large_log.py, 300 layers by 333,333 steps; a run of 10 layers by 100 steps is measured beside it,
which is what Streamlit and Plotly take by themselves. A page counts as drawn when Plotly has drawn the heatmap. A
browser is first new, then one that knows the dashboard: Chromium keeps compiled scripts from the third visit on.

    python bench/layers_page.py --folder /somewhere/with/room
"""

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer
from browsing import chromium, drawn, opened, resident, server_of, spread, unwatched
from large_log import make_log, names
from playwright.sync_api import Page
from speaker import Speaker

from collector import Collector
from collector.log.compact import merge_all
from collector.log.parts import list_parts
from collector.log.rollups import roll_up
from collector.log.schema import TRUST_RATIOS
from collector.recording.environment import device_name
from tests.browser.dashboard import serve, settle

RESULTS = Path(__file__).parent / "results" / "layers_page.md"
CHART = "[aria-label='Trust ratio of every layer at every step'].lambc-chart"
REFRESHES = 2880
"""Those of eight hours, in which a run flushes every ten seconds: of the first, the server's caches fill."""

SLOW_LINE = {"offline": False, "latency": 400, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
"""In milliseconds and bytes a second, as Chromium's own throttling takes them."""

TABS = 6
"""Among which the refreshes are shared, since a page looks at the log every two seconds."""

BEFORE = 20_000
"""Steps of that run before anybody looks."""

CELLS = "(chart) => chart._fullData.filter((trace) => trace.type === 'heatmap').map((t) => t.z.length * t.z[0].length)"
COUNTING = """() => {
    window.refreshes = 0;
    new PerformanceObserver((list) => {
        window.refreshes += list.getEntries().filter((mark) => mark.name.startsWith("drawn: Trust ratio of ev")).length;
    }).observe({ type: "mark" });
}"""
LAST_STEP = """(chart) => Math.max(...chart._fullData.filter((trace) => trace.type === 'heatmap')
    .map((trace) => trace.x0 + trace.dx * (trace.z[0].length - 1)))"""


def opening(address: str, home: Path, times: int) -> tuple[list[float], list[float]]:
    """Seconds until the heatmap is drawn, in browsers that are new, and in those that know the page."""
    new, known = [], []
    for _ in range(times):
        profile = Path(tempfile.mkdtemp(dir=home))
        for visit in range(4):
            with unwatched(f"{address}/layers", profile) as page:
                seconds = drawn(page)["Trust ratio of every layer at every step"]
            if visit in (0, 3):
                (new if visit == 0 else known).append(seconds)
        shutil.rmtree(profile, ignore_errors=True)
    return new, known


def zooming(address: str, times: int) -> tuple[list[float], int]:
    """Seconds that zooms took, and the most cells that a chart had."""
    zooms, cells = [], 0
    with chromium() as browser:
        for _ in range(times):
            with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
                page = context.new_page()
                opened(page, f"{address}/layers", f"{CHART}[data-drawn]")
                for edges in ((0.3, 0.6), (0.35, 0.55)):
                    zooms.append(zoom(page, *edges))
                    cells = max(cells, sum(page.locator(CHART).evaluate(CELLS)))
    return zooms, cells


def zoom(page: Page, first: float, last: float) -> float:
    """Seconds from letting the mouse go to finer cells; `first` and `last` are shares of the chart's width."""
    box = page.locator(CHART).bounding_box()
    assert box
    before = page.locator(CHART).get_attribute("data-drawn")
    page.mouse.move(box["x"] + box["width"] * first, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * last, box["y"] + 100, steps=3)
    start = time.perf_counter()
    page.mouse.up()
    page.wait_for_function(f"(before) => document.querySelector(`{CHART}`).dataset.drawn !== before", arg=before)
    seconds = time.perf_counter() - start
    settle(page)
    return seconds


def large(home: Path, times: int) -> list[str]:
    """The large log beside a small one."""
    roots = {"10 x 100": home / "small", "300 x 333,333": home / "large"}
    with running(roots["10 x 100"], 10) as say:
        for step in range(1, 101):
            say(step)
    if not roots["300 x 333,333"].exists():
        parts = make_log(roots["300 x 333,333"], 333_333)
        merge_all(TRUST_RATIOS, parts, names())
        shutil.rmtree(parts.with_name("replaced_trust_ratios"), ignore_errors=True)
        roll_up(parts)
    columns: list[list[str]] = []
    for root in roots.values():
        with serve(root) as address:
            time.sleep(10)  # the server has started, and looked at the log
            new, known = opening(address, home, times)
            zooms, cells = zooming(address, times)
            memory = f"{resident(server_of(address)):.0f}"
            columns.append([spread(new), spread(known), spread(zooms), f"{cells:,}", memory])
    labels = [
        "seconds until the heatmap is drawn, new browser",
        "the same, a browser that was here before",
        "a zoom, until finer cells are drawn",
        "most cells sent to a chart",
        "server's memory in MB",
    ]
    return [
        f"| the page Layers, best / median | {' | '.join(roots)} |",
        "|---|" + "---:|" * len(roots),
        *(f"| {label} | {' | '.join(values)} |" for label, *values in zip(labels, *columns, strict=True)),
    ]


@contextmanager
def running(root: Path, layers: int) -> Iterator:
    """A run that goes on: say(step) has it take a step of `layers` layers and flushed."""
    speaker = Speaker({f"block.{number}.weight": (8, 8) for number in range(layers)})
    table = torch.rand(7, layers) + 0.5
    with Collector(speaker, root, name="live") as collector:

        def say(step: int) -> None:
            speaker.say(step, table)
            collector.log({"train/loss": 1 / step})
            if step % 10 == 0:
                collector.flush()

        yield say


def live(home: Path, times: int) -> list[str]:
    """How long after a flush its steps are on the screen."""
    delays = []
    with running(home / "live", 62) as say:
        for step in range(1, 21):
            say(step)
        with serve(home / "live") as address, chromium() as browser, browser.new_context() as context:
            page = context.new_page()
            opened(page, f"{address}/layers", f"{CHART}[data-drawn]")
            for turn in range(2, times + 2):
                for step in range(turn * 10 + 1, turn * 10 + 11):
                    say(step)
                flushed = time.perf_counter()
                wanted = turn * 10 + 10
                page.wait_for_function(
                    f"(last) => ({LAST_STEP})(document.querySelector(`{CHART}`)) >= last", arg=wanted
                )
                delays.append(time.perf_counter() - flushed)
                time.sleep(0.37 * turn % 2)  # another moment of the page's two seconds each time
    return [
        f"Steps of a run that goes on are on the screen {min(delays):.1f} to {max(delays):.1f} s after their flush "
        f"(median {statistics.median(delays):.1f} s, {times} flushes)."
    ]


def slow_line(home: Path, times: int) -> list[str]:
    """How long a new browser, and the same at its second visit, wait for a page of 62 layers on a slow line."""
    with running(home / "slow", 62) as say:
        for step in range(1, 1001):
            say(step)
    waited: dict[str, list[tuple[float, float]]] = {"a new browser": [], "its second visit": []}
    with serve(home / "slow") as address, chromium() as browser:
        for _ in range(times):
            with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
                context.set_default_timeout(120_000)
                for visits in waited.values():
                    page = context.new_page()
                    context.new_cdp_session(page).send("Network.emulateNetworkConditions", SLOW_LINE)
                    start = time.perf_counter()
                    page.goto(f"{address}/layers", wait_until="commit")
                    page.wait_for_selector("#lambc-first")
                    said = time.perf_counter() - start
                    page.wait_for_selector(f"{CHART}[data-drawn]")
                    visits.append((said, time.perf_counter() - start))
                    page.close()
    return [
        "| on a line of 200 KB/s and 400 ms, best / median | how the runs stand | the heatmap |",
        "|---|---:|---:|",
        *(
            f"| seconds, {name} | {spread([said for said, _ in visits])} | {spread([drawn for _, drawn in visits])} |"
            for name, visits in waited.items()
        ),
    ]


def hours(home: Path) -> list[str]:
    """What eight hours of refreshing add to the server's memory and to the browser's.

    The run is so long from the start that its charts have as many points as they ever get.
    """
    with running(home / "hours", 62) as say:
        for step in range(1, BEFORE + 1):
            say(step)
        with serve(home / "hours") as address, chromium() as browser, browser.new_context() as context:
            pages = [context.new_page() for _ in range(TABS)]
            for page in pages:
                opened(page, f"{address}/layers", f"{CHART}[data-drawn]")
            for page in pages:
                page.evaluate(COUNTING)
            stop = threading.Event()
            writer = threading.Thread(target=go_on, args=(say, stop))
            writer.start()
            rows, server = [], server_of(address)
            for part in range(1, 9):
                while count(pages) < REFRESHES * part / 8:
                    time.sleep(1)
                heaps = [heap(page) for page in pages]
                rows.append((count(pages), resident(server), sum(heaps) / len(heaps)))
            stop.set()
            writer.join()
        parts = len(list_parts(home / "hours" / "live" / TRUST_RATIOS.folder))
    return [
        f"| refreshes, by {TABS} pages ({parts} parts at the end) | server, MB | a page's heap, MB |",
        "|---:|---:|---:|",
        *(f"| {refreshes} | {memory:.0f} | {of_page:.1f} |" for refreshes, memory, of_page in rows),
    ]


def go_on(say, stop: threading.Event) -> None:
    step = BEFORE
    while not stop.wait(0.2):
        step += 1
        say(step)


def count(pages: list[Page]) -> int:
    """How often the heatmap was drawn since, in all pages."""
    return sum(page.evaluate("window.refreshes") for page in pages)


def heap(page: Page) -> float:
    """What JavaScript keeps, in megabytes, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used / 1e6


def main(
    folder: Annotated[Path | None, typer.Option(help="Where the logs are written; else a temporary folder.")] = None,
    times: Annotated[int, typer.Option(help="How often each thing is measured.")] = 5,
) -> None:
    """Write the logs, open the pages, and write the tables to bench/results/."""
    home = Path(tempfile.mkdtemp(dir=folder))
    parts = [large(home, times), live(home, 2 * times), slow_line(home, times), hours(home)]
    lines = [
        "# The page Layers\n",
        (__doc__ or "").rpartition("\n\n")[0].strip() + "\n",
        f"{device_name('cpu')} of {os.cpu_count()} cores; streamlit {version('streamlit')}, "
        f"duckdb {version('duckdb')}, {datetime.now(UTC):%Y-%m-%d}. Server and browser share the cores.",
        *("\n" + "\n".join(part) for part in parts),
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    shutil.rmtree(home)


if __name__ == "__main__":
    typer.run(main)
