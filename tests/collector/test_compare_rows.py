"""Cells of two runs beside each other, against the rows that they are made of."""

import numpy as np
import pytest
import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter

LAYERS = [f"blocks.{block}.{name}" for block in range(3) for name in ("q", "k")]
RUNS = {"a": (300, 1), "b": (200, 3), "c": (300, 1), "zeros": (250, 1)}
"""Steps and stride of each run. Only four layers of `c` are those of the others; some ratios of `zeros` are 0."""

ROW_OF = {layer: number % 2 for number, layer in enumerate(LAYERS)}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    root = tmp_path_factory.mktemp("log")
    for seed, (run, (steps, every)) in enumerate(RUNS.items()):
        names = LAYERS if run != "c" else [*LAYERS[:4], "x", "y"]
        emitter, random = Emitter(names), np.random.default_rng(seed)
        with Collector(emitter, root, name=run, every=every) as collector:
            for step in range(1, steps + 1):
                weight, update = np.exp(random.normal(size=(2, len(LAYERS))))
                update[random.random(len(LAYERS)) > 0.995] = np.nan
                ratio = np.where(np.isfinite(update), weight / np.where(update > 0, update, 1), 1)
                if run == "zeros":
                    ratio[random.random(len(LAYERS)) > 0.99] = 0
                one = np.ones(len(LAYERS))
                rows = [weight, update, ratio, np.clip(ratio, 0.5, 2), 0.5 * one, 2 * one, 0.01 * one]
                emitter.say(step, torch.tensor(np.stack(rows), dtype=torch.float32))
            collector.log({"train/loss": 1.0})
    con = connect(root)
    return con, con.sql("FROM trust_ratios ORDER BY run, layer, step").df()


def cells(con, one, other, quantity, columns, row_of, last=300):
    numbers = ", ".join(f"'{layer}': {row}" for layer, row in row_of.items())
    found = con.sql(
        f"FROM compare_rows('{one}', '{other}', '{quantity}', 1, {last}, {columns}, MAP {{{numbers}}})"
    ).df()
    return found.set_index(["row", "step"]).sort_index()


def of_layers(rows, run, quantity, width):
    """What each layer of a run has in each cell: a geometric mean or a share; NaN where a norm was not finite."""
    its = rows[rows["run"] == run]
    groups = its.assign(cell=its["step"] // width * width).groupby(["layer", "cell"])
    if quantity == "hit_rate":
        hits = groups["outcome"].agg(lambda all_: all_.isin(["upper", "lower"]).sum())
        found = hits / groups["outcome"].agg(lambda all_: (all_ != "fallback").sum())
    else:
        found = np.exp(groups[quantity].agg(lambda ratios: np.log(ratios.astype(float)).mean()))
    return found.where(groups["update_norm"].agg(lambda norms: np.isfinite(norms).all()))


@pytest.mark.parametrize("quantity", ["trust_ratio", "clipped_ratio", "hit_rate"])
@pytest.mark.parametrize("columns", [300, 7])
@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("c", "a")])
def test_a_cell_has_the_values_of_the_layer_that_lies_furthest_apart(log, one, other, columns, quantity):
    con, rows = log
    found = cells(con, one, other, quantity, columns, ROW_OF)
    width = int(found["width"].iloc[0])
    assert width >= max(RUNS[one][1], RUNS[other][1])
    means = (
        of_layers(rows, one, quantity, width)
        .to_frame("one")
        .join(of_layers(rows, other, quantity, width).rename("two"))
    )
    logs = means if quantity == "hit_rate" else np.log10(means)
    apart = logs["one"] - logs["two"]
    means = means.assign(apart=apart).dropna().reset_index()
    means = means.assign(row=means["layer"].map(ROW_OF), size=means["apart"].abs()).dropna(subset="row")
    most = means.sort_values("size").groupby(["row", "cell"]).tail(1).set_index(["row", "cell"]).sort_index()
    drawn = found[found["apart"].notna()]
    assert list(drawn.index) == list(most.index)
    assert len(drawn) > 5
    assert np.allclose(drawn["apart"].abs(), most["size"], atol=1e-5)
    one, other = (drawn[name].astype(float) for name in ("one", "other"))
    assert np.allclose(one - other if quantity == "hit_rate" else np.log10(one / other), drawn["apart"], atol=1e-5)
    # Of two layers that are as far apart, which clipping makes of many, it may be either.
    alike = np.isclose(one, most["one"], rtol=1e-5) & np.isclose(other, most["two"], rtol=1e-5)
    assert alike.mean() > (0.9 if quantity == "trust_ratio" else 0.2)


