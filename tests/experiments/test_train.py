"""The training loop, and what it leaves in the log."""

import json
import math
from dataclasses import replace

import pytest
import torch

from collector import connect
from lambc import LAMBC
from lambc.experiments import train as training
from lambc.experiments.data.images import DataError
from lambc.experiments.data.text import Text
from lambc.experiments.models import initialised
from lambc.experiments.settings import Settings
from lambc.experiments.state import split_batches

RUN = Settings(batch_size=32, epochs=2, clip=1.0, device="cpu")


@pytest.fixture(scope="module")
def trained(few_digits, tmp_path_factory):
    """Two epochs of 32, 32 and 6 digits: the folder of runs, what train returned and what it reported."""
    runs = tmp_path_factory.mktemp("runs")
    reports = []
    return runs, training.train(RUN, few_digits, runs, "first", reports.append), reports


def test_every_step_and_every_epoch_is_in_the_log(trained):
    runs, result, _ = trained
    log = connect(runs)
    assert log.sql("SELECT run, status, steps FROM runs").fetchall() == [("first", "finished", 6)]
    assert log.sql("SELECT DISTINCT step, epoch FROM trust_ratios ORDER BY ALL").fetchall() == [
        (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2),
    ]  # fmt: skip
    found = dict(log.sql("SELECT name, list(step ORDER BY step) FROM metrics GROUP BY name").fetchall())
    assert found == {
        "train/loss": [1, 2, 3, 4, 5, 6],
        "train/accuracy": [1, 2, 3, 4, 5, 6],
        "test/loss": [3, 6],
        "test/accuracy": [3, 6],
        "train/images_per_second": [3, 6],
        "lr": [1, 2, 3, 4, 5, 6],
    }
    log.close()
    assert result.folder == runs / "first"


def test_the_settings_are_in_run_json(trained):
    runs, _, _ = trained
    config = json.loads((runs / "first" / "run.json").read_text())["config"]
    assert config == {
        "data": "digits", "model": "resnet18", "batch_size": 32, "epochs": 2, "rule": "lamb", "clip": 1.0, "lr": 0.01,
        "weight_decay": 0.0, "warmup_epochs": 0.0, "exempt_1d": False, "bias_correction": True,
        "reset_optimizer_each_epoch": False, "stem": "auto", "augment": False, "seed": 0, "device": "cpu",
        "compile": False, "optimizer": "lambc", "schedule": "constant", "replay": None, "width": 64,
        "init": "torchvision", "pixels": None, "images": None, "test_images": None, "record_every": 1,
        "averaged_epochs": 0,
    }  # fmt: skip


def test_the_logged_test_accuracy_is_that_of_the_model(trained, few_digits):
    runs, result, _ = trained
    model = result.model.eval()
    with torch.inference_mode():
        right = sum(
            int(model(few_digits.normalised(image[None])).argmax()) == int(label)
            for image, label in zip(few_digits.test_images, few_digits.test_labels, strict=True)
        )
    log = connect(runs)
    (logged,) = log.sql("SELECT value FROM metrics WHERE name = 'test/accuracy' AND step = 6").fetchall()[0]
    log.close()
    assert logged == pytest.approx(right / 30)
    assert result.end.test_accuracy == pytest.approx(right / 30)


def test_the_hit_rate_on_the_way_is_that_of_the_log(trained):
    runs, result, _ = trained
    log = connect(runs)
    (rate,) = log.sql("SELECT hit_rate FROM run_summaries").fetchall()[0]
    log.close()
    assert 0 < rate < 1
    assert result.end.hit_rate == pytest.approx(rate)


def test_the_last_report_of_an_epoch_says_so(trained):
    _, result, reports = trained
    ends = [report for report in reports if report.ends_epoch]
    assert [(report.epoch, report.step, report.steps) for report in ends] == [(1, 3, 6), (2, 6, 6)]
    assert ends[-1] == result.end
    assert all(0 <= report.accuracy <= 1 and report.examples_per_second > 0 for report in reports)


