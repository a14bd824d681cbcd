"""Runs that differ by their seed alone, their means, and the experiments that runs make up."""

import statistics

import numpy as np
import pandas as pd
import pytest

from app.charts.mean_band import mean_band
from app.charts.theme import LIGHT, Line
from app.compare.experiments import experiments
from app.compare.seeds import common_name, mean_curve, settings, spread

CONFIG = {"model": "resnet18", "batch_size": 64, "clip": 1.0, "optimizer": "lambc"}


def grouped(configs: dict[str, dict]) -> list[tuple[str, ...]]:
    return [setting.runs for setting in settings(configs)]


def test_runs_that_differ_by_the_seed_alone_are_one_setting():
    configs = {
        "a": CONFIG | {"seed": 0},
        "other": CONFIG | {"seed": 0, "clip": 3.0},
        "b": CONFIG | {"seed": 1, "name": "b"},
    }
    assert grouped(configs) == [("a", "b"), ("other",)]


def test_the_order_of_options_does_not_matter():
    assert grouped({"a": CONFIG | {"seed": 0}, "b": {"seed": 1} | dict(reversed(CONFIG.items()))}) == [("a", "b")]


@pytest.mark.parametrize("config", [{}, CONFIG, CONFIG | {"seed": None}])
def test_runs_without_a_seed_stand_alone(config: dict):
    assert grouped({"a": config, "b": config}) == [("a",), ("b",)]


def test_a_seed_counts_once_and_the_newer_run_has_it():
    configs = {"old": CONFIG | {"seed": 0}, "one": CONFIG | {"seed": 1}, "new": CONFIG | {"seed": 0}}
    assert grouped(configs) == [("old",), ("one", "new")]


def test_the_name_of_another_thing_is_an_option():
    assert grouped(
        {"a": {"model": {"name": "x"}, "seed": 0}, "b": {"model": {"name": "y"}, "seed": 1}}
    ) == [("a",), ("b",)]  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "name"),
    [
        (["clip1", "clip1-seed1", "clip1-seed2"], "clip1"),
        (["b64-clip1-s0", "b64-clip1-s1"], "b64-clip1"),
        (["clip1-s10", "clip1-s11"], "clip1"),
        (["s0-clip1.5", "s1-clip1.5"], "clip1.5"),
        (["a-s0-x", "a-s1-x"], "a…x"),
        (["n0", "n1"], "n"),
        (["seed0", "seed1", "seed12"], "seed"),
        (["0", "1"], "0 + 1"),
        (["monday", "tuesday"], "monday + tuesday"),
        (["monday", "tuesday", "friday"], "monday + 2 more"),
    ],
)
def test_a_setting_is_called_by_what_its_runs_names_have_in_common(runs: list[str], name: str):
    assert common_name(runs) == name


def test_no_two_settings_have_one_name():
    configs = {
        f"run-{number}": CONFIG | {"seed": number % 2, "clip": 1.0 if number < 2 else 3.0} for number in range(4)
    }
    assert [setting.name for setting in settings(configs)] == ["run-0 + run-1", "run-2 + run-3"]


def test_a_spread_is_of_the_values_that_are_there():
    values = [0.5, 0.6, 0.8]
    assert (spread([*values, None, float("nan")]).mean, spread(values).std) == (
        pytest.approx(statistics.mean(values)),
        pytest.approx(statistics.stdev(values)),
    )
    assert spread([*values, None, float("nan")]).n == 3
    assert np.isnan(spread([0.5]).std)
    assert (spread([]).n, np.isnan(spread([]).mean)) == (0, True)


def test_a_mean_by_epoch_says_where_a_seed_is_missing():
    whole = pd.DataFrame({"epoch": [1, 2, 3], "value": [0.2, 0.4, 0.6]})
    short = pd.DataFrame({"epoch": [1, 2], "value": [0.4, np.nan]})
    mean = mean_curve([whole, short], by="epoch")
    assert list(mean["x"]) == [1, 2, 3]
    assert list(mean["mean"]) == pytest.approx([0.3, 0.4, 0.6])
    assert list(mean["n"]) == [2, 1, 1]
    assert mean["std"].iloc[0] == pytest.approx(statistics.stdev([0.2, 0.4]))
    assert mean["std"].iloc[1:].isna().all()


