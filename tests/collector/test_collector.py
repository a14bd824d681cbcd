"""What a user of the Collector relies on."""

import itertools
import json
import math
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from collector import Collector, connect
from tests.collector.emitter import Emitter


def run_json(collector: Collector) -> dict:
    return json.loads((collector.folder / "run.json").read_text())


def metrics(table) -> list[tuple]:
    return list(zip(*(table[name].to_pylist() for name in ("step", "epoch", "name", "value")), strict=True))


def test_every_layer_at_every_step_is_a_row_with_the_values_that_the_optimizer_said(training, tmp_path, stored):
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        training.steps(5)
    rows = stored(collector.folder / "trust_ratios").to_pylist()
    fields = ("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "lower", "upper", "lr")
    found = {(row["step"], row["layer"]): tuple(row[field] for field in fields) for row in rows}
    assert found == {(step, layer): values for step, layer, values in training.said}
    assert len(rows) == 5 * 4
    assert {row["run"] for row in rows} == {"r"}


def test_a_layer_without_a_gradient_gets_no_row(training, tmp_path, steps_of):
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        training.steps()
        training.model[0].bias.requires_grad_(False)
        training.steps()
    assert steps_of(collector.folder, "0.bias") == [1]
    assert steps_of(collector.folder, "0.weight") == [1, 2]


def test_a_step_in_which_no_layer_moved_leaves_no_part(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1, torch.full((7, 2), math.nan))
    assert list((collector.folder / "trust_ratios").iterdir()) == []


def test_the_step_is_the_optimizers(training, tmp_path):
    training.steps(3)
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        assert collector.step == 3
        training.steps()
        assert collector.step == 4
        assert collector.run == "r"
        assert collector.folder == tmp_path / "r"


def test_an_epoch_holds_for_the_rows_that_follow(emitter, tmp_path, stored):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        collector.epoch = 1
        emitter.say(2)
        collector.log({"a": 0.0}, epoch=2)
        emitter.say(3)
    rows = stored(collector.folder / "trust_ratios")
    assert set(zip(rows["step"].to_pylist(), rows["epoch"].to_pylist(), strict=True)) == {(1, 0), (2, 1), (3, 2)}
    assert metrics(stored(collector.folder / "metrics")) == [(2, 2, "a", 0.0)]


def log_epochs(root, first: int, at: str, length: int = 24) -> None:
    """Three epochs, each of which log() gives `at` its start, at its end, in the middle too, at each step, or so."""
    emitter = Emitter(["a"])
    with Collector(emitter, root, name="r") as collector:
        steps = itertools.count(1)
        if at == "start, after a warm-up":
            emitter.say(next(steps))
        for epoch in range(first, first + 3):
            if at.startswith("start"):
                collector.log({"lr": 0.1}, epoch=epoch)
            for step in range(1, length + 1):
                emitter.say(next(steps))
                if at == "step" or (at == "other step" and step % 2) or (at == "middle" and step == length // 2):
                    collector.log({"loss": 1.0}, epoch=epoch)
                if at == "part" and step % 8 == 0:
                    collector.log({"loss": 1.0}, epoch=epoch + step / length)
            if at in ("end", "middle"):
                collector.log({"loss": 1.0}, epoch=epoch)
                collector.log({"accuracy": 1.0}, epoch=epoch)


@pytest.mark.parametrize("at", ["end", "middle"])
@pytest.mark.parametrize(("first", "late", "before"), [(0, 1, 0), (1, 2, 1)])
def test_epochs_that_are_only_given_after_their_steps_are_warned_of(tmp_path, first, late, before, at):
    said = f"run 'r' has rows of epoch {late} under epoch {before}, since .*: set collector.epoch = {late} before"
    with pytest.warns(UserWarning, match=said) as warned:
        log_epochs(tmp_path, first, at)
    assert len(warned) == 1


@pytest.mark.parametrize("at", ["start", "start, after a warm-up", "step", "other step", "part"])
@pytest.mark.parametrize("first", [0, 1])
def test_those_that_are_given_before_or_during_them_are_not(tmp_path, at, first):
    log_epochs(tmp_path, first, at)


def test_nor_are_those_of_metrics_where_the_epoch_is_set(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        for epoch in range(3):
            emitter.say(epoch + 1)
            collector.epoch = epoch
            collector.log({"loss": 1.0}, epoch=epoch)


def test_metrics_may_be_numbers_or_tensors_of_one_element(emitter, tmp_path, stored):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        loss = torch.tensor([0.25], requires_grad=True)
        collector.log({"train/loss": loss, "n": 3, "nan": math.nan, "flag": torch.tensor(True)})
        collector.log({"late": 1.5}, step=7)
    found = {name: (step, value) for step, _, name, value in metrics(stored(collector.folder / "metrics"))}
    assert math.isnan(found.pop("nan")[1])
    assert found == {"train/loss": (1, 0.25), "n": (1, 3.0), "flag": (1, 1.0), "late": (7, 1.5)}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"a": "0.5"}, TypeError, "metric 'a' is '0.5', a str"),
        ({"a": None}, TypeError, "metric 'a' is None"),
        ({"a": torch.zeros(3)}, ValueError, r"metric 'a' is a tensor of shape \(3,\)"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, TypeError, "metric 'a' is complex"),
        ({3: 1.0}, TypeError, "metric 3"),
        ({"": 1.0}, TypeError, "metric ''"),
        ({"\ud800": 1.0}, ValueError, "not valid Unicode"),
    ],
)
def test_a_metric_that_is_no_number_is_an_error_that_names_it(emitter, tmp_path, values, error, message):
    with Collector(emitter, tmp_path, name="r") as collector:
        with pytest.raises(error, match=message):
            collector.log({"good": 1.0, **values})
        collector.flush()
        assert list((collector.folder / "metrics").iterdir()) == []  # nothing of a refused call is kept