def test_one_seed_gives_the_same_weights_bit_for_bit(trained, few_digits, tmp_path):
    _, first, _ = trained
    torch.manual_seed(1)  # whatever the caller did before
    again = training.train(RUN, few_digits, tmp_path).model
    for one, other in zip(first.model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_another_seed_gives_other_weights_and_another_order(few_digits, tmp_path):
    one, other = (initialised(Settings(seed=seed), few_digits) for seed in (0, 1))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_training_leaves_the_callers_random_numbers_alone(few_digits):
    before = torch.random.get_rng_state()
    initialised(RUN, few_digits)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_colour_images_can_be_augmented(few_digits, tmp_path):
    colour = replace(
        few_digits,
        train_images=few_digits.train_images[:8].repeat(1, 3, 1, 1),
        train_labels=few_digits.train_labels[:8],
        test_images=few_digits.test_images[:4].repeat(1, 3, 1, 1),
        test_labels=few_digits.test_labels[:4],
        mean=few_digits.mean.repeat(3),
        std=few_digits.std.repeat(3),
    )
    run = Settings(batch_size=8, epochs=1, augment=True, device="cpu")
    assert math.isfinite(training.train(run, colour, tmp_path).end.loss)


@pytest.mark.parametrize("rule", ["lamb", "adamw"])
def test_a_reset_takes_the_steps_of_a_new_optimizer_an_epoch_and_the_log_counts_on(rule, tmp_path):
    windows = torch.arange(14 * 17).reshape(14, 17) * 7 % 40
    text = Text("topics", windows[:10], windows[10:])
    run = Settings(
        data="topics", model="transformer", batch_size=4, epochs=3, rule=rule, clip=1.0 if rule == "lamb" else None,
        bias_correction=rule != "lamb", reset_optimizer_each_epoch=True, lr=1e-3, device="cpu",
    )  # fmt: skip
    trained = training.train(run, text, tmp_path)

    model, order = initialised(run, text), torch.Generator().manual_seed(run.seed)
    for _ in range(run.epochs):
        if rule == "lamb":
            optimizer = LAMBC(model.named_parameters(), lr=1e-3, clip=1.0, bias_correction=False)
        else:
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        for batch in torch.randperm(10, generator=order).split(4):
            optimizer.zero_grad()
            loss, _ = training.score(model, text.train_windows[batch, :-1], text.train_windows[batch, 1:])
            loss.backward()
            optimizer.step()
    for one, other in zip(trained.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
    log = connect(tmp_path)
    assert [step for (step,) in log.sql("SELECT DISTINCT step FROM trust_ratios ORDER BY step").fetchall()] == [
        *range(1, 10)
    ]
    log.close()


def test_the_rate_of_a_warm_up_is_in_the_log(few_digits, tmp_path):
    training.train(replace(RUN, warmup_epochs=1.0, lr=3e-3), few_digits, tmp_path)
    log = connect(tmp_path)
    expected = [(1, 1e-3), (2, 2e-3), (3, 3e-3), (4, 3e-3), (5, 3e-3), (6, 3e-3)]
    assert log.sql("SELECT step, value FROM metrics WHERE name = 'lr' ORDER BY step").fetchall() == [
        (step, pytest.approx(rate)) for step, rate in expected
    ]
    assert log.sql("SELECT DISTINCT step, lr FROM trust_ratios ORDER BY step").fetchall() == [
        (step, pytest.approx(rate)) for step, rate in expected
    ]
    log.close()


def test_lamb_clips_nothing(few_digits, tmp_path):
    result = training.train(replace(RUN, clip=None, epochs=1, batch_size=70), few_digits, tmp_path)
    assert result.end.hit_rate == 0
    log = connect(tmp_path)
    assert log.sql("SELECT DISTINCT outcome FROM trust_ratios WHERE outcome <> 'fallback'").fetchall() == [("free",)]
    log.close()


def test_the_smaller_last_batch_is_used_as_in_the_paper():
    assert len(split_batches(torch.arange(50_000), 3000)) == 17
    assert [len(batch) for batch in split_batches(torch.arange(70), 32)] == [32, 32, 6]


def test_a_single_last_image_joins_the_batch_before_it():
    assert [len(batch) for batch in split_batches(torch.arange(65), 32)] == [32, 33]


def test_a_batch_larger_than_the_data_set_is_refused(few_digits, tmp_path):
    with pytest.raises(DataError, match="batch_size=71: digits has only 70 images"):
        training.train(replace(RUN, batch_size=71), few_digits, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -1.0}, "lr=-1.0"),
        ({"weight_decay": math.nan}, "weight_decay=nan"),
        ({"clip": (3.0, 1.0)}, "the lower bound is above the upper one"),
        ({"device": "nothing"}, "device='nothing' is not there"),
    ],
)
def test_settings_are_checked_before_any_data_is_read(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        training.check(replace(RUN, **settings))


def test_an_interrupted_run_keeps_what_was_recorded(few_digits, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(RUN, few_digits, tmp_path, "cut", interrupt)
    log = connect(tmp_path)
    ((status, steps),) = log.sql("SELECT status, steps FROM runs").fetchall()
    log.close()
    assert status == "interrupted"
    assert steps >= 1
