"""A run that goes on after a stop is one run, in which each step is there once."""

import json
import math
import time
import warnings
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from collector import Collector, connect
from collector.log import compact
from collector.log.schema import TRUST_RATIOS
from collector.log.supersede import supersede


def attempts(collector: Collector) -> list[int]:
    return [attempt["first_step"] for attempt in json.loads((collector.folder / "run.json").read_text())["attempts"]]


def superseded_steps(collector: Collector, steps_of) -> list[int]:
    return steps_of(collector.folder / "superseded" / "attempt-2")


def test_a_resumed_run_replaces_what_lies_after_its_checkpoint(new_training, tmp_path):
    first = new_training()
    with Collector(first.optimizer, tmp_path, name="r") as collector:
        first.steps(5)
        checkpoint = deepcopy(first.optimizer.state_dict())
        first.steps(5)
    second = new_training()
    second.optimizer.load_state_dict(checkpoint)
    with Collector(second.optimizer, tmp_path, name="r", resume=True) as collector:
        assert collector.step == 5  # where the optimizer is, and not the log
        second.steps(7)
    rows = connect(tmp_path).sql("SELECT step, layer, update_norm FROM trust_ratios").fetchall()
    expected = {(step, layer): values[1] for step, layer, values in first.said if step <= 5}
    expected |= {(step, layer): values[1] for step, layer, values in second.said}
    assert len(rows) == 12 * 4
    assert {(step, layer): norm for step, layer, norm in rows} == expected
    assert attempts(collector) == [1, 6]


def test_a_part_may_be_called_as_one_that_was_merged_before_the_resume(emitter, tmp_path, monkeypatch):
    """A reader of a run that goes on looks for a part also where merges move parts, and must not find both."""
    monkeypatch.setattr(compact, "TIERS", (0, 4))
    monkeypatch.setattr(compact, "MIN_PARTS", 2)
    collector = Collector(emitter, tmp_path, name="r")
    for steps in ((1, 2), (3,), (4,)):
        for step in steps:
            emitter.say(step)
        collector.flush()
    folder = collector.folder / "trust_ratios"
    compact.merge_small(TRUST_RATIOS, folder, emitter.layers)  # of steps 3 and 4 one part, which goes with the resume
    supersede(TRUST_RATIOS, folder, collector.folder / "superseded", 3)
    emitter.say(3)
    collector.flush()
    assert len(list(folder.glob("step-000000000003-part-000002.parquet"))) == 1
    found = connect(tmp_path).sql("SELECT step, count(*) FROM trust_ratios GROUP BY step ORDER BY step").fetchall()
    assert found == [(1, 2), (2, 2), (3, 2)]
    collector.close()


