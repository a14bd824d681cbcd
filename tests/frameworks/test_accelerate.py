"""Training by Accelerate: our tracker, and a Collector that is given its `AcceleratedOptimizer`."""

import os
import warnings

import pandas as pd
import pytest
import torch

from collector import Collector, connect
from tests.frameworks.training import (
    OPTIMIZERS,
    OUTCOMES,
    Model,
    batches,
    epochs_in,
    loss_of,
    metrics_in,
    outcomes_in,
    runs_in,
    steps_in,
    steps_taken,
    whole_log,
)


@pytest.fixture
def new_accelerator():
    """Makes an `Accelerator`; its state, which the process has once, is undone after the test."""
    from accelerate import Accelerator  # here, since every worker of pytest imports this file
    from accelerate.state import AcceleratorState, GradientState

    yield lambda **options: Accelerator(cpu=True, **options)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def train(accelerator, model, optimizer, scheduler=None, count=4):
    for features in batches(count):
        with accelerator.accumulate(model):
            accelerator.backward(loss_of(model(features)))
            optimizer.step()
            if scheduler:
                scheduler.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("scheduled", ["before prepare", "after prepare", "never"])
@pytest.mark.parametrize("handed", ["prepared", "inner"])
def test_a_step_in_the_log_is_a_step_of_the_inner_optimizer(
    new_accelerator, tmp_path, kind, accumulation, scheduled, handed
):
    accelerator = new_accelerator(gradient_accumulation_steps=accumulation)
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    scheduler = None
    if scheduled == "before prepare":
        scheduler = torch.optim.lr_scheduler.LinearLR(inner)
        model, prepared, scheduler = accelerator.prepare(model, inner, scheduler)
    else:
        model, prepared = accelerator.prepare(model, inner)
        if scheduled == "after prepare":
            scheduler = torch.optim.lr_scheduler.LinearLR(prepared)  # which patches `step` of the wrapper
    with Collector(inner if handed == "inner" else prepared, tmp_path, name="r", model=model) as collector:
        train(accelerator, model, prepared, scheduler)
        assert collector.step == steps_taken(inner) == 4 // accumulation
    assert steps_in(tmp_path) == whole_log(4 // accumulation)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_collector_may_be_made_before_prepare(new_accelerator, tmp_path, kind):
    accelerator = new_accelerator(gradient_accumulation_steps=2)
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    with Collector(inner, tmp_path, name="r", model=model):
        model, prepared = accelerator.prepare(model, inner)  # which loads the optimizer's own state anew
        train(accelerator, model, prepared)
    assert steps_in(tmp_path) == whole_log(2)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_resumes_from_a_saved_state_has_every_row_once(new_accelerator, tmp_path, kind):
    def begin(**options):
        accelerator = new_accelerator()
        model = Model()
        optimizer = OPTIMIZERS[kind](model.parameters())
        model, optimizer = accelerator.prepare(model, optimizer)
        if options:
            accelerator.load_state(tmp_path / "state")
        return accelerator, model, optimizer, Collector(optimizer, tmp_path / "runs", name="r", model=model, **options)

    accelerator, model, optimizer, collector = begin()
    with collector:
        train(accelerator, model, optimizer, count=3)
        accelerator.save_state(tmp_path / "state")
        train(accelerator, model, optimizer, count=2)  # which the checkpoint has not
    accelerator, model, optimizer, collector = begin(resume=True)
    with collector:
        train(accelerator, model, optimizer, count=4)
        assert collector.step == steps_taken(optimizer) == 7
    assert steps_in(tmp_path / "runs") == whole_log(7)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]


