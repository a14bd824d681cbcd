"""The page Bounds of models of more layers than have room for their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from app.bounds.code import by_patterns, for_each_layer
from app.charts.family_bounds import family_bounds
from collector import connect
from lambc import clip_groups
from lambc.experiments.wide_logs import WideLog, transformer
from tests.app.test_pages import figure
from tests.dashboard_log import HOSTILE_LAYER

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """76 layers that were never clipped."""
    root = tmp_path_factory.mktemp("wide")
    WideLog(transformer(6), 100, clip=None).write(root, "free")
    return root


def bounds_of(code: str) -> dict:
    scope: dict = {}
    exec(code[code.index("bounds = {") : code.index("optimizer =")], scope)
    return scope["bounds"]


class Named(torch.nn.Module):
    """Parameters of given names."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def named_parameters(self):
        return [(name, torch.nn.Parameter(torch.ones(1))) for name in self.names]


def test_the_code_has_a_bound_for_each_family_that_clips_at_most_the_wanted_share(open_page: OpenPage, wide: Path):
    page = open_page("bounds", wide, "free")
    assert page.query_params["apart"] == "family"
    bounds = bounds_of(page.code[1].value)
    assert len(bounds) == 16  # twelve families, and what stands before and behind them
    layers = list(transformer(6))
    groups = clip_groups(Named(layers), bounds)  # each layer has its own
    upper = {name: group["clip"] for group in groups for name, _ in group["params"]}
    rows = connect(wide).sql("SELECT layer, family, trust_ratio FROM trust_ratios JOIN layers USING (run, layer)").df()
    above = rows["trust_ratio"] > rows["layer"].map(upper)
    shares = above.groupby(rows["family"]).mean()
    assert (shares <= 0.05).all()
    assert (shares > 0.03).any()
    table = page.dataframe[0].value.set_index("family")["bound"]
    assert bounds == pytest.approx(table.to_dict())


@pytest.mark.parametrize("apart", ["kind", "layer"])
def test_kinds_are_written_by_family_and_layers_by_name(open_page: OpenPage, wide: Path, apart: str):
    page = open_page("bounds", wide, "free")
    page.segmented_control(key="apart").set_value(apart).run()
    bounds = bounds_of(page.code[1].value)
    assert len(bounds) == {"kind": 16, "layer": 76}[apart]
    assert sum(len(group["params"]) for group in clip_groups(Named(list(transformer(6))), bounds)) == 76


@pytest.mark.parametrize("apart", ["kind", "family", "layer"])
def test_long_names_have_the_whole_width_of_the_page(open_page: OpenPage, wide: Path, apart: str):
    page = open_page("bounds", wide, "free")
    page.segmented_control(key="apart").set_value(apart).run()
    assert not any(column.dataframe or column.code for column in page.columns)


def test_each_layer_is_a_mark_at_its_bound_on_the_line_of_its_family(open_page: OpenPage, wide: Path):
    page = open_page("bounds", wide, "free")
    drawn = figure(page, "ranges")
    in_blocks, alone, triangles = drawn["data"]
    assert (len(in_blocks["y"]), len(alone["y"]), len(triangles["y"])) == (72, 4, 16)
    assert in_blocks["y"].count("blocks.*.attn.qkv.weight") == 6
    assert "attn.qkv <b>×6</b>" in drawn["layout"]["yaxis"]["ticktext"]
    assert any("suggested" in note["text"] for note in drawn["layout"]["annotations"])


RANGES = pd.DataFrame(
    {
        "layer": ["b.0.w", "b.1.w", HOSTILE_LAYER],
        "family": ["b.*.w", "b.*.w", HOSTILE_LAYER],
        "block": [0, 1, np.nan],
        "own": [1.0, 4.0, 2.0],
        "q50": 1.0,
        "clipped_by_all": 0.5,
    }
)


@pytest.mark.parametrize("own_bound", [None, 0.01])
def test_the_bound_in_force_is_dotted_and_hostile_names_are_text(own_bound: float | None):
    families = pd.Series({"b.*.w": 3.0, HOSTILE_LAYER: 2.0})
    drawn = family_bounds(RANGES, families, bound=2.0, own_bound=own_bound, wanted=0.05)
    dashes = [line.line.dash for line in drawn.layout.shapes]
    assert dashes == (["solid"] if own_bound is None else ["solid", "dot"])
    assert 10 ** drawn.layout.xaxis.range[0] < (own_bound or 1)
    assert "<img" not in drawn.to_json().replace("\\u003c", "<")


def test_a_layer_that_has_another_bound_than_its_family_is_named_in_full():
    families = {f"b.{block}.w": "b.*.w" for block in range(3)} | {"head": "head"}
    sections = {"own": [("b.0.w", 2.0), ("b.1.w", 2.0), ("head", 3.0)], "kept": [("b.2.w", (1.0, 1.0))]}
    found = by_patterns(sections, families)
    assert found == {"own": [("b.*.w", 2.0), ("head", 3.0)], "kept": [("b.2.w", (1.0, 1.0))]}
    groups = clip_groups(Named(list(families)), bounds_of(for_each_layer("LAMBC", found)))
    assert {name: group["clip"] for group in groups for name, _ in group["params"]} == {
        "b.0.w": 2.0,
        "b.1.w": 2.0,
        "b.2.w": (1.0, 1.0),
        "head": 3.0,
    }
