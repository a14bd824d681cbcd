"""A run that was killed goes on, and ends as one that was not."""

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from collector import connect
from lambc.experiments import train as training
from lambc.experiments.data.text import Text
from lambc.experiments.settings import Settings
from lambc.experiments.train import train
from tests import forks

SHORT_TEXT = torch.arange(14 * 17).reshape(14, 17) * 7 % 40
"""A text in windows of 16, so small that a step takes some milliseconds."""
TEXT = Text("topics", SHORT_TEXT[:10], SHORT_TEXT[10:])

READING = Settings(data="topics", model="transformer", batch_size=4, epochs=4, clip=1.0, lr=1e-3, device="cpu")
"""Three steps an epoch."""

LOG = """
SELECT step, epoch, layer AS name, weight_norm, update_norm, trust_ratio, clipped_ratio, lower, upper, lr, NULL AS value
FROM trust_ratios
UNION ALL
SELECT step, epoch, name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, value FROM metrics WHERE name NOT LIKE '%per_second'
UNION ALL
SELECT step, epoch, name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM metrics WHERE name LIKE '%per_second'
ORDER BY ALL
"""
"""Every row of a log, but for times."""


def log_of(runs):
    log = connect(runs)
    rows = log.sql(LOG).to_arrow_table()
    assert log.sql("SELECT status FROM runs").fetchall() == [("finished",)]
    assert log.sql("SELECT * FROM problems").fetchall() == []
    log.close()
    return rows


def assert_same_end(runs, undisturbed, name="run"):
    """Equal logs, row by row, and equal weights, bit by bit; and nothing else is left."""
    assert log_of(runs).equals(log_of(undisturbed))
    weights, expected = (torch.load(each / name / "weights.pt", weights_only=True) for each in (runs, undisturbed))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert {path.name for path in (runs / name).iterdir()} - {"superseded"} == {
        path.name for path in (undisturbed / name).iterdir()
    }


