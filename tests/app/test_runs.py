"""The Runs page: is a run healthy, and which runs are meant."""

import math
import os
import re
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from app.charts.sparkline import HEIGHT, sparkline
from app.results import Results, thinned, widths
from app.runs import health
from app.runs import rows as run_list
from app.runs.table import columns
from collector import Collector, connect
from tests import dashboard_log, unusual_log
from tests.collector.emitter import Emitter

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

WELL = {"broken_since": None, "first_broken": None, "broken_steps": None, "best_accuracy": 0.9, "last_accuracy": 0.88}
RATES = pd.DataFrame({"adapted": [10, 10, 0], "upper_hits": [10, 0, 0], "lower_hits": [0, 0, 0]})
FINITE = pd.DataFrame({"layers": [0], "since": [None]})


CALM = pd.DataFrame({"kind": ["zero norm"], "layer": ["a"], "step": [1], "before": [None], "after": [None]})


def sentences(
    result: dict = WELL, rates: pd.DataFrame = RATES, events: pd.DataFrame = CALM, constant: tuple = (5, [])
) -> list[str]:
    return [each.sentence for each in health.findings(result, rates, FINITE, events, None, constant)]


def test_a_run_that_is_well_has_no_findings():
    assert sentences() == []
    assert health.clipped_nearly_always(RATES) == (1, 2)  # a layer that is not adapted does not count


def test_what_is_wrong_is_said_worst_first():
    found = health.findings(
        WELL | {"broken_since": 12, "last_accuracy": 0.5},
        RATES.assign(upper_hits=[10, 10, 0]),
        pd.DataFrame({"layers": [2], "since": [7]}),
        CALM,
        7,
        (5, ["a"]),
    )
    assert [each.sentence for each in found] == [
        "diverged at step 7",
        "loss not finite since step 12",
        "NaN or Inf in 2 of 3 layers",
        "ratio constant in 1 of 3 layers since step 5 or earlier",
        "accuracy has fallen",
        "all 2 layers clipped in nearly all steps",
    ]
    assert [each.serious for each in found] == [True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("steps", "said"),
    [(1, "loss was NaN or infinite in 1 step, at step 5"), (3, "loss was NaN or infinite in 3 steps, first at step 5")],
)
def test_a_loss_that_was_broken_for_a_while_is_no_longer(steps: int, said: str):
    assert sentences(WELL | {"first_broken": 5, "broken_steps": steps}) == [said]


def test_a_run_whose_ratios_jump_is_not_said_to_be_well():
    jumps = pd.DataFrame(
        {"kind": "jump", "layer": ["a", "a", "b"], "step": [9, 80, 8], "before": [1.0, 36, 2], "after": [36.0, 1, 0.1]}
    )
    assert sentences(events=jumps) == ["ratio jumped in 2 of 3 layers, first at step 8, by up to 36 times"]


def test_a_run_with_a_layer_that_stands_still_is_to_be_looked_at(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["moves", "stands"])
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 2001):
            ratio, one = torch.tensor([0.5 + step / 4000, 0.7]), torch.ones(2)
            emitter.say(step, torch.stack([ratio, one, ratio, ratio, 0 * one, torch.inf * one, 0.01 * one]))
        collector.log({"test/accuracy": 0.5})
    page = open_page("runs", tmp_path, "r")
    assert "ratio constant in 1 of 2 layers since step 1,000 or earlier" in [each.value for each in page.caption]
    assert any("look closer" in each.value for each in page.markdown)
    assert not any("healthy" in each.value for each in page.markdown)


def test_an_accuracy_that_is_no_number_has_fallen():
    assert sentences(WELL | {"last_accuracy": float("nan")}) == ["accuracy has fallen"]


def test_a_curve_is_thinned_to_its_last_value():
    assert thinned(list(range(90))) == [float(value) for value in range(2, 90, 3)]
    assert thinned(None) == []


