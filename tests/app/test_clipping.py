"""The page Clipping over real logs, its charts and what it says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from app.charts.hit_map import MOST_MARKED, hit_map
from app.charts.theme import DARK, LIGHT
from app.clipping.events import sentence, table, together
from collector import Collector, connect
from tests import unusual_log
from tests.app.figures import LAYERS, drawn, in_depth_order, texts
from tests.collector.emitter import Emitter
from tests.dashboard_log import HOSTILE, HOSTILE_LAYER

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

OpenPage = Callable[..., AppTest]

CELLS = pd.DataFrame(
    [(0, 0, 1.0, 0.0), (0, 4, 0.25, 0.5), (1, 0, 0.0, 0.5), (1, 4, 0.0, 0.0), (2, 0, np.nan, np.nan)],
    columns=["row", "step", "upper_rate", "lower_rate"],
).assign(width=4, stride=1, rows=4, not_finite=0)
RATES = pd.DataFrame(
    {"layer": LAYERS, "first_hit": pd.array([1, 2, None], "Int64"), "last_hit": pd.array([7, 3, None], "Int64")}
)


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = unusual_log.build(tmp_path_factory.mktemp("unusual"))
    return unusual_log.build(root, "calm", calm=True)


def charts(page: AppTest) -> list[str]:
    return [element.key for element in page.main.get("bidi_component")]


def figure(page: AppTest, key: str) -> dict:
    chart = next(element for element in page.get("bidi_component") if element.key == key)
    return drawn(chart.proto.bytes)


def text(page: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "success", "subheader", "warning")
    return "\n".join(str(element.value) for kind in kinds for element in page.get(kind))


def test_upper_hits_are_above_zero_and_lower_ones_below():
    drawn = hit_map(CELLS, RATES, stack=in_depth_order(LAYERS)).data[0]
    assert np.array_equal(drawn.z, [[1, -0.5], [-0.5, 0], [np.nan, np.nan]], equal_nan=True)
    assert np.allclose(drawn.customdata[0, 1], [0.25, 0.5])  # both are said where both bounds cut


def test_a_cell_lies_over_its_steps():
    drawn = hit_map(CELLS, RATES, stack=in_depth_order(LAYERS))
    assert drawn.data[0].x0 - drawn.data[0].dx / 2 == -0.5
    ends = drawn.layout.xaxis.autorangeoptions
    assert (ends.clipmin, ends.clipmax) == (-0.5, 7.5)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_without_lower_hits_the_scale_has_one_side(theme):
    both = hit_map(CELLS, RATES, stack=in_depth_order(LAYERS), theme=theme).layout.coloraxis
    assert (both.cmin, both.colorscale[0][1], both.colorscale[-1][1]) == (-1, theme.lower, theme.upper)
    one = hit_map(CELLS.assign(lower_rate=0), RATES, stack=in_depth_order(LAYERS), theme=theme).layout.coloraxis
    assert (one.cmin, one.cmax, one.colorscale[-1][1]) == (0, 1, theme.upper)


def test_the_first_and_the_last_hit_of_each_layer_are_marked():
    _, first, last = hit_map(CELLS, RATES, stack=in_depth_order(LAYERS)).data
    assert list(zip(first.y, first.x, strict=True)) == [("conv.weight", 1), ("conv.bias", 2)]
    assert list(zip(last.y, last.x, strict=True)) == [("conv.weight", 7), ("conv.bias", 3)]
    many = in_depth_order([*LAYERS, *(f"layer {number}" for number in range(MOST_MARKED))])
    assert len(hit_map(CELLS, RATES, stack=many).data) == 1


def test_a_hostile_layer_is_text():
    rates = RATES.assign(layer=RATES["layer"].replace("conv.bias", HOSTILE_LAYER))
    drawn = hit_map(CELLS, rates, stack=in_depth_order(list(rates["layer"])))
    assert HOSTILE_LAYER in texts(drawn)
    assert "<img" not in drawn.to_json().replace("\\u003c", "<")


def event(**columns: object) -> dict:
    return {
        "layer": "a", "position": 0, "kind": "jump", "step": 5, "last_step": 5, "steps": 1,
        "quantity": "trust_ratio", "before": 2.0, "after": 40.0, "last_after": 40.0,
    } | columns  # fmt: skip


ODD = {"before": None, "after": None, "last_after": None, "quantity": "weight_norm"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "the ratio goes from 2 to 40"),
        ({"last_step": 6, "steps": 2, "last_after": 2.5}, "the ratio goes from 2 to 40 and back"),
        ({"last_step": 6, "steps": 2, "last_after": 4000.0}, "the ratio goes from 2 to 40, then to 4,000"),
        ({"last_step": 6, "steps": 2, "after": 4000.0}, "the ratio goes from 2 to 4,000, then to 40"),
        ({"last_step": 14, "steps": 10}, "the ratio goes from 2 to 40, and on for 10 steps"),
        ({"before": 0.0}, "the ratio goes from 0 to 40"),
        ({"after": 0.0}, "the ratio goes from 2 to 0"),
        ({"kind": "nan", "last_step": 100, "steps": 96, **ODD}, "‖w‖ is NaN from then on"),
        ({"kind": "inf", **ODD, "quantity": "update_norm"}, "‖update‖ is infinite for one step"),
        ({"kind": "inf", **ODD, "quantity": "trust_ratio"}, "the ratio is infinite for one step"),
        ({"kind": "zero norm", "last_step": 44, "steps": 40, **ODD}, "‖w‖ is 0 for 40 steps"),
        ({"kind": "nan", "last_step": 44, "steps": 38, **ODD}, "‖w‖ is NaN in 38 recorded steps, 5 to 44"),
        ({"kind": "nan", "step": 100, "last_step": 100, **ODD}, "‖w‖ is NaN in the last recorded step"),
    ],
)
def test_an_event_is_a_sentence(columns, said):
    (found,) = (row for _, row in together(pd.DataFrame([event(**columns)])).iterrows())
    assert sentence(found, last=100) == said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"last_step": 300, "steps": 2, **ODD}, "‖w‖ is NaN in 2 recorded steps, 200 to 300"),
        ({"last_step": 200, **ODD}, "‖w‖ is NaN in one recorded step"),
        ({"last_step": 1000, "steps": 9, **ODD}, "‖w‖ is NaN from then on"),
        ({"kind": "jump", "last_step": 400, "steps": 3}, "the ratio goes from 2 to 40, and on for 3 recorded steps"),
    ],
)
def test_of_the_steps_between_two_recorded_ones_nothing_is_said(columns, said):
    (found,) = (row for _, row in together(pd.DataFrame([event(kind="nan", step=200) | columns])).iterrows())
    assert sentence(found, last=1000, stride=100) == said


def test_of_layers_that_break_together_the_one_that_is_broken_longest_is_told():
    rows = [event(kind="nan", **ODD), event(kind="nan", layer="b", last_step=9, steps=4, **ODD)]
    (found,) = (row for _, row in together(pd.DataFrame(rows)).iterrows())
    assert found["layer"] == "b"
    assert sentence(found, last=100) == "‖w‖ is NaN in 4 recorded steps, 5 to 9"


def test_what_begins_in_several_layers_at_one_step_is_one_row():
    rows = [
        event(layer="b", position=1, after=400.0),
        event(),
        event(layer="c", position=2, step=7, last_step=7),
        event(kind="zero norm", step=1, last_step=1, **ODD),
        event(kind="nan", step=9, last_step=9, **ODD),
        event(kind="inf", step=8, last_step=8, **ODD),
    ]
    shown = table(together(pd.DataFrame(rows)), last=100)
    assert list(shown["step"]) == [8, 9, 5, 7, 1]  # what is not finite comes first, from where it began
    assert list(shown["layers"]) == [1, 1, 2, 1, 1]
    # The layer that is named, and that a click opens, is the one whose numbers are told, and not the first of the two.
    assert list(shown.loc[2, ["layer", "what"]]) == ["b", "the furthest: the ratio goes from 2 to 400"]


def test_the_events_of_a_run_are_listed(open_page: OpenPage, unusual: Path):
    page = open_page("clipping", unusual, "unusual")
    assert not page.exception
    shown = page.dataframe[0].value
    assert list(shown[["step", "event", "layers", "layer", "what"]].itertuples(index=False, name=None)) == [
        (150, "✕ NaN", 1, "fc.weight", "‖w‖ is NaN from then on"),
        (81, "⇅ jump", 4, "conv.weight", "the furthest: the ratio goes from 0.4 to 24 and back"),
        (1, "○ zero norm", 1, "conv.bias", "‖w‖ is 0 for one step"),
    ]
    assert "1 × NaN, 4 × jump, 1 × zero norm in 800 layer-steps" in text(page)


def test_of_a_long_layer_the_end_is_read_beside_what_happened(open_page: OpenPage, unusual: Path):
    layers = [f"model.layers.{block}.block_sparse_moe.experts.17.w1.weight" for block in (3, 30)]
    rows = [event(layer=layer, step=step) for step, layer in enumerate(layers, 5)]
    shown = table(together(pd.DataFrame(rows)), last=100)["layer"]
    assert list(shown) == ["model.layers.3.bl…perts.17.w1.weight", "model.layers.30.b…perts.17.w1.weight"]
    config = json.loads(open_page("clipping", unusual, "unusual").dataframe[0].proto.columns)
    assert config["layer"]["width"] > 7 * shown.str.len().max()  # a sign takes about seven pixels
    widths = [config[name]["width"] for name in ("step", "event", "layers", "layer", "what")]
    assert sum(widths) < 910  # the page on a window of 1280


def test_a_calm_run_has_nothing_unusual(open_page: OpenPage, unusual: Path):
    page = open_page("clipping", unusual, "calm")
    assert not page.exception
    assert "Nothing unusual in 800 layer-steps" in text(page)


def test_who_is_always_and_who_is_never_clipped_is_a_sentence(open_page: OpenPage, unusual: Path):
    page = open_page("clipping", unusual, "calm")
    assert r"**1 of 4 layers are clipped in all steps**: bn\.weight; 2 never: conv\.bias and fc\.weight" in text(page)
    assert "1 in some steps." in text(page)
    assert page.main.markdown[0].value.startswith(":")  # the verdict stands first
    assert "clipped in **31.2%** of its layer-steps" in page.main.markdown[0].value


def test_what_is_unusual_comes_before_what_every_run_has(open_page: OpenPage, unusual: Path):
    page = open_page("clipping", unusual, "calm", "unusual")
    heads = [each.value for each in page.subheader]
    assert heads[0] == "Unusual in unusual"
    assert charts(page)[:2] == ["hit_map", "hits_over_time"]


def test_a_run_that_diverged_is_said_to_and_looked_into_first(open_page: OpenPage, unusual: Path):
    page = open_page("clipping", unusual, "unusual", "calm")
    assert page.selectbox(key="run").value == "unusual"  # the older of the two
    (said,) = (each.value for each in page.main.markdown if "**unusual**" in each.value)
    assert ":red[:material/error: diverged at step 150]" in said
    (said,) = (each.value for each in page.main.markdown if "**calm**" in each.value)
    assert "diverged" not in said


def test_of_a_single_run_no_chart_repeats_another(open_page: OpenPage, log: Path):
    page = open_page("clipping", log, "clipped")
    assert charts(page) == ["hit_map", "hits_over_time"]
    assert not figure(page, "hits_over_time")["layout"]["showlegend"]
    assert page.query_params["run"] == "clipped"
    assert "hits_by_layer" in charts(open_page("clipping", log, "clipped", "lamb"))


def test_the_map_shows_what_the_log_says(open_page: OpenPage, unusual: Path):
    (cells, *_) = figure(open_page("clipping", unusual, "calm"), "hit_map")["data"]
    rows = connect(unusual).sql("""
        SELECT "position", step, CASE outcome WHEN 'upper' THEN 1 WHEN 'lower' THEN -1 WHEN 'free' THEN 0 END AS hit
        FROM trust_ratios JOIN layers USING (run, layer) WHERE run = 'calm'
    """).to_arrow_table().to_pandas()  # fmt: skip
    shown = cells["z"]
    assert np.array_equal(shown, rows.pivot(index="position", columns="step", values="hit").to_numpy())
    assert set(np.unique(shown)) == {-1, 0, 1}


def test_a_run_without_a_bound_says_so_and_draws_no_empty_chart(open_page: OpenPage, log: Path):
    page = open_page("clipping", log, "lamb")
    assert not page.exception
    assert "None of these runs was ever clipped" in text(page)
    assert r"no layer was ever clipped: the run has no bound." in text(page)
    assert charts(page) == []
    both = open_page("clipping", log, "clipped", "lamb")
    both.selectbox(key="run").set_value("lamb").run()
    assert "No layer of this run was clipped in any recorded step up to step 40." in text(both)
    assert "hits_over_time" in charts(both)


def test_long_names_leave_room_for_the_hits(open_page: OpenPage, tmp_path: Path):
    """Of both ends of a name something is left, by which one knows it; a run that is alone needs no name."""
    run, layer = "run-" + "long-" * 20 + "0017", "layers.0." + "long." * 20 + "weight"
    for name in ("short", run):
        emitter = Emitter([layer])
        with Collector(emitter, tmp_path, name=name, config={"clip": 1.0}):
            for step in range(1, 5):
                emitter.say(step, torch.tensor([[2.0], [1.0], [2.0], [1.0], [0.0], [1.0], [0.01]]))
    table = open_page("clipping", tmp_path, "short", run).dataframe[-1]
    assert list(table.value["run"]) == ["short", "run-long…long-0017"]
    assert {(name[:13], name[-11:], len(name)) for name in table.value["layer"]} == {
        ("layers.0.long", "long.weight", 52)
    }
    config = json.loads(table.proto.columns)
    wide = sum(config[name]["width"] for name in ("run", "layer", "upper_rate", "lower_rate", "first_hit", "last_hit"))
    assert wide < 900  # of 910 on a window of 1280 pixels
    assert "run" not in open_page("clipping", tmp_path, run).dataframe[-1].value


def test_hostile_names_break_nothing(open_page: OpenPage, log: Path):
    page = open_page("clipping", log, HOSTILE)
    assert not page.exception
    assert "<script>alert" not in text(page)
