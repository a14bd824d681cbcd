"""What counts as clipped stands in SQL, rollups, the progress bar and the rule, and is the same in each."""

import pyarrow.parquet as pq
import pytest
import torch

from collector import Collector, connect
from collector.log.rollups import roll_up
from collector.log.schema import ROLLUPS, TRUST_RATIOS
from lambc import TrustRatios
from lambc.experiments.tallies import HitCounter
from lambc.rule import clip, trust_ratio
from tests.collector.emitter import Emitter
from tests.outcomes import OUTCOMES, outcome, say

COUNTS = {
    "adapted": ("free", "upper", "lower"),
    "upper_hits": ("upper",),
    "lower_hits": ("lower",),
    "fallbacks": ("fallback",),
}
"""The columns of a rollup that count outcomes, and which."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of one step, with a layer for each case."""
    emitter = Emitter(list(OUTCOMES))
    with Collector(emitter, tmp_path_factory.mktemp("runs"), name="r") as collector:
        emitter.say(1, say(*OUTCOMES.values()))
    return collector.folder


def test_a_row_of_the_view_has_the_outcome_that_its_step_had(folder):
    found = dict(connect(folder.parent).sql("SELECT layer, outcome FROM trust_ratios").fetchall())
    assert found == {case: outcome(case) for case in OUTCOMES}


def test_a_rollup_counts_it_as_the_view_does(folder):
    roll_up(folder / TRUST_RATIOS.folder)
    (rollup,) = (folder / ROLLUPS.folder).glob("*.parquet")
    cells = pq.read_table(rollup).to_pylist()
    found = {
        cell["layer"]: [cell[each] for each in ("adapted", "upper_hits", "lower_hits", "fallbacks")] for cell in cells
    }
    counts = {
        "free": [1, 0, 0, 0],
        "upper": [1, 1, 0, 0],
        "lower": [1, 0, 1, 0],
        "fallback": [0, 0, 0, 1],
        "exempt": [0] * 4,
    }
    assert found == {case: counts[outcome(case)] for case in OUTCOMES}


@pytest.mark.parametrize("case", OUTCOMES)
def test_the_progress_bar_counts_it_as_the_view_does(case):
    counter = HitCounter(torch.device("cpu"))
    counter(TrustRatios(1, (case,), say(OUTCOMES[case])))
    clipped, could_be = outcome(case) in ("upper", "lower"), outcome(case) in ("free", "upper", "lower")
    assert counter.counts.tolist() == [clipped, could_be]


@pytest.mark.parametrize("case", [case for case in OUTCOMES if outcome(case) != "exempt"])
def test_it_is_the_rule_that_made_it_so(case):
    weight_norm, update_norm, ratio, clipped, lower, upper, _ = say(OUTCOMES[case]).unbind()
    assert trust_ratio(weight_norm, update_norm) == ratio
    assert clip(ratio, lower, upper) == clipped
