"""What the page on bounds says, beside a count of the rows, and its code, beside what lambc does with it."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.bounds import code as bound_code
from app.charts.bounds import layer_ranges, survival_curves
from app.charts.theme import LIGHT
from collector import Collector, connect
from lambc import LAMBC, LARS
from tests import unusual_log
from tests.app.test_pages import figure, text
from tests.collector.emitter import Emitter
from tests.dashboard_log import HOSTILE, HOSTILE_LAYER, Network, Training

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

OpenPage = Callable[..., AppTest]


def rows(log: Path, run: str) -> pd.DataFrame:
    statement = "SELECT layer, step, trust_ratio::DOUBLE AS ratio, outcome FROM trust_ratios WHERE run = $run"
    return connect(log).sql(statement, params={"run": run}).to_arrow_table().to_pandas()


def answer(page: AppTest, side: str = "upper") -> tuple[float, float, float]:
    """The bound that the page suggests, and between which shares it would clip."""
    hue = {"upper": "orange", "lower": "blue"}[side]
    said = re.search(rf"{side} bound of :{hue}\[(\S+)\] would clip :{hue}\[(?:(\S+) to )?(\S+)%\]", text(page))
    assert said, text(page)
    bound, least, most = said.groups()
    return float(bound), float(least or most) / 100, float(most) / 100


def run_code(code: str) -> dict[str, tuple[float, float]]:
    """The lower and the upper bound that each layer of a network really has, in the step after the code was run."""
    network = Network()
    scope = {"model": network, "LAMBC": LAMBC, "LARS": LARS}
    exec(code, scope)
    bounds: dict[str, tuple[float, float]] = {}

    def keep(record):
        for layer, lower, upper in zip(record.layers, record.lower.tolist(), record.upper.tolist(), strict=True):
            bounds[layer] = (lower, upper)

    scope["optimizer"].register_trust_ratio_hook(keep)
    network(torch.randn(4, 6)).square().mean().backward()
    scope["optimizer"].step()
    assert len(bounds) == len(list(network.parameters()))
    return bounds


@pytest.mark.parametrize("rate", ["0.5", "5", "20", "50"])
def test_the_suggested_lower_bound_clips_at_most_the_wanted_share_of_the_rows(
    open_page: OpenPage, log: Path, rate: str
):
    page = open_page("bounds", log, "lamb")
    page.segmented_control(key="side").set_value("lower").run()
    page.select_slider(key="rate").set_value(rate).run()
    assert not page.exception
    assert page.query_params["side"] == "lower"
    bound, least, most = answer(page, "lower")
    share = (rows(log, "lamb").ratio < bound).mean()
    assert least - 0.0005 <= share <= most + 0.0005
    assert share <= float(rate) / 100
    assert all(limits == (pytest.approx(bound), np.inf) for limits in run_code(page.code[0].value).values())
    for layer, (lower, upper) in run_code(page.code[1].value).items():
        kind = "bias" if layer.endswith("bias") else "linear"
        assert (lower, upper) == (pytest.approx(page.dataframe[0].value.set_index("kind").loc[kind, "bound"]), np.inf)


@pytest.mark.parametrize("rate", ["0.5", "5", "20", "50"])
def test_the_suggested_bound_clips_at_most_the_wanted_share_of_the_rows(open_page: OpenPage, log: Path, rate: str):
    page = open_page("bounds", log, "lamb")
    page.select_slider(key="rate").set_value(rate).run()
    bound, least, most = answer(page)
    share = (rows(log, "lamb").ratio > bound).mean()
    assert least - 0.0005 <= share <= most + 0.0005
    assert share <= float(rate) / 100
    assert page.query_params["rate"] == rate


@pytest.mark.parametrize(
    ("part", "first", "last"), [("all", 1, 40), ("first", 1, 4), ("last", 37, 40), ("steps", 11, 20), ("epochs", 9, 24)]
)
def test_the_bound_is_that_of_the_chosen_part(open_page: OpenPage, log: Path, part: str, first: int, last: int):
    page = open_page("bounds", log, "lamb")
    page.segmented_control(key="part").set_value(part).run()
    if part in ("steps", "epochs"):
        key, ends = {"steps": ("between", (11, 20)), "epochs": ("epochs", (2, 3))}[part]
        page.slider(key=key).set_value(ends).run()
        assert page.query_params[key] == f"{ends[0]}-{ends[1]}"
    assert not page.exception
    some = rows(log, "lamb").query(f"{first} <= step <= {last}")
    assert f"Counted over {len(some)} layer-steps, steps {first} to {last}." in text(page)
    bound, least, most = answer(page)
    assert least - 0.0005 <= (some.ratio > bound).mean() <= most + 0.0005 <= 0.0505


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_the_curve_is_what_each_bound_would_clip(open_page: OpenPage, log: Path, side: str):
    page = open_page("bounds", log, "lamb")
    page.segmented_control(key="side").set_value(side).run()
    cut = np.greater if side == "upper" else np.less
    drawn = {trace.get("name"): trace for trace in figure(page, "survival")["data"]}
    ratios = rows(log, "lamb")
    kinds = ratios.layer.str.split(".").str[-1].map({"weight": "linear", "bias": "bias"})
    for name, some in {"all layers": ratios, **{kind: ratios[kinds == kind] for kind in ("linear", "bias")}}.items():
        bounds, shares = (decoded(drawn[name][axis]) for axis in "xy")
        assert len(bounds) > 10
        assert np.allclose(shares, [cut(some.ratio, bound).mean() for bound in bounds]), name


def decoded(values: np.ndarray | list) -> np.ndarray:
    """What the figure's JSON has as an array, or as a list in which None is NaN."""
    return np.array(values, dtype=float)


