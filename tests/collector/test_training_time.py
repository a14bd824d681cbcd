"""For how long a run had trained when it logged a value, told from a log whose clock a test sets."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collector import Collector, connect
from collector.log.schema import METRICS
from tests.collector.emitter import Emitter

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def write(tmp_path: Path):
    """Write a run: the seconds at which each step was logged, and when its attempts began, with their first steps.

    others: further values, as metric, step and seconds. own_axis: metrics whose steps count something else.
    """

    def write(
        seconds: dict[int, float],
        attempts: list[tuple[float, int | None]],
        others: list[tuple[str, int, float]] | None = None,
        own_axis: object = (),
    ) -> None:
        with Collector(Emitter(["layer"]), tmp_path, name="r"):
            pass
        file = tmp_path / "r" / "run.json"
        noted = [{"started": str(START + timedelta(seconds=at)), "first_step": step} for at, step in attempts]
        file.write_text(json.dumps(json.loads(file.read_text()) | {"attempts": noted, "own_axis": own_axis}))
        rows = [
            {"run": "r", "step": step, "epoch": 0, "time": START + timedelta(seconds=at), "name": name, "value": 1.0}
            for name, step, at in [*(("loss", step, at) for step, at in seconds.items()), *(others or [])]
        ]
        part = tmp_path / "r" / "metrics" / "step-000000000001-part-000001.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=METRICS.schema), part)

    return write


def curve(root: Path, metric: str = "loss") -> dict[int, float]:
    rows = ask(root, f"FROM metric_curve('r', '{metric}', 0, 100000, 200000) ORDER BY step")
    return dict(zip(rows["step"], rows["seconds"].round(3), strict=True))


def ask(root: Path, statement: str) -> pd.DataFrame:
    return connect(root).sql(statement).to_arrow_table().to_pandas()


def test_time_counts_from_the_start_of_the_run(write, tmp_path):
    write({1: 12, 2: 13, 3: 14}, [(10, 1)])
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 4}


def test_the_pause_before_a_resume_counts_as_nothing(write, tmp_path):
    write({1: 12, 2: 13, 3: 5002, 4: 5003}, [(10, 1), (5000, 3)])
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 3 + 2, 4: 3 + 3}


def test_steps_that_a_resume_took_back_count_as_nothing(write, tmp_path):
    # The second attempt took steps 3 to 90; the third went back to a checkpoint of step 1.
    write({1: 12, 2: 7001}, [(10, 1), (5000, 3), (7000, 2)])
    assert curve(tmp_path) == {1: 2, 2: 2 + 1}


def test_an_attempt_that_took_no_step_counts_as_nothing(write, tmp_path):
    write({1: 12, 2: 7001}, [(10, 1), (5000, None), (6000, 2), (7000, 2)])
    assert curve(tmp_path) == {1: 2, 2: 2 + 1}


def test_what_was_logged_before_the_first_step_counts_from_the_start_too(write, tmp_path):
    write({0: 11, 1: 12}, [(10, 1)])
    assert curve(tmp_path) == {0: 1, 1: 2}


def test_an_attempt_begins_when_the_state_is_loaded_that_it_goes_on_from(training, tmp_path):
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        training.steps(2)
        state = deepcopy(training.optimizer.state_dict())
        training.steps(2)
        collector.log({"loss": 1.0})
        training.optimizer.load_state_dict(state)
        collector.log({"test/accuracy": 0.5})
        training.steps()
    logged = "(SELECT time FROM metrics WHERE name = 'test/accuracy')"
    asked = connect(tmp_path).sql(f"SELECT started <= {logged} FROM attempts WHERE attempt = 2")
    assert asked.fetchall() == [(True,)]


def test_what_was_logged_between_a_resume_and_its_first_step_comes_after_the_pause(write, tmp_path):
    write({1: 12, 2: 13, 3: 5002}, [(10, 1), (5000, 3)], [("accuracy", 2, 5001)])
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 3 + 2}
    assert curve(tmp_path, "accuracy") == {2: 3 + 1}


def test_so_does_what_an_attempt_logged_that_took_no_step(write, tmp_path):
    attempts = [(10, 1), (3000, None), (5000, 3), (9000, None)]
    write({1: 12, 2: 13, 3: 5002}, attempts, [("accuracy", 2, 3001), ("end", 3, 9001)])
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 3 + 1 + 2}
    assert curve(tmp_path, "accuracy") == {2: 3 + 1}
    assert curve(tmp_path, "end") == {3: 3 + 1 + 2 + 1}


def test_a_metric_with_an_axis_of_its_own_is_told_from_a_pause_by_its_times(write, tmp_path):
    tokens = [("tokens", 4096, 12.5), ("tokens", 8192, 13.5), ("tokens", 12288, 5002.5)]
    write({1: 12, 2: 13, 3: 5002}, [(10, 1), (5000, 3)], tokens, own_axis=["tokens"])
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 3.5 + 2}
    assert curve(tmp_path, "tokens") == {4096: 2.5, 8192: 3.5, 12288: 3.5 + 2.5}


@pytest.mark.parametrize("own_axis", [None, "loss", 3, [["loss"], 1]])
def test_odd_notes_of_axes_are_no_notes(write, tmp_path, own_axis):
    write({1: 12, 2: 13, 3: 5002}, [(10, 1), (5000, 3)], own_axis=own_axis)
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 3 + 2}


def test_steps_say_which_attempt_it_was_where_the_clock_was_set_back(write, tmp_path):
    write({1: 12, 2: 13, 3: 4990, 4: 4991}, [(10, 1), (5000, 3)])  # once the second attempt had begun
    assert curve(tmp_path) == {1: 2, 2: 3, 3: 3, 4: 3 + 1}


def test_so_they_do_where_it_was_set_back_by_more_than_the_pause(write, tmp_path):
    write({1: 12, 2: 13, 4: 7, 5: 8}, [(10, 1), (5, 4)])
    assert curve(tmp_path) == {1: 2, 2: 3, 4: 3 + 2, 5: 3 + 3}


def test_an_attempt_that_was_noted_after_its_first_values_begins_with_these(write, tmp_path):
    write({1: 12, 2: 40, 3: 41, 4: 45}, [(10, 1), (44, 2)])  # as within one process, when the writer learns of it
    assert curve(tmp_path) == {1: 2, 2: 2, 3: 2 + 1, 4: 2 + 5}


def test_a_spike_is_kept_beside_a_value_that_is_no_number(write, tmp_path):
    write(dict.fromkeys(range(1, 101), 12.0), [(10, 1)])
    part = tmp_path / "r" / "metrics" / "step-000000000001-part-000001.parquet"
    rows = pq.read_table(part)
    values = [1e9 if step == 40 else float("nan") if step == 50 else 1.0 for step in rows["step"].to_pylist()]
    place = rows.schema.get_field_index("value")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array(values)), part)
    assert set(ask(tmp_path, "FROM metric_curve('r', 'loss', 1, 100, 1)")["step"]) == {1, 40, 50, 100}


def test_without_a_known_start_the_first_value_begins(write, tmp_path):
    write({1: 12, 2: 15}, [])
    assert curve(tmp_path) == {1: 0, 2: 3}
    write_odd(tmp_path, [5, None, {"started": "yesterday", "first_step": "x"}, {"started": 3}])
    assert curve(tmp_path) == {1: 0, 2: 3}


def write_odd(root: Path, attempts: list) -> None:
    file = root / "r" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attempts": attempts}))


def test_a_value_from_before_the_start_begins_the_run(write, tmp_path):
    write({1: -100, 2: -99}, [(10, 1)])  # as where a log was written with times of its own
    assert curve(tmp_path) == {1: 0, 2: 1}


def test_cells_have_the_mean_of_finite_values_and_of_their_times(write, tmp_path):
    write({1: 12, 2: 14, 3: 5002, 4: 5004}, [(10, 1), (5000, 3)])
    cells = ask(tmp_path, "FROM metric_cells('r', 'loss', 0, 7, 2) ORDER BY step")
    assert list(cells["step"]) == [0, 4]
    assert list(cells["middle"]) == [2, 4]
    assert list(cells["seconds"]) == pytest.approx([(2 + 4 + 6) / 3, 8])
    assert list(cells["rows"]) == [3, 1]
