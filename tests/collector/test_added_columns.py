"""Columns that were added to the log: older files, which lack them, read as they are, alone and beside newer ones."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collector import Collector, connect
from collector.log.maintain import compact_run
from collector.log.parts import list_parts, write_part
from collector.log.rollups import roll_up, rollup_path
from collector.log.schema import ROLLUPS, TRUST_RATIOS, LogTable
from collector.log.supersede import supersede
from collector.store.check import check_run
from collector.store.export import export_files
from collector.store.runs import read_runs
from tests.collector.emitter import Emitter

LAYERS = ("a", "b")
STEPS = 200


def rows_of(first: int, last: int) -> pa.Table:
    """Steps of two layers, in which the gradient's norm is the step."""
    steps = [step for _ in LAYERS for step in range(first, last + 1)]
    count = len(steps) // 2
    columns = {
        "run": ["r"] * 2 * count,
        "step": steps,
        "epoch": [0] * 2 * count,
        "layer": [layer for layer in LAYERS for _ in range(count)],
        **{name: map(float, steps) for name in (*TRUST_RATIOS.measured, "grad_norm")},
    }
    return pa.table([pa.array(column) for column in columns.values()], names=list(columns)).cast(TRUST_RATIOS.full)


def make_older(path: Path, table: LogTable) -> None:
    """Write a file anew as a version did that knew no added columns."""
    with pq.ParquetFile(path) as file:
        rows, said = file.read().select(table.schema.names), file.metadata.metadata
    with pq.ParquetWriter(path, table.schema, use_dictionary=["run", "layer"], store_schema=False) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(said or {})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run of two parts, each with a rollup, of which the first is older than gradients' norms."""
    with Collector(Emitter([*LAYERS]), tmp_path, name="r") as collector:
        folder = collector.folder / TRUST_RATIOS.folder
    for number, (first, last) in enumerate(((1, STEPS // 2), (STEPS // 2 + 1, STEPS)), start=1):
        write_part(rows_of(first, last), TRUST_RATIOS, folder, number)
    roll_up(folder)
    older, _ = (part.path for part in list_parts(folder))
    make_older(older, TRUST_RATIOS)
    make_older(rollup_path(older), ROLLUPS)
    return tmp_path


def norms(root: Path) -> list[tuple]:
    return connect(root).sql("SELECT step, layer, grad_norm FROM trust_ratios ORDER BY step, layer").fetchall()


EXPECTED = [
    (step, layer, float(step) if step > STEPS // 2 else None) for step in range(1, STEPS + 1) for layer in LAYERS
]


def test_rows_of_an_older_part_have_no_gradient_norm_and_all_that_they_had(root):
    (run,) = read_runs([root])
    assert (len(run.files["trust_ratios"]), len(run.rollups), run.fresh, run.problems) == (2, 2, [], [])
    assert norms(root) == EXPECTED
    assert connect(root).sql("SELECT sum(lr)::INTEGER FROM trust_ratios").fetchall() == [(STEPS * (STEPS + 1),)]
    assert check_run(root / "r") == []


def test_a_log_of_older_parts_alone_reads_as_it_is(root):
    for part in list_parts(root / "r" / "trust_ratios"):
        make_older(part.path, TRUST_RATIOS)
        make_older(rollup_path(part.path), ROLLUPS)
    con = connect(root)
    assert con.sql("SELECT count(*), count(grad_norm) FROM trust_ratios").fetchall() == [(2 * STEPS, 0)]
    assert con.sql("SELECT count(rows) > 0, count(grad_norm) FROM heatmap('r', 1, 200, 2)").fetchall() == [(True, 0)]
    assert con.sql("FROM problems").fetchall() == []
    with connect(root, untrusted=True) as safe:
        assert safe.execute("SELECT count(*) AS n, count(grad_norm) AS g FROM trust_ratios").to_pylist() == [
            {"n": 2 * STEPS, "g": 0}
        ]


def test_of_two_roots_with_one_name_each_row_has_its_gradient_norm(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    emitter = Emitter([*LAYERS])
    with Collector(emitter, other, name="r"):
        emitter.say(1)
    said = connect([root, other]).sql("SELECT run, count(grad_norm) FROM trust_ratios GROUP BY run ORDER BY run")
    assert [count for _, count in said.fetchall()] in ([0, STEPS], [STEPS, 0])


def test_merging_older_and_newer_parts_loses_no_gradient_norm(root):
    assert compact_run(root / "r") == (2, 1)
    (part,) = list_parts(root / "r" / "trust_ratios")
    assert pq.read_schema(part.path).names == TRUST_RATIOS.full.names
    assert norms(root) == EXPECTED
    assert check_run(root / "r") == []
    cells = connect(root).sql("SELECT grad_norm_min, grad_norm_max FROM log.run_rows('rollups', 'r') WHERE level = 6")
    assert set(cells.fetchall()) == {(None, None), (101.0, 127.0), (128.0, 191.0), (192.0, 200.0)}


def test_rows_of_an_older_part_that_a_resume_sets_aside_are_whole(root):
    folder = root / "r" / "trust_ratios"
    supersede(TRUST_RATIOS, folder, root / "r" / "superseded", 51)
    assert norms(root) == EXPECTED[:100]
    assert sum(pq.read_metadata(path).num_rows for path in (root / "r" / "superseded").iterdir()) == 2 * STEPS - 100


@pytest.mark.parametrize("columns", [1, 4, 200])
def test_cells_have_the_least_and_the_largest_gradient_norm_of_their_rows(root, columns):
    con = connect(root)
    asked = """SELECT step, width, grad_norm_low, grad_norm_high
    FROM heatmap_rows('r', 1, 200, $columns, MAP {'a': 0, 'b': 0}) ORDER BY step"""
    cells = con.execute(asked, {"columns": columns}).fetchall()
    assert sum(width for _, width, *_ in cells) >= STEPS
    for start, width, low, high in cells:
        there = range(max(STEPS // 2 + 1, start), min(STEPS + 1, start + width))
        assert (low, high) == ((min(there), max(there)) if there else (None, None))


def test_an_export_has_the_gradient_norms(root, tmp_path):
    export_files(connect(root), ["r"], tmp_path / "out", "parquet")
    rows = pq.read_table(tmp_path / "out" / "trust_ratios.parquet")
    assert rows["grad_norm"].null_count == STEPS


def test_where_no_part_is_older_a_join_is_built_from_what_is_small(tmp_path):
    """DuckDB knows how many rows there are: else it would put all of them into memory to join them with the layers."""
    with Collector(emitter := Emitter([*LAYERS]), tmp_path, name="r"):
        for step in range(1, STEPS + 1):
            emitter.say(step)
    explained = connect(tmp_path).sql("EXPLAIN FROM trust_ratios JOIN layers USING (run, layer)").fetchall()
    assert f"~{STEPS * len(LAYERS)} rows" in explained[0][1]
