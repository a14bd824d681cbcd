"""The macros that the dashboard asks, beside the same answer worked out slowly from the rows."""

import itertools
import math
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter

LAYERS = ["conv", "bias", "fc"]
STEPS = 100


def ratio(step: int, place: int) -> float:
    """Around 1, with a spike up at step 37 and one down at step 62."""
    usual = 0.8 + 0.1 * ((step * 7 + place * 3) % 5)
    return {37: 50.0, 62: 0.01}.get(step, usual)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    root = tmp_path_factory.mktemp("runs")
    for name in ("a", "another"):
        emitter = Emitter(LAYERS)
        with Collector(emitter, root, name=name) as collector:
            for step in range(1, STEPS + 1):
                collector.epoch = (step - 1) // 10
                before = torch.tensor([ratio(step, place) for place in range(len(LAYERS))])
                one = torch.ones(len(LAYERS))
                lower = torch.tensor([0.0, 0.85, 1.0])  # the last layer is exempt: its bounds are both 1
                after = before.clamp(lower, one)
                update = (1 + step % 3) * one
                emitter.say(step, torch.stack([before * update, update, before, after, lower, one, 0.01 * one]))
                collector.log({"train/loss": 1000.0 if step == 55 else 1 / step})
    return connect(root)


def ask(log: duckdb.DuckDBPyConnection, statement: str) -> pd.DataFrame:
    return log.sql(statement).to_arrow_table().to_pandas()