def test_a_mean_by_step_takes_cells_together_and_stands_at_their_middle():
    one = pd.DataFrame({"step": [0, 8], "middle": [4.0, 10.0], "value": [1.0, 3.0]})
    other = pd.DataFrame({"step": [0, 8], "middle": [5.0, 11.0], "value": [2.0, 5.0]})
    mean = mean_curve([one, other], by="step")
    assert list(mean["x"]) == [4.5, 10.5]
    assert list(mean["mean"]) == [1.5, 4]


def test_a_mean_by_time_is_of_the_seeds_that_trained_then():
    fast = pd.DataFrame({"seconds": [0.0, 10.0], "value": [0.0, 1.0]})
    slow = pd.DataFrame({"seconds": [0.0, 20.0], "value": [0.0, 1.0]})
    mean = mean_curve([fast, slow], by="time")
    assert mean["x"].is_monotonic_increasing
    both = mean[mean["n"] == 2].dropna(subset="mean")
    assert list(both["mean"]) == pytest.approx(list((both["x"] / 10 + both["x"] / 20) / 2))
    assert both["x"].max() <= 10
    assert set(mean["n"]) == {1, 2}


def test_a_mean_by_time_is_broken_where_a_seed_ends():
    """No line is drawn from the mean of two seeds to what is left of them."""
    whole = pd.DataFrame({"seconds": [0.0, 20.0], "value": [0.5, 0.5]})
    short = pd.DataFrame({"seconds": [0.0, 10.0], "value": [0.9, 0.9]})
    mean = mean_curve([whole, short], by="time")
    (gap,) = np.flatnonzero(mean["mean"].isna())
    assert list(mean["n"].iloc[[gap - 1, gap + 1]]) == [2, 1]
    assert list(mean["mean"].iloc[[gap - 1, gap + 1]]) == pytest.approx([0.7, 0.5])
    solid, dotted, _ = mean_band(mean, name="a", seeds=2, line=Line(0, "solid"), theme=LIGHT, number=str)
    for drawn in (solid, dotted):
        values = np.array(drawn.y, dtype=float)
        across = np.isfinite(values[:-1]) & np.isfinite(values[1:]) & (np.abs(np.diff(values)) > 0.1)
        assert not across.any()


@pytest.mark.parametrize("by", ["step", "epoch", "time"])
def test_a_mean_of_nothing_is_empty(by: str):
    nothing = pd.DataFrame({column: [] for column in ("step", "middle", "epoch", "seconds", "value")}, dtype=float)
    assert mean_curve([nothing, nothing], by=by).empty


def test_an_experiment_is_runs_that_differ_by_batch_size_bound_and_seed():
    lamb = {"optimizer": "lamb", "clip": None}
    (found,) = experiments(
        {
            "a": CONFIG | {"seed": 0},
            "b": CONFIG | {"seed": 1},
            "c": CONFIG | lamb | {"seed": 0},
            "d": CONFIG | {"seed": 0, "batch_size": 128, "clip": [0.5, 3.0]},
        }
    )
    assert found.batch_sizes == [64, 128]
    assert found.clips == [1.0, (0.5, 3.0), None]
    assert found.cell(64, 1.0).runs == ("a", "b")
    assert found.cell(64, None).runs == ("c",)
    assert found.cell(128, 1.0) is None


def test_experiments_are_told_apart_by_what_differs_and_the_largest_comes_first():
    found = experiments(
        {
            "a": CONFIG | {"seed": 0, "lr": 0.1},
            "b": CONFIG | {"seed": 0, "lr": 0.2},
            "c": CONFIG | {"seed": 1, "lr": 0.2},
        }
    )
    assert [experiment.name for experiment in found] == ["lr 0.2", "lr 0.1"]


def test_an_option_that_only_newer_runs_note_tells_experiments_apart():
    found = experiments({"old": CONFIG | {"seed": 0}, "new": CONFIG | {"seed": 0, "max_grad_norm": None}})
    assert sorted(experiment.name for experiment in found) == ["max_grad_norm None", "max_grad_norm not noted"]


def test_a_seed_that_was_run_again_counts_once_in_a_table():
    (found,) = experiments({name: CONFIG | {"seed": 0} for name in ("old", "new")})
    assert (found.cell(64, 1.0).runs, found.left_out) == (("new",), ("old",))


@pytest.mark.parametrize(
    "odd", [{"batch_size": "many"}, {"batch_size": True}, {"batch_size": 0}, {"clip": "layerwise"}, {"clip": [1, 2, 3]}]
)
def test_a_run_with_an_odd_config_is_in_no_experiment(odd: dict):
    assert experiments({"a": CONFIG | odd, "b": {}}) == []
