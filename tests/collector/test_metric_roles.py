"""What a metric is by the names that common trainers give, and what that makes of a run's results."""

import math
from pathlib import Path

import pandas as pd
import pytest

from collector import Collector, connect
from tests.collector.emitter import Emitter

ROLES = {
    "train/loss": ("train", "loss", "log", "train"),
    "train/accuracy": ("train", "accuracy", "share", "train"),
    "test/loss": ("test", "loss", "log", "test"),
    "test/accuracy": ("test", "accuracy", "share", "test"),
    "lr": (None, "lr", "linear", ""),
    # transformers.Trainer
    "loss": ("train", "loss", "log", ""),
    "eval_loss": ("validation", "loss", "log", "eval"),
    "eval/loss": ("validation", "loss", "log", "eval"),
    "eval_accuracy": ("validation", "accuracy", "share", "eval"),
    "learning_rate": (None, "lr", "linear", ""),
    "grad_norm": (None, "grad_norm", "linear", ""),
    "epoch": (None, "epoch", "linear", ""),
    "eval_runtime": ("validation", "runtime", "linear", "eval"),
    "train_samples_per_second": ("train", "samples_per_second", "linear", "train"),
    # Lightning
    "train_loss": ("train", "loss", "log", "train"),
    "train_loss_step": ("train", "loss", "log", "train"),
    "train_loss_epoch": ("train", "loss", "log", "train"),
    "val_loss": ("validation", "loss", "log", "val"),
    "valid_loss": ("validation", "loss", "log", "valid"),
    "test_acc": ("test", "accuracy", "share", "test"),
    # Keras, timm, nanoGPT and by hand
    "accuracy": ("train", "accuracy", "share", ""),
    "acc": ("train", "accuracy", "share", ""),
    "val_acc": ("validation", "accuracy", "share", "val"),
    "val_sparse_categorical_accuracy": ("validation", "accuracy", "share", "val"),
    "val/accuracy": ("validation", "accuracy", "share", "val"),
    "val/loss": ("validation", "loss", "log", "val"),
    "validation/loss": ("validation", "loss", "log", "validation"),
    "top1": ("train", "accuracy", "share", ""),
    "eval_top1": ("validation", "accuracy", "share", "eval"),
    "val/acc@1": ("validation", "accuracy", "share", "val"),
    "val/acc@5": ("validation", "acc_5", "share", "val"),
    "valLoss": ("validation", "loss", "log", "val"),
    "val/ppl": ("validation", "perplexity", "log", "val"),
    "Loss": ("train", "loss", "log", ""),
    "LOSS ": ("train", "loss", "log", ""),
    # What only looks like one
    "train/aux_loss": ("train", "aux_loss", "log", "train"),
    "glossary": (None, "glossary", "linear", ""),
    "1": (None, "1", "linear", ""),
    "train": ("train", "train", "linear", ""),
    "": (None, "", "linear", ""),
}


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    con = connect(tmp_path_factory.mktemp("none"))
    return {name: tuple(role) for name, *role in con.execute("FROM metric_roles(?)", [list(ROLES)]).fetchall()}


@pytest.mark.parametrize("name", ROLES)
def test_the_role_of_a_name(roles: dict[str, tuple], name: str):
    assert roles[name] == ROLES[name]


def log(root: Path, name: str, *values: tuple[int, dict[str, float]], steps: int = 40) -> None:
    emitter = Emitter(["a"])
    with Collector(emitter, root, name=name) as collector:
        for step in range(1, steps + 1):
            emitter.say(step)
        for step, logged in values:
            collector.log(logged, step=step)


def ask(root: Path, statement: str) -> list[dict]:
    table: pd.DataFrame = connect(root).sql(statement).to_arrow_table().to_pandas()
    return table.astype(object).where(table.notna(), None).to_dict("records")