@pytest.mark.parametrize("apart", ["kind", "layer"])
def test_the_code_for_many_bounds_sets_those_of_the_table(open_page: OpenPage, log: Path, apart: str):
    page = open_page("bounds", log, "lamb")
    page.segmented_control(key="apart").set_value(apart).run()
    table = page.dataframe[0].value.set_index(apart)
    set_to = run_code(page.code[1].value)
    assert len(set_to) == 6
    assert any(column.code for column in page.columns) == (apart == "kind")  # names of layers need the whole width
    ratios = rows(log, "lamb")
    for layer, (lower, upper) in set_to.items():
        name = layer if apart == "layer" else "bias" if layer.endswith("bias") else "linear"
        assert (lower, upper) == (0, pytest.approx(table.loc[name, "bound"]))
    members = ratios.layer if apart == "layer" else ratios.layer.str.split(".").str[-1]
    above = ratios.ratio > ratios.layer.map({layer: upper for layer, (_, upper) in set_to.items()})
    assert (above.groupby(members).mean() <= 0.05).all()


def test_the_code_for_one_bound_sets_it(open_page: OpenPage, log: Path):
    page = open_page("bounds", log, "lamb")
    bound, _, _ = answer(page)
    assert all(limits == (0, pytest.approx(bound)) for limits in run_code(page.code[0].value).values())


@pytest.mark.parametrize(("side", "limits"), [("upper", (0.1, None)), ("lower", (None, 0.2))])
def test_the_bound_of_the_run_on_the_other_side_stays(open_page: OpenPage, log: Path, side: str, limits: tuple):
    page = open_page("bounds", log, "between")
    page.segmented_control(key="side").set_value(side).run()
    bound, _, _ = answer(page, side)
    expected = tuple(bound if limit is None else limit for limit in limits)
    assert all(have == pytest.approx(expected) for have in run_code(page.code[0].value).values())
    assert "this run had" in str(figure(page, "survival")["layout"]["annotations"])


def test_a_bound_of_the_run_that_contradicts_is_left_out():
    assert bound_code.clip("upper", 0.5, 1.0) == 0.5
    assert bound_code.clip("lower", 2.0, 1.0) == (2.0, np.inf)
    assert bound_code.clip("upper", 1.0, 0.0) == 1.0
    assert bound_code.left_out("upper", 0.1, float(np.float32(0.1))) == ""  # as the log has it


@pytest.mark.parametrize(
    ("side", "had", "of_all", "of_each"),
    [
        ("lower", [0.0, 0.9], "the upper bound 0.9 lies below", "in 1 of 3 layers the run's upper bound lies below"),
        ("upper", [1.7, 9.0], "the lower bound 1.7 lies above", "in 2 of 3 layers the run's lower bound lies above"),
    ],
)
def test_a_bound_that_is_left_out_is_named_beside_the_code_and_in_it(
    open_page: OpenPage, tmp_path: Path, side: str, had: list[float], of_all: str, of_each: str
):
    emitter = Emitter(["a.weight", "b.weight", "c.bias"])
    with Collector(emitter, tmp_path, name="run", config={"clip": had}):
        for step in range(1, 41):
            ratio, one = torch.tensor([0.5, 0.6, 1.0]) + step / 40, torch.ones(3)
            lower, upper = had[0] * one, had[1] * one
            emitter.say(step, torch.stack([ratio, one, ratio, ratio.clamp(lower, upper), lower, upper, one]))
    page = open_page("bounds", tmp_path, "run")
    page.segmented_control(key="side").set_value(side)
    page.segmented_control(key="apart").set_value("layer").run()
    one, each = (code.value for code in page.code)
    assert "left out" not in one  # at 5 % the bound of all does not contradict, and those of some layers do
    assert f"\n# {of_each} the {side} one, so it is left out\nbounds = {{" in each
    assert f"{of_each.capitalize()} the {side} one, so it is left out." in text(page)
    page.select_slider(key="rate").set_value("50").run()
    bound, _, _ = answer(page, side)
    said = f"{of_all} {bound:g}, so it is left out"
    assert page.code[0].value.startswith(f"# {said}\noptimizer = ")
    assert f"Of the run's own bounds {said}." in text(page)
    compile(page.code[1].value, "code", "exec")


