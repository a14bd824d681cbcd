"""The medium scale, the arms of `mechanism`, and the settings that they are made of."""

import math
import multiprocessing
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from collector import connect
from collector.log.run import read_run
from lambc import LAMBC
from lambc.experiments.catalogue import ADAM, AUTHORS, EXPERIMENTS, ReproducedRun, beside, plan
from lambc.experiments.data import sources as data
from lambc.experiments.data.images import DataError
from lambc.experiments.estimate import seconds_to_train
from lambc.experiments.models import resnet18
from lambc.experiments.optimizers import kind_of, make_optimizer
from lambc.experiments.reproduce import Ended, reproduce
from lambc.experiments.scoring import evaluate, learning_rate
from lambc.experiments.settings import Settings
from lambc.experiments.train import as_asked, has_finished, train
from tests.experiments.test_resume import assert_same_end, train_with_cuts

MEDIUM = [name for name, each in EXPERIMENTS.items() if each.medium]


def few(folder, **settings):
    """A medium run of a few steps on the photographs' tiles."""
    small = {"batch_size": 16, "epochs": 2, "width": 8, "pixels": 8, "test_images": 4, "record_every": 2}
    settings = small | {"averaged_epochs": 2, "augment": True, "device": "cpu"} | settings
    return ReproducedRun(data=f"parquet:{folder}", experiment="mechanism", **settings)


def rms(weight):
    return float(weight.detach().square().mean().sqrt())


def settings_of(run):
    return {key: value for key, value in run.config("cpu").items() if key not in ("experiment", "seed")}


def test_the_medium_scale_is_the_pilots():
    runs = plan("mechanism", "medium")
    (settings,) = {
        (run.images, run.pixels, run.width, run.epochs, run.stem, run.augment, run.test_images, run.init)
        for run in runs
    }
    assert settings == (5000, 16, 8, 80, "auto", True, 2500, "torchvision")
    assert {(run.batch_size, math.ceil(5000 / run.batch_size)) for run in runs} == {(100, 50), (200, 25), (300, 17)}


def test_the_main_pair_comes_first_and_has_the_most_seeds():
    runs = plan("mechanism", "medium")
    main = [(run.clip, run.seed) for run in runs[:16]]
    assert main == [(clip, seed) for seed in range(8) for clip in (1.0, None)]
    assert {settings_of(run)["batch_size"] for run in runs[:16]} == {100}
    seeds = Counter(run.name.rpartition("-s")[0] for run in runs)
    controls = [run for run in runs if run.replay or run.clip in ((1.0, 1.0), "norm:1,other:none", "conv:1,other:none")]
    assert {seeds[run.name.rpartition("-s")[0]] for run in controls} == {5}
    assert min(seeds.values()) == 3


def test_experiments_share_the_runs_of_equal_settings():
    named = {}
    for experiment in MEDIUM:
        for run in plan(experiment, "medium"):
            assert named.setdefault(run.name, settings_of(run)) == settings_of(run)
    shared = {run.name for run in plan("mechanism", "medium")}
    assert {run.name for run in plan("table1", "medium") if run.seed < 3} <= shared
    assert {run.name for run in plan("figure2", "medium") if run.clip in (1.0, None)} <= shared
    assert {run.experiment for run in beside("table1", "medium")} == set(MEDIUM) - {"table1"}


@pytest.mark.slow
def test_a_run_that_another_experiment_trained_is_kept(folder, tmp_path):
    run = few(folder, epochs=1, averaged_epochs=1)
    train(run, data.load(run.data), tmp_path)
    assert has_finished(replace(run, experiment="table1"), tmp_path, run.name)
    with pytest.raises(FileExistsError, match="has width=8 and not 16"):
        has_finished(replace(run, width=16), tmp_path, run.name)


@pytest.mark.slow
def test_a_log_from_before_a_setting_was_added_is_of_its_default(folder, tmp_path):
    run = few(folder, epochs=1, averaged_epochs=1)
    train(run, data.load(run.data), tmp_path)
    path = tmp_path / run.name / "run.json"
    path.write_text(path.read_text().replace('"schedule": "constant"', '"forgotten": 1'))
    assert "schedule" not in read_run(path.parent)["config"]
    assert has_finished(run, tmp_path, run.name)
    with pytest.raises(FileExistsError, match="schedule='constant' and not 'linear'"):
        has_finished(replace(run, schedule="linear"), tmp_path, run.name)


