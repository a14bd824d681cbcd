"""Cells of a run whose steps are not all recorded: none lies empty between two that are."""

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter

STEPS = 1000
LAYERS = ["a", "b"]


def write(
    root: Path, steps: range, every: int, *, resume: bool = False, gone: Callable[[int], bool] | None = None
) -> None:
    """A run; `gone` steps have no rows, as those that GradScaler skips."""
    emitter = Emitter(LAYERS)
    with Collector(emitter, root, name="r", every=every, resume=resume):
        for step in steps:
            table = torch.full((7, 2), float(step))
            if gone and gone(step):
                table[-1] = torch.nan
            emitter.say(step, table)


def note(root: Path, every: int | str | None) -> None:
    """Say in run.json what the stride was, or nothing."""
    path = root / "r" / "run.json"
    contents = json.loads(path.read_text())
    contents.pop("every", None)
    path.write_text(json.dumps(contents | ({} if every is None else {"every": every})))


def ask(con: duckdb.DuckDBPyConnection, statement: str) -> pd.DataFrame:
    return con.sql(statement).to_arrow_table().to_pandas()


def recorded(con: duckdb.DuckDBPyConnection) -> list[int]:
    return sorted(ask(con, "SELECT DISTINCT step FROM trust_ratios")["step"])


