"""What the page Compare says of a log whose numbers are known, beside DuckDB's own answer."""

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.proto.Metric_pb2 import Metric as MetricProto
from streamlit.testing.v1 import AppTest

from app.charts.difference import QUANTITIES
from app.charts.mean_band import mean_band
from app.charts.metrics import metric_curves
from app.charts.theme import LIGHT, Line, lines
from app.compare.measures import MEASURES
from app.compare.seeds import Setting, spread
from app.compare.verdict import against, other_options
from collector import Collector, connect
from tests import unusual_log
from tests.app import compare_log, stride_log
from tests.app.compare_log import LAYERS, accuracy
from tests.app.figures import metric
from tests.app.test_pages import figure, text
from tests.collector.emitter import Emitter

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

OpenPage = Callable[..., AppTest]

SEEDS = ("clip", "clip-seed1")
RATIO, AFTER, HITS = QUANTITIES


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare_log.build(tmp_path_factory.mktemp("runs"))


def array(values: np.ndarray | list) -> np.ndarray:
    """What the figure's JSON has as an array, or as a list in which None is NaN."""
    return np.array(values, dtype=float)


def named(page: AppTest, key: str = "compare") -> list[str]:
    return [trace["name"] for trace in figure(page, key)["data"] if trace.get("showlegend")]


def trace(page: AppTest, name: str, key: str = "compare") -> dict:
    """The first trace of a name: of the panel of test accuracy."""
    return next(each for each in figure(page, key)["data"] if each.get("name") == name)


def ask(log: Path, statement: str) -> pd.DataFrame:
    return connect(log).sql(statement).to_arrow_table().to_pandas()


