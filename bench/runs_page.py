"""Aim: the page Runs of a log of 2,000 runs is drawn in at most 3 s on two cores, and a look at the log while nothing
happens costs the server next to nothing.

The runs are small (12 layers, 200 steps) and written by the collector's own functions. The dashboard is served as
`lambc dashboard` serves it and opened in a Chromium; the page counts as drawn when Streamlit's script has ended and the
table is there. A browser is first new, then one that knows the dashboard: Chromium keeps compiled scripts from the
third visit on. The same page over a log of three runs is measured in turn with it.

    python bench/runs_page.py --folder /somewhere/with/room
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from browsing import busy, chromium, drawn, opened, resident, server_of, spread, unwatched

from collector.log import index
from collector.log.parts import write_part
from collector.log.rollups import roll_up
from collector.log.run import Layer, Run
from collector.log.schema import METRICS, TRUST_RATIOS
from collector.recording.environment import device_name
from collector.store.connect import fingerprint
from tests.browser.dashboard import serve

RESULTS = Path(__file__).parent / "results" / "runs_page.md"
STEPS, EPOCHS = 200, 10
LAYERS = [f"block.{number // 2}.{'weight' if number % 2 == 0 else 'bias'}" for number in range(12)]
TABLE = "[data-testid=stDataFrame] canvas"
DRAWN = """{
    const look = setInterval(() => {
        if (!document.querySelector("[data-testid=stDataFrame] canvas")) return;
        if (!document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]")) return;
        if (document.querySelector("[data-testid=stSkeleton], [data-stale=true]")) return;
        performance.mark("first drawn: table");
        clearInterval(look);
    }, 20);
}"""
"""Marks the moment at which the page is drawn."""

WATCHED = 20
"""Seconds in which a page is open and nothing happens."""

CLIPS = (None, 1.0, 2.0, 0.5)


def make_run(root: Path, number: int) -> None:
    """A run that went as runs go; one in fifty failed, and one in four hundred says nothing more."""
    random = np.random.default_rng(number)
    clip = CLIPS[number % len(CLIPS)]
    config = {
        "data": ("digits", "cifar10")[number % 2],
        "model": "resnet18",
        "batch_size": 64 << number % 5,
        "optimizer": "LAMB" if clip is None else "LAMBC",
        "clip": clip,
        "lr": 0.01,
        "seed": number,
    }
    run = Run.create(root / f"run-{number:04}", config, {})
    run.set_layers([Layer(name, place, (8, 8), 64, 0) for place, name in enumerate(LAYERS)])
    run.begin_attempt_at(1)
    write_part(ratios(run.folder.name, random, np.inf if clip is None else clip), TRUST_RATIOS, trust_ratios(run), 1)
    write_part(metrics(run.folder.name, random), METRICS, run.folder / METRICS.folder, 1)
    roll_up(trust_ratios(run))
    run.beat(STEPS)
    if number % 400 != 399:
        index.save(run.folder)
        failed = number % 50 == 7
        run.end("failed" if failed else "finished", "RuntimeError: out of memory" if failed else None)
        run.save()


def trust_ratios(run: Run) -> Path:
    return run.folder / TRUST_RATIOS.folder


def ratios(run: str, random: np.random.Generator, upper: float) -> pa.Table:
    size = (len(LAYERS), STEPS)
    weight = np.exp(random.normal(size=(len(LAYERS), 1)) + np.zeros(size))
    update = np.exp(random.normal(size=size))
    ratio = weight / update
    measured = [weight, update, ratio, ratio.clip(0, upper), np.zeros(size), np.full(size, upper), np.full(size, 0.01)]
    columns = {
        "run": pa.repeat(run, ratio.size),
        "step": np.tile(np.arange(1, STEPS + 1), len(LAYERS)),
        "epoch": np.tile(1 + np.arange(STEPS) * EPOCHS // STEPS, len(LAYERS)).astype(np.int32),
        "layer": pa.array(LAYERS).take(pa.array(np.repeat(np.arange(len(LAYERS)), STEPS))),
        **{name: each.ravel().astype(np.float32) for name, each in zip(TRUST_RATIOS.measured, measured, strict=True)},
    }
    return pa.table(columns, schema=TRUST_RATIOS.schema)


def metrics(run: str, random: np.random.Generator) -> pa.Table:
    """A test accuracy an epoch, a training loss a step."""
    step = np.concatenate([np.arange(1, EPOCHS + 1) * STEPS // EPOCHS, np.arange(1, STEPS + 1)])
    accuracy = 0.9 - 0.5 / np.arange(1, EPOCHS + 1) + 0.02 * random.normal(size=EPOCHS)
    loss = 2 / np.arange(1, STEPS + 1) ** 0.3 + 0.05 * random.normal(size=STEPS)
    columns = {
        "run": pa.repeat(run, len(step)),
        "step": step,
        "epoch": (1 + (step - 1) * EPOCHS // STEPS).astype(np.int32),
        "time": pa.array(1_700_000_000_000_000 + step * 300_000, METRICS.schema.field("time").type),
        "name": ["test/accuracy"] * EPOCHS + ["train/loss"] * STEPS,
        "value": np.concatenate([accuracy, loss]),
    }
    return pa.table(columns, schema=METRICS.schema)


def runs_page(home: Path, count: int, times: int) -> list[str]:
    """The page Runs over `count` runs and over three."""
    roots = {3: home / "few", count: home / "many"}
    for runs, root in roots.items():
        for number in range(runs):
            make_run(root, number)
    at_once, new, known, idle, memory = ({runs: [] for runs in roots} for _ in range(5))
    for _ in range(3):
        for runs, root in roots.items():
            with serve(root) as address:
                at_once[runs] += visits(address, home, 1)
    with ExitStack() as served:
        addresses = {runs: served.enter_context(serve(root)) for runs, root in roots.items()}
        for address in addresses.values():  # finds a server that has read nothing
            visits(address, home, 1)
        for _ in range(times):
            for runs, address in addresses.items():
                first, *_, last = visits(address, home, 4)
                new[runs].append(first)
                known[runs].append(last)
        with chromium() as browser:
            for runs, address in addresses.items():
                server = server_of(address)
                with browser.new_context() as context:
                    opened(context.new_page(), address, TABLE)
                    before = busy(server)
                    time.sleep(WATCHED)
                    idle[runs].append((busy(server) - before) / WATCHED)
                memory[runs].append(resident(server))
    looks = [timed(lambda: fingerprint(roots[count])) for _ in range(6)][1:]
    rows: list[tuple[str, Callable[[int], str]]] = [
        ("at once after the server's start, nothing read", lambda runs: spread(at_once[runs])),
        ("new browser, the log was read", lambda runs: spread(new[runs])),
        ("a browser that was here before", lambda runs: spread(known[runs])),
        ("server's memory in MB", lambda runs: f"{memory[runs][0]:.0f}"),
        ("share of a core while the page is open and nothing happens", lambda runs: f"{idle[runs][0]:.1%}"),
    ]
    return [
        f"| the page Runs, best / median in seconds | {' | '.join(f'{runs:,} runs' for runs in roots)} |",
        "|---|" + "---:|" * len(roots),
        *(f"| {name} | {' | '.join(said(runs) for runs in roots)} |" for name, said in rows),
        "",
        f"A look whether {count:,} runs have changed (`fingerprint`) takes {spread(looks)} s.",
    ]


def visits(address: str, home: Path, times: int) -> list[float]:
    """Seconds until the page is drawn, in a browser that is new at first."""
    profile = Path(tempfile.mkdtemp(dir=home))
    seconds = []
    for _ in range(times):
        with unwatched(address, profile, DRAWN) as page:
            seconds.append(drawn(page)["table"])
    shutil.rmtree(profile, ignore_errors=True)
    return seconds


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(
    folder: Annotated[Path | None, typer.Option(help="Where the logs are written; else a temporary folder.")] = None,
    runs: Annotated[int, typer.Option(help="How many runs the larger log has.")] = 2000,
    times: Annotated[int, typer.Option(help="How often each kind of visit is made.")] = 5,
) -> None:
    """Write the logs, open the pages, and write the table to bench/results/."""
    home = Path(tempfile.mkdtemp(dir=folder))
    lines = [
        "# The page Runs\n",
        (__doc__ or "").rpartition("\n\n")[0].strip() + "\n",
        f"{device_name('cpu')} of {os.cpu_count()} cores; streamlit {version('streamlit')}, "
        f"duckdb {version('duckdb')}, {datetime.now(UTC):%Y-%m-%d}. Server and browser share the cores.\n",
        *runs_page(home, runs, times),
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    shutil.rmtree(home)


if __name__ == "__main__":
    typer.run(main)
