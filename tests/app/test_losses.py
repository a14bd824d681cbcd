"""A training loss that is NaN for a while, and one that is lost for good."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from collector import Collector
from tests.app.test_pages import text
from tests.collector.emitter import Emitter

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({5}, "loss was NaN or infinite in 1 step, at step 5"),
        ({5, *range(55, 61)}, "diverged at step 55"),
    ],
)
def test_a_run_diverged_where_its_loss_was_lost_for_good(open_page: OpenPage, tmp_path: Path, broken: set, said: str):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 61):
            emitter.say(step, torch.ones(7, 1))
            collector.log({"train/loss": math.nan if step in broken else 1.0}, step=step)
    page = open_page("runs", tmp_path, "r")
    assert said in text(page)
    assert list(page.dataframe[0].value["status"]) == ["✕ diverged" if 60 in broken else "✓ finished"]
