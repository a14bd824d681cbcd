"""The bounds that are suggested, beside those that numpy finds in the rows."""

from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter

LAYERS = ["conv", "norm", "bias", "exempt"]
GROUPS = {"conv": "weights", "norm": "others", "bias": "others"}
STEPS = 300
EDGES = 2.0 ** (np.arange(-32 * 32, 32 * 32 + 1) / 32)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Ratios around 1, 10 and 0.1; some fall back to 1, one is zero, and the last layer is not adapted."""
    root = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    emitter = Emitter(LAYERS)
    with Collector(emitter, root, name="a") as collector:
        for step in range(1, STEPS + 1):
            collector.epoch = 1 + (step - 1) // 50
            ratio = torch.tensor([1, 10, 0.1, 5]) * torch.from_numpy(random.lognormal(size=4)).float()
            weight, update = ratio.clone(), torch.ones(4)
            if step % 10 == 0:
                weight[0], ratio[0] = 0, 1
            if step == 7:
                ratio[2] = 0
            lower, upper = torch.tensor([0.0, 0, 0, 1]), torch.tensor([2.0, torch.inf, torch.inf, 1])
            emitter.say(
                step, torch.stack([weight, update, ratio, ratio.clamp(lower, upper), lower, upper, 0.01 * update])
            )
            if step % 50 == 0:
                collector.log({"test/accuracy": 0.5})
    return connect(root)


Ratios = Callable[[int, int], pd.DataFrame]


@pytest.fixture(scope="module")
def ratios(log: duckdb.DuckDBPyConnection) -> Ratios:
    """The ratios of the rows between two steps that could be clipped."""

    def ratios(first: int, last: int) -> pd.DataFrame:
        return (
            log.sql(
                "SELECT layer, trust_ratio::DOUBLE AS ratio FROM trust_ratios "
                "WHERE outcome IN ('free', 'upper') AND step BETWEEN $first AND $last",
                params={"first": first, "last": last},
            )
            .to_arrow_table()
            .to_pandas()
        )

    return ratios


def suggested(log: duckdb.DuckDBPyConnection, first: int, last: int, share: float, side: str = "upper") -> pd.DataFrame:
    groups = "map($layers::VARCHAR[], $groups::VARCHAR[])"
    statement = f"FROM suggested_bounds('a', $first, $last, $share, {groups}, side := $side)"
    parameters = {"first": first, "last": last, "share": share, "side": side}
    parameters |= {"layers": [*GROUPS], "groups": [*GROUPS.values()]}
    answers = log.sql(statement, params=parameters).to_arrow_table().to_pandas()
    return answers.replace({"name": {np.nan: None}})


def members_of(rows: pd.DataFrame) -> dict[tuple[str, str | None], pd.Series]:
    """The ratios that each suggestion is for: `of` and `name`."""
    members: dict = {("all", None): rows.ratio}
    members |= {("layer", layer): some.ratio for layer, some in rows.groupby("layer")}
    members |= {("group", group): some.ratio for group, some in rows.groupby(rows.layer.map(GROUPS))}
    return members


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("first", "last"), [(1, STEPS), (1, 30), (100, 250), (7, 7)])
def test_the_upper_bound_is_the_smallest_edge_that_clips_at_most_the_share(log, ratios: Ratios, first, last, share):
    rows = ratios(first, last)
    members = members_of(rows)
    answers = suggested(log, first, last, share)
    assert {(row["of"], row["name"]) for _, row in answers.iterrows()} == set(members)
    (everywhere,) = answers.bound[answers.of == "all"]
    for _, row in answers.iterrows():
        some = np.sort(np.maximum(members[row["of"], row["name"]].to_numpy(), 2.0**-32))
        above = len(some) - np.searchsorted(some, EDGES, side="right")
        place = np.argmax(above / len(some) <= share)
        assert row["bound"] == pytest.approx(EDGES[place])
        assert row["next_bound"] == pytest.approx(EDGES[place + 1])
        assert row["steps"] == len(some)
        assert row["clipped"] == above[place] / len(some) <= share
        assert row["next_clipped"] == above[place + 1] / len(some)
        assert row["clipped_by_all"] == np.mean(some > everywhere)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("first", "last"), [(1, STEPS), (1, 30), (100, 250)])
def test_the_lower_bound_is_the_largest_edge_that_clips_at_most_the_share(log, ratios: Ratios, first, last, share):
    rows = ratios(first, last)
    members = members_of(rows)
    answers = suggested(log, first, last, share, "lower")
    assert {(row["of"], row["name"]) for _, row in answers.iterrows()} == set(members)
    (everywhere,) = answers.bound[answers.of == "all"]
    edges = np.insert(EDGES, 0, 2.0 ** (-32 - 1 / 32))  # below it lies no ratio: the smallest count as 2^-32
    for _, row in answers.iterrows():
        some = np.sort(np.maximum(members[row["of"], row["name"]].to_numpy(), 2.0**-32))
        below = np.searchsorted(some, edges, side="right")
        place = np.flatnonzero(below / len(some) <= share)[-1]
        assert row["bound"] == pytest.approx(edges[place])
        assert row["steps"] == len(some)
        assert row["clipped"] == below[place] / len(some) <= share
        if place:
            assert row["next_bound"] == pytest.approx(edges[place - 1])
            assert row["next_clipped"] == below[place - 1] / len(some)
        assert row["clipped_by_all"] == np.mean(some <= everywhere * (1 + 1e-12))


def test_without_groups_there_are_none(log):
    answers = log.sql("SELECT DISTINCT of FROM suggested_bounds('a', 1, 300, 0.05)").fetchall()
    assert sorted(answers) == [("all",), ("layer",)]


def test_a_layer_that_could_not_be_clipped_has_no_bound(log):
    assert "exempt" not in set(suggested(log, 1, STEPS, 0.05).name)
    assert "conv" not in set(suggested(log, 10, 10, 0.05).name)  # its norm was zero there


def test_where_nothing_could_be_clipped_no_bound_is_suggested(log):
    for question in ("'nobody', 1, 300", "'a', 301, 400", "'a', 5, 4"):
        assert log.sql(f"FROM suggested_bounds({question}, 0.05)").fetchall() == []


def test_an_epoch_begins_where_the_one_before_it_ended(log):
    epochs = log.sql("SELECT epoch, first_step, last_step FROM epoch_steps('a') ORDER BY epoch").fetchall()
    assert epochs == [(epoch, 50 * (epoch - 1) + 1, 50 * epoch) for epoch in range(1, 7)]