def test_runs_that_differ_by_the_seed_are_drawn_as_their_mean(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", *SEEDS)
    assert named(page) == ["lamb", "clip, mean of 2"]
    mean = trace(page, "clip, mean of 2")
    expected = [
        statistics.mean(accuracy(epoch, {"clip": 1.0, "seed": seed}) for seed in (0, 1)) for epoch in (1, 2, 3, 4)
    ]
    assert list(array(mean["x"])) == [10, 20, 30, 40]
    assert list(array(mean["y"])) == pytest.approx(expected)
    deviation = statistics.stdev([0, 0.02])
    assert mean["text"][0] == f"{expected[0]:.2%} ± {deviation:.2%} (2 seeds)"


def test_without_grouping_each_run_has_its_line(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", *SEEDS)
    page.toggle(key="group").set_value(False).run()
    assert not page.exception
    assert named(page) == ["lamb", *SEEDS]
    assert page.query_params["group"] == "off"
    assert [metric.value for metric in page.metric] == ["82.00%", "85.00%", "87.00%"]


def test_the_single_seeds_may_be_left_out(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", *SEEDS)
    every = len(figure(page, "compare")["data"])
    page.toggle(key="seeds").set_value(False).run()
    curves_of_a_run = 3  # test accuracy, training loss, clip hits
    assert len(figure(page, "compare")["data"]) == every - 2 * curves_of_a_run
    assert page.query_params["seeds"] == "off"


def test_there_is_nothing_to_group_among_runs_that_differ_otherwise(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", "clip", "large")
    assert [toggle.key for toggle in page.toggle] == ["whole_log", "training"]
    assert named(page) == ["lamb", "clip", "large"]


def test_a_card_has_mean_and_deviation_and_the_distance_to_the_best_of_the_others(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", *SEEDS)
    cards = {card.label: (card.value, card.delta) for card in page.metric}
    deviation = 100 * statistics.stdev([0.85, 0.87])
    assert cards == {"lamb": ("82.00%", "-4.00 points"), "clip": (f"86.00 ± {deviation:.2f}%", "+4.00 points")}


def caveats(page: AppTest) -> dict[str, tuple[str, bool]]:
    """What each card says of its difference, and whether it is grey."""
    grey = MetricProto.MetricColor.GRAY
    return {card.label: (card.proto.delta_description, card.proto.color == grey) for card in page.metric}


def test_of_one_run_a_setting_no_difference_has_a_colour(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", "clip")
    assert caveats(page) == dict.fromkeys(("lamb", "clip"), ("n = 1: cannot tell", True))
    assert page.main.markdown[0].value == (
        r"**clip** has the best test accuracy, 85.00%: +3.00 points against the next best; "
        "with one run of a setting that may be chance."
    )


def test_where_other_options_differ_too_a_difference_has_no_colour(open_page: OpenPage, log: Path):
    page = open_page("compare", log, *SEEDS, "large")
    assert caveats(page) == dict.fromkeys(("clip", "large"), ("differ in batch_size", True))
    assert "; their bound is the same, they differ in batch_size." in page.main.markdown[0].value
    page = open_page("compare", log, "lamb", "large")
    assert caveats(page) == dict.fromkeys(("lamb", "large"), ("also differ in batch_size", True))
    assert "they also differ in batch_size, so that it is not the bound alone" in page.main.markdown[0].value


def test_one_run_alone_is_not_the_best(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "clip")
    assert page.main.markdown[0].value == "**clip**: the best test accuracy is 85.00%."


def test_runs_that_are_level_share_the_best(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "clip", "large", "lamb")
    assert page.main.markdown[0].value == "**clip** and **large** share the best test accuracy, 85.00%."
    assert {card.label: card.delta for card in page.metric}["large"] == "+0.00 points"


def logged(root: Path, name: str, **metrics: list[float]) -> None:
    """A run of one layer, with a value of each metric a step."""
    emitter = Emitter(["a"])
    with Collector(emitter, root, name=name, config={"optimizer": name}) as collector:
        for step, values in enumerate(zip(*metrics.values(), strict=True), start=1):
            emitter.say(step, torch.tensor([[0.5], [1.0], [0.5], [0.5], [0.0], [1.0], [0.01]]))
            collector.log({key.replace("_", "/"): value for key, value in zip(metrics, values, strict=True)})


def test_a_run_that_diverged_is_not_the_best_however_good_it_was(open_page: OpenPage, tmp_path: Path):
    logged(tmp_path, "calm", test_accuracy=[0.5, 0.6], train_loss=[1.0, 0.9])
    logged(tmp_path, "wild", test_accuracy=[0.8, 0.1], train_loss=[1.0, torch.nan])
    page = open_page("compare", tmp_path, "calm", "wild")
    assert page.main.markdown[0].value == (
        "**calm**: the best test accuracy is 60.00%. **wild** diverged, and is not ranked."
    )
    assert not any(card.delta for card in page.metric)
    page = open_page("compare", tmp_path, "wild")
    assert page.main.markdown[0].value == "No run is ahead: all that have a test accuracy diverged."


def test_of_losses_that_are_all_infinite_none_is_the_best(open_page: OpenPage, tmp_path: Path):
    for name in ("one", "other"):
        logged(tmp_path, name, train_loss=[1.0, torch.inf])
    page = open_page("compare", tmp_path, "one", "other")
    assert page.main.markdown[0].value == "None of these runs has a train loss that is finite."


@pytest.mark.parametrize(("values", "grey"), [((0.80, 0.82), True), ((0.60, 0.62), False)])
def test_a_difference_of_settings_counts_where_it_is_more_than_their_seeds_differ(values: tuple, grey: bool):
    settings = [
        (Setting("a", ("a0", "a1"), "a"), spread([0.81, 0.83])),
        (Setting("b", ("b0", "b1"), "b"), spread(values)),
    ]
    configs = {"a0": {"clip": 1.0, "optimizer": "lambc", "lr": 1}, "b0": {"clip": None, "optimizer": "lamb", "lr": 1}}
    runs = pd.DataFrame({"status": "finished", "last_step": 9}, index=["a0", "a1", "b0", "b1"])
    found = against(*settings, MEASURES[0], configs, runs)
    assert bool(found.caveat) == grey
    assert other_options(configs["a0"], configs["b0"] | {"optimizer": "lars"}) == ["optimizer"]


def bounded(root: Path, name: str, upper: float | list, accuracy: float = 0.5, **config: object) -> None:
    """A run of two layers whose config does not note `clip`; upper: that of the layers, or the bound at each step."""
    emitter, one = Emitter(["a", "b"]), torch.ones(2)
    with Collector(emitter, root, name=name, config=config) as collector:
        for step, bound in enumerate(upper if isinstance(upper, list) else [upper] * 3, start=1):
            high = one * bound
            emitter.say(
                step, torch.stack([2 * one, one, 2 * one, (2 * one).clamp(max=high), 0 * one, high, 0.01 * one])
            )
        collector.log({"test/accuracy": accuracy})


def test_a_bound_that_no_config_notes_is_the_one_that_the_rows_have(open_page: OpenPage, tmp_path: Path):
    for seed, (name, upper, reached) in enumerate(
        [("lamb-s0", torch.inf, 0.70), ("lamb-s1", torch.inf, 0.72), ("clip1-s2", 0.1, 0.90), ("clip1-s3", 0.1, 0.91)]
    ):
        bounded(tmp_path, name, upper, reached, seed=seed)
    page = open_page("compare", tmp_path, "lamb-s0", "lamb-s1", "clip1-s2", "clip1-s3")
    assert [card.label for card in page.metric] == ["lamb", "clip1"]
    assert "has the best test accuracy, 90.50 ± 0.71%" in page.main.markdown[0].value
    assert "that is more than the seeds of one setting are apart" in page.main.markdown[0].value
    assert list(page.dataframe[-1].value.loc["clip"]) == ["none", "none", "0.1", "0.1"]
    assert {card.delta for card in page.go_to("runs").metric if card.label == "Clip hits"} == {"no bound", "bound 0.1"}


MOVING = {
    "to the end": [4.0, 3.0, 2.0, 1.0],
    "in the first half": [10.0, 0.5, 0.5, 0.5, 0.5, 0.5],
}


@pytest.mark.parametrize("upper", MOVING.values(), ids=MOVING)
def test_bounds_that_move_are_one_setting_only_where_the_config_says_so(open_page: OpenPage, tmp_path: Path, upper):
    for seed in (0, 1):
        bounded(tmp_path, f"said-s{seed}", upper, seed=seed, clip="Scheduled")
        bounded(tmp_path, f"unsaid{seed}", upper, seed=seed)
    page = open_page("compare", tmp_path, "said-s0", "said-s1", "unsaid0", "unsaid1")
    assert [card.label for card in page.metric] == ["said", "unsaid0", "unsaid1"]
    assert list(page.dataframe[-1].value.loc["clip"]) == ["Scheduled", "moving"] * 2


def test_bounds_by_layer_are_one_setting_where_each_layer_has_its_own_in_all_seeds(open_page: OpenPage, tmp_path: Path):
    for seed, (name, high) in enumerate([("one-s0", 3.0), ("one-s1", 3.0), ("other", 4.0)]):
        bounded(tmp_path, name, [torch.tensor([1.0, high])] * 3, seed=seed)
    page = open_page("compare", tmp_path, "one-s0", "one-s1", "other")
    assert [card.label for card in page.metric] == ["one", "other"]
    assert list(page.dataframe[-1].value.loc["clip"]) == ["by layer"] * 3


def test_a_bound_is_the_same_however_a_config_writes_it(open_page: OpenPage, tmp_path: Path):
    for seed, clip in enumerate(({"clip": 1}, {"clip": 1.0}, {"clip": [0, 1]}, {})):
        bounded(tmp_path, f"clip1-s{seed}", 1.0, seed=seed, lr=1.0 if seed % 2 else 1, **clip)
    bounded(tmp_path, "other", 1.0, 0.6, lr=2)
    page = open_page("compare", tmp_path, *(f"clip1-s{seed}" for seed in range(4)), "other")
    assert [card.label for card in page.metric] == ["clip1", "other"]
    assert page.main.markdown[0].value.endswith("their bound is the same, they differ in lr.")


def test_runs_of_other_bounds_do_not_have_the_same_one(open_page: OpenPage, tmp_path: Path):
    bounded(tmp_path, "lamb", torch.inf, 0.7, lr=0.01)
    bounded(tmp_path, "clip1", 1.0, 0.8, lr=0.02)
    said = open_page("compare", tmp_path, "lamb", "clip1").main.markdown[0].value
    assert said.endswith("they also differ in lr, so that it is not the bound alone.")


def test_a_run_that_still_trains_is_not_held_against_one_that_ended(open_page: OpenPage, tmp_path: Path):
    for seed in (0, 1):
        bounded(tmp_path, f"lamb-s{seed}", [torch.inf] * 40, 0.88 + 0.01 * seed, seed=seed)
    emitters, collectors = [], []
    for seed in (0, 1):
        emitter = Emitter(["a", "b"])
        collectors.append(Collector(emitter, tmp_path, name=f"clip1-s{seed}", config={"seed": seed}))
        emitter.say(3, torch.ones(7, 2) * torch.tensor([2.0, 1, 2, 1, 0, 1, 0.01])[:, None])
        collectors[-1].log({"test/accuracy": 0.24})
        collectors[-1].flush()
        emitters.append(emitter)
    page = open_page("compare", tmp_path, "lamb-s0", "lamb-s1", "clip1-s0", "clip1-s1")
    assert page.main.markdown[0].value.endswith("; they were trained to other steps, 40 against 3.")
    assert {card.proto.color for card in page.metric} == {MetricProto.MetricColor.GRAY}
    for collector in collectors:
        collector.close()


def test_a_ratio_that_was_set_to_1_since_a_norm_is_nan_is_not_compared(open_page: OpenPage, tmp_path: Path):
    unusual_log.build(tmp_path, "calm", calm=True)
    unusual_log.build(tmp_path, "broken")
    page = open_page("compare", tmp_path, "calm", "broken")
    drawn = array(figure(page, "difference_map")["data"][0]["z"])
    assert np.isfinite(drawn[3, :149]).all()
    assert np.isnan(drawn[3, 149:]).all()  # fc.weight is NaN from step 150 on
    assert page.dataframe[0].value.set_index("setting").loc["broken", "status"] == "diverged"


def test_the_table_has_a_row_a_setting_the_best_first(open_page: OpenPage, log: Path):
    table = open_page("compare", log, "lamb", *SEEDS).dataframe[0].value
    assert list(table["setting"]) == ["clip", "lamb"]
    assert list(table["runs"]) == [2, 1]
    assert list(table["best"]) == pytest.approx([0.86, 0.82])
    assert table["best_std"].iloc[0] == pytest.approx(statistics.stdev([0.85, 0.87]))
    hits = ask(
        log,
        "SELECT avg(h) FROM (SELECT run, hit_rate(outcome) AS h FROM trust_ratios WHERE run LIKE 'clip%' GROUP BY run)",
    )
    assert table["hits"].iloc[0] == pytest.approx(hits.iloc[0, 0])


def test_where_a_seed_has_ended_the_mean_is_dotted_and_says_how_many_are_left(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", "lamb-seed1")
    whole, fewer = [each for each in figure(page, "compare")["data"] if each.get("name") == "lamb, mean of 2"][:2]
    assert list(np.isfinite(array(whole["y"]))) == [True, True, False, False]
    assert fewer["line"]["dash"] == "dot"
    assert list(np.isfinite(array(fewer["y"]))) == [False, True, True, True]  # from the last whole point on
    assert list(array(fewer["marker"]["size"])) == [0, 0, 8, 0]
    assert fewer["text"][2].endswith("(1 of 2 seeds)")


@pytest.mark.parametrize(("by", "axis"), [("step", "step"), ("epoch", "epoch"), ("time", "seconds of training")])
def test_curves_are_drawn_along_what_is_chosen(open_page: OpenPage, log: Path, by: str, axis: str):
    page = open_page("compare", log, "lamb", "clip")
    page.segmented_control(key="along").set_value(by).run()
    assert not page.exception
    drawn = figure(page, "compare")
    titles = [drawn["layout"][key]["title"].get("text") for key in drawn["layout"] if key.startswith("xaxis")]
    assert titles[-1] == axis
    places = array(trace(page, "clip")["x"])
    if by == "time":
        asked = ask(
            log,
            """SELECT epoch(time - started) AS s FROM metrics JOIN runs USING (run)
            WHERE run = 'clip' AND name = 'test/accuracy' ORDER BY step""",
        )
        assert list(places) == pytest.approx(list(asked["s"]), abs=0.05)
    else:
        assert list(places) == ([10, 20, 30, 40] if by == "step" else [1, 2, 3, 4])


@pytest.mark.parametrize("by", ["step", "epoch", "time"])
def test_clip_hits_are_drawn_along_the_same_axis(open_page: OpenPage, log: Path, by: str):
    page = open_page("compare", log, "clip")
    page.segmented_control(key="along").set_value(by).run()
    hits = figure(page, "compare")["data"][-1]
    asked = ask(
        log, "SELECT step, hit_rate(outcome) AS hits FROM trust_ratios WHERE run = 'clip' GROUP BY step ORDER BY step"
    )
    assert list(array(hits["y"])) == pytest.approx(list(asked["hits"]))
    places = array(hits["x"])
    assert (np.diff(places) >= 0).all()
    if by == "step":
        assert list(places) == list(asked["step"])
    if by == "epoch":
        assert list(places) == pytest.approx(list(asked["step"] / 10))


def test_hits_before_the_first_metric_are_drawn_from_the_runs_start_on(open_page: OpenPage, tmp_path: Path):
    emitter = Emitter(list(LAYERS))
    with Collector(emitter, tmp_path, name="rarely") as collector:
        for step in range(1, 41):
            emitter.say(step, compare_log.ratios(step, len(LAYERS), {"seed": 0, "clip": 1.0}))
            if step % 10 == 0:
                collector.log({"test/accuracy": 0.5})
    page = open_page("compare", tmp_path, "rarely")
    page.segmented_control(key="along").set_value("time").run()
    places = array(figure(page, "compare")["data"][-1]["x"])
    assert len(places) == 40
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("by", ["epoch", "time"])
def test_hits_go_on_for_as_long_as_any_metric_does(open_page: OpenPage, tmp_path: Path, by: str):
    emitter = Emitter(list(LAYERS))
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 41):
            collector.epoch = 1 + (step - 1) // 10
            emitter.say(step, compare_log.ratios(step, len(LAYERS), {"seed": 0, "clip": 1.0}))
            if step <= 10:
                collector.log({"train/loss": 1 / step})
            if step % 10 == 0:
                collector.log({"test/accuracy": 0.5})
    page = open_page("compare", tmp_path, "r")
    page.segmented_control(key="along").set_value(by).run()
    places = array(figure(page, "compare")["data"][-1]["x"])
    assert len(places) == 40
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
def test_the_difference_of_two_heatmaps_is_that_of_their_rows(open_page: OpenPage, log: Path, quantity):
    page = open_page("compare", log, "lamb", "clip")
    page.segmented_control(key="difference").set_value(quantity.name).run()
    assert not page.exception
    column = "hit_rate(outcome)" if quantity == HITS else f"any_value({quantity.name})"
    asked = ask(
        log, f"SELECT run, layer, step, {column} AS value FROM trust_ratios WHERE run IN ('lamb', 'clip') GROUP BY ALL"
    )
    wide = asked.pivot(index=["layer", "step"], columns="run", values="value")
    expected = np.log10(wide["clip"] / wide["lamb"]) if quantity.ratio else wide["clip"] - wide["lamb"]
    drawn = figure(page, "difference_map")
    (cells,) = drawn["data"]
    assert cells["y"] == list(LAYERS)
    assert np.allclose(array(cells["z"]), expected.unstack().loc[list(LAYERS)], atol=1e-5)
    assert drawn["layout"]["coloraxis"]["cmin"] == -drawn["layout"]["coloraxis"]["cmax"]
    values = array(cells["customdata"])
    assert np.allclose(values[..., 0], wide["clip"].unstack().loc[list(LAYERS)])
    assert np.allclose(values[..., 1], wide["lamb"].unstack().loc[list(LAYERS)])


def test_runs_whose_ratios_swing_about_1_alike_are_alike_in_a_cell_of_many_steps(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The furthest from 1 of one may be its largest ratio, and of the other its smallest."""
    for name, ends in (("one", (0.72, 1.41)), ("other", (0.70, 1.40))):
        emitter = Emitter(["a"])
        with Collector(emitter, tmp_path, name=name):
            for step in range(1, 41):
                ratio = ends[step % 2]
                emitter.say(step, torch.tensor([[ratio], [1.0], [ratio], [ratio], [0.0], [torch.inf], [0.01]]))
    monkeypatch.setattr("app.plotly_view.WIDTHS", (3,))  # and one column more
    page = open_page("compare", tmp_path, "one", "other")
    cells = figure(page, "difference_map")["data"][0]
    assert cells["dx"] == 16
    factors = 10 ** np.abs(array(cells["z"]))
    assert np.allclose(factors[:, 1:-1], np.sqrt(0.72 * 1.41 / (0.70 * 1.40)), rtol=1e-4)
    assert factors.max() < 1.03


def write_ratios(root: Path, name: str, ratios: list[float]) -> None:
    emitter = Emitter(["a"])
    with Collector(emitter, root, name=name) as collector:
        for step, ratio in enumerate(ratios, 1):
            emitter.say(step, torch.tensor([[ratio], [1.0], [ratio], [ratio], [0.0], [torch.inf], [0.01]]))
            collector.log({"train/loss": 1.0})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        # The medians are 2 and 2.2; the factors between the two runs at the same step are 4.4, 0.55 and 0.55.
        (100, "Step by step, A's ratio is typically larger in 0 and smaller in 1 of 1 layer, by over 2 %; most in "
         "**a**, by a median factor of **1/1.82**. In single steps they are up to 4.4 times apart."),
        # Over three steps the geometric mean of one is 1.1 times that of the other.
        (3, "In means over 16 steps, A's ratio is typically larger in about 1 and smaller in about 0 of 1 layer, by "
         "over 2 %; most in **a**, by a median factor of about **1.1**. In single cells they are up to 1.2 times "
         "apart."),
    ],
)  # fmt: skip
def test_the_sentence_of_a_difference_is_of_the_factors_between_the_runs_and_says_of_which_steps(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, said: str
):
    write_ratios(tmp_path, "b", 13 * [1.0, 4.0, 2.0])
    write_ratios(tmp_path, "a", 13 * [4.4, 2.2, 1.1])
    monkeypatch.setattr("app.plotly_view.WIDTHS", (columns,))
    page = open_page("compare", tmp_path, "b", "a")
    assert next(each.value for each in page.markdown if "typically" in each.value) == said


def test_a_shorter_run_is_compared_over_the_steps_that_both_have(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", "lamb-seed1")
    assert array(figure(page, "difference_map")["data"][0]["z"]).shape == (3, 20)
    assert "steps 1 to 20, which both have" in text(page)


def test_a_run_that_begins_later_is_compared_from_there_on(open_page: OpenPage, tmp_path: Path):
    stride_log.write(tmp_path, "whole", 1)
    stride_log.write(tmp_path, "late", 1, first=501)
    assert "A over B, steps 501 to 1,000, which both have" in text(open_page("compare", tmp_path, "whole", "late"))


def test_of_the_last_cell_of_a_longer_run_nothing_is_compared_that_the_shorter_has_not(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compare_log.write(tmp_path, "short", steps=21)
    compare_log.write(tmp_path, "long", steps=40, seed=1)
    monkeypatch.setattr("app.plotly_view.WIDTHS", (3,))  # and one column more
    page = open_page("compare", tmp_path, "short", "long")
    cells = figure(page, "difference_map")["data"][0]
    assert (cells["dx"], cells["x0"]) == (8, 3.5)
    assert array(cells["z"]).shape == (3, 2)  # steps 0 to 15: of 16 to 23 the short run has a part alone


def test_runs_of_different_networks_are_said_to_be_different(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "clip", "foreign")
    assert not page.exception
    assert "have no layer of the same name" in text(page)


def test_layers_that_one_run_lacks_are_left_out_and_said(open_page: OpenPage, tmp_path: Path):
    compare_log.write(tmp_path, "whole")
    compare_log.write(tmp_path, "part", layers=("fc", "conv", "new"))
    page = open_page("compare", tmp_path, "whole", "part")
    assert figure(page, "difference_map")["data"][0]["y"] == ["fc", "conv"]  # in the depth order of run A
    assert "1 layer of part is not in whole and left out" in text(page)
    assert "1 layer of whole is not in part and left out" in text(page)


def test_one_run_is_asked_for_a_second(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "clip")
    assert not page.exception
    assert "Choose a second run in the sidebar to see where two runs differ." in text(page)


def test_the_table_of_the_paper(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", *SEEDS, "large")
    table = page.table[0].value
    deviation = 100 * statistics.stdev([0.85, 0.87])
    assert table.to_dict("index") == {
        "bound 1": {"32": f"**86.00** ± {deviation:.2f} :small[:gray[n = 2]]", "128": "**85.00**"},
        "no bound": {"32": "82.00", "128": "—"},
    }
    assert figure(page, "paper")["layout"]["annotations"][0]["text"] == "<b>Batch size 32</b>"
    assert named(page, "paper") == ["bound 1", "no bound"]
    assert list(array(trace(page, "no bound", "paper")["y"])) == pytest.approx([0.58, 0.66, 0.74, 0.82])


def test_the_paper_may_take_in_all_runs_of_the_log(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb")
    page.toggle(key="whole_log").set_value(True).run()
    assert not page.exception
    assert page.query_params["whole_log"] == "on"
    assert page.selectbox(key="experiment").options == ["data noise", "data other"]
    assert list(page.table[0].value.index) == ["bound 1", "no bound"]
    assert list(array(trace(page, "bound 1", "paper")["y"])) == pytest.approx([0.62, 0.70, 0.78, 0.86])


def test_without_batch_size_and_bound_the_paper_says_what_it_needs(open_page: OpenPage, tmp_path: Path):
    compare_log.write(tmp_path, "odd", batch_size="many")
    page = open_page("compare", tmp_path, "odd")
    assert not page.exception
    assert "`lambc train --batch-size 1000 --clip 1`" in text(page)
    assert not page.table


def test_a_link_has_every_switch(monkeypatch: pytest.MonkeyPatch, open_page: OpenPage, log: Path):
    page = open_page("runs", log, "lamb", *SEEDS)
    query = {"along": "epoch", "group": "off", "a": "lamb", "b": "clip", "difference": "hit_rate", "result": "last"}
    for key, value in query.items():
        page.query_params[key] = value
    page.go_to("compare")
    assert (page.segmented_control(key="along").value, page.toggle(key="group").value) == ("epoch", False)
    assert (page.selectbox(key="a").value, page.selectbox(key="b").value) == ("lamb", "clip")
    assert (page.segmented_control(key="difference").value, page.segmented_control(key="result").value) == (
        "hit_rate",
        "last",
    )


@pytest.mark.parametrize("query", [{"a": "nobody"}, {"group": "?"}, {"b": "lamb", "a": "lamb"}, {"experiment": "<b>"}])
def test_nonsense_in_the_address_is_ignored(open_page: OpenPage, log: Path, query: dict[str, str]):
    page = open_page("runs", log, "lamb", *SEEDS)
    for key, value in query.items():
        page.query_params[key] = value
    page.go_to("compare")
    assert not page.exception


def test_many_runs_stay_below_the_points_that_a_browser_draws(open_page: OpenPage, log: Path):
    page = open_page("compare", log, "lamb", *SEEDS, "large", "lamb-seed1", "foreign")
    drawn = figure(page, "compare")["data"]
    assert sum(array(each["x"]).size for each in drawn if "x" in each) < 300_000


def test_a_deviation_goes_no_lower_than_a_logarithm_can():
    """And not near to it, which would stretch the axis by decades."""
    rows = pd.DataFrame(
        {"x": [1, 2, 3], "mean": 1.0, "std": [0.5, 2.0, 0.9999], "lowest": [0.6, 0.1, 0.3], "n": 2},
    )
    band = mean_band(rows, name="a", seeds=2, line=Line(0, "solid"), theme=LIGHT, number=str)[-1]
    assert list(band.y) == [1.5, 3, 1.9999, 0.3, 0.1, 0.5]


def test_shares_that_lie_close_together_have_the_digits_that_differ():
    curve = pd.DataFrame({"step": [1, 2], "value": [0.981, 0.984]})
    drawn = metric_curves({("a", metric("test/accuracy")): curve}, lines=lines(["a"]))
    assert (drawn.layout.yaxis.tickformat, drawn.data[0].hovertemplate) == (".3~p", "%{y:.2%}")


@pytest.mark.parametrize(("lowest", "scale"), [(0.1, "log"), (0.0, "linear"), (-3.0, "linear")])
def test_a_loss_has_a_logarithmic_axis_where_it_can(lowest: float, scale: str):
    curve = pd.DataFrame({"step": [1, 2, 3], "value": [1.0, np.nan, lowest]})
    assert metric_curves({("a", metric("train/loss")): curve}, lines=lines(["a"])).layout.yaxis.type == scale