def test_a_prepared_optimizer_that_was_never_shown_steps_on(new_accelerator, tmp_path):
    accelerator = new_accelerator()
    shown_model, other_model = Model(), Model()
    shown = accelerator.prepare(OPTIMIZERS["AdamW"](shown_model.parameters()))
    other = accelerator.prepare(OPTIMIZERS["AdamW"](other_model.parameters()))
    step = type(shown).step
    with Collector(shown, tmp_path, name="r", model=shown_model):
        train(accelerator, other_model, other, count=2)
        train(accelerator, shown_model, shown, count=3)
    train(accelerator, other_model, other, count=2)
    assert type(shown).step is step
    assert steps_taken(other) == 4
    assert steps_in(tmp_path) == whole_log(3)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_that_the_scaler_leaves_out_is_none(new_accelerator, tmp_path, kind):
    from accelerate.optimizer import AcceleratedOptimizer

    new_accelerator()
    model = Model()
    inner = OPTIMIZERS[kind](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = AcceleratedOptimizer(inner, scaler=scaler)  # which the accelerator makes for fp16, on a GPU alone
    with Collector(optimizer, tmp_path, name="r", model=model) as collector:
        for number, features in enumerate(batches(4)):
            scaler.scale(loss_of(model(features))).backward()
            if number == 1:
                model.head.bias.grad.fill_(torch.inf)
            optimizer.step()
            assert optimizer.step_was_skipped == (number == 1)
            optimizer.zero_grad()
        assert collector.step == steps_taken(inner) == 3
    assert steps_in(tmp_path) == whole_log(3)
    assert outcomes_in(tmp_path) == OUTCOMES[kind]


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def tracker(runs):
    from lambc.integrations.accelerate import TrustRatioTracker

    return TrustRatioTracker("r", runs)


def begin(accelerator, kind="LAMBC"):
    model = Model()
    return accelerator.prepare(model, OPTIMIZERS[kind](model.parameters()))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_tracker_records_each_step_of_what_was_prepared(new_accelerator, tracker, runs, kind, accumulation):
    accelerator = new_accelerator(log_with=tracker, gradient_accumulation_steps=accumulation)
    accelerator.init_trackers("project", config={"lr": 0.25})
    model, optimizer = begin(accelerator, kind)
    tracker.watch(accelerator)
    for epoch in (1, 2):
        tracker.epoch = epoch
        train(accelerator, model, optimizer)
        accelerator.log({"train/loss": 0.5, "note": torch.tensor(1.0)}, step=10 * epoch)
    accelerator.end_training()
    accelerator.log({"train/loss": 0.5})  # which the run is over for
    count = 8 // accumulation
    assert steps_in(runs) == whole_log(count)
    assert epochs_in(runs) == {1: [*range(1, count // 2 + 1)], 2: [*range(count // 2 + 1, count + 1)]}
    assert outcomes_in(runs) == OUTCOMES[kind]
    assert metrics_in(runs) == {name: [count // 2, count] for name in ("note", "step", "train/loss")}
    assert runs_in(runs) == {"r": ("finished", None)}
    assert connect(runs).sql("SELECT config FROM runs").fetchall() == [('{"lr":0.25}',)]


def test_an_epoch_that_was_set_before_the_run_began_holds(new_accelerator, tracker, runs):
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    model, optimizer = begin(accelerator)
    tracker.epoch = 3
    tracker.watch(accelerator)
    train(accelerator, model, optimizer)
    accelerator.end_training()
    assert (epochs_in(runs), tracker.epoch) == ({3: [1, 2, 3, 4]}, 3)


def test_the_tracker_is_found_by_its_name(new_accelerator, runs):
    import lambc.integrations.accelerate  # noqa: F401

    accelerator = new_accelerator(log_with="lambc")
    accelerator.init_trackers("project", init_kwargs={"lambc": {"root": runs, "every": 2}})
    model, optimizer = begin(accelerator)
    accelerator.get_tracker("lambc").watch(accelerator)
    assert isinstance(accelerator.get_tracker("lambc", unwrap=True), Collector)
    train(accelerator, model, optimizer)
    accelerator.end_training()
    assert steps_in(runs) == {layer: [1, 2, 4] for layer in whole_log(0)}
    assert runs_in(runs) == {"project": ("finished", None)}


@pytest.mark.parametrize("watched", ["prepared", "inner"])
def test_an_optimizer_of_several_can_be_watched(new_accelerator, tracker, runs, watched):
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    (model, optimizer), (other_model, other) = begin(accelerator), begin(accelerator, "AdamW")
    tracker.watch(optimizer if watched == "prepared" else optimizer.optimizer, model)
    train(accelerator, model, optimizer)
    train(accelerator, other_model, other)
    accelerator.end_training()
    assert steps_in(runs) == whole_log(4)


def test_all_optimizers_that_were_prepared_are_one_run(new_accelerator, tracker, runs):
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    (model, optimizer), (other_model, other) = begin(accelerator), begin(accelerator, "AdamW")
    tracker.watch(accelerator)
    train(accelerator, model, optimizer)
    train(accelerator, other_model, other)
    accelerator.end_training()
    assert steps_in(runs) == whole_log(4, tuple(f"{number}.{layer}" for number in "01" for layer in whole_log(0)))


@pytest.mark.parametrize("registered", [True, False])
def test_a_tracker_that_was_registered_goes_on_with_the_run_of_a_checkpoint(
    new_accelerator, runs, tmp_path, registered
):
    from lambc.integrations.accelerate import TrustRatioTracker

    def go(count, load=False):
        tracker = TrustRatioTracker("r", runs, resume=load and not registered)
        accelerator = new_accelerator(log_with=tracker)
        accelerator.init_trackers("project")
        model, optimizer = begin(accelerator)
        if registered:
            accelerator.register_for_checkpointing(tracker)
        if load:
            accelerator.load_state(tmp_path / "state")
        tracker.watch(accelerator)
        for number in range(count):
            train(accelerator, model, optimizer, count=1)
            if number == 2 and not load:
                accelerator.save_state(tmp_path / "state")
        accelerator.end_training()

    go(5)
    go(4, load=True)
    assert steps_in(runs) == whole_log(7)
    assert runs_in(runs) == {"r": ("finished", None)}


@pytest.mark.parametrize(
    ("raised", "status", "failure"),
    [
        (ZeroDivisionError("by 0"), "failed", "ZeroDivisionError: by 0"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt: "),
    ],
    ids=["error", "ctrl-c"],
)
def test_the_with_says_how_a_training_ended(new_accelerator, tracker, runs, raised, status, failure):
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    model, optimizer = begin(accelerator)

    def training():
        with tracker.watch(accelerator):
            train(accelerator, model, optimizer, count=2)
            raise raised

    with pytest.raises(type(raised)):
        training()
    accelerator.end_training()
    assert runs_in(runs) == {"r": (status, failure)}
    assert steps_in(runs) == whole_log(2)


def test_an_error_of_ours_is_a_warning_and_training_goes_on(new_accelerator, tmp_path):
    from lambc.integrations.accelerate import TrustRatioTracker

    (tmp_path / "file").touch()
    tracker = TrustRatioTracker("r", tmp_path / "file")
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    model, optimizer = begin(accelerator)
    with pytest.warns(UserWarning, match=r"this training is not recorded \(OSError: cannot write a run"):
        tracker.watch(accelerator)
    tracker.epoch = 1  # a second warning would be an error
    train(accelerator, model, optimizer)
    accelerator.log({"train/loss": 0.5})
    accelerator.end_training()
    assert steps_taken(optimizer) == 4


def test_metrics_and_epochs_that_make_no_sense_are_warnings_and_the_others_are_recorded(new_accelerator, tracker, runs):
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    model, optimizer = begin(accelerator)
    tracker.watch(accelerator)
    with pytest.warns(UserWarning, match=r"the epoch is not recorded \(ValueError: epoch=-1"):
        tracker.epoch = -1
    train(accelerator, model, optimizer)
    with pytest.warns(UserWarning, match=r"metrics are not recorded \(TypeError: 'note': not a number"):
        accelerator.log({"train/loss": 0.5, "note": "a string"})
    accelerator.end_training()
    assert metrics_in(runs) == {"train/loss": [4]}
    assert steps_in(runs) == whole_log(4)


def test_a_tracker_that_was_told_to_watch_nothing_says_so(new_accelerator, tracker, runs):
    accelerator = new_accelerator(log_with=tracker)
    accelerator.init_trackers("project")
    with pytest.warns(UserWarning, match=r"this training is not recorded \(RuntimeError: .*watch\(accelerator\)"):
        accelerator.log({"train/loss": 0.5})
    accelerator.end_training()
    assert not runs.exists()


def accelerator_of_a_rank(runs):
    from accelerate import Accelerator

    from lambc.integrations.accelerate import TrustRatioTracker

    rank = str(torch.distributed.get_rank())
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "true"}
    tracker = TrustRatioTracker("r", runs)
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("project")
    return accelerator, tracker


def train_on_a_rank(runs, kind):
    """Trains under DDP; the collectors' metrics are rank 0's."""
    accelerator, tracker = accelerator_of_a_rank(runs)
    model, optimizer = begin(accelerator, kind)
    with tracker.watch(accelerator):
        train(accelerator, model, optimizer)
        accelerator.log({"train/loss": float(torch.distributed.get_rank())})
    return type(model).__name__, accelerator.num_processes


@pytest.mark.slow
def test_every_rank_has_the_tracker_and_rank_0_writes(two, runs):
    assert two.run(train_on_a_rank, runs, "AdamW") == [("DistributedDataParallel", 2)] * 2
    assert steps_in(runs) == whole_log(4)
    assert metrics_in(runs) == {"train/loss": [4]}
    assert connect(runs).sql("SELECT value FROM metrics").fetchall() == [(0.0,)]


def train_sharded(runs, kind, made):
    """Trains as Accelerate does under FSDP2, which it offers where there are GPUs; gives the warnings."""
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedType

    accelerator, tracker = accelerator_of_a_rank(runs)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="no_wrap", cpu_ram_efficient_loading=False
    )
    model = Model()
    optimizer = OPTIMIZERS[kind](model.parameters())
    before = Collector(optimizer, runs, name="r", model=model, gradients=True) if made == "before prepare" else None
    model, optimizer = accelerator.prepare(model, optimizer)
    assert all(hasattr(param, "placements") for param in model.parameters())
    with warnings.catch_warnings(record=True) as caught, before or tracker.watch(accelerator):
        warnings.simplefilter("always")
        train(accelerator, model, optimizer)
    AcceleratorState._reset_state()
    GradientState._reset_state()
    return [str(warning.message) for warning in caught if "run 'r'" in str(warning.message)]


def train_whole(runs, kind):
    model = Model()
    optimizer = OPTIMIZERS[kind](model.parameters())
    with Collector(optimizer, runs, name="r", model=model):
        for features in batches(4):
            loss_of(model(features)).backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_under_fsdp2_whole_layers_are_recorded(two, tmp_path, kind):
    assert two.run(train_sharded, tmp_path / "two", kind, "after prepare") == [[], []]
    torch.manual_seed(0)
    train_whole(tmp_path / "one", kind)
    logs = (connect(tmp_path / log) for log in ("two", "one"))
    sharded, whole = (log.sql("FROM trust_ratios ORDER BY layer, step").to_df() for log in logs)
    assert len(whole) == 16
    pd.testing.assert_frame_equal(sharded, whole, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said", "rows"),
    [
        ("AdamW", "is recorded no further, and training goes on: ValueError: the layers of AdamW were sharded", 0),
        ("LAMBC", "has no norms of gradients, since the layers of LAMBC were sharded", 16),
    ],
)
def test_a_collector_that_was_made_before_its_layers_were_sharded_keeps_no_rank_waiting(two, runs, kind, said, rows):
    (first,), second = two.run(train_sharded, runs, kind, "before prepare")
    assert f"run 'r' {said} after the Collector was made" in first
    assert second == []
    assert connect(runs).sql("FROM trust_ratios WHERE grad_norm IS NULL").shape[0] == rows
