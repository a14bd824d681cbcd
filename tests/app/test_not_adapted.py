"""Runs in which no layer could be clipped: because none is adapted, or because no norm was ever a number."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from app.clipping.events import nothing
from collector import Collector
from tests.app.test_pages import text
from tests.collector.emitter import Emitter

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SGD whose ratios jump, as the log has it from outside, and LAMBC whose norms are NaN from step 1 on."""
    root = tmp_path_factory.mktemp("runs")
    for name, norm, lower in (("sgd", 2.0, 1.0), ("broken", math.nan, 0.0)):
        emitter = Emitter(["a", "b"])
        with Collector(emitter, root, name=name) as collector:
            for step in range(1, 21):
                weight = norm * (100 if step == 7 else 1)
                ratio = 1.0 if math.isnan(weight) else weight
                row = torch.tensor([weight, norm / 2, ratio, 1.0, lower, 1.0, 0.01])
                emitter.say(step, row[:, None].expand(7, 2))
                collector.log({"train/loss": norm}, step=step)
    return root


def test_of_ratios_that_are_not_looked_at_nothing_is_said(open_page: OpenPage, root: Path):
    page = open_page("clipping", root, "sgd")
    (said,) = (each.value for each in page.success)
    assert said == (
        "Nothing unusual in 40 layer-steps: no NaN, no Inf and no norm of zero. No layer is adapted, so that the "
        "ratios were not looked at."
    )
    page = open_page("runs", root, "sgd")
    assert "norms finite" in text(page)
    assert "no layer is adapted: ratios were not looked at" in text(page)
    assert "healthy" not in text(page)


def test_of_some_layers_the_ratios_are_looked_at():
    rates = pd.DataFrame({"adapted": [9, 0, 0], "lower": [0.0, 1, 0], "upper": [1.0, 1, 1]})
    assert nothing(rates).endswith(" Ratios were looked at in the 2 of 3 layers that are adapted.")
    assert nothing(rates.iloc[:1]).endswith("no ratio that jumped tenfold.")


def test_a_run_that_adapts_no_layer_says_so(open_page: OpenPage, root: Path):
    said = text(open_page("clipping", root, "sgd"))
    assert "no layer is adapted, so that none could be clipped." in said
    assert "Their optimizers adapt no layer, so that there is nothing for a bound to clip." in said


def test_a_run_whose_norms_are_never_finite_is_not_said_to_adapt_no_layer(open_page: OpenPage, root: Path):
    said = text(open_page("clipping", root, "broken"))
    assert "diverged at step 1]; no layer could be clipped, since in all steps a norm was zero or not finite." in said
    assert "In all steps of their adapted layers a norm was zero or not finite" in said
    assert "adapts no layer" not in said
    assert "adapt no layer" not in said


def test_of_a_run_that_diverged_at_once_no_step_is_before_that(open_page: OpenPage, root: Path):
    (said,) = (each.value for each in open_page("bounds", root, "broken").error)
    assert said == "**This run diverged at step 1**: no step before that is recorded. No bound is suggested."