def test_what_has_no_medium_scale_says_so():
    with pytest.raises(ValueError, match="figure3 has no scale 'medium': give small or full, or one of table1, "):
        plan("figure3", "medium")


def test_the_authors_arms_have_their_augmentation_and_first_weights_at_full_scale():
    for run in plan("table1", "full"):
        assert (run.augment, run.init) == (
            (True, "torch") if run.reset_optimizer_each_epoch else (False, "torchvision")
        )


@pytest.mark.parametrize("init", ["torchvision", "torch"])
@pytest.mark.parametrize("width", [8, 16])
def test_convolutions_of_any_width_begin_at_the_size_of_the_full_widths(init, width):
    torch.manual_seed(0)
    narrow, full = (resnet18(10, 3, 16, "3x3", each, init) for each in (width, 64))
    for (name, one), (same, other) in zip(narrow.named_parameters(), full.named_parameters(), strict=True):
        assert name == same
        if one.dim() == 4:
            assert rms(one) == pytest.approx(rms(other), rel=0.15)
            assert one.shape[0] * 64 == other.shape[0] * width


def test_the_authors_first_weights_are_torchs():
    torch.manual_seed(0)
    convolutions = [each for each in resnet18(10, 3, 16, "3x3", init="torch").modules() if isinstance(each, nn.Conv2d)]
    assert len(convolutions) == 20
    for conv in convolutions:
        bound = 1 / math.sqrt(conv.weight[0].numel())
        assert float(conv.weight.detach().abs().max()) <= bound
        assert rms(conv.weight) == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_shrunk_pixels_are_the_rounded_means_of_squares(digits):
    small = digits.shrunk(4)
    squares = digits.train_images.numpy().astype(float).reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
    assert np.abs(small.train_images.numpy() - squares).max() <= 0.5
    assert small.test_images.shape[2:] == (4, 4)
    pixels, _ = small.batch(torch.arange(len(small)))
    assert float(pixels.mean()) == pytest.approx(0, abs=1e-3)
    assert float(pixels.std()) == pytest.approx(1, abs=1e-3)
    with pytest.raises(DataError, match=r"pixels=3: digits is 8×8, so give a divisor"):
        digits.shrunk(3)


def test_a_linear_schedule_falls_by_equal_parts_to_the_last_step():
    run = Settings(lr=0.1, epochs=2, schedule="linear")
    rates = [learning_rate(run, step, steps_per_epoch=5) for step in range(1, 11)]
    assert rates == pytest.approx([0.01 * (11 - step) for step in range(1, 11)])
    warm = replace(run, warmup_epochs=1.0)
    rates = [learning_rate(warm, step, steps_per_epoch=5) for step in range(1, 11)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, *(0.1 * (11 - step) / 6 for step in range(5, 11))])


@pytest.mark.parametrize(("kind", "members"), [("norm", 20), ("conv", 20)])
def test_a_bound_of_one_kind_leaves_all_other_layers_unclipped(kind, members):
    named = list(resnet18(10, 3, 16, "3x3", 8).named_parameters())
    others, bounded = make_optimizer(Settings(clip=f"{kind}:1,other:none"), named).param_groups
    assert (others["clip"], bounded["clip"]) == (None, 1.0)
    assert {kind_of(name, dict(named)[name]) for name in bounded["param_names"]} == {kind}
    assert (len(bounded["params"]), len(others["params"])) == (members, 62 - members)


def test_bounds_of_one_are_adams_steps():
    torch.manual_seed(0)
    models = [nn.Linear(5, 3) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        make_optimizer(Settings(**ADAM, lr=1e-3), models[0].named_parameters()),
        LAMBC(models[1].named_parameters(), lr=1e-3, adapt=False),
    ]
    for model, optimizer in zip(models, optimizers, strict=True):
        for seed in range(5):
            torch.manual_seed(seed)
            optimizer.zero_grad()
            model(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("replay", "groups"), [("layer", 62), ("kind", 4), ("all", 1)])
