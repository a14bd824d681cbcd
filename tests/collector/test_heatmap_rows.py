"""Cells of heatmaps whose rows stand for several layers, against the rows that they are made of."""

import numpy as np
import pytest
import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter

LAYERS = [f"blocks.{block}.{name}" for block in range(3) for name in ("q", "k")]
STEPS = 300


def table(random):
    """Norms over many decades, some of which are zero or NaN."""
    weight, update = np.exp(random.normal(size=(2, len(LAYERS))))
    odd = random.random(len(LAYERS))
    weight[odd < 0.01], update[odd > 0.99] = 0.0, np.nan
    usable = (weight > 0) & (update > 0)
    ratio = np.where(usable, weight / np.where(usable, update, 1), 1.0)
    one = np.ones(len(LAYERS))
    return torch.tensor(
        np.stack([weight, update, ratio, np.clip(ratio, 0.5, 2), 0.5 * one, 2 * one, 0.01 * one]), dtype=torch.float32
    )


@pytest.fixture(scope="module", params=["rollups", "rows"])
def log(request, tmp_path_factory):
    """A run of which there are rollups, and one that goes on, of which there are none; and its rows."""
    root = tmp_path_factory.mktemp("log")
    emitter, random = Emitter(LAYERS), np.random.default_rng(0)
    collector = Collector(emitter, root, name="r", flush_seconds=600)
    for step in range(1, STEPS + 1):
        emitter.say(step, table(random))
    if request.param == "rollups":
        collector.close()
    else:
        collector.flush()
    con = connect(root)
    yield con, con.sql("FROM trust_ratios ORDER BY layer, step").df()
    collector.close()


def cells(con, columns, row_of, more=""):
    numbers = ", ".join(f"'{layer}': {row}" for layer, row in row_of.items())
    found = con.sql(f"FROM heatmap_rows('r', 1, {STEPS}, {columns}, MAP {{{numbers}}}{more})").df()
    return found.set_index(["row", "step"]).sort_index()


@pytest.mark.parametrize("columns", [STEPS, 100, 4])
def test_a_cell_has_the_lowest_and_the_highest_of_all_its_layers_and_steps(log, columns):
    con, rows = log
    row_of = {layer: number % 2 for number, layer in enumerate(LAYERS)}
    found = cells(con, columns, row_of)
    width = int(found["width"].iloc[0])
    rows = rows.assign(row=rows["layer"].map(row_of), cell=rows["step"] // width * width)
    groups = rows.groupby(["row", "cell"])
    assert (found["rows"] == groups.size()).all()
    for column in ("trust_ratio", "clipped_ratio", "weight_norm", "update_norm"):
        assert np.allclose(found[f"{column}_low"], groups[column].min(), rtol=1e-6)
        assert np.allclose(found[f"{column}_high"], groups[column].max(), rtol=1e-6)
    assert np.allclose(found["relative_step"], groups["relative_step"].max(), rtol=1e-5)
    assert (found["not_finite"] == groups["update_norm"].agg(lambda norms: norms.isna().sum())).all()


def test_only_the_layers_that_have_a_row_are_in_the_cells(log):
    con, rows = log
    found = cells(con, 1, {LAYERS[2]: 7})
    assert list(found.index.get_level_values("row").unique()) == [7]
    assert found["rows"].sum() == STEPS
    assert found["trust_ratio_high"].max() == rows["trust_ratio"][rows["layer"] == LAYERS[2]].max()


def test_against_what_is_usual_each_layer_is_divided_by_its_own(log):
    con, rows = log
    usual = dict(con.sql(f"FROM usual_ratios('r', 1, {STEPS})").fetchall())
    named = ", ".join(f"'{layer}': {value}" for layer, value in usual.items())
    found = cells(con, 4, dict.fromkeys(LAYERS, 0), f", usual_of := MAP {{{named}}}")
    change = rows["trust_ratio"] / rows["layer"].map(usual)
    cell = rows["step"] // int(found["width"].iloc[0]) * int(found["width"].iloc[0])
    assert np.allclose(found["trust_ratio_low"], change.groupby(cell).min(), rtol=1e-5)
    assert np.allclose(found["trust_ratio_high"], change.groupby(cell).max(), rtol=1e-5)


def test_the_usual_ratio_is_the_median_of_geometric_means(log):
    con, rows = log
    usual = dict(con.sql(f"FROM usual_ratios('r', 1, {STEPS})").fetchall())
    for layer, its in rows.groupby("layer"):
        means = np.log(its["trust_ratio"]).groupby(its["step"] // 8).mean()  # at most 64 cells: of 8 steps
        assert usual[layer] == pytest.approx(np.exp(means.median()), rel=1e-4)


def test_the_hit_rate_of_a_row_is_that_of_the_layer_that_was_clipped_most(log):
    con, rows = log
    numbers = ", ".join(f"'{layer}': 0" for layer in LAYERS)
    found = con.sql(f"FROM hit_rate_rows('r', 1, {STEPS}, 4, MAP {{{numbers}}}) ORDER BY step").df()
    hit = rows["outcome"].isin(["upper", "lower"]).where(rows["outcome"] != "fallback").astype(float)
    cell = rows["step"] // int(found["width"].iloc[0])
    shares = hit.groupby([cell, rows["layer"]]).mean().groupby(level=0)
    assert np.allclose(found["hit_rate"], shares.max())
    assert np.allclose(found["hit_rate_low"], shares.min())


def test_a_step_is_told_layer_by_layer_with_the_norms_before_it(log):
    con, rows = log
    found = con.sql("FROM layers_at('r', 100) ORDER BY layer").df()
    there, before = rows[rows["step"] == 100], rows[rows["step"] == 99]
    assert list(found["layer"]) == list(there["layer"])
    assert list(found["family"]) == [f"blocks.*.{layer[-1]}" for layer in there["layer"]]
    assert np.allclose(found["update_norm"], there["update_norm"], equal_nan=True)
    assert np.allclose(found["update_norm_before"], before["update_norm"], equal_nan=True)
    assert set(found["step_before"]) == {99}
    assert con.sql("SELECT count(update_norm_before) FROM layers_at('r', 1)").fetchall() == [(0,)]
    assert con.sql("FROM layers_at('r', 9999)").fetchall() == []


@pytest.mark.parametrize("macro", ["heatmap_rows", "hit_rate_rows"])
def test_a_cell_has_the_last_step_that_is_recorded_in_it(tmp_path, macro):
    emitter, random = Emitter(["a"]), np.random.default_rng(0)
    with Collector(emitter, tmp_path, name="r", every=10):
        for step in range(1, 61):
            emitter.say(step, table(random)[:, :1])
    asked = f"FROM {macro}('r', 1, 60, 1000, MAP {{'a': 0}}, least_width := 10) SELECT step, last_step ORDER BY step"
    assert connect(tmp_path).sql(asked).fetchall() == [(0, 1), *((step, step) for step in range(10, 70, 10))]
