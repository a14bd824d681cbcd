import itertools
import math
import tomllib
from importlib import resources

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest

from app.charts.distribution import ratio_distribution
from app.charts.hit_rates import MOST_PANELS, hit_rates_by_layer, hit_rates_over_time
from app.charts.layer_curve import layer_curve
from app.charts.metrics import metric_curves
from app.charts.text import counted, escape, label_margin, layer_ticks, ratio_text, ratio_ticks, shorten
from app.charts.theme import DARK, LIGHT, Line, lines, run_lines
from app.shell.selection import HUES
from tests.app.figures import LAYERS, metric, texts
from tests.dashboard_log import HOSTILE

STEPS = pd.DataFrame(
    {
        "step": [1, 2, 3, 4],
        "trust_ratio": [0.5, 2.0, 4.0, 0.8],
        "clipped_ratio": [0.5, 1.0, 1.0, 0.8],
        "lower": 0.0,
        "upper": 1.0,
        "weight_norm": [1.0, 2.0, 4.0, 0.8],
        "update_norm": [2.0, 1.0, 1.0, 1.0],
    }
)


def envelope(rows: pd.DataFrame, width: int = 1, spread: float = 1.0) -> pd.DataFrame:
    """Rows as of ratio_envelope: each a cell that reaches `spread` times as far up and down."""
    cells = rows[["step", "lower", "upper"]].assign(width=width, rows=width, last_step=rows["step"] + width - 1)
    for column in ("trust_ratio", "clipped_ratio", "weight_norm", "update_norm"):
        cells[f"{column}_min"], cells[f"{column}_max"] = rows[column] / spread, rows[column] * spread
        cells[f"{column}_geometric_mean"] = rows[column]
    return cells


RATES = pd.DataFrame(
    {
        "layer": LAYERS,
        "upper_rate": [0.0, 1.0, None],
        "lower_rate": [0.25, 0.0, None],
        "upper_hits": [0, 4, 0],
        "lower_hits": [1, 0, 0],
        "first_hit": pd.array([3, 1, None], dtype="Int64"),
    }
)


def named(figure: object) -> dict:
    return {trace.name: trace for trace in figure.data}


def test_a_layer_is_drawn_before_and_after_clipping_with_its_bound():
    drawn = named(layer_curve(envelope(STEPS)))
    assert list(drawn["before clipping"].y) == [0.5, 2, 4, 0.8]
    assert list(drawn["after clipping"].y) == [0.5, 1, 1, 0.8]
    assert list(drawn["upper bound"].y) == [1, 1, 1, 1]
    assert "lower bound" not in drawn  # 0 is no bound


def test_a_cell_of_many_steps_shows_how_far_they_reach():
    drawn = named(layer_curve(envelope(STEPS.assign(step=[0, 64, 128, 192]), width=64, spread=2.0)))
    assert list(drawn["before clipping"].x) == [31.5, 95.5, 159.5, 223.5]  # the middle of its steps
    assert list(drawn["before clipping"].y) == [0.5, 2, 4, 0.8]
    assert list(drawn["before, smallest"].y) == [0.25, 1, 2, 0.4]
    assert list(drawn["before, largest"].y) == [1, 4, 8, 1.6]
    assert drawn["before, range"].fill == "toself"
    assert list(drawn["before, range"].y[:8]) == [0.25, 1, 2, 0.4, 1.6, 8, 4, 1]  # there below, and back above
    assert list(drawn["‖w‖, largest"].y) == [2, 4, 8, 1.6]


def test_ratios_are_counted_in_eighths_of_an_octave_and_those_above_the_bound_stand_out():
    edges = 2.0 ** (np.arange(-8, 17) / 32)
    bins = pd.DataFrame({"above": edges[:-1], "up_to": edges[1:], "steps": [1] * 12 + [0] * 8 + [4] * 4})
    bars = named(ratio_distribution(bins[bins.steps > 0], None, bound=1.0))["all steps"]
    assert np.allclose(bars.x, np.log10(2.0 ** ((np.arange(-1, 5) - 0.5) / 8)))
    assert np.allclose(bars.y, [4 / 28, 4 / 28, 4 / 28, 0, 0, 16 / 28])
    assert list(bars.marker.color) == [LIGHT.runs[0]] * 2 + [LIGHT.upper] * 4