def rows(log: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    return ask(log, "FROM trust_ratios WHERE run = 'a'")


@pytest.mark.parametrize(
    ("first", "last", "columns"), [(1, 100, 1000), (1, 100, 30), (1, 100, 2), (1, 100, 1), (11, 37, 10)]
)
def test_a_cell_has_the_ratio_furthest_from_1_and_the_largest_norms_of_all_its_steps(
    log, first: int, last: int, columns: int
):
    cells = ask(log, f"FROM heatmap('a', {first}, {last}, {columns})")
    width = next(2**n for n in range(62) if (last >> n) - (first >> n) < columns)
    assert set(cells["width"]) == {width}
    shown = rows(log)[lambda rows: (rows["step"] // width).between(first // width, last // width)]
    assert cells["rows"].sum() == len(shown)
    assert len(cells) <= columns * len(LAYERS)
    for _, cell in cells.iterrows():
        steps = shown[(shown["layer"] == cell["layer"]) & shown["step"].between(cell["step"], cell["step"] + width - 1)]
        furthest = max(abs(math.log(value)) for value in steps["trust_ratio"])
        assert abs(math.log(cell["trust_ratio"])) == pytest.approx(furthest)
        assert cell["trust_ratio"] in set(steps["trust_ratio"])
        for largest in ("weight_norm", "update_norm", "relative_step"):
            assert cell[largest] == pytest.approx(steps[largest].max())  # float32 in a rollup
        for ratio in ("trust_ratio", "clipped_ratio"):
            assert cell[f"{ratio}_geometric_mean"] == pytest.approx(math.exp(steps[ratio].map(math.log).mean()))
        furthest = max(abs(math.log(value)) for value in steps["clipped_ratio"])
        assert abs(math.log(cell["clipped_ratio"])) == pytest.approx(furthest)
        for side in ("upper", "lower"):
            assert cell[f"{side}_hits"] == (steps["outcome"] == side).sum()
        assert cell["last_step"] == steps["step"].max()
        counted = steps["outcome"].isin(["free", "upper", "lower"]).sum()
        hits = steps["outcome"].isin(["upper", "lower"]).sum()
        assert (math.isnan(cell["hit_rate"]) and not counted) or cell["hit_rate"] == hits / counted


def test_cells_know_their_depth(log):
    cells = ask(log, """FROM heatmap('a', 1, 100, 5) ORDER BY "position", step""")
    assert list(cells["layer"].unique()) == LAYERS


def test_a_run_that_is_not_there_has_no_cells(log):
    assert ask(log, "FROM heatmap('nobody', 1, 100, 5)").empty
    assert ask(log, "FROM heatmap('a', 5, 4, 5)").empty


@pytest.mark.parametrize("columns", [1, 7, 1000])
def test_a_curve_keeps_both_its_ends_and_every_spike(log, columns: int):
    curve = ask(log, f"FROM ratio_curve('a', 'bias', 1, 100, {columns}) ORDER BY step")
    every = rows(log).query("layer == 'bias'").sort_values("step")
    assert {1, 37, 62, 100} <= set(curve["step"])
    assert curve["step"].is_unique
    assert len(curve) <= min(4 * columns, len(every))
    assert set(curve["rows"]) == {len(every)}
    kept = every[every["step"].isin(curve["step"])]
    assert list(curve["trust_ratio"]) == list(kept["trust_ratio"])
    assert list(curve["outcome"]) == list(kept["outcome"])


@pytest.mark.parametrize("columns", [1, 7, 1000])
def test_a_metric_keeps_its_spike(log, columns: int):
    curve = ask(log, f"FROM metric_curve('a', 'train/loss', 0, 100, {columns}) ORDER BY step")
    assert curve["value"].max() == 1000
    assert {1, 55, 100} <= set(curve["step"])
    assert set(curve["rows"]) == {STEPS}


def test_a_metric_by_epoch_is_its_mean_with_its_range(log):
    epochs = ask(log, "FROM metric_epochs('a', 'train/loss') ORDER BY epoch")
    values = ask(log, "FROM metrics WHERE run = 'a' AND name = 'train/loss'").groupby("epoch")["value"]
    assert list(epochs["value"]) == pytest.approx(list(values.mean()))
    assert list(epochs["smallest"]) == list(values.min())
    assert list(epochs["largest"]) == list(values.max())
    assert list(epochs["rows"]) == list(values.count())


def test_hit_rates_of_layers_are_those_of_clip_hits(log):
    rates = ask(log, "FROM hit_rate_by_layer('a', 1, 100) ORDER BY layer")
    expected = ask(log, "FROM clip_hits WHERE run = 'a' ORDER BY layer")
    assert list(rates["upper_hits"]) == list(expected["upper_hits"])
    assert list(rates["lower_hits"]) == list(expected["lower_hits"])
    both = (rates["upper_rate"] + rates["lower_rate"]).astype(float)
    assert both.fillna(-1).to_list() == pytest.approx(expected["hit_rate"].fillna(-1).to_list())


def test_an_exempt_layer_has_no_hit_rate_and_a_clipped_one_its_first_hit(log):
    rates = ask(log, "FROM hit_rate_by_layer('a', 1, 100)").set_index("layer")
    assert math.isnan(rates.loc["fc", "upper_rate"])
    assert pd.isna(rates.loc["fc", "first_hit"])
    hits = rows(log).query("layer == 'bias' and outcome in ('upper', 'lower')")["step"]
    assert (rates.loc["bias", "first_hit"], rates.loc["bias", "last_hit"]) == (hits.min(), hits.max())


@pytest.mark.parametrize("columns", [1, 9, 1000])
def test_hits_over_time_add_up_to_all_hits(log, columns: int):
    rates = ask(log, f"FROM hit_rate_over_time('a', 1, 100, {columns}) ORDER BY step")
    outcomes = rows(log)["outcome"].value_counts()
    assert rates["upper_hits"].sum() == outcomes["upper"]
    assert rates["lower_hits"].sum() == outcomes["lower"]
    assert rates["rows"].sum() == STEPS * len(LAYERS)
    assert len(rates) <= columns


def test_a_result_is_told_by_run(tmp_path: Path):
    with Collector(Emitter(["a"]), tmp_path, name="run") as collector:
        for step, accuracy in enumerate([0.5, 0.9, 0.7], start=1):
            collector.log({"test/accuracy": accuracy}, step=step, epoch=step)
        collector.log({"train/loss": math.nan}, step=2)
    (result,) = ask(connect(tmp_path), "FROM run_results").to_dict("records")
    assert list(result["test_accuracies"]) == [0.5, 0.9, 0.7]
    assert (result["best_test_accuracy"], result["last_test_accuracy"], result["broken_since"]) == (0.9, 0.7, 2)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({5}, (None, 5, 1)),
        ({5, 7, 60}, (60, 5, 3)),
        ({5, *range(55, 61)}, (55, 5, 7)),
        (set(range(1, 61)), (1, 1, 60)),
        (set(), (None, None, None)),
    ],
)
def test_a_loss_is_broken_since_it_was_last_finite(tmp_path: Path, broken: set[int], told: tuple):
    with Collector(Emitter(["a"]), tmp_path, name="run") as collector:
        for step in range(1, 61):
            collector.log({"train/loss": math.nan if step in broken else 1.0, "test/loss": math.inf}, step=step)
    asked = "SELECT broken_since, first_broken, broken_steps FROM run_results"
    assert connect(tmp_path).sql(asked).fetchall() == [told]


def test_an_empty_log_has_empty_answers(tmp_path: Path):
    log = connect(tmp_path)
    for question in (
        "heatmap('a', 1, 10, 5)",
        "ratio_curve('a', 'b', 1, 10, 5)",
        "metric_curve('a', 'b', 1, 10, 5)",
        "metric_epochs('a', 'b')",
        "hit_rate_by_layer('a', 1, 10)",
        "hit_rate_over_time('a', 1, 10, 5)",
        "run_results",
    ):
        assert ask(log, f"FROM {question}").empty


def outcome(log: duckdb.DuckDBPyConnection, *numbers: float) -> str:
    """What became of a ratio: weight norm, update norm, ratio, lower and upper bound."""
    statement = "SELECT outcome($1::FLOAT, $2::FLOAT, $3::FLOAT, $4::FLOAT, $5::FLOAT)"
    ((answer,),) = log.execute(statement, numbers).fetchall()
    return answer


def test_a_norm_that_is_zero_or_not_finite_makes_a_fallback_and_no_other_does(log):
    for weight_norm, update_norm in itertools.product([0.0, 0.5, 2.0, math.inf, math.nan], repeat=2):
        usable = {weight_norm, update_norm} <= {0.5, 2.0}
        for ratio in (1.0, 3.0):  # another writer may not have set it to 1
            assert outcome(log, weight_norm, update_norm, ratio, 0, math.inf) == ("free" if usable else "fallback")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1e30, 1e-30, 1, 0, 5), "fallback"),  # their ratio is above float32
        ((2, 2, math.nan, 0, 5), "fallback"),
        ((2, 2, 1, 0, 0.5), "upper"),
        ((2, 2, 1, 2, 3), "lower"),
        ((2, 2, 1, 1, 3), "free"),
        ((2, 2, 1, 0.5, 1), "free"),
        ((4, 2, 2, 1, 1), "exempt"),
        ((4, 2, 2, 0, 1), "upper"),
        ((1, 2, 0.5, 1, 2), "lower"),
        ((0, 2, 1, 1, 1), "exempt"),
    ],
)
def test_a_ratio_at_its_bound_is_free_and_beyond_it_is_clipped(log, numbers, expected):
    assert outcome(log, *numbers) == expected


def test_a_hit_rate_counts_hits_at_both_bounds_among_what_could_be_clipped(log):
    outcomes = "(VALUES ('upper'), ('lower'), ('lower'), ('free'), ('fallback'), ('exempt')) AS t(outcome)"
    assert log.execute(f"SELECT hit_rate(outcome) FROM {outcomes}").fetchall() == [(0.75,)]