def test_a_curve_has_a_gap_where_there_is_no_value():
    assert thinned([0.5, None, float("nan")])[0] == 0.5
    assert all(math.isnan(value) for value in thinned([0.5, None, float("nan")])[1:])
    broken = picture([0.1, 0.2, float("nan"), 0.3, 0.4])
    assert len(re.findall(r'<path d="M[^"]*L[^"]*" fill="none"', broken)) == 2
    assert sparkline([float("nan")] * 3, colour="#000000") is None
    assert sparkline([], colour="#000000") is None


def test_curves_of_one_scale_can_be_compared():
    """A flat 0 % lies at the bottom, and 32 to 47 % in the middle, whatever the others are."""
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", line([0.0, 0.0]))]
    assert heights == [HEIGHT - 2] * 2
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", line([0.32, 0.47]))]
    assert all(0.3 * HEIGHT < height < 0.7 * HEIGHT for height in heights)


def picture(values: list[float]) -> str:
    drawn = sparkline(values, colour="#000000", scale=(0, 1))
    assert drawn
    return b64decode(drawn.partition("base64,")[2]).decode()


def line(values: list[float]) -> str:
    (found,) = re.findall(r'<path d="([^"]*)" fill="none"', picture(values))
    return str(found)


def test_a_run_that_diverged_is_marked_in_the_table_the_sidebar_and_its_card(open_page: OpenPage, tmp_path: Path):
    unusual_log.build(tmp_path, "broken")
    unusual_log.build(tmp_path, "calm", calm=True)
    page = open_page("runs", tmp_path)
    table = page.dataframe[0].value.set_index("run")
    assert list(table.loc[["broken", "calm"], "status"]) == ["✕ diverged", "✓ finished"]
    assert table.loc["broken", "note"] == "NaN or infinite; finished"
    for part in (page.sidebar, page.main):
        said = [each.value for each in part.markdown if "diverged at step 150" in each.value]
        assert len(said) == 1
        assert ":red" in said[0]


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
    tokens = rows.assign(batch=[1048576.0, 1048577.0, 0.1])
    assert {"batch: 1048576", "batch: 1048577", "batch: 0.1"} <= set(run_list.values(tokens))
    assert list(run_list.found(tokens, "", ["batch: 1048577"]).run) == ["b"]


def test_almost_all_is_not_said_to_be_all_and_a_single_hit_not_none(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 3001):
            ratio = 2.0 if step == 7 else 0.5
            emitter.say(step, torch.tensor([[ratio], [1.0], [ratio], [min(ratio, 1.0)], [0.0], [1.0], [0.01]]))
        collector.log({"test/accuracy": 0.99996})
    page = open_page("runs", tmp_path, "r")
    row = page.dataframe[0].value.iloc[0]
    assert (row["best"], row["hits"]) == (0.9999, 0.0003)
    assert {metric.value.lstrip("\\") for metric in page.metric} == {">99.9%", "<0.1%"}


def test_a_card_says_once_how_many_layers_are_nearly_always_clipped_and_with_separators(
    open_page: OpenPage, tmp_path: Path
):
    layers = 1200
    for name, always in (("few", 100), ("most", 1100)):
        emitter = Emitter([f"layers.{number}.w" for number in range(layers)])
        ratio, one = torch.where(torch.arange(layers) < always, 2.0, 0.5), torch.ones(layers)
        with Collector(emitter, tmp_path, name=name) as collector:
            for step in range(1, 4):
                emitter.say(step, torch.stack([ratio, one, ratio, ratio.clamp(max=1), 0 * one, one, 0.01 * one]))
            collector.log({"test/accuracy": 0.5})
    for name, said in (("few", "100 of 1,200"), ("most", "1,100 of 1,200")):
        captions = [each.value for each in open_page("runs", tmp_path, name).caption]
        assert sum(each.count("clipped in nearly all steps") for each in captions) == 1
        assert any(f"{said} layers clipped in nearly all steps" in each for each in captions)


def test_a_start_is_said_to_be_in_utc():
    assert columns("started", "down")["started"]["label"] == "started, UTC ▼"


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