def test_the_rows_that_were_replaced_stay_in_the_run(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in (1, 2, 3):
            emitter.say(step)
        collector.flush()
        for step in (4, 5):
            emitter.say(step)
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(3)
    assert steps_of(collector.folder) == [1, 2, 3]
    assert superseded_steps(collector, steps_of) == [3, 4, 5]


def test_an_attempt_within_one_process_began_when_the_steps_went_back_and_not_with_the_next_flush(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        for step in (1, 2, 3, 2):
            emitter.say(step)
        went_back = datetime.now(UTC)
        time.sleep(0.01)
    noted = json.loads((collector.folder / "run.json").read_text())["attempts"]
    assert [attempt["first_step"] for attempt in noted] == [1, 2]
    assert datetime.fromisoformat(noted[1]["started"]) <= went_back


def test_a_resume_without_an_overlap_replaces_nothing(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(2)
    assert steps_of(collector.folder) == [1, 2]
    assert not (collector.folder / "superseded").exists()
    assert attempts(collector) == [1, 2]


@pytest.mark.parametrize(("every", "first", "hole"), [(1, 61, "21 to 60"), (10, 31, "21 to 30"), (10, 30, None)])
def test_a_resume_beyond_the_end_of_the_log_warns_once_of_what_is_not_there(emitter, tmp_path, every, first, hole):
    with Collector(emitter, tmp_path, name="r", every=every):
        for step in range(1, 21):
            emitter.say(step)
    with (
        warnings.catch_warnings(record=True) as warned,
        Collector(emitter, tmp_path, name="r", every=every, resume=True),
    ):
        warnings.simplefilter("always")
        for step in range(first, first + 3):
            emitter.say(step)
    said = f"its log ends at step 20, so steps {hole} are not in the log: load a checkpoint of step 20 or before"
    assert len(warned) == (hole is not None)
    assert all(said in str(each.message) for each in warned)


def test_steps_that_have_no_rows_are_no_hole_in_a_log(emitter, tmp_path, steps_of):
    """A fused optimizer counts a step that GradScaler cancels; warnings are errors."""
    with Collector(emitter, tmp_path, name="r"):
        for step in range(1, 7):
            emitter.say(step, torch.full((7, len(emitter.layers)), math.nan if step > 4 else 1.0))
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(7)
    assert steps_of(collector.folder, emitter.layers[0]) == [1, 2, 3, 4, 7]


def test_so_does_one_whose_checkpoint_is_loaded_when_it_goes_on(training, new_training, tmp_path):
    with Collector(training.optimizer, tmp_path, name="r"):
        training.steps(2)
    training.steps(3)
    resumed = new_training()
    with Collector(resumed.optimizer, tmp_path, name="r", resume=True):
        resumed.optimizer.load_state_dict(training.optimizer.state_dict())
        with pytest.warns(UserWarning, match="was resumed at step 6, but its log ends at step 2, so steps 3 to 5 are"):
            resumed.steps()


def test_metrics_are_replaced_with_the_steps_they_belong_to(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in (1, 2, 3):
            emitter.say(step)
            collector.log({"loss": float(step)})
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        collector.log({"test/accuracy": 0.5})  # of the checkpoint, before any step
        collector.flush()
        emitter.say(3)
        collector.log({"loss": 30.0})
    rows = connect(tmp_path).sql("SELECT step, name, value FROM metrics ORDER BY ALL").fetchall()
    assert rows == [(1, "loss", 1.0), (2, "loss", 2.0), (2, "test/accuracy", 0.5), (3, "loss", 30.0)]


def test_a_resumed_run_that_never_steps_keeps_what_was_there(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        emitter.say(2)
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        collector.log({"test/accuracy": 0.5})
    assert steps_of(collector.folder) == [1, 2]
    assert connect(tmp_path).sql("SELECT step, value FROM metrics").fetchall() == [(2, 0.5)]
    assert attempts(collector) == [1, None]


def test_a_run_that_is_not_there_begins(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(1)
    assert steps_of(collector.folder) == [1]
    assert attempts(collector) == [1]


def test_a_checkpoint_loaded_on_the_way_is_a_resume_too(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in (1, 2, 3, 4, 2, 3):
            emitter.say(step)
            collector.log({"loss": float(step)})
    assert steps_of(collector.folder) == [1, 2, 3]
    assert attempts(collector) == [1, 2]
    assert connect(tmp_path).sql("SELECT step FROM metrics ORDER BY 1").fetchall() == [(1,), (2,), (3,)]


def test_of_several_optimizers_each_replaces_its_own_layers(new_emitter, tmp_path, steps_of):
    first, second = new_emitter(["a"]), new_emitter(["b"])
    with Collector([first, second], tmp_path, name="r") as collector:
        for step in (1, 2, 3, 4):
            first.say(step)
        second.say(1)
        second.say(2)
    with Collector([first, second], tmp_path, name="r", resume=True) as collector:
        second.say(2)
        first.say(4)
    assert steps_of(collector.folder, "a") == [1, 2, 3, 4]
    assert steps_of(collector.folder, "b") == [1, 2]
    # Both took theirs out of one part, under the same attempt: neither is lost.
    replaced = pq.ParquetDataset(collector.folder / "superseded" / "attempt-2" / "trust_ratios").read().to_pylist()
    assert sorted((row["layer"], row["step"]) for row in replaced) == [("a", 4), ("b", 2)]


def test_the_config_of_a_resumed_run_stays_unless_another_is_given(emitter, tmp_path):
    def config(collector: Collector) -> dict:
        return json.loads((collector.folder / "run.json").read_text())["config"]

    Collector(emitter, tmp_path, name="r", config={"lr": 1}).close()
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        assert config(collector) == {"lr": 1}
    with Collector(emitter, tmp_path, name="r", resume=True, config={"lr": 2}) as collector:
        assert config(collector) == {"lr": 2}
        assert json.loads((collector.folder / "run.json").read_text())["status"] == "running"


def test_a_layer_that_is_no_more_stays_in_the_table(new_emitter, tmp_path):
    with Collector(new_emitter(["a", "b"]), tmp_path, name="r"):
        pass
    with Collector(new_emitter(["b", "c"]), tmp_path, name="r", resume=True):
        pass
    rows = connect(tmp_path).sql("SELECT layer, position FROM layers ORDER BY 2").fetchall()
    assert rows == [("b", 0), ("c", 1), ("a", 2)]


def test_resume_needs_a_name_and_a_readable_run(emitter, tmp_path):
    with pytest.raises(ValueError, match="resume=True needs the name"):
        Collector(emitter, tmp_path, resume=True)
    Collector(emitter, tmp_path, name="r").close()
    good = json.loads((tmp_path / "r" / "run.json").read_text())
    for text, reason in (("{", "it is no JSON"), (json.dumps(good | {"layers": [{}]}), "its layer table has {}")):
        (tmp_path / "r" / "run.json").write_text(text)
        with pytest.raises(ValueError, match=rf"r/run\.json: .*{reason}.*; mend it, or begin a run of another name"):
            Collector(emitter, tmp_path, name="r", resume=True)


def test_a_run_whose_folder_was_renamed_goes_on_only_under_its_own_name(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="old"):
        emitter.say(1)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(ValueError, match="new holds the run 'old': call the folder so again to go on"):
        Collector(emitter, tmp_path, name="new", resume=True)
    (tmp_path / "new").rename(tmp_path / "old")
    with Collector(emitter, tmp_path, name="old", resume=True):
        emitter.say(2)
    assert connect(tmp_path).sql("SELECT step FROM trust_ratios WHERE layer = 'a'").fetchall() == [(1,), (2,)]


def test_a_damaged_part_is_an_error_before_the_run_goes_on(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1, torch.ones(7, 2))
    (part,) = (collector.folder / "trust_ratios").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(OSError, match=r"is damaged .*move it out of the run to go on"):
        Collector(emitter, tmp_path, name="r", resume=True)


@pytest.mark.filterwarnings("ignore:run 'r' was resumed at step 7, but its log ends at step 4")
@pytest.mark.parametrize("first", [3, 5, 7], ids=["earlier", "where it stopped", "later"])
def test_a_metric_that_was_flushed_before_the_first_step_of_a_resumed_run_is_on_the_disk_and_stays(
    emitter, tmp_path, first
):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 5):
            emitter.say(step)
            collector.log({"loss": float(step)})
    question = "SELECT step, value FROM metrics ORDER BY step, time"
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        collector.log({"own": 1.0}, step=100)
        collector.log({"loss": 0.25})
        for _ in range(2):
            collector.flush()
            assert connect(tmp_path).sql(question).fetchall() == [
                *((step, float(step)) for step in range(1, 5)), (4, 0.25), (100, 1.0)
            ]  # fmt: skip
        emitter.say(first)
        collector.log({"loss": 0.125})
    kept = min(first - 1, 4)
    assert connect(tmp_path).sql(question).fetchall() == [
        *((step, float(step)) for step in range(1, kept + 1)), (kept, 0.25), (first, 0.125), (100, 1.0)
    ]  # fmt: skip


def flip(path: Path) -> None:
    """A bit in the values of a part, which only its checksum knows."""
    whole = bytearray(path.read_bytes())
    whole[-8 - int.from_bytes(whole[-8:-4], "little") - 40] ^= 1
    path.write_bytes(whole)


@pytest.mark.filterwarnings("ignore:run 'r' was resumed, and its log reaches step")
@pytest.mark.parametrize("first", [1, 3])
def test_a_damaged_part_does_not_stop_the_rows_that_come_anew(emitter, tmp_path, steps_of, first):
    with Collector(emitter, tmp_path, name="r") as collector:
        for step in range(1, 5):
            emitter.say(step)
    (part,) = (collector.folder / "trust_ratios").iterdir()
    flip(part)
    with Collector(emitter, tmp_path, name="r", resume=True) as collector:
        emitter.say(first)
        collector.flush()
        if first == 1:  # all of its rows come anew
            emitter.say(2)
        else:
            with pytest.warns(UserWarning, match=r"run 'r' has a damaged file: .*superseded.* restore it from a copy"):
                emitter.say(first + 1)
    assert steps_of(collector.folder) == [first, first + 1]
    assert [path.name for path in (collector.folder / "superseded").rglob("*.parquet")] == [part.name]


def test_a_damaged_part_keeps_no_run_from_its_end(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        collector.flush()
        emitter.say(2)
        collector.flush()
        flip(min((collector.folder / "trust_ratios").iterdir()))
        emitter.say(3)
    contents = json.loads((collector.folder / "run.json").read_text())
    assert (contents["status"], contents.get("lost_rows", 0)) == ("finished", 0)
    assert collector not in Collector.open_runs()
    assert len(list((collector.folder / "trust_ratios").iterdir())) == 3


def phases(model, optimizer) -> None:
    """Ten steps in which one layer is frozen, and ten in which the other is."""
    for frozen, trained in ((0, 2), (2, 0)):
        model[frozen].requires_grad_(False)
        model[trained].requires_grad_(True)
        optimizer.zero_grad()
        take_steps(model, optimizer, 10)


def warm_restart(model, optimizer) -> None:
    take_steps(model, optimizer, 15)
    optimizer.state.clear()
    take_steps(model, optimizer, 5)


def steps_in_vain(model, optimizer) -> None:
    """Of twenty fused steps GradScaler has four taken in vain."""
    for number in range(20):
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(1.0), torch.tensor(float(number % 5 == 2))
        take_steps(model, optimizer, 1)
    del optimizer.grad_scale, optimizer.found_inf


def take_steps(model, optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()


def steps_in(root: Path) -> list[int]:
    """Steps of which any layer has a row."""
    found = connect(root).sql("SELECT DISTINCT step FROM trust_ratios ORDER BY step")
    return [step for (step,) in found.fetchall()]


def two_layers() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


@pytest.mark.parametrize("train", [phases, warm_restart, steps_in_vain])
@pytest.mark.parametrize("later", [False, True], ids=["state first", "collector first"])
@pytest.mark.parametrize("ended", [False, True], ids=["on the way", "at the end"])
def test_an_observed_run_goes_on_where_its_checkpoint_was_taken_whatever_the_state_counts(
    tmp_path, train, later, ended
):
    model = two_layers()
    optimizer = torch.optim.AdamW(model.named_parameters(), fused=train is steps_in_vain)
    with Collector(optimizer, tmp_path, name="r") as collector:
        train(model, optimizer)
        if not ended:
            checkpoint = deepcopy(optimizer.state_dict())
            take_steps(model, optimizer, 3)
    recorded = steps_in(tmp_path)
    checkpoint = deepcopy(optimizer.state_dict()) if ended else checkpoint
    optimizer = torch.optim.AdamW(model.named_parameters(), fused=train is steps_in_vain)
    if not later:
        optimizer.load_state_dict(checkpoint)
    with Collector(optimizer, tmp_path, name="r", resume=True) as collector:
        if later:
            optimizer.load_state_dict(checkpoint)
        take_steps(model, optimizer, 2)
        assert collector.step == 22
    assert steps_in(tmp_path) == [step for step in recorded if step <= 20] + [21, 22]
    assert len(steps_in(tmp_path)) == (18 if train is steps_in_vain else 22)


@pytest.mark.parametrize("later", [False, True], ids=["state first", "collector first"])
def test_an_optimizer_that_keeps_no_count_goes_along_with_one_that_does(tmp_path, steps_of, later):
    def made(model):
        muon = torch.optim.Muon([model[0].weight, model[2].weight], lr=0.01)
        return muon, torch.optim.AdamW([model[0].bias, model[2].bias])

    def train(model, optimizers, count):
        for _ in range(count):
            model(torch.randn(5, 4)).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()

    model = two_layers()
    before = made(model)
    train(model, before, 5)
    checkpoint = [deepcopy(optimizer.state_dict()) for optimizer in before]
    optimizers = made(model)

    def load() -> None:
        for optimizer, state in zip(optimizers, checkpoint, strict=True):
            optimizer.load_state_dict(state)

    if not later:
        load()
    with Collector(optimizers, tmp_path, name="r", model=model) as collector:
        if later:
            load()
        train(model, optimizers, 3)
    assert steps_of(collector.folder, "0.weight") == steps_of(collector.folder, "0.bias") == [6, 7, 8]


def test_metrics_of_a_resumed_run_wait_for_whichever_optimizer_steps_first(new_emitter, tmp_path, steps_of):
    rare, often = new_emitter(["a"]), new_emitter(["b"])
    with Collector([rare, often], tmp_path, name="r") as collector:
        rare.say(1)
        for step in (1, 2, 3, 4):
            often.say(step)
            collector.log({"loss": float(step)})
    with Collector([rare, often], tmp_path, name="r", resume=True) as collector:
        collector.log({"before": 0.0})
        for step in (4, 5):
            often.say(step)
            collector.log({"loss": 10.0 + step})
        rare.say(2)
    logged = connect(tmp_path).sql("SELECT step, name, value FROM metrics ORDER BY step, name").fetchall()
    expected = [(1, "loss", 1), (2, "loss", 2), (3, "before", 0), (3, "loss", 3), (4, "loss", 14), (5, "loss", 15)]
    assert logged == expected
    assert steps_of(collector.folder, "b") == [1, 2, 3, 4, 5]


def test_a_value_between_the_steps_of_two_optimizers_that_went_back_is_at_the_step_that_came(new_emitter, tmp_path):
    first, second = new_emitter(["a"]), new_emitter(["b"])
    with Collector([first, second], tmp_path, name="r") as collector:
        for step in (1, 2, 3, 4, 5, 6, 4, 5):
            first.say(step)
            collector.log({"between": float(step)})
            second.say(step)
    assert connect(tmp_path).sql("SELECT step, value FROM metrics ORDER BY step").fetchall() == [
        (step, float(step)) for step in range(1, 6)
    ]


def test_a_curve_that_begins_anew_each_epoch_stays_where_the_run_goes_on_at_its_end(emitter, tmp_path):
    for attempt in range(2):
        with Collector(emitter, tmp_path, name="r", resume=True) as collector:
            emitter.say(attempt + 1)
            for place in range(3):
                collector.log({"curve": 10.0 * attempt + place}, step=place)
    logged = connect(tmp_path).sql("SELECT step, value FROM metrics ORDER BY value").fetchall()
    assert logged == [(0, 0), (1, 1), (2, 2), (0, 10), (1, 11), (2, 12)]
