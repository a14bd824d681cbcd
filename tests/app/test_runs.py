"""The Runs page: is a run healthy, and which runs are meant."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.results import Results, thinned, widths
from app.runs import health
from app.runs import rows as run_list
from collector import connect
from tests import dashboard_log

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

WELL = {"broken_since": None, "best_accuracy": 0.9, "last_accuracy": 0.88}
RATES = pd.DataFrame({"adapted": [10, 10, 0], "upper_hits": [10, 0, 0], "lower_hits": [0, 0, 0]})
FINITE = pd.DataFrame({"layers": [0], "since": [None]})


def sentences(result: dict = WELL, rates: pd.DataFrame = RATES, not_finite: pd.DataFrame = FINITE) -> list[str]:
    return [each.sentence for each in health.findings(result, rates, not_finite)]


def test_a_run_that_is_well_has_no_findings():
    assert sentences() == []
    assert health.clipped_nearly_always(RATES) == (1, 2)  # a layer that is not adapted does not count


def test_what_is_wrong_is_said_worst_first():
    found = health.findings(
        WELL | {"broken_since": 12, "last_accuracy": 0.5},
        RATES.assign(upper_hits=[10, 10, 0]),
        pd.DataFrame({"layers": [2], "since": [7]}),
    )
    assert [each.sentence for each in found] == [
        "training loss not finite since step 12",
        "NaN or Inf in 2 of 3 layers since step 7",
        "accuracy has fallen",
        "all 2 layers clipped in nearly all steps",
    ]
    assert [each.serious for each in found] == [True, True, False, False]


def test_an_accuracy_that_is_no_number_has_fallen():
    assert sentences(WELL | {"last_accuracy": float("nan")}) == ["accuracy has fallen"]


def test_a_curve_is_thinned_to_its_last_value():
    assert thinned(list(range(90))) == [float(value) for value in range(2, 90, 3)]
    assert thinned(None) == []


def test_results_are_those_of_the_views_and_only_what_changed_is_asked_again(log: Path):
    con = connect(log)

    def ask(statement: str, **parameters: object) -> pd.DataFrame:
        asked.append(parameters)
        return con.sql(statement, params=parameters).to_arrow_table().to_pandas()

    asked: list[dict] = []
    runs = con.sql("FROM runs ORDER BY started").to_arrow_table().to_pandas()
    known = Results()
    first = known.of(runs, ask).set_index("run")
    shown = con.sql("SELECT run, hit_rate, best_accuracy FROM run_summaries").to_arrow_table().to_pandas()
    shown = shown.set_index("run").loc[runs["run"]]
    pd.testing.assert_series_equal(first["hit_rate"], shown["hit_rate"])
    pd.testing.assert_series_equal(first["best_accuracy"], shown["best_accuracy"], check_names=False)
    asked.clear()
    known.of(runs, ask)
    assert asked == []
    changed = runs.assign(
        version=[
            f"{version}!" if run == "lamb" else version
            for run, version in zip(runs["run"], runs["version"], strict=True)
        ]
    )
    pd.testing.assert_frame_equal(known.of(changed, ask).set_index("run"), first)
    assert [parameters["runs"] for parameters in asked] == [["lamb"], ["lamb"]]


def test_a_small_curve_says_what_the_rows_say(log: Path):
    con = connect(log)
    runs = con.sql("FROM runs ORDER BY started").to_arrow_table().to_pandas()
    curves = Results().of(
        runs, lambda statement, **asked: con.sql(statement, params=asked).to_arrow_table().to_pandas()
    )
    shown = curves.set_index("run").loc["clipped", "hit_rates"]
    by_two = con.sql(
        "SELECT hit_rate(outcome) FROM trust_ratios WHERE run = 'clipped' GROUP BY step // 2 ORDER BY step // 2"
    )
    assert list(shown) == pytest.approx([rate for (rate,) in by_two.fetchall()])  # 40 steps, at most 30 points


def test_a_long_run_has_cells_that_a_rollup_has_and_few_short_ones_are_read_from_rows():
    steps = [40] * 150 + [513, 100_000, None]
    width = widths(pd.DataFrame({"run": range(153), "steps": pd.Series(steps, dtype="Int64")}))
    assert set(width[:51]) == {64}
    assert set(width[51:150]) == {2}
    assert list(width[150:]) == [64, 4096, 1]


@pytest.mark.parametrize("table", ["trust_ratios", "metrics"])
def test_a_run_whose_rows_are_damaged_takes_no_other_with_it(open_page: OpenPage, tmp_path: Path, table: str):
    for name in ("a", "damaged", "c"):
        training = dashboard_log.Training(tmp_path, name, 0.2)
        training.steps(40)
        training.collector.close()
    (part,) = (tmp_path / "damaged" / table).glob("*.parquet")
    with part.open("r+b") as file:  # its footer is good, so it is found when its rows are read
        file.seek(4)
        file.write(b"\xff" * 400)
    page = open_page("runs", tmp_path, whole=False)
    assert not page.exception
    rows = page.dataframe[0].value.set_index("run")
    assert rows["note"]["damaged"].startswith("a file is damaged")
    assert any("lambc check" in warning.value for warning in page.warning) == (table == "trust_ratios")
    assert rows.loc[["a", "c"], ["best", "hits"]].notna().all(axis=None)
    assert rows.loc[["a", "c"], "note"].isna().all()


def test_a_file_that_is_cut_off_later_is_named(open_page: OpenPage, tmp_path: Path):
    """Of a run that has ended, too."""
    training = dashboard_log.Training(tmp_path, "a", 0.2)
    training.steps(40)
    training.collector.close()
    (part,) = (tmp_path / "a" / "trust_ratios").glob("*.parquet")
    page = open_page("runs", tmp_path)
    os.truncate(part, 200)
    time.sleep(1.1)  # a look is good for a second
    page.run()
    assert not page.exception
    assert "1 file was left out" in page.expander[-1].label


def test_all_words_of_a_search_and_one_value_of_each_column_must_be_there():
    rows = pd.DataFrame(
        {
            "run": ["a", "b", "c"],
            "status": ["✓ finished", "✓ finished", "✕ failed"],
            "data": "digits",
            "model": "resnet18",
            "optimizer": ["lamb", "lambc", "lambc"],
            "bound": ["no bound", "1", "3"],
            "batch": [64.0, 64.0, 1000.0],
            "said": ["a lr=0.01", "b lr=0.01 seed=1", "c lr=0.1"],
        }
    )
    assert list(run_list.found(rows, "lr=0.01 SEED", []).run) == ["b"]
    assert list(run_list.found(rows, "", ["batch: 64", "optimizer: lambc"]).run) == ["b"]
    assert list(run_list.found(rows, "", ["bound: 1", "bound: 3"]).run) == ["b", "c"]
    assert "data: digits" not in run_list.values(rows)  # the same in all
    assert "batch: 1000" in run_list.values(rows)


def test_a_search_leaves_the_runs_it_means_and_stands_in_the_address(open_page: OpenPage, log: Path):
    page = open_page("runs", log, "lamb")
    page.text_input(key="find").set_value("clipped").run()
    assert not page.exception
    assert list(page.dataframe[0].value["run"]) == ["clipped"]
    assert page.query_params["find"] == "clipped"
    page.text_input(key="find").set_value("no such run").run()
    assert "No run is like that." in page.info[-1].value


def test_a_filter_stays_when_no_run_is_like_it_any_more(open_page: OpenPage, log: Path):
    page = open_page("bounds", log, "lamb")
    page.query_params["only"] = ["status: ▶ live", "<b>nonsense</b>"]
    page.go_to("runs")
    assert not page.exception
    assert page.multiselect(key="only").value == ["status: ▶ live"]
    assert "No run is like that." in page.info[-1].value


def test_the_way_on_opens_with_enough_runs_chosen(open_page: OpenPage, log: Path):
    page = open_page("runs", log, "lamb")
    assert not page.button(key="open_layers").disabled
    assert page.button(key="open_compare").disabled
    page = open_page("runs", log, "lamb", "clipped")
    assert not page.button(key="open_compare").disabled