def test_a_replay_takes_the_mean_relative_steps_of_the_clipped_run(replay, groups, folder, tmp_path):
    run = few(folder, clip=None, replay=replay, record_every=1)
    images = data.load(run.data)
    with pytest.raises(ValueError, match=r"replay='.*': .*clip1.* has not finished, so train it first"):
        train(run, images, tmp_path)
    train(replace(run, clip=1.0, replay=None), images, tmp_path)
    train(run, images, tmp_path)

    def rows(name):
        return pq.read_table(tmp_path / name / "trust_ratios").to_pylist()

    layers = dict(resnet18(2, 3, 8, width=8).named_parameters())
    key = {"layer": lambda name: name, "kind": lambda name: kind_of(name, layers[name]), "all": lambda name: "all"}
    steps = {}
    for row in rows(run.source):
        if row["weight_norm"] > 0:
            step = row["lr"] * row["clipped_ratio"] * row["update_norm"] / row["weight_norm"]
            steps.setdefault((key[replay](row["layer"]), row["epoch"]), []).append(step)
    assert len({share for share, _ in steps}) == groups
    for row in rows(run.name):
        expected = np.mean(steps[key[replay](row["layer"]), row["epoch"]])
        assert row["lr"] == pytest.approx(expected, rel=1e-4)
        assert row["upper"] == math.inf


@pytest.mark.slow
def test_a_replay_waits_for_its_source(folder, tmp_path):
    source = few(folder, clip=1.0, epochs=4)
    replay = replace(source, clip=None, replay="kind")
    heard = []
    assert reproduce([replay, source], tmp_path, jobs=2, report=lambda run, said: heard.append((run, said))) == {}
    ends = [run for run, said in heard if said == Ended()]
    assert ends == [source, replay]
    assert heard.index((source, Ended())) < min(place for place, (run, _) in enumerate(heard) if run == replay)


@pytest.mark.slow
def test_a_run_that_records_some_steps_logs_loss_and_accuracy_of_whole_epochs(folder, tmp_path):
    run = few(folder, epochs=7, record_every=3, test_images=3)
    images = data.load(run.data)
    train(replace(run, record_every=1), images, tmp_path, "each")
    train(run, images, tmp_path, "some")
    with connect(tmp_path) as log:
        steps = log.sql("SELECT DISTINCT step FROM trust_ratios WHERE run = 'some' ORDER BY step").fetchall()
        assert [step for (step,) in steps] == [1, 3, 6, 9, 12]
        means = "SELECT run, epoch, name, avg(value) FROM metrics WHERE name LIKE 'train/%' AND name NOT LIKE '%second'"
        rows = log.sql(f"{means} GROUP BY ALL ORDER BY ALL").fetchall()
        each, some = ([row[1:] for row in rows if row[0] == run] for run in ("each", "some"))
        assert [row[:2] for row in some] == [row[:2] for row in each]
        assert [row[2] for row in some] == pytest.approx([row[2] for row in each], rel=1e-5)
        accuracies = log.sql("SELECT value FROM metrics WHERE run = 'some' AND name = 'test/accuracy' ORDER BY step")
        values = [value for (value,) in accuracies.fetchall()]
    thirds, sixteenths = 3 * np.array(values[:2]), 16 * np.array(values[2:])
    assert thirds == pytest.approx(np.round(thirds))  # of 3 images, until the last 5 epochs
    assert sixteenths == pytest.approx(np.round(sixteenths))  # of all 16
    assert 16 * np.array(values[:2]) != pytest.approx(np.round(16 * np.array(values[:2])))


