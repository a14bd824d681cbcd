"""Which steps and layers become rows, and what is a step."""

import json

import pytest
import torch

from collector import Collector, connect
from lambc import LAMBC


def stored_layers(root) -> list[str]:
    return [name for (name,) in connect(root).sql("SELECT layer FROM layers ORDER BY position").fetchall()]


# Which steps.


def test_every_nth_step_and_the_first_are_recorded(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", every=3) as collector:
        for step in range(1, 11):
            emitter.say(step)
    assert steps_of(collector.folder) == [1, 3, 6, 9]


def test_metrics_belong_to_the_step_they_were_logged_in_recorded_or_not(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r", every=100) as collector:
        for step in (1, 2, 3):
            emitter.say(step)
            collector.log({"loss": 0.5})
            assert collector.step == step
    assert connect(tmp_path).sql("SELECT step FROM metrics ORDER BY 1").fetchall() == [(1,), (2,), (3,)]


def test_a_resume_between_two_recorded_steps_replaces_what_lies_after_it(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", every=10) as collector:
        for step in range(1, 41):
            emitter.say(step)
    with Collector(emitter, tmp_path, name="r", every=10, resume=True) as collector:
        for step in range(26, 32):
            emitter.say(step)
    assert steps_of(collector.folder) == [1, 10, 20, 30]
    attempts = json.loads((collector.folder / "run.json").read_text())["attempts"]
    assert [attempt["first_step"] for attempt in attempts] == [1, 26]


@pytest.mark.parametrize("every", [0, -1, 1.5, "2", True, None])
def test_every_is_a_whole_number(emitter, tmp_path, every):
    with pytest.raises(ValueError, match=r"every=.*: give a whole number of steps, 1 or more"):
        Collector(emitter, tmp_path, every=every)


# Which layers.


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ({"exclude": "*.bias"}, ["0.weight", "2.weight"]),
        ({"include": "0.*"}, ["0.weight", "0.bias"]),
        ({"include": ["0.*", "2.bias"], "exclude": ["0.bias"]}, ["0.weight", "2.bias"]),
        ({"include": iter(["[02].weight"])}, ["0.weight", "2.weight"]),
    ],
)
def test_layers_are_chosen_by_patterns(training, tmp_path, patterns, kept):
    with Collector(training.optimizer, tmp_path, name="r", **patterns):
        training.steps(3)
    rows = connect(tmp_path).sql("SELECT step, layer, update_norm FROM trust_ratios").fetchall()
    assert set(rows) == {(step, layer, values[1]) for step, layer, values in training.said if layer in kept}
    assert len(rows) == 3 * len(kept)
    assert stored_layers(tmp_path) == kept


def test_only_chosen_layers_leave_the_device(new_emitter, tmp_path, monkeypatch):
    shapes = []
    monkeypatch.setattr(
        "collector.recording.recorder.Ring",
        lambda shape, dtype, device: shapes.append(shape) or Ring(shape, dtype, device),
    )
    from collector.recording.ring import Ring

    emitter = new_emitter([f"layer{n}.weight" for n in range(10)])
    with Collector(emitter, tmp_path, name="r", include="layer[1-3].*"):
        emitter.say(1)
    assert shapes == [(7, 3)]


def test_names_are_matched_as_the_log_says_them(new_emitter, tmp_path):
    emitter = new_emitter(["module._orig_mod.fc.weight", "module._orig_mod.fc.bias"])
    with Collector(emitter, tmp_path, name="r", include="fc.weight"):
        emitter.say(1)
    assert stored_layers(tmp_path) == ["fc.weight"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"include": "conv*"}, r"include='conv\*' matches no layer; they are called 'a', 'b'"),
        ({"exclude": ["a", "A"]}, "exclude='A' matches no layer"),
        ({"exclude": "?"}, "leave no layer"),
        ({"include": []}, "leave no layer"),
    ],
)
def test_a_pattern_that_matches_no_layer_is_an_error_that_names_it(emitter, tmp_path, patterns, message):
    with pytest.raises(ValueError, match=message):
        Collector(emitter, tmp_path / "runs", **patterns)
    assert not (tmp_path / "runs").exists()


def test_a_pattern_that_is_no_string_is_an_error(emitter, tmp_path):
    with pytest.raises(TypeError, match="include=3: a pattern over layer names is a string"):
        Collector(emitter, tmp_path, include=[3])


def test_a_pattern_may_leave_out_all_of_one_optimizer(new_emitter, tmp_path, steps_of):
    first, second = new_emitter(["a"]), new_emitter(["b"])
    with Collector([first, second], tmp_path, name="r", exclude="b") as collector:
        first.say(1)
        second.say(1)
    assert steps_of(collector.folder, "a") == [1]
    assert steps_of(collector.folder, "b") == []


def test_a_resume_that_leaves_a_layer_out_takes_its_later_rows_out_too(new_emitter, tmp_path, steps_of):
    first, second = new_emitter(["a", "b"]), new_emitter(["c"])
    with Collector([first, second], tmp_path, name="r") as collector:
        for step in (1, 2, 3):
            first.say(step)
    with Collector([first, second], tmp_path, name="r", resume=True, exclude="b"):
        first.say(2)
    assert steps_of(collector.folder, "a") == [1, 2]
    assert steps_of(collector.folder, "b") == [1]


# What is a step.