def test_a_clipped_run_is_said_to_be_one_and_a_free_one_is_named(open_page: OpenPage, log: Path):
    page = open_page("bounds", log, "lamb", "clipped")
    said = text(page.selectbox(key="run").set_value("clipped").run())
    assert "This run was clipped itself, in " in said
    assert "One that was never clipped (**lamb**) is a better basis." in said
    assert "clipped itself" not in text(open_page("bounds", log, "lamb"))


@pytest.mark.parametrize(
    ("part", "last", "said"),
    [
        # A twentieth of the 150 steps is left out, of which the last ratios are those of a run that runs away.
        ("all", 142, "steps 1 to 142, before the run diverged at step 150."),
        ("last", 142, "steps 1 to 142, before the run diverged at step 150."),  # of which none is before that
        ("first", 20, "steps 1 to 20."),
    ],
)
def test_of_a_run_that_diverged_the_steps_before_that_are_counted(
    open_page: OpenPage, tmp_path: Path, part: str, last: int, said: str
):
    unusual_log.build(tmp_path, "broken")
    unusual_log.build(tmp_path, "calm", calm=True)
    page = open_page("bounds", tmp_path, "broken", "calm")
    assert page.selectbox(key="run").value == "calm"
    page.selectbox(key="run").set_value("broken").run()
    page.segmented_control(key="part").set_value(part).run()
    some = rows(tmp_path, "broken").query(f"step <= {last} and outcome in ('free', 'upper', 'lower')")
    assert f"Counted over {len(some)} layer-steps, {said}" in text(page)
    bound, least, most = answer(page)
    assert least - 0.0005 <= (some.ratio > bound).mean() <= most + 0.0005 <= 0.0505
    (warned,) = (each.value for each in page.warning)
    assert warned.startswith(f"**This run diverged at step 150**; counted are steps 1 to {last}.")
    assert "Choose another run, as **calm**." in warned
    assert len(page.code) == 2
    assert {each.key for each in page.main.get("bidi_component")} == {"survival", "ranges"}


def test_a_run_that_diverged_at_once_gets_no_bound(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="broken"):
        for step in range(1, 21):
            row = [torch.nan, 1.0, 1.0, 1.0, 0.0, torch.inf, 0.01]
            emitter.say(step, torch.tensor(row).unsqueeze(1))
    page = open_page("bounds", tmp_path, "broken")
    (said,) = (each.value for each in page.error)
    assert said == "**This run diverged at step 1**: no step before that is recorded. No bound is suggested."
    assert not page.code
    assert not page.main.get("bidi_component")  # no chart


def test_layer_steps_that_are_not_counted_are_said(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["a", "b"])
    with Collector(emitter, tmp_path, name="zero"):
        for step in range(1, 21):
            weight = torch.tensor([1.0 + 0.1 * step, 0.0 if step <= 3 else 2.0])
            one = torch.ones(2)
            ratio = torch.where(weight > 0, weight, one)
            emitter.say(step, torch.stack([weight, one, ratio, ratio, 0 * one, torch.inf * one, 0.01 * one]))
    said = text(open_page("bounds", tmp_path, "zero"))
    assert "Counted over 37 layer-steps, steps 1 to 20. 3 of 40 are left out" in said


def test_the_run_that_answers_best_is_asked_at_first_and_offered(open_page: OpenPage, log: Path):
    page = open_page("bounds", log, "lamb", "clipped")
    assert page.selectbox(key="run").value == "lamb"  # the newer one was clipped
    page.selectbox(key="run").set_value("clipped").run()
    page.button(key="free_run").click().run()
    assert page.selectbox(key="run").value == "lamb"


