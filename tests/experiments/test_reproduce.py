"""The paper's experiments as runs, and how they are run: what is finished is kept, what fails takes nothing with it."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from collector import connect
from collector.log.run import read_run
from lambc import cli
from lambc.experiments.catalogue import EXPERIMENTS, ReproducedRun, plan
from lambc.experiments.data import sources as data
from lambc.experiments.data.text import topics
from lambc.experiments.reproduce import Ended, Stopped, _train, reproduce
from lambc.experiments.settings import Settings
from lambc.experiments.train import Progress, as_asked, check
from tests.collector.disks import small_disk

SCALES = ("small", "full")


def lambc(*arguments):
    return CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(cli.app, [str(each) for each in arguments])


def few(folder, **settings):
    """A run of a few steps on the photographs' tiles."""
    settings = {"batch_size": 16, "epochs": 1, "stem": "torchvision", "device": "cpu"} | settings
    return ReproducedRun(data=f"parquet:{folder}", experiment="figure3", **settings)


def keep(heard):
    """A report that keeps what it hears, by run."""
    return lambda run, said: heard.setdefault(run.name, []).append(said)


def test_table_1_at_full_scale_is_the_papers():
    runs = [run for run in plan("table1", "full") if not run.exempt_1d and run.bias_correction]
    assert {(run.batch_size, run.clip) for run in runs} == {
        (size, clip) for size in (1000, 2000, 3000) for clip in (1.0, None)
    }
    assert {(run.data, run.model, run.lr, run.epochs, run.weight_decay, run.augment) for run in runs} == {
        ("cifar10", "resnet18", 1e-2, 80, 0.0, False)
    }
    assert {run.divided for run in runs} == {1}
    assert {run.images for run in runs} == {None}


def test_the_authors_code_is_an_arm_of_table_1():
    authors = [run for run in plan("table1", "full") if not run.bias_correction]
    assert all(run.reset_optimizer_each_epoch for run in authors)
    assert {(run.batch_size, run.clip) for run in authors} == {
        (size, clip) for size in (1000, 2000, 3000) for clip in (1.0, None)
    }


def test_figure_2_has_the_papers_bounds():
    assert {run.clip for run in plan("figure2", "full")} == {1.0, 3.0, 5.0, 10.0, None}


def test_runs_of_other_images_or_seeds_have_other_names(tmp_path):
    run = few(tmp_path)
    assert len({run.name, replace(run, images=10).name, replace(run, images=20).name, replace(run, seed=1).name}) == 4


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_experiment_can_be_run_and_its_runs_have_names_of_their_own(experiment, scale):
    runs = plan(experiment, scale, device="cpu")
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        check(run)


def test_the_small_scale_keeps_the_steps_an_epoch():
    full, small = (
        sorted({math.ceil((run.images or 50_000) / run.batch_size) for run in plan("table1", scale)})
        for scale in SCALES
    )
    assert full == small == [17, 25, 50]


def test_each_arm_has_all_seeds_and_seeds_come_one_after_the_other():
    seeds = [run.seed for run in plan("table1", "small", seeds=2)]
    assert seeds == sorted(seeds)
    assert seeds.count(0) == seeds.count(1)


def test_a_warm_up_is_no_longer_than_the_training():
    assert {run.warmup_epochs for run in plan("large-batch", "small", epochs=1)} == {1.0}


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="seeds=0: run at least 1 seed"):
        plan("table1", "small", seeds=0)


def test_the_config_says_what_was_made_smaller():
    (run, *_) = plan("table1", "small")
    config = run.config("cpu")
    assert (config["experiment"], config["divided"], config["images"]) == ("table1", 50, 1000)
    json.dumps(config)


def test_fewer_images_are_taken_evenly_from_all(digits):
    taken = as_asked(Settings(images=143), digits)
    assert len(taken) == len(taken.train_labels) == 143
    assert len(taken.test_images) == len(taken.test_labels) == 143
    places = [place * len(digits) // 143 for place in range(143)]
    assert taken.train_images.equal(digits.train_images[places])
    assert taken.train_labels.equal(digits.train_labels[places])
    assert len(as_asked(Settings(images=10**6), digits)) == len(digits)
    assert as_asked(Settings(), digits) is digits


def test_a_text_stays_whole():
    text = topics()
    assert as_asked(Settings(data="topics", model="transformer"), text) is text


@pytest.mark.slow
def test_a_run_that_fails_or_dies_takes_no_other_with_it_and_the_same_call_goes_on(folder, tmp_path):
    too_large, dies, done = few(folder, batch_size=64), few(folder, epochs=6), few(folder, clip=None)
    heard = {}
    told = keep(heard)

    def kill(run, said):
        told(run, said)
        if run == dies and isinstance(said, Progress) and said.epoch == 2:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)

    failures = reproduce([too_large, dies, done], tmp_path, report=kill)
    assert failures == {
        too_large.name: "batch_size=64: photographs has only 32 images to train on, so give less",
        dies.name: "its process ended with signal 9: run the command again",
    }
    assert heard[done.name][-1] == Ended()
    assert read_run(tmp_path / done.name)["status"] == "finished"

    again = {}
    assert list(reproduce([too_large, dies, done], tmp_path, report=keep(again))) == [too_large.name]
    assert again[done.name] == [Ended()]  # it was there
    assert len(read_run(tmp_path / done.name)["attempts"]) == 1
    with connect(tmp_path) as log:
        rows = log.sql("SELECT run, count(*), count(DISTINCT (step, layer)), max(step) FROM trust_ratios GROUP BY run")
        assert sorted(rows.fetchall()) == sorted([(done.name, 124, 124, 2), (dies.name, 62 * 12, 62 * 12, 12)])