def test_the_steps_shown_stand_against_all_steps():
    bins = pd.DataFrame({"above": [1.0], "up_to": [1.02], "steps": [5]})
    drawn = named(ratio_distribution(bins, bins.assign(above=4.0, up_to=4.1), bound=None))
    assert list(drawn) == ["steps shown", "all steps"]
    assert drawn["all steps"].x[0] > 0.6


def test_a_layer_without_bounds_has_no_line_for_them():
    assert not {"upper bound", "lower bound"} & set(named(layer_curve(envelope(STEPS.assign(upper=np.inf)))))


def test_what_a_layer_that_is_not_adapted_would_have_had_was_not_clipped_away():
    drawn = named(layer_curve(envelope(STEPS.assign(lower=1.0, upper=1.0, clipped_ratio=1.0))))
    assert not {"upper bound", "lower bound", "clipped away"} & set(drawn)


NO_RATIO = [{"weight_norm": 0.0}, {"weight_norm": np.nan}, {"update_norm": 0.0}, {"update_norm": np.inf}]


@pytest.mark.parametrize("norm", NO_RATIO, ids=str)
@pytest.mark.parametrize("width", [1, 64])
def test_where_no_ratio_can_be_taken_that_before_clipping_has_a_gap(norm, width):
    """The log has a 1 there, which would look calm."""
    rows = STEPS.astype(float)
    rows.loc[2, ["trust_ratio", "clipped_ratio"]] = 1.0
    rows.loc[2, list(norm)] = list(norm.values())
    drawn = named(layer_curve(envelope(rows, width)))
    assert np.array_equal(drawn["before clipping"].y, [0.5, 2, np.nan, 0.8], equal_nan=True)
    assert list(drawn["after clipping"].y) == [0.5, 1, 1, 0.8]  # that is what the step used


def test_what_clipping_took_away_is_filled_on_each_side_of_a_gap():
    rows = pd.concat([STEPS, STEPS.assign(step=STEPS["step"] + 4)], ignore_index=True).astype(float)
    rows.loc[4, "weight_norm"] = np.nan
    area = named(layer_curve(envelope(rows)))["clipped away"]
    left, right = ([1, 2, 3, 4], [6, 7, 8])
    assert np.array_equal(area.x, [*left, *left[::-1], np.nan, *right, *right[::-1], np.nan], equal_nan=True)
    assert list(area.y[9:15]) == [1, 1, 0.8, 0.8, 4, 2]  # there after clipping, and back before it


def test_a_layer_of_one_step_is_drawn_as_points():
    drawn = named(layer_curve(envelope(STEPS.head(1))))
    assert {name: list(points.y) for name, points in drawn.items()} == {
        "after clipping": [0.5], "before clipping": [0.5], "upper bound": [1], "‖w‖": [1], "‖update‖": [2],
    }  # fmt: skip
    assert {points.mode for points in drawn.values()} == {"markers"}  # a line through one point is nothing


def test_of_odd_values_what_can_be_drawn_is_drawn_and_named():
    figure = layer_curve(envelope(STEPS.assign(trust_ratio=np.nan, weight_norm=0.0, update_norm=np.inf)))
    assert list(named(figure)["after clipping"].y) == [0.5, 1, 1, 0.8]
    assert [label.text for label in figure.layout.annotations] == ["upper bound 1", "after clipping"]
    assert list(figure.layout.yaxis.tickvals) == pytest.approx([0.4, 0.5, 0.7, 1])


def test_upper_hits_go_to_the_right_and_lower_ones_to_the_left():
    figure = hit_rates_by_layer({"a": RATES}, layers=LAYERS, lines=lines(["a"]))
    drawn = named(figure)
    assert list(drawn["upper bound"].x) == [0, 1, 0]
    assert list(drawn["lower bound"].x) == [-0.25, 0, 0]
    assert figure.layout.xaxis.range[0] < -1


def test_without_lower_hits_there_is_no_left():
    figure = hit_rates_by_layer({"a": RATES.assign(lower_rate=0.0)}, layers=LAYERS, lines=lines(["a"]))
    assert list(named(figure)) == ["upper bound"]
    assert figure.layout.xaxis.range[0] == 0


