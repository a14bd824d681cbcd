"""The pages of runs whose log has the norms of gradients, and what clipping by the global one did."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from collector import Collector
from lambc import LAMBC
from tests.app.test_pages import figure, text

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

STEPS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with norms of gradients that grow with the steps, of which those above 4 are cut, and one without."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("with", "without"):
        model = torch.nn.Linear(2, 1, bias=False)
        optimizer = LAMBC(model.named_parameters())
        with Collector(optimizer, root, name=name, gradients=name == "with") as collector:
            for step in range(1, STEPS + 1):
                model.weight.grad = torch.tensor([[0.6, 0.8]]) * step
                if name == "with":
                    collector.clip_grad_norm_(model.parameters(), 4.5)
                optimizer.step()
    return root


def test_the_gradients_norm_is_a_quantity_of_a_run_that_has_it_and_of_no_other(open_page: OpenPage, root: Path):
    page = open_page("layers", root, "with", "without")
    page.selectbox(key="run").set_value("without").run()
    assert "Gradient norm" not in page.segmented_control(key="show").options
    page.selectbox(key="run").set_value("with").run()
    page.segmented_control(key="show").set_value("grad_norm").run()
    assert page.query_params["show"] == "grad_norm"
    said = str(figure(page, "heatmap")["data"][0]["hovertemplate"])
    assert "Gradient norm" in said
    page.selectbox(key="run").set_value("without").run()
    assert page.segmented_control(key="show").value == "trust_ratio"


def test_the_page_clipping_says_how_often_the_global_norm_was_cut(open_page: OpenPage, root: Path):
    said = text(open_page("clipping", root, "with", "without"))
    assert said.count("cut at their global norm") == 1
    assert "cut at their global norm in **50.0%** of 8 steps." in said
