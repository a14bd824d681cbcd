"""Rollups change no answer: they only spare reading the rows."""

import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from collector import Collector, connect
from collector.log.compact import merge_all
from collector.log.parts import list_parts, replace_part, write_part
from collector.log.rollups import COARSEST, FINEST, roll_up, rollup_path
from collector.log.schema import ROLLUPS, TRUST_RATIOS
from collector.log.supersede import supersede
from tests.collector.emitter import Emitter

LAYERS = ["conv", "bias", "fc"]
STEPS = 5000


def rows_of(steps: range, seed: int) -> pa.Table:
    """Rows with every outcome, with norms that are zero, NaN and infinite, and a ratio that is zero."""
    random = np.random.default_rng(seed)
    count = len(steps) * len(LAYERS)
    weight, update = np.exp(random.normal(size=(2, count)))
    for norm in (weight, update):
        norm[random.random(count) < 0.02] = random.choice([0.0, math.nan, math.inf])
    with np.errstate(all="ignore"):
        ratio = weight / update
    ratio[~(np.isfinite(ratio) & (ratio > 0))] = 1
    ratio[random.random(count) < 0.001] = 0.0
    lower, upper = np.where(random.random(count) < 0.1, 1, 0.5), np.where(random.random(count) < 0.5, 1, 2)
    measured = [weight, update, ratio, ratio.clip(lower, upper), lower, upper, np.full(count, 0.01)]
    columns = {
        "run": ["r"] * count,
        "step": [step for _ in LAYERS for step in steps],
        "epoch": [step // 100 for _ in LAYERS for step in steps],
        "layer": [layer for layer in LAYERS for _ in steps],
        **dict(zip(TRUST_RATIOS.measured, (each.astype(np.float32) for each in measured), strict=True)),
    }
    return pa.table(columns, schema=TRUST_RATIOS.schema)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose parts end in the middle of cells, and whose last part has no rollup."""
    with Collector(Emitter(LAYERS), tmp_path_factory.mktemp("runs"), name="r") as collector:
        folder = collector.folder / TRUST_RATIOS.folder
    ends = [1, 700, 701, 2500, 4990, STEPS + 1]
    for number, (first, end) in enumerate(pairwise(ends), start=1):
        write_part(rows_of(range(first, end), number), TRUST_RATIOS, folder, number)
    roll_up(folder)
    rollup_path(list_parts(folder)[-1].path).unlink()
    assert len(list_parts(folder)) == 5
    return folder


@pytest.fixture(scope="module")
def with_and_without(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    bare = tmp_path_factory.mktemp("bare")
    shutil.copytree(folder.parent, bare / "r")
    shutil.rmtree(bare / "r" / ROLLUPS.folder)
    return connect(folder.parent.parent), connect(bare)


@pytest.mark.parametrize(
    "question",
    [
        f"heatmap('r', 1, {STEPS}, 40)",
        f"heatmap('r', 1, {STEPS}, 3)",
        f"heatmap('r', 1, {STEPS}, 1000)",
        "heatmap('r', 77, 3141, 20)",
        f"hit_rate_over_time('r', 1, {STEPS}, 20)",
        "hit_rate_over_time('r', 64, 2000, 5)",
        f"ratio_envelope('r', 'bias', 1, {STEPS}, 50)",
        "ratio_envelope('r', 'bias', 500, 1500, 3)",
        f"hit_rate_by_layer('r', 1, {STEPS})",
        "hit_rate_by_layer('r', 1, 1_000_000_000)",
        "hit_rate_by_layer('r', 64, 4000)",
        "hit_rate_by_layer('r', 100, 130)",
        "hit_rate_by_layer('r', 130, 150)",
        "hit_rate_by_layer('r', 1, 63)",
        "hit_rate_by_layer('r', 4900, 5000)",
        "hit_rate_by_layer('r', 701, 701)",
        "clipped_throughout('r', 701, 701)",
        "not_finite('r', 1, 4000)",
        f"ratio_histogram('r', 1, {STEPS})",
        "ratio_histogram('r', 1, 4500)",
        "ratio_histogram('r', 10, 4990)",
        "ratio_histogram('r', 701, 701)",
        f"ratio_quantiles('r', 1, {STEPS})",
        "ratio_survival('r', 1, 4500)",
        "clip_hits",
        "compare_layers('r', 'r')",
        "run_summaries",
    ],
)
def test_every_answer_is_the_one_without_rollups(with_and_without, question):
    answers = []
    for con in with_and_without:
        answer = con.sql(f"FROM {question}").to_arrow_table().to_pandas()
        keys = [key for key in ("layer", "step", "above", "bound") if key in answer]
        answers.append(answer.sort_values(keys).reset_index(drop=True) if keys else answer)
    assert len(answers[0])
    pd.testing.assert_frame_equal(*answers, rtol=1e-5)


@pytest.mark.parametrize(("first", "last"), [(1, STEPS), (1, 4200), (300, 4999)])
def test_what_a_bound_would_clip_is_counted_exactly(with_and_without, first, last):
    con = with_and_without[0]
    rows = (
        con.sql(f"""SELECT layer, trust_ratio FROM trust_ratios
        WHERE step BETWEEN {first} AND {last} AND outcome IN ('free', 'upper', 'lower')""")
        .to_arrow_table()
        .to_pandas()
    )
    survival = con.sql(f"FROM ratio_survival('r', {first}, {last})").to_arrow_table().to_pandas()
    for (layer, bound), row in survival.set_index(["layer", "bound"]).iterrows():
        ratios = rows.trust_ratio[rows.layer == layer].to_numpy().astype(float)
        assert row["steps"] == len(ratios)
        assert row["above"] == (np.maximum(ratios, 2.0**-32) > bound).sum()
    assert (survival.groupby("layer")["share"].min() == 0).all()  # the curves come to their end


def test_a_quantile_is_at_most_a_bin_too_large(with_and_without):
    con = with_and_without[0]
    rows = con.sql("FROM trust_ratios WHERE outcome IN ('free', 'upper', 'lower')").to_arrow_table().to_pandas()
    quantiles = con.sql(f"FROM ratio_quantiles('r', 1, {STEPS})").to_arrow_table().to_pandas().set_index("layer")
    for layer, ratios in rows.groupby("layer")["trust_ratio"]:
        for q in (1, 5, 25, 50, 75, 95, 99):
            exact = np.quantile(ratios.astype(float), q / 100, method="inverted_cdf")
            if exact > 2.0**-32:
                assert exact <= quantiles.loc[layer, f"q{q:02}"] * (1 + 1e-12) <= exact * 2 ** (1 / 32) * (1 + 1e-9)


def test_a_query_of_a_whole_run_reads_no_rows_of_a_part_that_has_a_rollup(folder, tmp_path):
    """Rows that are changed behind the rollup's back do not show; those of the part that has none do."""
    shutil.copytree(folder.parent, tmp_path / "r")
    *rolled_up, fresh = list_parts(tmp_path / "r" / folder.name)

    def heatmap(root: Path) -> pd.DataFrame:
        return connect(root).sql("FROM heatmap('r', 1, 100000, 10) ORDER BY layer, step").to_arrow_table().to_pandas()

    before = heatmap(tmp_path)
    assert len(before)
    for part in rolled_up:
        halve_ratios(part.path)
    pd.testing.assert_frame_equal(heatmap(tmp_path), before)
    halve_ratios(fresh.path)
    assert not heatmap(tmp_path).equals(before)


def halve_ratios(part: Path) -> None:
    rows = pq.read_table(part)
    place = rows.schema.get_field_index("trust_ratio")
    halved = pc.multiply(rows["trust_ratio"], pa.scalar(0.5, pa.float32()))
    replace_part(rows.set_column(place, rows.field(place), halved), TRUST_RATIOS, part)


def test_levels_go_up_to_the_one_at_which_a_part_is_a_cell_or_two(folder):
    for part in list_parts(folder)[:-1]:
        cells = pq.read_table(rollup_path(part.path)).to_pandas()
        (top,) = cells.query("last_level == 62")["level"].unique()
        assert sorted(cells["level"].unique()) == list(range(FINEST, top + 1))
        assert cells.query("last_level == 62").groupby("layer").size().max() <= 2
        assert top <= COARSEST


def test_a_level_has_every_row_once(folder):
    for part in list_parts(folder)[:-1]:
        cells = pq.read_table(rollup_path(part.path)).to_pandas()
        assert (cells.groupby("level")["rows"].sum() == part.rows).all()
        assert (cells["step"] % 2 ** cells["level"] == 0).all()


def test_a_rollup_goes_with_its_part(folder, tmp_path):
    run = tmp_path / "r"
    shutil.copytree(folder.parent, run)
    parts = run / TRUST_RATIOS.folder
    before = connect(tmp_path).sql("SELECT sum(upper_hits) FROM clip_hits").fetchall()
    merge_all(TRUST_RATIOS, parts, LAYERS)
    assert connect(tmp_path).sql("SELECT sum(upper_hits) FROM clip_hits").fetchall() == before
    roll_up(parts)
    kept = {path.name for path in (run / ROLLUPS.folder).iterdir()}
    assert {part.path.name for part in list_parts(parts)} <= kept
    shutil.rmtree(run / "replaced_trust_ratios")
    roll_up(parts)
    assert {path.name for path in (run / ROLLUPS.folder).iterdir()} == {part.path.name for part in list_parts(parts)}
    assert connect(tmp_path).sql("SELECT sum(upper_hits) FROM clip_hits").fetchall() == before


def test_rows_that_are_superseded_are_in_no_rollup(folder, tmp_path):
    run = tmp_path / "r"
    shutil.copytree(folder.parent, run)
    supersede(TRUST_RATIOS, run / TRUST_RATIOS.folder, run / "superseded", 1000)
    con = connect(tmp_path)
    assert con.sql("SELECT sum(steps) FROM clip_hits").fetchall() == [(999 * len(LAYERS),)]
    assert con.sql("SELECT max(step) FROM heatmap('r', 1, 5000, 1000)").fetchall() == [(992,)]


def test_a_rollup_of_another_part_of_that_name_does_not_count(folder, tmp_path):
    run = tmp_path / "r"
    shutil.copytree(folder.parent, run)
    first = list_parts(run / TRUST_RATIOS.folder)[0].path
    pq.write_table(pq.read_table(first).slice(0, 10), first)
    assert connect(tmp_path).sql("SELECT sum(steps) FROM clip_hits WHERE layer = 'conv'").fetchall() == [
        (STEPS - 699 + 10,)
    ]


def test_a_bound_is_that_of_the_last_step_also_where_parts_share_a_cell(tmp_path):
    with Collector(Emitter(LAYERS), tmp_path, name="r") as collector:
        parts = collector.folder / TRUST_RATIOS.folder
    upper = TRUST_RATIOS.schema.get_field_index("upper")
    for number, (steps, bound) in enumerate([(range(1, 81), 2.0), (range(81, 101), 1.0), (range(101, 120), 3.0)], 1):
        rows = rows_of(steps, number)
        bounds = pa.array([bound] * len(rows), pa.float32())
        write_part(rows.set_column(upper, "upper", bounds), TRUST_RATIOS, parts, number)
    roll_up(parts)
    rollup_path(list_parts(parts)[-1].path).unlink()
    con = connect(tmp_path)
    assert con.sql("SELECT DISTINCT upper FROM hit_rate_by_layer('r', 1, 119)").fetchall() == [(3.0,)]
    assert con.sql("SELECT DISTINCT upper FROM ratio_envelope('r', 'bias', 1, 119, 1)").fetchall() == [(3.0,)]
    cells = con.sql("SELECT upper FROM ratio_envelope('r', 'bias', 1, 119, 2) ORDER BY step").fetchall()
    assert cells == [(2.0,), (3.0,)]


def test_a_ratio_that_is_no_number_is_no_hit_with_and_without_a_rollup(tmp_path):
    with Collector(Emitter(LAYERS), tmp_path, name="r") as collector:
        parts = collector.folder / TRUST_RATIOS.folder
    rows = rows_of(range(1, 100), 0)
    ratio = TRUST_RATIOS.schema.get_field_index("trust_ratio")
    write_part(
        rows.set_column(ratio, "trust_ratio", pa.array([math.nan] * len(rows), pa.float32())), TRUST_RATIOS, parts, 1
    )
    question = "SELECT sum(upper_hits), sum(lower_hits), sum(adapted) FROM clip_hits"
    assert connect(tmp_path).sql(question).fetchall() == [(0, 0, 0)]
    roll_up(parts)
    assert connect(tmp_path).sql(question).fetchall() == [(0, 0, 0)]


def test_the_files_without_rows_have_the_schema_of_the_others():
    for table in (TRUST_RATIOS, ROLLUPS):
        none = Path("collector/sql") / f"no_{table.folder}.parquet"
        assert pq.read_schema(none).equals(table.full)
        assert pq.read_metadata(none).num_rows == 0


def test_only_rows_that_a_rollup_points_to_are_looked_through_for_norms_that_are_not_finite(with_and_without):
    """A join whose other side is built first would read them all."""
    (with_rollups, _) = with_and_without
    plan = with_rollups.sql("EXPLAIN FROM not_finite('r', 1, 4000)").fetchall()[0][1]
    assert "SEMI" in plan
    assert "RIGHT_SEMI" not in plan