@pytest.mark.parametrize("count", [5, MOST_PANELS])
def test_every_run_has_a_panel_and_the_layers_are_in_line(count):
    runs = [f"run {number}" for number in range(count)]
    figure = hit_rates_by_layer(dict.fromkeys(runs, RATES), layers=LAYERS, lines=lines(runs))
    domains = [figure.layout[f"xaxis{number or ''}"].domain for number in ["", *range(2, count + 1)]]
    assert all(end - start > 0.1 for start, end in domains)
    assert all(right[0] > left[1] for left, right in itertools.pairwise(domains))
    assert domains[-1][1] == 1


def test_hits_over_time_have_a_line_a_run_and_a_dotted_one_for_lower_hits():
    rates = pd.DataFrame({"step": [1, 2], "upper_rate": [0.0, 0.5], "lower_rate": [0.0, 0.1]})
    figure = hit_rates_over_time({"a": rates, "b": rates.assign(lower_rate=0.0)}, lines=lines(["a", "b"]))
    assert list(named(figure)) == ["a", "a (lower)", "b"]


def test_hits_of_one_cell_are_drawn_as_a_point():
    rates = pd.DataFrame({"step": [1], "upper_rate": [0.5], "lower_rate": [0.1]})
    figure = hit_rates_over_time({"a": rates, "b": pd.concat([rates, rates])}, lines=lines(["a", "b"]))
    assert {trace.name: trace.mode for trace in figure.data} == {
        "a": "markers", "a (lower)": "markers", "b": "lines", "b (lower)": "lines",
    }  # fmt: skip


@pytest.mark.parametrize(("by", "written"), [("step", ",.0f"), ("epoch", ",.4~r"), ("time", ",.4~r")])
def test_a_hover_has_all_digits_of_a_step(by, written):
    """14,721 and not 14,720, also along steps that are a metric's own."""
    curve = pd.DataFrame({"step": [1, 14_721], "epoch": [1, 2], "seconds": [0.5, 2.0], "value": [0.5, 0.6]})
    metrics = [metric("test/loss"), metric("train/loss", own_steps=True)]
    layout = metric_curves({("a", each): curve for each in metrics}, by=by, lines=lines(["a"])).layout
    assert (layout.xaxis.hoverformat, layout.xaxis2.hoverformat) == (written, written)


def test_runs_are_named_once_in_the_legend_of_four_panels():
    curve = pd.DataFrame({"step": [1, 2], "epoch": [1, 1], "value": [0.5, 0.6]})
    metrics = [metric(name) for name in ("test/accuracy", "train/accuracy", "test/loss", "train/loss")]
    figure = metric_curves({(run, each): curve for run in "ab" for each in metrics}, lines=lines(["a", "b"]))
    assert len(figure.data) == 8
    assert [trace.name for trace in figure.data if trace.showlegend] == ["a", "b"]


def test_a_hostile_run_name_is_text_in_every_chart():
    curve = pd.DataFrame({"step": [1, 2], "value": [0.5, 0.6]})
    line = lines([HOSTILE])
    rates = pd.DataFrame({"step": [1], "upper_rate": [0.5], "lower_rate": [0.0]})
    for figure in (
        metric_curves({(HOSTILE, metric("test/loss")): curve}, lines=line),
        hit_rates_by_layer({HOSTILE: RATES}, layers=LAYERS, lines=line),
        hit_rates_over_time({HOSTILE: rates}, lines=line),
    ):
        assert any("<script>" in text for text in texts(figure))
        assert "<script>" not in pio.to_json(figure)


def test_seven_runs_have_seven_hues_and_the_eighth_is_dashed():
    drawn = lines([f"run {number}" for number in range(8)])
    assert len({line.hue for line in list(drawn.values())[:7]}) == 7
    assert drawn["run 7"] == Line(0, "dash")


RUNS = [f"run-{number}" for number in range(28)]