def test_a_replayed_graph_is_a_further_step_with_what_the_table_says_then(emitter, tmp_path, steps_of):
    """A replay runs no Python: it writes into the table that the hook was shown."""
    table = torch.full((7, 2), 1.0)
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1, table)
        for value in (2.0, 3.0):
            table.fill_(value)
            collector.record()
            collector.log({"loss": value})
        assert collector.step == 3
    con = connect(tmp_path)
    rows = con.sql("SELECT step, update_norm FROM trust_ratios WHERE layer = 'a' ORDER BY 1").fetchall()
    assert rows == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert con.sql("SELECT step FROM metrics ORDER BY 1").fetchall() == [(2,), (3,)]


def test_the_captured_step_is_recorded_when_it_is_replayed(emitter, tmp_path, monkeypatch):
    table = torch.full((7, 2), 1.0)
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1, table)
        with monkeypatch.context() as patch:
            patch.setattr("collector.recording.recorder.is_captured", lambda table: True)
            emitter.say(2, table)  # the optimizer counts it, but nothing was computed
        assert collector.step == 1
        for value in (2.0, 3.0, 4.0):
            table.fill_(value)
            collector.record()
        emitter.say(3, table.fill_(5.0))  # a last batch of another size; the optimizer knows of no replay
        emitter.say(4, table.fill_(6.0))
    rows = connect(tmp_path).sql("SELECT step, update_norm FROM trust_ratios WHERE layer = 'a' ORDER BY 1").fetchall()
    assert rows == [(step, float(step)) for step in range(1, 7)]


def test_a_checkpoint_takes_the_count_back_also_after_replays(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r") as collector:
        emitter.say(1)
        for _ in range(9):
            collector.record()
        emitter.say(5)  # not the step after the last that it said: it was set to 4
    assert steps_of(collector.folder) == [1, 2, 3, 4, 5]


def test_replays_of_a_watched_optimizer_count_for_it_too(tmp_path, steps_of):
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    optimizer = torch.optim.SGD([("a", param)], lr=1e-2)
    with Collector(optimizer, tmp_path, name="r", every=4) as collector:
        optimizer.step()
        for _ in range(3):
            collector.record()
        for _ in range(4):
            optimizer.step()
    assert steps_of(collector.folder) == [1, 4, 8]


def test_of_several_optimizers_one_may_be_replayed(new_emitter, tmp_path, steps_of):
    first, second = new_emitter(["a"]), new_emitter(["b"])
    with Collector([first, second], tmp_path, name="r") as collector:
        first.say(1)
        second.say(1)
        collector.record(second)
        collector.record()
        with pytest.raises(ValueError, match="this collector does not record 'other': give one of the optimizers"):
            collector.record("other")
    assert steps_of(collector.folder, "a") == [1, 2]
    assert steps_of(collector.folder, "b") == [1, 2, 3]


def test_record_needs_a_step_that_was_shown(emitter, tmp_path):
    with (
        Collector(emitter, tmp_path, name="r") as collector,
        pytest.raises(RuntimeError, match="make the Collector before"),
    ):
        collector.record()
    with pytest.raises(RuntimeError, match="run 'r' is closed"):
        collector.record()


def test_accumulated_gradients_are_one_step(training, tmp_path, steps_of):
    with Collector(training.optimizer, tmp_path, name="r") as collector:
        for batch in range(8):
            training.model(torch.randn(5, 3)).square().mean().backward()
            if batch % 4 == 3:
                training.optimizer.step()
                training.optimizer.zero_grad()
    assert steps_of(collector.folder, "0.weight") == [1, 2]


def test_optimizers_that_step_in_turn_count_each_for_itself(new_training, tmp_path, steps_of):
    torch.manual_seed(0)
    one = torch.nn.Parameter(torch.ones(3))
    two = torch.nn.Parameter(torch.ones(3))
    optimizers = [LAMBC([("a", one)]), LAMBC([("b", two)])]
    with Collector(optimizers, tmp_path, name="r") as collector:
        for turn in range(6):
            for param in (one, two):
                param.grad = torch.randn(3)
            optimizers[0].step()
            if turn % 3 == 0:
                optimizers[1].step()
    assert steps_of(collector.folder, "a") == [1, 2, 3, 4, 5, 6]
    assert steps_of(collector.folder, "b") == [1, 2]


def test_a_step_that_amp_skips_gets_no_row(tmp_path, steps_of):
    """GradScaler tells LAMBC, which leaves the weights and its own count as they were, and NaN as the lr."""
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LAMBC([("a", param)])
    scaler = torch.amp.GradScaler("cpu")
    with Collector(optimizer, tmp_path, name="r") as collector:
        for factor in (1.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale((param * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    taken = connect(tmp_path).sql("SELECT count(*), count(*) FILTER (isnan(lr)) FROM trust_ratios").fetchall()
    assert taken == [(2, 0)]
    assert len(steps_of(collector.folder)) == 2


@pytest.mark.slow
def test_a_compiled_step_is_recorded_as_an_eager_one(new_training, tmp_path):
    training = new_training()
    with Collector(training.optimizer, tmp_path, name="r"):
        step = torch.compile(training.optimizer.step)
        for _ in range(3):
            training.optimizer.zero_grad()
            training.model(torch.randn(5, 3)).square().mean().backward()
            step()
    rows = connect(tmp_path).sql("SELECT step, layer, update_norm, trust_ratio FROM trust_ratios").fetchall()
    assert sorted({step for step, *_ in rows}) == [1, 2, 3]
    eager = new_training()
    eager.steps(3)
    said = {(step, layer): values for step, layer, values in eager.said}
    assert len(rows) == len(said)
    for step, layer, update_norm, trust_ratio in rows:
        assert (update_norm, trust_ratio) == pytest.approx(said[step, layer][1:3], rel=1e-4)
