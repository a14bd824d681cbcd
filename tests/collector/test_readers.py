"""Who else reads the log: any engine that reads Parquet finds the same rows in it, with no help of ours."""

import math

import polars as pl
import torch

from collector import Collector, connect

LAYERS, STEPS = ["a.weight", "a.bias", "b.weight"], 200


def test_polars_counts_as_duckdb_does(new_emitter, tmp_path):
    random = torch.Generator().manual_seed(0)
    for name in ("r1", "r2"):
        emitter = new_emitter(LAYERS)
        with Collector(emitter, tmp_path, name=name) as collector:
            for step in range(1, STEPS + 1):
                ratio = 2 * torch.rand(len(LAYERS), generator=random)
                table = torch.ones(7, len(LAYERS))
                table[2], table[3], table[4] = ratio, ratio.clamp(max=1.0), 0.0
                table[6, 1] = math.nan if step % 7 == 0 else 0.01  # a layer that has no row in this step
                emitter.say(step, table)
                collector.log({"train/loss": 1 / step}, epoch=step // 50)
                if step % 60 == 0:
                    collector.flush()

    con = connect(tmp_path)
    rows = pl.scan_parquet(f"{tmp_path}/*/trust_ratios/*.parquet").with_columns(pl.col("run", "layer").cast(pl.String))
    clipped = pl.col("trust_ratio") > pl.col("upper")
    by_layer = rows.group_by("run", "layer").agg(pl.len(), clipped.sum(), pl.col("trust_ratio").max().alias("largest"))
    expected = con.sql(
        "SELECT run, layer, count(*), count(*) FILTER (outcome = 'upper'), max(trust_ratio) "
        "FROM trust_ratios GROUP BY run, layer ORDER BY run, layer"
    ).fetchall()
    assert by_layer.sort("run", "layer").collect().rows() == expected
    assert {(run, layer): count for run, layer, count, *_ in expected} == {
        (run, layer): STEPS - (STEPS // 7 if layer == "a.bias" else 0) for run in ("r1", "r2") for layer in LAYERS
    }

    metrics = pl.scan_parquet(f"{tmp_path}/*/metrics/*.parquet").with_columns(pl.col("run", "name").cast(pl.String))
    by_epoch = metrics.group_by("run", "epoch").agg(pl.len(), pl.col("value").sum()).sort("run", "epoch").collect()
    sums = con.sql("SELECT run, epoch, count(*), sum(value) FROM metrics GROUP BY run, epoch ORDER BY run, epoch")
    for ours, theirs in zip(by_epoch.rows(), sums.fetchall(), strict=True):
        assert ours[:3] == theirs[:3]
        assert math.isclose(ours[3], theirs[3], rel_tol=1e-12)