@pytest.mark.parametrize("kind", [int, np.int64, torch.tensor])
def test_a_step_and_an_epoch_may_be_of_any_kind_of_whole_number(emitter, tmp_path, stored, kind):
    with Collector(emitter, tmp_path, name="r") as collector:
        collector.log({"a": 0.5}, step=kind(7), epoch=kind(3))
        collector.epoch = kind(4)
        emitter.say(8)
    assert metrics(stored(collector.folder / "metrics")) == [(7, 3, "a", 0.5)]
    assert set(stored(collector.folder / "trust_ratios")["epoch"].to_pylist()) == {4}


@pytest.mark.parametrize(
    ("step", "epoch"),
    [(-1, None), (1.5, None), (2**63, None), (True, None), (None, -1), (None, 2**31), (None, "one"), (None, True)],
)
def test_a_step_or_an_epoch_that_is_none_is_an_error(emitter, tmp_path, step, epoch):
    with Collector(emitter, tmp_path, name="r") as collector, pytest.raises(ValueError, match="a whole number"):
        collector.log({"a": 1.0}, step=step, epoch=epoch)


def test_flush_returns_when_all_rows_are_on_the_disk(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        collector.flush()
        assert steps_of(collector.folder) == [1]
        emitter.say(2)
        collector.flush()
        assert steps_of(collector.folder) == [1, 2]


def test_rows_are_flushed_by_time_though_no_step_follows(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=0.05) as collector:
        emitter.say(1)
        deadline = time.monotonic() + 600
        while not list((collector.folder / "trust_ratios").glob("*.parquet")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert steps_of(collector.folder) == [1]


def test_a_full_ring_loses_nothing(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        for step in range(1, 10_001):
            emitter.say(step)
    assert steps_of(collector.folder) == list(range(1, 10_001))


def test_names_are_without_what_compile_and_ddp_put_into_them(new_emitter, tmp_path, steps_of):
    emitter = new_emitter(
        ["module._orig_mod.fc.weight", "_orig_mod.module.layers.0._orig_mod.weight", "module.encoder.module.weight"]
    )
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
    for layer in ("fc.weight", "layers.0.weight", "encoder.module.weight"):
        assert steps_of(collector.folder, layer) == [1]


def test_a_name_that_is_no_unicode_loses_no_rows(new_emitter, tmp_path):
    emitter = new_emitter(["a\udcff", "b"])
    with Collector(emitter, tmp_path, name="r"):
        emitter.say(1)
    con = connect(tmp_path)
    assert con.sql("SELECT layer FROM trust_ratios ORDER BY 1").fetchall() == [("a?",), ("b",)]
    assert con.sql("SELECT layer FROM layers ORDER BY 1").fetchall() == [("a?",), ("b",)]
    assert con.sql("FROM problems").fetchall() == []


def test_the_layer_table_says_shape_size_and_group(training, tmp_path):
    training.optimizer.add_param_group({"params": [("extra", torch.nn.Parameter(torch.ones(2, 2)))]})
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        training.steps()
        table = run_json(collector)["layers"]
    assert table[0] == {"layer": "0.weight", "position": 0, "shape": [4, 3], "parameters": 12, "group": 0}
    assert table[-1] == {"layer": "extra", "position": 4, "shape": [2, 2], "parameters": 4, "group": 1}


def test_a_model_gives_the_depth_order_where_groups_have_another(training, new_training, tmp_path):
    named = list(training.model.named_parameters())
    groups = [{"params": [pair for pair in named if "bias" in pair[0]]}]
    groups += [{"params": [pair for pair in named if "weight" in pair[0]]}]
    optimizer = type(training.optimizer)(groups)
    training.optimizer = optimizer
    with Collector(optimizer, tmp_path, name="r", model=training.model) as collector:
        training.steps()
        layers = run_json(collector)["layers"]
    assert [layer["layer"] for layer in layers] == [name for name, _ in named]
    assert [layer["group"] for layer in layers] == [1, 0, 1, 0]


def test_rows_of_a_part_are_sorted_by_depth_then_step(training, tmp_path, stored):
    with Collector(training.optimizer, tmp_path, name="r", model=training.model) as collector:
        training.steps(3)
    rows = stored(collector.folder / "trust_ratios")
    names = [name for name, _ in training.model.named_parameters()]
    assert rows["layer"].to_pylist() == [name for name in names for _ in range(3)]
    assert rows["step"].to_pylist() == [1, 2, 3] * 4


def test_a_group_that_is_added_later_is_recorded_from_then_on(training, tmp_path, steps_of):
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        training.steps()
        extra = torch.nn.Parameter(torch.ones(2))
        training.optimizer.add_param_group({"params": [("extra", extra)]})
        extra.grad = torch.ones(2)
        training.optimizer.step()
    assert steps_of(collector.folder, "0.weight") == [1, 2]
    assert steps_of(collector.folder, "extra") == [2]
    assert run_json(collector)["layers"][-1]["layer"] == "extra"


def test_several_optimizers_are_one_run(new_emitter, tmp_path, steps_of):
    first, second = new_emitter(["a"]), new_emitter(["b"])
    with Collector([first, second], tmp_path, name="r") as collector:
        first.say(1)
        first.say(2)
        second.say(1)
    assert steps_of(collector.folder, "a") == [1, 2]
    assert steps_of(collector.folder, "b") == [1]
    assert [(layer["layer"], layer["group"]) for layer in run_json(collector)["layers"]] == [("a", 0), ("b", 1)]


def test_no_optimizer_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"optimizer=\[\]: give an optimizer to record"):
        Collector([], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a..b", "a\0b", "x" * 201, "é" * 101, "\ud800"]
)
def test_a_name_that_cannot_be_a_folder_is_an_error(emitter, tmp_path, name):
    with pytest.raises(ValueError, match="name="):
        Collector(emitter, tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_there_already_is_an_error(emitter, tmp_path):
    Collector(emitter, tmp_path, name="r").close()
    with pytest.raises(FileExistsError, match=r"run 'r' is there already .* resume=True"):
        Collector(emitter, tmp_path, name="r")


def test_an_optimizer_that_an_open_run_records_already_is_warned_of(emitter, new_emitter, tmp_path, steps_of):
    """As when the cell of a notebook is run again under another name."""
    first = Collector(emitter, tmp_path, name="a")
    emitter.say(1)
    said = r"run 'a' is still open in this process and records the same optimizer, .*: close it first \(Collector.open_"
    with pytest.warns(UserWarning, match=said), Collector([new_emitter(["c"]), emitter], tmp_path / "b", name="b"):
        emitter.say(2)
    first.close()
    with Collector(emitter, tmp_path, name="c"):
        emitter.say(3)
    assert [steps_of(tmp_path / run) for run in ("a", "b/b", "c")] == [[1, 2], [2], [3]]


def test_runs_without_a_name_get_one_each(emitter, tmp_path):
    runs = []
    for _ in range(2):
        with Collector(emitter, tmp_path) as collector:
            runs.append(collector.run)
    assert len(set(runs)) == 2


def test_a_root_that_cannot_be_written_to_is_an_error_before_training_starts(emitter, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write a run to .*file/r.*choose another root"):
        Collector(emitter, tmp_path / "file", name="r")


def test_a_root_that_is_a_link_to_nothing_is_an_error_that_says_so(emitter, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        OSError, match=r"cannot write a run to .*link/r: a link in this path leads nowhere; choose another"
    ):
        Collector(emitter, tmp_path / "link", name="r")


def test_a_clean_end_is_finished(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        assert run_json(collector)["status"] == "running"
    assert run_json(collector)["status"] == "finished"
    assert run_json(collector)["finished"] >= run_json(collector)["started"]


@pytest.mark.parametrize(
    ("error", "status", "failure"),
    [
        (ValueError("out of luck"), "failed", "ValueError: out of luck"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt: "),
        (ValueError("no file '\udcff'"), "failed", "ValueError: no file '?'"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (SystemExit("no data"), "failed", "SystemExit: no data"),
        (SystemExit(0), "finished", None),
        (SystemExit(), "finished", None),
    ],
)
def test_an_exception_is_noted_and_goes_on_its_way(emitter, tmp_path, steps_of, error, status, failure):
    collector = Collector(emitter, tmp_path, name="r")
    emitter.say(1)
    with pytest.raises(type(error)) as caught, collector:
        raise error
    assert caught.value is error
    assert (run_json(collector)["status"], run_json(collector)["failure"]) == (status, failure)
    assert steps_of(collector.folder) == [1]
    assert connect(tmp_path).sql("SELECT status, failure FROM runs").fetchall() == [(status, failure)]


def test_what_follows_close_is_not_recorded(emitter, tmp_path, steps_of):
    collector = Collector(emitter, tmp_path, name="r")
    emitter.say(1)
    collector.close()
    collector.close()
    emitter.say(2)
    assert steps_of(collector.folder) == [1]
    for use in (lambda: collector.log({"a": 1.0}), collector.__enter__):
        with pytest.raises(RuntimeError, match="run 'r' is closed; make a new Collector"):
            use()


def test_a_config_is_valid_json_whatever_it_holds(emitter, tmp_path):
    config = {
        "lr": 1e-2,
        "nan": math.nan,
        "path": Path("a"),
        3: [math.inf, {"x": torch.float32}],
        "s": "\ud800",
        "ok": None,
    }
    with Collector(emitter, tmp_path, name="r", config=config) as collector:
        text = (collector.folder / "run.json").read_text()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(text, parse_constant=refuse)["config"] == {
        "lr": 1e-2,
        "nan": "nan",
        "path": "a",
        "3": ["inf", {"x": "torch.float32"}],
        "s": "?",
        "ok": None,
    }


def test_the_environment_is_noted(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        environment = run_json(collector)["environment"]
    assert environment["torch"] == torch.__version__
    assert environment["device"] == "cpu"
    assert environment["world_size"] == 1
    processor, _, threads = environment["device_name"].rpartition(", ")
    assert processor not in ("", "cpu")
    assert threads == f"{torch.get_num_threads()} threads"


def test_metrics_under_inference_mode_are_as_good_as_others(emitter, tmp_path, stored):
    with Collector(emitter, tmp_path, name="r") as collector:
        with torch.inference_mode():
            collector.log({"a": torch.tensor(1.0)})
            emitter.say(1)
        emitter.say(2)
        collector.log({"a": torch.tensor(2.0)})
    assert metrics(stored(collector.folder / "metrics")) == [(0, 0, "a", 1.0), (2, 0, "a", 2.0)]


@pytest.mark.parametrize(
    ("use", "never"),
    [
        ("import collector", {"torch", "duckdb", "pyarrow"}),
        ("from collector import connect; connect(root)", {"torch", "pandas"}),
        (
            "from collector import Collector\n"
            "from tests.collector.emitter import Emitter\n"
            "emitter = Emitter(['w'])\n"
            "with Collector(emitter, root) as c: emitter.say(1); c.log({'a': 1}); c.flush(); emitter.say(2)",
            {"duckdb", "pandas"},
        ),
    ],
    ids=["import", "connect", "Collector"],
)
def test_only_what_is_needed_is_imported(tmp_path, use, never):
    code = f"root = {str(tmp_path)!r}\n{use}\nimport sys\nprint(*({never!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_warning_is_raised_while_all_is_well(training, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Collector(training.optimizer, tmp_path, name="r") as collector:
            training.steps(2)
            collector.log({"a": torch.ones((), requires_grad=True)})
