"""Aim: on logs of 100 million rows the heatmap of 1,943 layers takes at most 0.2 s warm, that of 10,180 layers at most
0.7 s; what a layer usually does, one step of all layers, and a zoom take no longer.

The logs are those of lambc.experiments.wide_logs: 1,943 layers by 51,467 steps, 10,180 by 9,824. Each query has the
rows of the page Layers (app.charts.bands) and as many columns as the page asks for. It runs in a process of its own,
with two threads: the best and the median of seven, in seconds; and the processor's time of the best, which is what the
query costs on a machine that others use too.

    python bench/wide_rows.py --folder /somewhere/with/room
"""

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from app.band_cells import least_width
from app.charts.bands import Member, stack
from app.queries import CELLS
from collector.recording.environment import device_name
from collector.store.families import families
from lambc.experiments.wide_logs import WideLog, breakdown, mixture

RESULTS = Path(__file__).parent / "results" / "wide_rows.md"
ROOM = 600
"""Columns of a page of 1280 pixels."""

LOGS = {
    "wide-100m": WideLog(mixture(), 51_467, [breakdown(35_000)], "mixture of experts"),
    "wide-10k": WideLog(mixture(61, 56, 3), 9_824, [breakdown(7_000)], "mixture of experts"),
}
SHOWN = "{columns}, map($layers::VARCHAR[], $numbers::INTEGER[]), least_width := {least}"
DRAWN = "row, step, width, rows, last_step, not_finite, trust_ratio_low, trust_ratio_high"
BOTH = f"{DRAWN}, clipped_ratio_low, clipped_ratio_high"
USUAL = "usual_of := map($layers::VARCHAR[], $usual::DOUBLE[])"
TENTH = "{last} * 6 // 10, {last} * 7 // 10"
QUERIES = {
    "heatmap by kind, as it is drawn": f"SELECT {BOTH} FROM heatmap_rows('{{run}}', 1, {{last}}, {SHOWN})",
    "the same, against usual": f"SELECT {DRAWN} FROM heatmap_rows('{{run}}', 1, {{last}}, {SHOWN}, {USUAL})",
    "a zoom to a tenth": f"SELECT {BOTH} FROM heatmap_rows('{{run}}', {TENTH}, {SHOWN})",
    "clip hits": f"FROM hit_rate_rows('{{run}}', 1, {{last}}, {SHOWN})",
    "usual ratios": "FROM usual_ratios('{run}', 1, {last})",
    "all layers at one step": "FROM layers_at('{run}', {last} // 2)",
    "before: a row a layer": "SELECT layer, step, width, rows, trust_ratio, clipped_ratio, not_finite FROM "
    "heatmap('{run}', 1, {last}, {before})",
    "events, which the page does not wait for": "FROM events('{run}', 1, {last})",
}
MEASURE = """
import json, sys, time
from collector import connect
root, query, parameters = sys.argv[1], sys.argv[2], json.load(sys.stdin)
con = connect(root)
con.execute("SET threads = 2")
parameters = {name: value for name, value in parameters.items() if f"${name}" in query}
taken = []
for _ in range(8):
    start, busy = time.perf_counter(), time.process_time()
    count = con.sql(query, params=parameters).to_arrow_table().num_rows
    taken.append((time.perf_counter() - start, time.process_time() - busy))
taken = sorted(taken[1:])
(peak,) = (int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"best": taken[0][0], "median": taken[3][0], "busy": taken[0][1], "rows": count, "peak": peak}))
"""


def measure(root: Path, name: str, log: WideLog) -> list[str]:
    places = families(log.shapes.items())
    shown = stack([Member(layer, *places[layer]) for layer in log.shapes])
    columns = min(ROOM, CELLS // len(shown.rows))
    parameters = {"layers": list(shown.row_of), "numbers": list(shown.row_of.values()), "usual": [1.5] * len(places)}
    lines = [
        f"\n{len(log.shapes):,} layers by {log.steps:,} steps: {len(log.shapes) * log.steps:,} rows, drawn as "
        f"{len(shown.rows)} rows of at most {columns} columns.\n",
        "| query | best / median | processor | rows in answer | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for what, query in QUERIES.items():
        before = max(1, 150_000 // len(log.shapes))
        first, last = (log.steps * 6 // 10, log.steps * 7 // 10) if "zoom" in what else (1, log.steps)
        least = least_width(first, last, columns, len(log.shapes))
        asked = query.format(run=name, last=log.steps, columns=columns, before=before, least=least)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, root, asked],
            input=json.dumps(parameters), capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
        lines.append(
            f"| {what} | {found['best']:.3f} / {found['median']:.3f} | {found['busy']:.3f} | {found['rows']:,} | "
            f"{found['peak']:.0f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main(
    folder: Annotated[
        Path | None, typer.Option(help="Where the logs are written, and kept for the next time.", show_default=False)
    ] = None,
) -> None:
    """Write the logs unless they are there, time each query, and write the tables to bench/results/."""
    home = folder or Path(tempfile.mkdtemp())
    stamp = f"{device_name('cpu')}; duckdb {duckdb.__version__}, {datetime.now(UTC):%Y-%m-%d}."
    lines = ["# Wide models\n", "\n\n".join((__doc__ or "").split("\n\n")[:2]) + "\n", stamp]
    for name, log in LOGS.items():
        if not (home / name / name).exists():
            log.write(home / name, name)
        lines += measure(home / name, name, log)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)
