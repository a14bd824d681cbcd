"""Aim: on a log of 100 million rows, 300 layers by 333,333 steps, a heatmap of 300 layers by 1000 columns takes at most
0.15 s warm and 0.5 s cold, one layer's envelope 0.05 s, all hit rates 0.1 s, in 500 MB of memory; ten times the rows
take at most twice the time.

The log is that of large_log.py, merged and rolled up by the collector's own code. Every query runs in a process of its
own, first with what the disk's cache has dropped of the log (cold), then again (warm: the median of five). A tenth of
the log is measured beside it.

    python bench/hundred_million_rows.py --folder /somewhere/with/room
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from large_log import LAYERS, make_log, names

from collector.log.compact import merge_all
from collector.log.rollups import roll_up
from collector.log.schema import ROLLUPS, TRUST_RATIOS
from collector.recording.environment import device_name

RESULTS = Path(__file__).parent / "results"
QUERIES = {
    "heatmap, 300 layers x 1000 columns": "SELECT layer, step, trust_ratio FROM heatmap('r', 1, {last}, 1000)",
    "the same, all 14 columns": "FROM heatmap('r', 1, {last}, 1000)",
    "heatmap of the last tenth": "FROM heatmap('r', {last} * 9 // 10, {last}, 1000)",
    "heatmap of 1000 steps": "FROM heatmap('r', {last} // 2, {last} // 2 + 999, 1000)",
    "one layer's envelope": "SELECT step, trust_ratio_min, trust_ratio_max FROM "
    "ratio_envelope('r', 'layer.150.weight', 1, {last}, 1000)",
    "the same, all 21 columns": "FROM ratio_envelope('r', 'layer.150.weight', 1, {last}, 1000)",
    "hit rates of all layers": "FROM hit_rate_by_layer('r', 1, {last})",
    "hit rates of a part of the steps": "FROM hit_rate_by_layer('r', {last} // 3, {last} // 2)",
    "hit rate over time": "FROM hit_rate_over_time('r', 1, {last}, 1000)",
    "runs": "FROM run_summaries",
    "clip_hits": "FROM clip_hits",
    "layers clipped always or never": "FROM clipped_throughout('r', 1, {last})",
    "two runs, layer by layer": "FROM compare_layers('r', 'r')",
    "norms that are not finite": "FROM not_finite('r', 1, {last})",
    "one layer's curve, from rows": "FROM ratio_curve('r', 'layer.150.weight', 1, {last}, 500)",
    "quantiles of all layers": "FROM ratio_quantiles('r', 1, {last})",
    "quantiles over a part of the steps": "FROM ratio_quantiles('r', {last} // 3, {last} // 2)",
    "survival curve of all layers": "FROM ratio_survival('r', 1, {last})",
}


MEASURE = """
import json, sys, time
from collector import connect
root, query = sys.argv[1:]
start = time.perf_counter()
con = connect(root)
opened = time.perf_counter() - start
con.execute("SET threads = 2")
taken = []
for _ in range(6):
    start = time.perf_counter()
    count = con.sql(query).to_arrow_table().num_rows
    taken.append(time.perf_counter() - start)
(peak,) = (int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"opened": opened, "cold": taken[0], "warm": sorted(taken[1:])[2], "rows": count, "peak": peak}))
"""


def forget_disk_cache(root: Path) -> None:
    """Have the kernel drop what it keeps of the log's files."""
    for path in root.rglob("*.parquet"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(root: Path, query: str) -> dict[str, float]:
    forget_disk_cache(root)
    done = subprocess.run([sys.executable, "-c", MEASURE, root, query], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.parquet"))


def main(
    folder: Annotated[Path | None, typer.Option(help="Where the log is written; a temporary folder otherwise.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of 300 layers.")] = 333_333,
) -> None:
    """Write the logs, time each query, and write the table to bench/results/."""
    home = Path(tempfile.mkdtemp(dir=folder))
    lines = [
        "# A hundred million rows\n",
        (__doc__ or "").split("\n\n")[0] + "\n",
        f"{device_name('cpu')}; duckdb {duckdb.__version__}, {datetime.now(UTC):%Y-%m-%d}. cold / warm, in seconds.\n",
    ]
    columns: list[dict[str, dict[str, float]]] = []
    for count in (steps // 10, steps):
        root = home / str(count)
        start = time.perf_counter()
        parts = make_log(root, count)
        written = time.perf_counter() - start
        start = time.perf_counter()
        merge_all(TRUST_RATIOS, parts, names())
        merged = time.perf_counter() - start
        shutil.rmtree(parts.with_name("replaced_trust_ratios"), ignore_errors=True)
        start = time.perf_counter()
        roll_up(parts)
        rolled = time.perf_counter() - start
        bytes_of = size(parts), size(parts.with_name(ROLLUPS.folder))
        total = count * LAYERS
        lines.append(
            f"- {total:,} rows in {len(list(parts.iterdir()))} parts: {bytes_of[0] / total:.2f} bytes a row and "
            f"{bytes_of[1] / total:.2f} of rollups; written in {written:.0f} s, merged in {merged:.0f} s, rolled up in "
            f"{rolled:.0f} s"
        )
        print(lines[-1], flush=True)
        columns.append({name: measure(root, query.format(last=count)) for name, query in QUERIES.items()})
    lines += [
        "",
        f"| query | {steps // 10 * LAYERS:,} rows | {steps * LAYERS:,} rows | warm, ratio | rows in answer | peak MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in QUERIES:
        small, large = (column[name] for column in columns)
        lines.append(
            f"| {name} | {small['cold']:.3f} / {small['warm']:.3f} | {large['cold']:.3f} / {large['warm']:.3f} | "
            f"{large['warm'] / small['warm']:.1f} | {large['rows']:,.0f} | {large['peak']:.0f} |"
        )
    opened = statistics.median(each["opened"] for each in columns[1].values())
    lines.append(f"\nconnect() takes {opened:.2f} s on the larger, import of duckdb included.")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hundred_million_rows.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    shutil.rmtree(home)


if __name__ == "__main__":
    typer.run(main)