@pytest.mark.parametrize(
    ("logged", "accuracy", "loss"),
    [
        ({"test/accuracy": 0.9, "val/accuracy": 0.8, "loss": 1.0}, (0.9, "test"), (1.0, "train")),
        ({"eval_accuracy": 92.5, "eval_loss": 2.0, "loss": 1.0}, (92.5, "validation"), (2.0, "validation")),
        ({"loss": 1.0, "acc": 0.5}, (None, None), (1.0, "train")),
        ({"test/loss": float("nan"), "loss": 1.0}, (None, None), (None, "test")),
        ({"grad_norm": 1.0}, (None, None), (None, None)),
    ],
)
def test_a_run_is_summed_up_by_what_it_logged(tmp_path: Path, logged: dict, accuracy: tuple, loss: tuple):
    log(tmp_path, "r", (10, logged))
    (run,) = ask(tmp_path, "SELECT * FROM run_summaries")
    assert (run["last_accuracy"], run["accuracy_of"]) == accuracy
    assert (run["last_loss"], run["loss_of"]) == loss


def test_the_results_find_an_accuracy_and_a_loss_by_every_name_that_has_the_role(tmp_path: Path):
    named = {name: role for name, role in ROLES.items() if name}  # nothing is logged without one
    for number, name in enumerate(named):
        log(tmp_path, f"run-{number}", (1, {name: 0.25}), (2, {name: math.nan}), steps=2)
    rows = {row["run"]: row for row in ask(tmp_path, "FROM run_results")}
    for number, (name, (split, quantity, *_)) in enumerate(named.items()):
        row = rows[f"run-{number}"]
        is_accuracy, is_loss = quantity == "accuracy" and split != "train", quantity == "loss"
        assert row["accuracy_name"] == (name if is_accuracy else None), name
        assert list(row["accuracies"] if row["accuracies"] is not None else []) == ([0.25] if is_accuracy else []), name
        assert row["loss_name"] == (name if is_loss else None), name
        assert row["first_broken"] == (2 if is_loss and split == "train" else None), name


def test_of_two_names_of_a_role_the_one_with_most_values_counts(tmp_path: Path):
    """transformers logs `loss` as it trains, and its mean as `train_loss` in the end."""
    log(tmp_path, "r", *((step, {"loss": 1 / step}) for step in range(1, 41)), (40, {"train_loss": 3.0}))
    (result,) = ask(tmp_path, "SELECT last_loss, loss_name, last_train_loss FROM run_results")
    assert result == {"last_loss": 1 / 40, "loss_name": "loss", "last_train_loss": 1 / 40}


def test_of_several_values_at_the_last_step_the_last_that_was_logged_counts(tmp_path: Path):
    log(tmp_path, "r", *((10, {"train/loss": value, "test/accuracy": value / 10}) for value in (3.0, 1.0, 2.0)))
    (result,) = ask(tmp_path, "SELECT last_train_loss, last_test_accuracy FROM run_results")
    assert result == {"last_train_loss": 2.0, "last_test_accuracy": 0.2}
    assert ask(tmp_path, "SELECT DISTINCT last_value FROM metric_names WHERE name = 'train/loss'") == [
        {"last_value": 2.0}
    ]


def test_metrics_over_tokens_leave_the_steps_to_the_rows(tmp_path: Path):
    log(tmp_path, "r", *((step * 1000, {"loss": 1.0}) for step in range(1, 41)), (40, {"lr": 0.1}))
    log(tmp_path, "metrics", (70, {"loss": 1.0}), steps=0)
    assert ask(tmp_path, "SELECT run, steps FROM runs ORDER BY run") == [
        {"run": "metrics", "steps": 70},
        {"run": "r", "steps": 40},
    ]
    names = ask(tmp_path, "SELECT run, name, last_step, own_steps FROM metric_names ORDER BY run, name")
    assert [tuple(name.values()) for name in names] == [
        ("metrics", "loss", 70, False),
        ("r", "loss", 40_000, True),
        ("r", "lr", 40, False),
    ]


def test_epochs_are_steps_of_the_optimizer(tmp_path: Path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 41):
            collector.epoch = 1 + (step - 1) // 20
            emitter.say(step)
            collector.log({"loss": 1.0})
            collector.log({"tokens/loss": 1.0}, step=3 * step)
    assert [tuple(row.values()) for row in ask(tmp_path, "FROM epoch_steps('r') ORDER BY epoch")] == [
        (1, 1, 20),
        (2, 21, 40),
    ]