def test_after_an_error_that_nobody_expects_a_process_trains_no_other_run(folder, tmp_path):
    """After a CUDA kernel's error, for example, none would succeed in it."""

    def send(progress):
        raise RuntimeError("device-side assert triggered\nmore")

    run = few(folder)
    ended = _train(run, data.load(run.data), tmp_path, SimpleNamespace(send=send))
    assert ended == Ended("RuntimeError: device-side assert triggered", broken=True)


@pytest.mark.slow
def test_two_jobs_do_what_one_does(folder, tmp_path):
    runs = [few(folder, seed=seed) for seed in range(3)]
    for jobs in (1, 2):
        assert reproduce(runs, tmp_path / str(jobs), jobs=jobs, report=keep({})) == {}
    question = "SELECT * FROM trust_ratios ORDER BY ALL"
    with connect(tmp_path / "1") as one, connect(tmp_path / "2") as two:
        assert one.sql(question).to_arrow_table().equals(two.sql(question).to_arrow_table())


@pytest.mark.slow
def test_an_interrupted_run_ends_as_interrupted_and_no_process_is_left(tmp_path):
    def interrupt(run, said):
        raise KeyboardInterrupt

    run = replace(few(tmp_path, epochs=50), data="digits")
    with pytest.raises(KeyboardInterrupt):
        reproduce([run], tmp_path, report=interrupt)
    assert read_run(tmp_path / run.name)["status"] == "interrupted"
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_command_that_is_terminated_leaves_its_run_as_interrupted(folder, tmp_path):
    command = [sys.executable, "-m", "lambc", "reproduce", "figure3", "--data", f"parquet:{folder}", "--epochs", "500"]
    where = ["--seeds", "1", "--device", "cpu", "--runs", str(tmp_path / "runs"), "--report", str(tmp_path / "report")]
    process = subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("runs/*/metrics/*.parquet")) and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert "interrupted; the same command goes on with what is in" in said
    (run,) = (tmp_path / "runs").iterdir()
    assert read_run(run)["status"] == "interrupted"


@pytest.mark.slow
def test_data_that_cannot_be_had_stop_all_in_one_sentence(tmp_path):
    runs = [few(tmp_path / "nowhere", seed=seed) for seed in range(2)]
    heard = {}
    with pytest.raises(Stopped, match=r"nowhere") as stopped:
        reproduce(runs, tmp_path, report=keep(heard))
    assert "\n" not in str(stopped.value)
    assert list(heard) == [runs[0].name]


@pytest.mark.slow
def test_a_full_disk_stops_all_and_what_has_finished_is_kept(folder, tmp_path):
    runs = [few(folder, seed=seed, epochs=epochs) for seed, epochs in enumerate((1, 400, 400))]
    with small_disk(tmp_path / "disk") as disk:
        heard = {}

        def fill(run, said):
            keep(heard)(run, said)
            if isinstance(said, Ended):
                (disk / "full").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))

        with pytest.raises(Stopped, match="No space left on device") as stopped:
            reproduce(runs, disk / "runs", report=fill)
        assert "\n" not in str(stopped.value)
        assert read_run(disk / "runs" / runs[0].name)["status"] == "finished"
        assert runs[2].name not in heard


@pytest.mark.slow
def test_the_command_trains_reports_and_keeps_what_it_has(folder, tmp_path):
    def reproduce_figure_3(*arguments):
        where = ("--runs", tmp_path / "runs", "--report", tmp_path / "report")
        return lambc("reproduce", "figure3", "--data", f"parquet:{folder}", "--device", "cpu", *where, *arguments)

    first = reproduce_figure_3("--seeds", 1, "--epochs", 1)
    assert first.exit_code == 0, first.output
    assert first.stdout.count("  test ") == 2
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "`clip 1` against `no clipping`" in report
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.md", "report.html", "SHA256SUMS", "command.sh",
    }  # fmt: skip

    again = reproduce_figure_3("--seeds", 1, "--epochs", 1)
    assert again.exit_code == 0
    assert again.stdout.count("was there already, finished") == 2

    other = reproduce_figure_3("--seeds", 1, "--epochs", 2)
    assert other.exit_code == 2
    assert "which this command would not make: give another --runs" in other.stderr


@pytest.mark.slow
def test_runs_that_fail_are_told_on_the_terminal_in_the_report_and_by_the_exit_code(folder, tmp_path):
    where = ("--runs", tmp_path / "runs", "--report", tmp_path / "report")
    done = lambc("reproduce", "large-batch", "--data", f"parquet:{folder}", "--seeds", 1, "--device", "cpu", *where)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("has only 32 images to train on, so give less") == 8
    assert "8 of 8 runs failed; the same command tries them again" in done.stderr
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "**8 runs failed**" in report
    assert report.count("has only 32 images to train on, so give less") == 8


def test_what_makes_no_sense_is_refused_in_one_line_before_anything_is_trained(tmp_path):
    for arguments, said in (
        (("nothing",), "there is no experiment 'nothing': give one of table1"),
        (("table1", "--seeds", 0), "seeds=0"),
        (("table1", "--epochs", 0), "epochs=0"),
        (("table1", "--device", "quantum", "--runs", tmp_path), "device='quantum'"),
        (("table1", "--data", "topics"), "model='resnet18' cannot read"),
        (("table1", "--scale", "huge"), "huge"),
    ):
        refused = lambc("reproduce", *arguments)
        assert refused.exit_code == 2, refused.output
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert said in refused.stderr
