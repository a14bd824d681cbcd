"""Runs that begin anew, runs that were cut off while they were being made, and resumes that forgot the optimizer."""

import json
import subprocess
import sys

import pytest
import torch

from collector import Collector, connect
from collector.log.aside import move_aside


def run_once(emitter, root, steps, **options):
    with Collector(emitter, root, name="r", **options) as collector:
        for step in steps:
            emitter.say(step)
            collector.log({"loss": float(step)})


def test_overwrite_begins_anew_and_the_old_run_moves_aside(emitter, tmp_path, steps_of):
    for steps in ((1, 2, 3), (1, 2), (1,)):
        run_once(emitter, tmp_path, steps, overwrite=True)
    run = tmp_path / "r"
    assert steps_of(run) == [1]
    old = run / "superseded" / "overwritten-1"
    assert steps_of(old) == [1, 2]
    assert steps_of(old / "superseded" / "overwritten-1") == [1, 2, 3]
    con = connect(tmp_path)
    assert con.sql("SELECT run, steps FROM runs").fetchall() == [("r", 1)]
    assert con.sql("SELECT value FROM metrics").fetchall() == [(1.0,)]
    assert len(json.loads((run / "run.json").read_text())["attempts"]) == 1


@pytest.mark.parametrize("options", [{"overwrite": True, "resume": True}, {"overwrite": True, "name": None}])
def test_overwrite_needs_a_name_and_is_no_resume(emitter, tmp_path, options):
    with pytest.raises(ValueError, match="overwrite=True"):
        Collector(emitter, tmp_path, **{"name": "r"} | options)


def test_a_run_that_is_being_written_is_not_overwritten(emitter, tmp_path):
    code = """
import sys
from collector import Collector
from tests.collector.emitter import Emitter
emitter = Emitter(["a"])
collector = Collector(emitter, sys.argv[1], name="r")
emitter.say(1)
print("there", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "there\n"
        with pytest.raises(RuntimeError, match=r"run 'r' .* is being written by another Collector"):
            Collector(emitter, tmp_path, name="r", overwrite=True)
        other.stdin.close()


def test_what_fails_leaves_the_old_run_as_it_was(emitter, tmp_path, steps_of):
    run_once(emitter, tmp_path, (1, 2))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(ValueError, match="matches no layer"):
            Collector(emitter, tmp_path, name="r", include="nothing", **options)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert steps_of(tmp_path / "r") == [1, 2]


class Refusing:
    """An optimizer that takes no hook."""

    param_groups = ({"params": [torch.zeros(2)]},)

    def register_trust_ratio_hook(self, hook):
        raise LookupError("no hook today")


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_so_does_what_fails_at_the_very_end(emitter, tmp_path, steps_of, options):
    """When folder, lock and thread are there already."""
    if options:
        run_once(emitter, tmp_path, (1, 2))
        before = (tmp_path / "r" / "run.json").read_bytes()
    with pytest.raises(LookupError):
        Collector(Refusing(), tmp_path, name="r", **options)
    if not options:
        assert list(tmp_path.iterdir()) == []
        return
    assert (tmp_path / "r" / "run.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    run_once(emitter, tmp_path, (3,), resume=True)
    assert steps_of(tmp_path / "r") == [1, 2, 3]


@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("inside", [[], ["trust_ratios"], ["trust_ratios", "metrics", ".run.json.tmp"]], ids=len)
def test_a_run_that_was_cut_off_while_it_was_made_can_begin(emitter, tmp_path, steps_of, options, inside):
    folder = tmp_path / "r"
    folder.mkdir()
    for name in inside:
        (folder / name).touch() if name.endswith(".tmp") else (folder / name).mkdir()
    run_once(emitter, tmp_path, (1, 2), **options)
    assert steps_of(folder) == [1, 2]
    assert connect(tmp_path).sql("FROM problems").fetchall() == []


@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("new_run", ["none", "cut off"])
def test_a_run_that_was_just_moved_aside_comes_back(emitter, tmp_path, steps_of, options, new_run):
    run_once(emitter, tmp_path, (1, 2))
    move_aside(tmp_path / "r")
    if new_run == "cut off":
        (tmp_path / "r").mkdir()
    run_once(emitter, tmp_path, (3,), **options)
    old = tmp_path / "r" / "superseded" / "overwritten-1" if "overwrite" in options else tmp_path / "r"
    assert steps_of(old)[:2] == [1, 2]
    assert steps_of(tmp_path / "r")[-1] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_resume_without_the_optimizers_state_warns_before_rows_move(training, new_training, tmp_path, steps_of):
    with Collector(training.optimizer, tmp_path, name="r"):
        training.steps(4)
    fresh = new_training()
    with Collector(fresh.optimizer, tmp_path, name="r", resume=True) as collector:
        with pytest.warns(UserWarning, match=r"reaches step 4, but the optimizer begins again at step 1.*load the opt"):
            fresh.steps()
        fresh.steps()
        collector.flush()
    assert steps_of(tmp_path / "r", "0.bias") == [1, 2]
    assert steps_of(tmp_path / "r" / "superseded" / "attempt-2", "0.bias") == [1, 2, 3, 4]


def test_a_warning_that_is_made_an_error_keeps_all_rows(training, new_training, tmp_path, steps_of):
    with Collector(training.optimizer, tmp_path, name="r"):
        training.steps(4)
    fresh = new_training()
    with pytest.raises(UserWarning, match="begins again"), Collector(fresh.optimizer, tmp_path, name="r", resume=True):
        fresh.steps()
    assert steps_of(tmp_path / "r", "0.bias") == [1, 2, 3, 4]


def test_so_does_an_optimizer_that_is_watched_and_counts_in_its_state(training, tmp_path, steps_of):
    for resume in (False, True):
        training.optimizer = torch.optim.AdamW(training.model.named_parameters(), lr=1e-2)
        with Collector(training.optimizer, tmp_path, name="r", resume=resume):
            if resume:
                with pytest.warns(UserWarning, match="reaches step 3, but the optimizer begins again at step 1"):
                    training.steps()
            else:
                training.steps(3)
    assert steps_of(tmp_path / "r", "0.bias") == [1]


def test_a_resume_whose_optimizer_goes_on_does_not_warn(training, tmp_path, steps_of):
    for resume in (False, True):
        with Collector(training.optimizer, tmp_path, name="r", resume=resume):
            training.steps(2)
    assert steps_of(tmp_path / "r", "0.bias") == [1, 2, 3, 4]


@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}])
def test_a_folder_that_was_never_a_run_is_left_as_it_is(emitter, tmp_path, options):
    mine = tmp_path / "r" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("not yours")
    with pytest.raises(FileExistsError, match="is there already, and is no run: take another name"):
        Collector(emitter, tmp_path, name="r", **options)
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]
    assert mine.read_text() == "not yours"