def test_a_run_has_the_hue_of_its_name_or_the_next_that_no_run_before_it_has():
    own = {run: run_lines([run])[run].hue for run in RUNS}
    first, *alike = [run for run in RUNS if own[run] == own[RUNS[0]]][:3]
    beside = next(run for run in RUNS if own[run] == (own[first] + 1) % 7)
    drawn = run_lines([first, beside, *alike])
    assert [(drawn[run].hue - own[first]) % 7 for run in (first, beside, *alike)] == [0, 1, 2, 3]
    assert {line.dash for line in drawn.values()} == {"solid"}


def test_a_run_is_drawn_the_same_whichever_runs_come_after_it():
    for count in range(1, len(RUNS)):
        assert run_lines(RUNS).items() >= run_lines(RUNS[:count]).items()
    assert run_lines([*RUNS, RUNS[0]]) == run_lines(RUNS)


def test_runs_are_dashed_only_where_all_hues_are_taken():
    drawn = list(run_lines(RUNS).values())
    assert len(set(drawn)) == 28
    for place, dash in enumerate(("solid", "dash", "dot", "dashdot")):
        some = drawn[7 * place : 7 * place + 7]
        assert {line.hue for line in some} == set(range(7))
        assert {line.dash for line in some} == {dash}


def test_text_names_a_run_in_the_colour_that_charts_give_it():
    config = tomllib.loads(resources.files("app").joinpath(".streamlit", "config.toml").read_text())
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        assert tuple(config["theme"][name][f"{hue}TextColor"] for hue in HUES) == theme.runs
        assert config["theme"][name]["backgroundColor"] == theme.background


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_lines_and_text_stand_out_from_the_page(theme):
    for colour in (*theme.runs, theme.text, theme.upper, theme.lower):
        assert contrast(colour, theme.background) >= 3, colour
    assert contrast(theme.faint, theme.background) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        return float(
            np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        )

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_long_name_keeps_both_its_ends():
    assert shorten("encoder.layers.11.attention.weight", 20) == "encoder.l…ion.weight"
    assert shorten("short") == "short"


def test_control_signs_are_blank_and_right_to_left_names_are_kept_apart():
    assert escape("a\nb\x00c") == "a b c"
    assert escape("שלום") == "\u2068שלום\u2069"


def test_a_ratio_is_written_as_one_says_it():
    assert [ratio_text(ratio) for ratio in (0.0123, 0.5, 1, 999.4, 999.9, 20_000)] == [
        "0.0123", "0.5", "1", "999", "1,000", "20,000",
    ]  # fmt: skip


def test_ticks_are_round_ratios():
    assert ratio_ticks(-1, 1) == pytest.approx([0.1, 0.2, 0.5, 1, 2, 5, 10])
    assert ratio_ticks(-3, 3) == pytest.approx([0.001, 0.01, 0.1, 1, 10, 100, 1000])


@pytest.mark.parametrize(
    ("lowest", "highest", "ticks"),
    [
        (math.log10(0.9), math.log10(6), [1, 2, 5]),
        (math.log10(0.9), math.log10(4.5), [1, 1.5, 2, 3, 4]),
        (math.log10(6), math.log10(24), [7, 10, 15, 20]),
        (-0.1, 0.1, [0.8, 0.9, 1, 1.1, 1.2]),
        (math.log10(5.1), math.log10(6.9), [5.5, 6, 6.5]),
        (0.3, 0.3001, [10**0.30005]),
    ],
)
def test_a_short_axis_has_enough_numbers_to_read_it(lowest, highest, ticks):
    assert ratio_ticks(lowest, highest) == pytest.approx(ticks)


def test_as_many_layers_are_named_as_there_is_room_for():
    assert len(layer_ticks([f"layer {number}" for number in range(1000)], 440)["tickvals"]) <= 40
    assert label_margin(["x" * 500]) < 220


def test_layers_whose_names_are_long_keep_their_block_on_an_axis():
    names = [f"bert.encoder.layer.{block}.attention.self.query.weight" for block in range(4)]
    ticks = layer_ticks(names, 220)
    assert ticks["tickvals"] == names
    assert ticks["ticktext"] == [f"…layer.{block}.attention.self.query" for block in range(4)]


def test_one_of_something_has_no_s():
    assert [counted(count, "row") for count in (0, 1, 2_000)] == ["0 rows", "1 row", "2,000 rows"]