def test_the_bound_that_a_run_had_is_drawn_beside_the_suggested_one(open_page: OpenPage, log: Path):
    labels = [each["text"] for each in figure(open_page("bounds", log, "clipped"), "survival")["layout"]["annotations"]]
    assert "0.2 this run had" in labels
    assert any("suggested" in label for label in labels)


@pytest.fixture
def partly_exempt(tmp_path: Path) -> Path:
    """Runs whose layers were adapted all but one, or none; `fallen` had a zero norm in every step."""
    for run, adapted, weight in (("some", [1, 1, 0], 2.0), ("none", [0, 0, 0], 2.0), ("fallen", [1, 1, 1], 0.0)):
        emitter = Emitter(["first.weight", "first.bias", "last.weight"])
        with Collector(emitter, tmp_path, name=run, config={"optimizer": "lars"}) as collector:
            for step in range(1, 41):
                free = torch.tensor(adapted) == 1
                ratio = torch.full((3,), step / 40 if weight else 1.0)
                lower, upper = torch.where(free, 0.0, 1.0), torch.where(free, torch.inf, 1.0)
                norms = [torch.full((3,), weight), torch.full((3,), weight) / ratio]
                emitter.say(step, torch.stack([*norms, ratio, ratio.clamp(lower, upper), lower, upper, ratio]))
            collector.log({"train/loss": 1.0})
    return tmp_path


@pytest.mark.parametrize("run", ["none", "fallen"])
def test_a_run_that_could_not_be_clipped_has_no_bound_and_says_why(open_page: OpenPage, partly_exempt: Path, run: str):
    page = open_page("bounds", partly_exempt, run)
    assert not page.exception
    assert "No layer of this run could be clipped in steps 1 to 40" in text(page)
    assert not page.code
    assert not page.main.get("bidi_component")  # no chart


def test_a_layer_that_was_not_adapted_keeps_its_ratio_of_1(open_page: OpenPage, partly_exempt: Path):
    page = open_page("bounds", partly_exempt, "some")
    code = page.code[1].value
    assert '# were not adapted: the ratio stays 1\n    "last.weight": (1, 1),' in code
    assert "optimizer = LARS(" in code
    assert "last.weight" not in figure(page, "ranges")["layout"]["yaxis"]["ticktext"]


def test_a_hostile_layer_is_text_in_the_charts_and_a_string_in_the_code(open_page: OpenPage, log: Path):
    page = open_page("bounds", log, "lamb", HOSTILE)
    assert not page.exception
    code = page.code[1].value
    bounds: dict = {}
    exec(code[: code.index("optimizer = ")], bounds)
    assert HOSTILE_LAYER in bounds["bounds"]
    assert not any("<img" in str(trace["y"]) for trace in figure(page, "ranges")["data"])


@pytest.mark.parametrize(
    "query",
    [
        {"rate": "7"},
        {"side": "both"},
        {"part": "<b>"},
        {"part": "steps", "between": "90-3"},
        {"part": "epochs", "epochs": "x"},
    ],
)
def test_nonsense_in_the_address_is_ignored(open_page: OpenPage, log: Path, query: dict[str, str]):
    page = open_page("runs", log, "lamb")
    for key, value in query.items():
        page.query_params[key] = value
    page.go_to("bounds")
    assert not page.exception
    assert answer(page)


def test_epochs_without_metrics_lie_between_those_that_have_some(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="rarely") as collector:
        for step in range(1, 41):
            collector.epoch = step // 2
            emitter.say(step, torch.tensor([[4.0], [1.0], [4.0], [4.0], [0.0], [torch.inf], [0.01]]))
            if step in (10, 20, 40):  # epochs 5, 10 and 20
                collector.log({"test/accuracy": 0.5})
    page = open_page("bounds", tmp_path, "rarely")
    page.segmented_control(key="part").set_value("epochs").run()
    page.slider(key="epochs").set_value((6, 8)).run()
    assert not page.exception
    assert "steps 11 to 20." in text(page)


def test_all_steps_stay_all_where_the_run_goes_on(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path, "live", None)
    training.steps(20)
    training.collector.flush()
    page = open_page("bounds", tmp_path, "live")
    page.segmented_control(key="part").set_value("steps").run()
    assert "steps 1 to 20." in text(page)
    training.steps(20)
    training.collector.close()
    time.sleep(1.1)  # a look is good for a second
    page.run()
    assert "steps 1 to 40." in text(page)
    assert "between" not in page.query_params
    page.slider(key="between").set_value((5, 9)).run()
    assert "steps 5 to 9." in text(page)
    assert page.query_params["between"] == "5-9"


