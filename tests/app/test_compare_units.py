"""Runs that say the same in another way: an accuracy in percent, no epochs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from collector import Collector, connect
from tests.app import stride_log
from tests.app.test_pages import figure, text
from tests.collector.emitter import Emitter

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

OpenPage = Callable[..., AppTest]

ACCURACIES = (0.5, 0.8, 0.93, 0.95)


def write(root: Path, name: str, *, times: float = 1, epochs: bool = True, **config: object) -> None:
    """A run of 40 steps with a test accuracy at every tenth, so many times a share."""
    emitter = Emitter(["a"])
    options = {"batch_size": 32, "clip": 1.0, "optimizer": "lambc"} | config
    with Collector(emitter, root, name=name, config=options) as collector:
        for step in range(1, 41):
            collector.epoch = 1 + (step - 1) // 10 if epochs else 0
            ratio = 0.5 + step / 40
            emitter.say(step, torch.tensor([[ratio], [1.0], [ratio], [min(ratio, 1.0)], [0.0], [1.0], [0.01]]))
            if step % 10 == 0:
                collector.log({"test/accuracy": times * ACCURACIES[step // 10 - 1]})


def lines(page: AppTest, key: str = "compare") -> dict[str, dict]:
    """By the name in the legend: the first line of it, which is in the panel of test accuracy."""
    return {each["name"]: each for each in reversed(figure(page, key)["data"]) if each.get("name")}


@pytest.mark.parametrize("by", ["step", "epoch", "time"])
def test_runs_that_log_percent_and_shares_are_on_one_axis(open_page: OpenPage, tmp_path: Path, by: str):
    write(tmp_path, "shares")
    write(tmp_path, "percent", times=100, clip=3.0)
    for seed in (0, 1):
        write(tmp_path, f"seed-s{seed}", times=(1, 100)[seed], clip=None, seed=seed)
    page = open_page("compare", tmp_path, "shares", "percent", "seed-s0", "seed-s1")
    page.segmented_control(key="along").set_value(by).run()
    assert figure(page, "compare")["layout"]["yaxis"]["tickformat"] == ".3~p"
    drawn = lines(page)
    for run in ("shares", "percent"):
        assert list(np.array(drawn[run]["y"], dtype=float)) == pytest.approx(ACCURACIES)
    if by != "time":
        assert list(np.array(drawn["seed, mean of 2"]["y"], dtype=float)) == pytest.approx(ACCURACIES)


def test_the_papers_table_says_which_of_its_runs_did_not_finish(open_page: OpenPage, tmp_path: Path):
    write(tmp_path, "whole")
    write(tmp_path, "cut", clip=None)
    noted = tmp_path / "cut" / "run.json"
    noted.write_text(noted.read_text().replace('"finished"', '"interrupted"', 1))
    assert "1 of 2 runs did not finish." in text(open_page("compare", tmp_path, "whole", "cut"))


def test_an_accuracy_that_rounding_takes_above_1_is_no_percentage(open_page: OpenPage, tmp_path: Path):
    write(tmp_path, "perfect", times=(1 + 1e-6) / max(ACCURACIES))
    page = open_page("compare", tmp_path, "perfect")
    assert page.main.markdown[0].value == "**perfect**: the best test accuracy is 100.00%."
    assert np.nanmax(np.array(lines(page)["perfect"]["y"], dtype=float)) == pytest.approx(1)


@pytest.mark.parametrize(("times", "said"), [(0.01, True), (100, False)])
def test_a_run_whose_unit_is_a_guess_is_named(open_page: OpenPage, tmp_path: Path, times: float, said: bool):
    write(tmp_path, "percent", times=100, clip=3.0)
    write(tmp_path, "collapsed", times=times)
    page = open_page("compare", tmp_path, "percent", "collapsed")
    sentence = "No accuracy of collapsed is above 1.001, so it is read as a share of 1; the others are in percent."
    assert (sentence in text(page)) == said


@pytest.mark.parametrize("everything", [False, True])
def test_the_papers_figure_has_shares_of_runs_that_log_percent(open_page: OpenPage, tmp_path: Path, everything: bool):
    write(tmp_path, "shares")
    write(tmp_path, "percent", times=100, clip=None)
    page = open_page("compare", tmp_path, "shares", "percent")
    page.toggle(key="whole_log").set_value(everything).run()
    for bound in ("bound 1", "no bound"):
        line = lines(page, "paper")[bound]
        assert list(np.array(line["y"], dtype=float)) == pytest.approx(ACCURACIES)
        assert line["text"][-1] == "95.00%"


def test_a_run_without_epochs_is_left_out_by_epoch_and_named(open_page: OpenPage, tmp_path: Path):
    write(tmp_path, "epochs")
    write(tmp_path, "steps_alone", epochs=False, clip=None)
    page = open_page("compare", tmp_path, "epochs", "steps_alone")
    assert set(lines(page)) == {"epochs", "steps_alone"}
    page.segmented_control(key="along").set_value("epoch").run()
    assert set(lines(page)) == {"epochs"}
    assert min(np.concatenate([np.array(each["x"]) for each in figure(page, "compare")["data"]])) > 0
    assert r"steps\_alone has no epochs: not drawn by epoch." in text(page)


def test_of_seeds_those_without_epochs_are_left_out_of_the_mean(open_page: OpenPage, tmp_path: Path):
    for seed in (0, 1, 2):
        write(tmp_path, f"run-s{seed}", epochs=seed > 0, seed=seed)
    page = open_page("compare", tmp_path, "run-s0", "run-s1", "run-s2")
    page.segmented_control(key="along").set_value("epoch").run()
    assert list(np.array(lines(page)["run, mean of 2"]["x"])) == [1, 2, 3, 4]


@pytest.mark.parametrize("everything", [False, True])
def test_the_papers_figure_leaves_a_run_without_epochs_out(open_page: OpenPage, tmp_path: Path, everything: bool):
    write(tmp_path, "epochs")
    write(tmp_path, "steps", epochs=False, clip=None)
    page = open_page("compare", tmp_path, "epochs", "steps")
    page.toggle(key="whole_log").set_value(everything).run()
    assert set(lines(page, "paper")) == {"bound 1"}
    assert "steps has no epochs: not drawn by epoch." in text(page)


def test_a_run_has_as_many_steps_as_it_took_whichever_it_recorded(open_page: OpenPage, tmp_path: Path):
    stride_log.write(tmp_path, "every64", every=64)
    # The last step in the log, and the last of the run.
    assert connect(tmp_path).sql("SELECT steps, last_step FROM runs").fetchall() == [(960, 1000)]
    assert list(open_page("compare", tmp_path, "every64").dataframe[0].value["steps"]) == [1000]


def test_one_option_that_is_the_same_is_said_in_the_singular_and_none_is_not_said(open_page: OpenPage, tmp_path: Path):
    write(tmp_path, "one", clip=1.0)
    write(tmp_path, "other", clip=3.0, optimizer="lamb")
    write(tmp_path, "third", batch_size=64, clip=2.0, optimizer="lars")
    assert "1 more option is the same in all of them." in text(open_page("compare", tmp_path, "one", "other"))
    assert "the same in all" not in text(open_page("compare", tmp_path, "one", "other", "third"))