@pytest.mark.slow
def test_the_last_weights_and_their_average_are_measured_with_statistics_afresh(folder, tmp_path):
    run = few(folder, epochs=3, averaged_epochs=2)
    images = as_asked(run, data.load(run.data))
    weights = []
    for epochs in (2, 3):  # the first epochs of a longer run are those of a shorter one
        trained = train(replace(run, epochs=epochs), data.load(run.data), tmp_path, str(epochs), keep_weights=True)
        weights.append(trained.model.state_dict())
    average = {name: (weights[0][name] + weights[1][name]) / 2 for name, _ in trained.model.named_parameters()}

    def afresh(state):
        """Batch normalisation's statistics as plain means over the batches, in two passes over the training images."""
        model = resnet18(2, 3, 8, width=8).to(memory_format=torch.channels_last)
        model.load_state_dict(state, strict=False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        model.train()
        with torch.no_grad():
            for some in torch.arange(len(images)).split(run.batch_size):
                model(images.normalised(images.train_images[some]))
        return evaluate(model, images, run.batch_size)

    with connect(tmp_path) as log:
        found = dict(log.sql("SELECT name, arg_max(value, step) FROM metrics WHERE run = '3' GROUP BY name").fetchall())
    assert (found["fresh/test_loss"], found["fresh/test_accuracy"]) == pytest.approx(afresh(weights[1]), rel=1e-4)
    assert (found["averaged/test_loss"], found["averaged/test_accuracy"]) == pytest.approx(afresh(average), rel=1e-4)


def train_in_a_process(run, runs, name):
    torch.set_num_threads(1)
    train(run, data.load(run.data), runs, name, keep_weights=True)


@pytest.mark.slow
def test_a_repeated_run_gives_the_same_weights_bit_for_bit(folder, tmp_path):
    run = few(folder, epochs=3, schedule="linear")
    for name in ("one", "other"):
        process = multiprocessing.get_context("spawn").Process(target=train_in_a_process, args=(run, tmp_path, name))
        process.start()
        process.join()
        assert process.exitcode == 0
    one, other = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "other"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"schedule": "linear"}, {"clip": None, "replay": "kind"}], ids=str)
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(settings, folder, tmp_path, monkeypatch):
    run = few(folder, epochs=3, averaged_epochs=2, **settings)
    images = data.load(run.data)
    sources = [tmp_path / "undisturbed", tmp_path / "cut"] if run.replay else []
    for runs in sources:
        train(replace(run, clip=1.0, replay=None), images, runs)
    train(run, images, tmp_path / "undisturbed", "run", keep_weights=True)
    moments = [(1, False), (2, True), (5, False), (6, True)]
    train_with_cuts(run, images, tmp_path / "cut", moments, monkeypatch)
    for runs in sources:
        shutil.rmtree(runs / run.source)
    assert_same_end(tmp_path / "cut", tmp_path / "undisturbed")


FULL_ARMS = list(
    {
        str(settings_of(run) | {"batch_size": 16}): run
        for name in MEDIUM
        for run in plan(name, "full", seeds=1, epochs=1, device="cpu")
    }.values()
)


@pytest.mark.slow
def test_one_epoch_of_every_arm_at_full_scale_is_trained(folder, tmp_path):
    """At the full width, on tiny images."""
    small = [replace(run, data=f"parquet:{folder}", batch_size=16, pixels=8) for run in FULL_ARMS]
    assert {run.width for run in small} == {64}
    assert {run.reset_optimizer_each_epoch for run in small} == {True, False}
    assert len({run.name for run in small}) == len(small)
    assert AUTHORS.items() <= settings_of(next(run for run in small if run.init == "torch")).items()
    assert reproduce(small, tmp_path, report=lambda run, said: None) == {}
    with connect(tmp_path) as log:
        finite = log.sql(
            "SELECT count(DISTINCT run) FROM metrics WHERE name = 'averaged/test_loss' AND isfinite(value)"
        )
        assert finite.fetchall() == [(len(small),)]


@pytest.mark.slow
def test_the_estimate_is_of_the_runs_that_are_left(folder, tmp_path):
    runs = [few(folder, seed=seed) for seed in range(2)]
    longer = [replace(run, epochs=200) for run in runs]
    short, long = (seconds_to_train(each, tmp_path, measure_for=0.2) for each in (runs, longer))
    assert 0 < short < long
    train(runs[0], data.load(runs[0].data), tmp_path)
    train(runs[1], data.load(runs[1].data), tmp_path)
    assert seconds_to_train(runs, tmp_path) == 0