def test_a_cell_counts_the_rows_of_both_runs_and_those_that_are_not_finite(log):
    con, rows = log
    found = cells(con, "a", "b", "trust_ratio", 4, ROW_OF)
    both = rows[rows["run"].isin(["a", "b"])]
    assert found["rows"].sum() == len(both)
    assert found["not_finite"].sum() == both["update_norm"].isna().sum()
    assert found["last_step"].max() == 300


def test_a_layer_that_one_run_lacks_has_no_value(log):
    con, _ = log
    found = cells(con, "a", "c", "trust_ratio", 4, {LAYERS[4]: 0})
    assert found["apart"].isna().all()
    assert found["one"].isna().all()


IN_PLAIN_SQL = """
WITH means AS (
    SELECT
        run, layer, step // $width * $width AS step, count(*) AS rows, max(step) AS last_step,
        count(*) FILTER (NOT (isfinite(weight_norm) AND isfinite(update_norm))) AS not_finite,
        avg(CASE WHEN trust_ratio > 0 THEN ln(trust_ratio::DOUBLE) ELSE '-inf' END) AS mean
    FROM trust_ratios
    WHERE run IN ('zeros', 'b') AND list_contains($layers, layer)
    GROUP BY ALL
),
pairs AS (
    SELECT
        layer, step, sum(rows) AS rows, max(last_step) AS last_step, sum(not_finite) AS not_finite,
        any_value(mean) FILTER (run = 'zeros' AND not_finite = 0) AS one,
        any_value(mean) FILTER (run = 'b' AND not_finite = 0) AS two,
        CASE WHEN one + two IS NOT NULL THEN (greatest(one, ln(1e-12)) - greatest(two, ln(1e-12))) / ln(10) END AS apart
    FROM means
    GROUP BY layer, step
)
SELECT
    list_position($layers, layer) % 2 AS row, step, sum(rows) AS rows, max(last_step) AS last_step,
    sum(not_finite) AS not_finite, exp(arg_max(one, abs(apart))) AS one, exp(arg_max(two, abs(apart))) AS other,
    arg_max(apart, abs(apart)) AS apart
FROM pairs
GROUP BY ALL
ORDER BY row, step
"""


@pytest.mark.parametrize("columns", [101, 13])
def test_a_cell_is_what_plain_sql_makes_of_the_rows_also_where_a_ratio_is_zero_or_a_run_has_ended(log, columns):
    """In float64, and without cells: of each layer the mean of each run, then the layer that is furthest apart."""
    con, _ = log
    row_of = {layer: number % 2 for number, layer in enumerate(LAYERS, start=1)}
    found = cells(con, "zeros", "b", "trust_ratio", columns, row_of).reset_index()
    asked = {"width": int(found["width"].iloc[0]), "layers": LAYERS}
    expected = con.sql(IN_PLAIN_SQL, params=asked).df()
    assert asked["width"] in (3, 32)
    assert (found["one"] == 0).any()  # of a ratio of 0, which is not left out
    assert found["apart"].isna().any()
    for name in ("row", "step", "rows", "last_step", "not_finite"):
        assert found[name].tolist() == expected[name].tolist(), name
    for name in ("one", "other", "apart"):
        assert np.allclose(found[name].astype(float), expected[name].astype(float), rtol=1e-5, equal_nan=True), name