def test_a_run_of_one_step_has_its_bound(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path, "new", None)
    training.steps(1)
    training.collector.close()
    for part in ("all", "first", "last", "steps"):
        page = open_page("bounds", tmp_path, "new")
        page.segmented_control(key="part").set_value(part).run()
        assert not page.exception
        assert "steps 1 to 1." in text(page)


@pytest.mark.parametrize("lowest", [2.0**-32, 0.09970, 1.0, 3.15, 9.11, 26.3320880, 123456.7])
def test_a_bound_is_rounded_up_to_the_number_of_fewest_digits_before_the_next_edge(lowest: float):
    end = lowest * 2 ** (1 / 32)
    rounded = bound_code.shortest(lowest, end)
    assert lowest <= rounded < end
    digits = len(f"{rounded:e}".split("e")[0].rstrip("0").replace(".", ""))
    assert digits <= 3
    assert float(f"{rounded:g}") == rounded  # as it is written in the code
    fewer = [float(f"{number}e{power}") for power in range(-12, 12) for number in range(1, 10 ** (digits - 1))]
    assert not any(lowest <= number < end for number in fewer)


@given(st.floats(1e-9, 1e9))
def test_a_lower_bound_is_rounded_down_and_clips_no_more(highest: float):
    end = highest / 2 ** (1 / 32)
    rounded = bound_code.shortest(highest, end)
    assert end < rounded <= highest
    assert float(f"{rounded:g}") == rounded


def test_a_lower_bound_cuts_what_lies_below_it():
    survival = pd.DataFrame(
        {"layer": ["a"] * 3, "kind": "convolution", "bound": [1.0, 2, 4], "above": [4, 1, 0], "steps": 4}
    )
    drawn = survival_curves(survival, side="lower", bound=2.0, clipped=0.75)
    faint, kind, everything, _ = drawn.data
    assert list(everything.y) == [0, 0.75, 1]
    assert list(faint.x) == [4, 2, 1]  # from its 100% on
    assert kind.line.color != LIGHT.runs[0]  # blue is what is cut


@pytest.mark.parametrize("own", [1.0, 2.0, 4.0])
def test_the_labels_of_two_bounds_are_written_away_from_each_other(own: float):
    survival = pd.DataFrame(
        {"layer": "a", "kind": "norm", "bound": [1.0, 2, 4], "above": [4, 2, 0], "steps": 4, "share": [1, 0.5, 0]}
    )
    suggested, had = survival_curves(survival, bound=2.0, clipped=0.5, own_bound=own).layout.annotations
    assert (suggested.xanchor, had.xanchor) == (("right", "left") if own > 2 else ("left", "right"))


def test_a_layer_is_orange_where_the_bound_of_all_would_cut_it():
    layers = ["low", "between", "high"]
    ranges = pd.DataFrame(
        {
            "layer": layers,
            "kind": ["bias", "linear", "norm"],
            "q01": [0.05, 0.9, 3.5],
            "q05": [0.1, 1.0, 4.0],
            "q50": [0.2, 2.0, 8.0],
            "q95": [0.3, 4.0, 9.0],
            "q99": [0.4, 5.0, 10.0],
            "own": [0.3, 4.0, 9.0],
            "clipped_by_all": [0.0, 0.2, 1.0],
        }
    )
    drawn = {trace.name: trace for trace in layer_ranges(ranges, layers=layers, bound=3.0, wanted=0.05).data}
    orange = drawn["clipped by the bound of all"]
    assert np.array_equal(orange.x, [3, 4, np.nan, 4, 9, np.nan], equal_nan=True)
    assert list(orange.y) == ["between", "between", None, "high", "high", None]
    assert np.array_equal(drawn["linear"].x, [1, 3, np.nan], equal_nan=True)
    assert "norm" not in drawn or not len(drawn["norm"].x)
    assert list(drawn["its own bound for 5%"].x) == [0.3, 4, 9]


def test_a_layers_curve_goes_from_its_last_100_to_its_first_0():
    bounds = [0.25, 0.5, 1.0, 2.0, 4.0]
    survival = pd.DataFrame(
        {
            "layer": ["a"] * 5 + ["b"] * 5,
            "kind": "norm",
            "bound": bounds * 2,
            "above": [4, 4, 1, 0, 0, 4, 4, 4, 4, 0],
            "steps": 4,
        }
    )
    survival["share"] = survival.above / survival.steps
    faint = survival_curves(survival, bound=2.0, clipped=0.5).data[0]
    assert np.array_equal(faint.x, [0.5, 1, 2, np.nan, 2, 4], equal_nan=True)
    assert np.array_equal(faint.y, [1, 0.25, 0, np.nan, 1, 0], equal_nan=True)
