"""Why a layer was clipped at a step."""

import math

import pandas as pd
import pytest

from app.layers.explanation import explain


def at_step(**changed):
    """Two layers of a family, of which the second is within its bounds."""
    row = {
        "layer": "blocks.0.q", "family": "blocks.*.q", "weight_norm": 8.0, "update_norm": 2.0, "trust_ratio": 4.0,
        "clipped_ratio": 1.0, "lower": 0.0, "upper": 1.0, "outcome": "upper", "weight_norm_before": 8.0,
        "update_norm_before": 12.0, "step_before": 1200.0,
    } | changed  # fmt: skip
    other = row | {"layer": "blocks.1.q", "trust_ratio": 0.5, "clipped_ratio": 0.5, "outcome": "free"}
    return pd.DataFrame([row, other])


def said(usual=4.0, **changed):
    return explain(at_step(**changed), "blocks.0.q", 1234, usual)


def test_norms_ratio_bound_and_family_are_told():
    assert said() == (
        "**At step 1,234:** ‖w‖ 8 / ‖update‖ 2 = **4**, above the upper bound 1: the step was shortened 4×. "
        "Since step 1,200: the update fell 6×, the weights +0.0 %. "
        r"Of its family, blocks\.\*\.q, 1 of 2 were clipped in that step."
    )


@pytest.mark.parametrize(
    ("ratio", "part"),
    [(1.0004, "by less than 1 %"), (1.04, "by 4 %"), (1.1, "1.1×"), (1200.0, "1,200×")],
)
def test_a_step_is_not_said_to_be_shortened_1_times(ratio, part):
    assert f"above the upper bound 1: the step was shortened {part}." in said(trust_ratio=ratio)
    lower = {"outcome": "lower", "trust_ratio": 0.5 / ratio, "clipped_ratio": 0.5, "lower": 0.5}
    assert f"below the lower bound 0.5: the step was lengthened {part}." in said(**lower)


def test_a_step_is_shortened_or_lengthened_by_a_share_of_what_it_was():
    assert "the step was shortened by 8 %." in said(trust_ratio=1.09)
    lower = {"outcome": "lower", "trust_ratio": 0.5 / 1.09, "clipped_ratio": 0.5, "lower": 0.5}
    assert "the step was lengthened by 9 %." in said(**lower)


def test_what_is_usual_is_said_where_the_ratio_is_far_from_it():
    assert "Usually the ratio is 40." in said(usual=40.0)
    assert "Usually" not in said(usual=4.1)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"outcome": "lower", "trust_ratio": 0.1, "clipped_ratio": 0.5, "lower": 0.5}, "the step was lengthened 5×"),
        ({"outcome": "exempt", "lower": 1.0}, "the layer is not adapted, its step used 1"),
        ({"outcome": "free", "upper": math.inf}, "there is no bound"),
        ({"outcome": "free", "upper": 10.0}, "within the bounds"),
        ({"outcome": "fallback", "update_norm": math.nan, "trust_ratio": 1.0}, "‖update‖ NaN, from which no ratio"),
        ({"trust_ratio": 0.004}, "the ratio is **0.004**, of ‖w‖ 8 / ‖update‖ 2"),  # LARS has a coefficient
    ],
)
def test_each_outcome_is_told(changed, part):
    assert part in said(**changed)


def test_of_a_layer_without_a_row_nothing_is_said():
    assert explain(at_step(), "head", 1, None) == ""
    assert "Since" not in said(update_norm_before=math.nan, weight_norm_before=math.nan, step_before=math.nan)