def assert_no_cell_is_empty(con: duckdb.DuckDBPyConnection, first: int, last: int, columns: int) -> int:
    """Each macro gives cells of one width side by side, each with what was recorded in it; gives their width."""
    steps = pd.Series(recorded(con))
    for macro, layers in (
        (f"heatmap('r', {first}, {last}, {columns}) WHERE layer = 'a'", 1),
        (f"ratio_envelope('r', 'a', {first}, {last}, {columns})", 1),
        (f"hit_rate_over_time('r', {first}, {last}, {columns})", len(LAYERS)),
    ):
        of_layer = ask(con, f"FROM {macro}").sort_values("step")
        (width,) = set(of_layer["width"])
        assert list(of_layer["step"] % width) == [0] * len(of_layer)
        assert set(of_layer["step"].diff().dropna()) <= {width}
        assert len(of_layer) <= columns
        inside = steps[(steps // width).between(first // width, last // width)]
        assert list(of_layer["rows"] // layers) == list(inside.groupby(inside // width).size())
        assert list(of_layer["last_step"]) == list(inside.groupby(inside // width).max())
    return int(width)


@pytest.mark.parametrize("every", [1, 7, 10, 64, 100])
@pytest.mark.parametrize("noted", [None, "as it was", 3, 1000, "x"])
def test_the_stride_is_that_of_the_steps_whatever_was_noted(tmp_path: Path, every: int, noted: int | str | None):
    write(tmp_path, range(1, STEPS + 1), every)
    note(tmp_path, every if noted == "as it was" else noted)
    con = connect(tmp_path)
    assert con.sql("SELECT run_stride('r')").fetchall() == [(every,)]
    assert assert_no_cell_is_empty(con, 1, STEPS, 2000) == every
    assert assert_no_cell_is_empty(con, 137, 411, 1000) == every


@pytest.mark.parametrize("every", [1, 7, 10, 64, 100])
def test_no_cell_is_narrower_than_the_stride(tmp_path: Path, every: int):
    write(tmp_path, range(1, STEPS + 1), every)
    con = connect(tmp_path)
    for columns in (300, 60, 11, 3, 2, 1):
        assert assert_no_cell_is_empty(con, 1, STEPS, columns) >= every


@pytest.mark.parametrize(("first", "last"), [(130, 150), (1, 2), (99, 101), (1000, 1000), (100, 100)])
def test_fewer_steps_than_a_stride_are_shown_by_the_cells_they_lie_in(tmp_path: Path, first: int, last: int):
    write(tmp_path, range(1, STEPS + 1), 100)
    con = connect(tmp_path)
    cells = ask(con, f"FROM heatmap('r', {first}, {last}, 1000) WHERE layer = 'a' ORDER BY step")
    assert list(cells["step"]) == sorted({first // 100 * 100, last // 100 * 100})
    assert list(cells["trust_ratio"]) == [max(step, 1) for step in cells["step"]]


def test_at_most_so_many_cells_stand_side_by_side_however_few(tmp_path: Path):
    write(tmp_path, range(1, STEPS + 1), 100)
    assert assert_no_cell_is_empty(connect(tmp_path), 99, 101, 1) == 128


def test_two_runs_have_the_same_cells_if_both_are_asked_for_the_larger_stride(tmp_path: Path):
    write(tmp_path, range(1, STEPS + 1), 7)
    cells = ask(connect(tmp_path), "FROM heatmap('r', 1, 1000, 1000, least_width := 100) WHERE layer = 'a'")
    assert sorted(cells["step"]) == list(range(0, 1000, 100))
    assert set(cells["width"]) == {100}


@pytest.mark.parametrize("noted", [None, 10, 100])
@pytest.mark.parametrize(("before", "after"), [(10, 100), (100, 10), (1, 64)])
def test_where_a_resume_changed_the_stride_each_part_of_the_run_has_its_own(
    tmp_path: Path, before: int, after: int, noted: int | None
):
    write(tmp_path, range(1, 501), before)
    write(tmp_path, range(501, STEPS + 1), after, resume=True)
    note(tmp_path, noted)
    con = connect(tmp_path)
    ask_stride = "SELECT run_stride('r', 1, 400), run_stride('r', 700, 900), run_stride('r')"
    assert con.sql(ask_stride).fetchall() == [(before, after, max(before, after))]
    assert assert_no_cell_is_empty(con, 1, STEPS, 1000) == max(before, after)
    assert assert_no_cell_is_empty(con, 1, 400, 1000) == before


def test_steps_that_were_skipped_change_no_stride(tmp_path: Path):
    write(tmp_path, range(1, STEPS + 1), 1, gone=lambda step: step % 5 == 0 or 300 < step < 720)
    con = connect(tmp_path)
    assert len(recorded(con)) < 500
    assert con.sql("SELECT run_stride('r')").fetchall() == [(1,)]
    write(tmp_path / "10", range(1, STEPS + 1), 10, gone=lambda step: step % 70 == 0)
    assert connect(tmp_path / "10").sql("SELECT run_stride('r')").fetchall() == [(10,)]


@pytest.mark.parametrize(("step", "before"), [(1, None), (100, 1), (200, 100), (1000, 900)])
def test_the_norms_before_are_those_of_the_step_that_was_recorded_before(tmp_path: Path, step: int, before: int | None):
    write(tmp_path, range(1, STEPS + 1), 100)
    asked = f"SELECT step_before, update_norm_before FROM layers_at('r', {step})"
    assert connect(tmp_path).sql(asked).fetchall() == [(before, before)] * len(LAYERS)


def test_layers_of_several_optimizers_have_the_stride_of_the_run(tmp_path: Path):
    one, other = Emitter(["a"]), Emitter(["b"])
    with Collector([one, other], tmp_path, name="r", every=10):
        for step in range(1, STEPS + 1):
            one.say(step)
            if step % 3 == 0:
                other.say(step // 3)
    con = connect(tmp_path)
    assert con.sql("SELECT run_stride('r')").fetchall() == [(10,)]
    assert set(ask(con, "FROM heatmap('r', 1, 1000, 1000)")["width"]) == {10}


@pytest.mark.parametrize("noted", [None, 100])
def test_a_run_of_many_small_parts_has_the_stride_of_all_of_them(tmp_path: Path, noted: int | None):
    emitter = Emitter(LAYERS)
    collector = Collector(emitter, tmp_path, name="r", every=100)
    for step in range(1, 501):
        emitter.say(step)
        if step % 100 == 0:
            collector.flush()
    note(tmp_path, noted)
    con = connect(tmp_path)
    assert len(list((tmp_path / "r" / "trust_ratios").glob("*.parquet"))) > 1
    assert con.sql("SELECT run_stride('r')").fetchall() == [(100,)]
    collector.close()


def test_a_run_without_rows_or_without_run_json_has_a_stride(tmp_path: Path):
    write(tmp_path, range(1, 301), 100)
    (tmp_path / "r" / "run.json").unlink()
    assert connect(tmp_path).sql("SELECT run_stride('r'), run_stride('nobody')").fetchall() == [(100, 1)]
    Collector(Emitter(LAYERS), tmp_path, name="empty").close()
    assert connect(tmp_path).sql("SELECT run_stride('empty')").fetchall() == [(1,)]


def test_events_are_sought_in_as_many_recorded_steps_whatever_the_stride(tmp_path: Path):
    """A norm that is NaN from step 2000 on is one event, though it goes on for 80 recorded steps."""
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r", every=100):
        for step in range(1, 10_001):
            table = torch.ones(7, 1)
            table[1] = torch.nan if step >= 2000 else 1.0
            emitter.say(step, table)
    events = ask(connect(tmp_path), "FROM events('r', 1, 10000)")
    assert [tuple(event) for event in events[["kind", "step", "last_step", "steps"]].to_numpy()] == [
        ("nan", 2000, 10_000, 81)
    ]


@pytest.mark.parametrize(("noted", "stride"), [(None, 100), (50, 50)])
def test_of_a_single_step_what_was_noted_is_the_stride(tmp_path: Path, noted: int | None, stride: int):
    write(tmp_path, range(100, 101), 50)
    note(tmp_path, noted)
    assert connect(tmp_path).sql("SELECT run_stride('r')").fetchall() == [(stride,)]