def train_in_a_process(run, data, runs):
    train(run, data, runs, "run", resume=True, keep_weights=True, checkpoint_seconds=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_was_not(seed, tmp_path):
    run = replace(READING, epochs=60)
    train(run, TEXT, tmp_path / "undisturbed", "run", keep_weights=True)
    context, moments = forks.context(), random.Random(seed)
    for kills in range(30):
        process = context.Process(target=train_in_a_process, args=(run, TEXT, tmp_path / "killed"))
        process.start()
        process.join(moments.uniform(0.0, 2.0) if kills < 8 else 120)
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert kills > 0
    assert_same_end(tmp_path / "killed", tmp_path / "undisturbed")


class Cut(BaseException):
    """What ends a run in these tests, in the place of a signal."""


def train_with_cuts(run, data, runs, at, monkeypatch):
    """Train with a checkpoint a step, cut off at the moments `at`: a step, and whether at the end of its epoch."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_REPORTS", 0.0)
    cuts = list(at)

    def cut(progress):
        if cuts and (progress.step, progress.ends_epoch) == cuts[0]:
            cuts.pop(0)
            raise Cut

    for _ in at:
        with pytest.raises(Cut):
            train(run, data, runs, "run", cut, resume=True, keep_weights=True, checkpoint_seconds=0)
    return train(run, data, runs, "run", cut, resume=True, keep_weights=True, checkpoint_seconds=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"clip": None},
        {"rule": "lars", "clip": "larc", "warmup_epochs": 1.5},
        {"rule": "adamw", "clip": None},
        {"rule": "adamw", "clip": None, "reset_optimizer_each_epoch": True},
        {"clip": "scheduled:10:1", "reset_optimizer_each_epoch": True, "bias_correction": False},
        {"clip": "1-d:deviation:2:0.5,other:dynamic:1:0.1", "warmup_epochs": 2.0},
        {"clip": "quantile:0.9", "exempt_1d": True, "weight_decay": 0.1},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_rule_and_bound_goes_on_where_it_was(settings, tmp_path, monkeypatch):
    run = replace(READING, **settings)
    undisturbed = train(run, TEXT, tmp_path / "undisturbed", "run", keep_weights=True)
    moments = [(1, False), (5, False), (6, True), (9, False), (12, True)]
    gone_on = train_with_cuts(run, TEXT, tmp_path / "cut", moments, monkeypatch)
    assert_same_end(tmp_path / "cut", tmp_path / "undisturbed")
    one, other = (replace(each.end, examples_per_second=0.0) for each in (undisturbed, gone_on))
    assert repr(one) == repr(other)  # AdamW's hit rate is NaN


@pytest.mark.slow
def test_augmented_images_go_on_with_the_same_chances(few_digits, tmp_path, monkeypatch):
    colour = replace(
        few_digits,
        train_images=few_digits.train_images[:20].repeat(1, 3, 1, 1),
        train_labels=few_digits.train_labels[:20],
        mean=few_digits.mean.repeat(3),
        std=few_digits.std.repeat(3),
        test_images=few_digits.test_images.repeat(1, 3, 1, 1),
    )
    run = Settings(batch_size=8, epochs=2, augment=True, device="cpu")
    train(run, colour, tmp_path / "undisturbed", "run", keep_weights=True)
    train_with_cuts(run, colour, tmp_path / "cut", [(1, False), (4, False)], monkeypatch)
    assert_same_end(tmp_path / "cut", tmp_path / "undisturbed")


def test_a_run_that_is_not_there_begins(tmp_path):
    assert train(replace(READING, epochs=1), TEXT, tmp_path, "new", resume=True).end.step == 3


def test_a_run_without_a_checkpoint_begins_anew_and_has_no_row_twice(tmp_path, monkeypatch):
    """For AdamW, too, whose steps a collector counts from outside."""
    run = replace(READING, rule="adamw", clip=None, epochs=2)
    train(run, TEXT, tmp_path / "undisturbed", "run", keep_weights=True)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_REPORTS", 0.0)

    def cut(progress):
        raise Cut

    with pytest.raises(Cut):
        train(run, TEXT, tmp_path / "cut", "run", cut)
    train(run, TEXT, tmp_path / "cut", "run", resume=True, keep_weights=True)
    assert_same_end(tmp_path / "cut", tmp_path / "undisturbed")


@pytest.mark.parametrize("made", [[], ["trust_ratios"], ["trust_ratios", "metrics", ".run.json.tmp"]], ids=len)
def test_a_folder_whose_process_was_killed_before_there_was_a_run_is_no_hindrance(made, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in made:
        (folder / name).touch() if name.startswith(".") else (folder / name).mkdir()
    train(replace(READING, epochs=1), TEXT, tmp_path, "run", resume=True)
    assert len(log_of(tmp_path)) > 0


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"has no run\.json, but holds files"):
        train(READING, TEXT, tmp_path, "run", resume=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def contents(folder: Path):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_trained_again(tmp_path):
    run = replace(READING, epochs=1, clip=(0.5, float("inf")))
    train(run, TEXT, tmp_path, "run")
    before = contents(tmp_path)
    again = train(run, TEXT, tmp_path, "run", resume=True)
    assert (again.model, again.end, again.folder) == (None, None, tmp_path / "run")
    assert contents(tmp_path) == before


def test_a_run_of_other_settings_is_refused_and_left_alone(tmp_path):
    train(replace(READING, epochs=1), TEXT, tmp_path, "run")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"run 'run' in .* has lr=0\.001 and not 0\.002"):
        train(replace(READING, epochs=1, lr=2e-3), TEXT, tmp_path, "run", resume=True)
    with pytest.raises(FileExistsError, match="is there already"):
        train(replace(READING, epochs=1), TEXT, tmp_path, "run")
    assert contents(tmp_path) == before


def test_a_run_that_another_process_trains_is_refused(tmp_path):
    other = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.experiments.test_resume import READING, TEXT, train
train(replace(READING, epochs=1), TEXT, Path(sys.argv[1]), "run", resume=True)
"""
    refused = []

    def meanwhile(progress):
        if not refused:
            done = subprocess.run([sys.executable, "-c", other, tmp_path], capture_output=True, text=True)
            refused.append(done.stderr.splitlines()[-1])

    train(replace(READING, epochs=1), TEXT, tmp_path, "run", meanwhile)
    assert refused[0].startswith("FileExistsError: run 'run' in")
    assert "is being written by another Collector" in refused[0]


def test_a_damaged_checkpoint_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_REPORTS", 0.0)

    def cut(progress):
        if progress.step == 2:
            raise Cut

    with pytest.raises(Cut):
        train(READING, TEXT, tmp_path, "run", cut, checkpoint_seconds=0)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged .*: remove it"):
        train(READING, TEXT, tmp_path, "run", resume=True)
