"""A value that its device does not give, or of which no row can be made, is lost alone, counted, and told once."""

import json
from collections.abc import Callable

import pytest
import torch

from collector import Collector
from collector.recording.blocks import MetricBlock, MetricRow
from collector.recording.ring import HostCopy
from tests.collector.emitter import Emitter


class Full(torch.Tensor):
    """A value on a device that has no memory left: each copy of it, and each look at it, fails."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.__float__, torch.Tensor.copy_, torch.Tensor.index_select):
            raise torch.OutOfMemoryError("no memory is left")
        return super().__torch_function__(func, types, args, kwargs or {})


def full(*shape: int, device: str = "cpu") -> torch.Tensor:
    return torch.zeros(shape, device=device).as_subclass(Full)


def lost_rows(collector: Collector) -> int:
    return json.loads((collector.folder / "run.json").read_text()).get("lost_rows", 0)


def values(stored, collector: Collector) -> dict[str, list[float]]:
    rows = stored(collector.folder / "metrics")
    return {
        name: [row["value"] for row in sorted(rows.to_pylist(), key=lambda row: row["step"]) if row["name"] == name]
        for name in sorted(set(rows["name"].to_pylist()))
    }


def log_three(emitter: Emitter, collector: Collector, bad: torch.Tensor) -> None:
    for step, loss in ((1, bad), (2, bad), (3, 0.25)):
        emitter.say(step + 1)
        collector.log({"before": 1.0, "loss": loss, "after": torch.tensor(float(step))})


@pytest.mark.filterwarnings("ignore:run 'r'. . rows were lost")
@pytest.mark.parametrize(("device", "reason"), [("cpu", "OutOfMemoryError"), ("meta", "\\w+Error")])
def test_a_metric_that_cannot_be_copied_is_lost_alone_counted_and_told_once(emitter, tmp_path, stored, device, reason):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        what = f"run 'r' lost rows, and goes on; the first was of metric 'loss': {reason}: "
        with pytest.warns(UserWarning, match=what) as said:
            log_three(emitter, collector, full(device=device))
        assert len(said) == 1
        collector.flush()
        assert values(stored, collector) == {"before": [1.0] * 3, "loss": [0.25], "after": [1.0, 2.0, 3.0]}
        with pytest.warns(UserWarning, match=f"run 'r': 2 rows were lost; metric 'loss': {reason}: "):
            collector.close()
    assert lost_rows(collector) == 2


def test_a_wrong_value_beside_it_is_an_error_and_nothing_is_taken_or_counted(emitter, tmp_path):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        with pytest.raises(TypeError, match="metric 'b' is 'text'"):
            collector.log({"a": full(), "b": "text"})
    assert lost_rows(collector) == 0


@pytest.mark.filterwarnings("ignore:run 'r'. . rows were lost")
def test_a_step_that_cannot_be_copied_is_lost_alone(emitter, tmp_path, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        with pytest.warns(UserWarning, match="lost rows, and goes on; the first was of step 2: OutOfMemoryError"):
            emitter.say(2, full(7, 2))
        emitter.say(3)
    assert steps_of(collector.folder) == [1, 3]
    assert lost_rows(collector) == 2


class LostDevice:
    """The event of a copy from a device that has failed since."""

    def synchronize(self):
        raise torch.AcceleratorError("device-side assert triggered")


# A loss is said by what comes next after the writer has found it, which may be any of these.
def lose(emitter: Emitter, collector: Collector, late: MetricBlock) -> None:
    collector._attempt.recorder._backlog.append(late)
    collector.log({"number": 3.0})
    collector.flush()
    emitter.say(2)


def spoil_a_block(emitter: Emitter, collector: Collector, steps_of: Callable) -> tuple[list[int], list[int]]:
    """Say nine steps; returns those of a block of which no rows can be made, and those on the disk after eight."""
    backlog, lost = collector._attempt.recorder._backlog, []
    for step in range(1, 9):
        emitter.say(step)
        if backlog._blocks and not lost:  # which the writer has not taken yet
            lost = list(backlog._blocks[-1].steps)
            backlog._blocks[-1].epochs[0] = "no number"
    collector.flush()
    flushed = steps_of(collector.folder)
    emitter.say(9)
    return lost, flushed


@pytest.mark.filterwarnings("ignore:run 'r'. . rows were lost")
def test_values_that_never_arrive_are_lost_and_the_numbers_beside_them_are_not(emitter, tmp_path, stored, steps_of):
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        emitter.say(1)
        collector.log({"number": 1.0})
        late = MetricBlock(
            [MetricRow(1, 0, 0, "number", 2.0), MetricRow(1, 0, 0, "late", None)],
            HostCopy(torch.zeros(1), LostDevice()),
        )
        collector._attempt.recorder._metrics.take()
        with pytest.warns(UserWarning, match="lost rows, and goes on; the first was of metrics: AcceleratorError"):
            lose(emitter, collector, late)
        assert values(stored, collector) == {"number": [1.0, 2.0, 3.0]}
    assert steps_of(collector.folder) == [1, 2]
    assert lost_rows(collector) == 1


@pytest.mark.filterwarnings("ignore:run 'r'. . rows were lost")
def test_a_block_of_which_no_rows_can_be_made_is_lost_and_those_beside_it_are_not(tmp_path, steps_of, monkeypatch):
    monkeypatch.setattr("collector.recording.ring._MOST_SLOTS", 2)
    monkeypatch.setattr("collector.recording.ring._FEWEST_SLOTS", 2)
    emitter = Emitter(["a", "b"])
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        with pytest.warns(UserWarning, match="lost rows, and goes on; the first was of a block of trust_ratios"):
            lost, flushed = spoil_a_block(emitter, collector, steps_of)
        assert lost
        kept = [step for step in range(1, 9) if step not in lost]
        assert flushed == kept
    assert steps_of(collector.folder) == [*kept, 9]
    assert lost_rows(collector) == 2 * len(lost)
