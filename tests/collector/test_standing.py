"""Where a run of several optimizers goes on after a resume, or once a state is loaded: each at its own step."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from collector import Collector, connect
from lambc import LAMBC, over


class Loop:
    """Two layers, each trained by an optimizer of its own kind; `rests` says in which steps the first one rests."""

    def __init__(self, first: Callable, second: Callable, rests: Callable[[int], bool] = lambda step: False) -> None:
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.kinds = first, second
        self.rests = rests
        self.start()

    def start(self) -> None:
        """Make the optimizers anew, as a script does that is started again."""
        layers = ("0", self.model[0]), ("2", self.model[2])
        self.optimizers = [
            kind([(f"{name}.{key}", param) for key, param in layer.named_parameters()], lr=1e-3)
            for kind, (name, layer) in zip(self.kinds, layers, strict=True)
        ]

    def train(self, collector: Collector, first: int, last: int, *, log: bool = True) -> None:
        """Take the steps of the second optimizer from `first` to `last`, and log a loss at each."""
        for step in range(first, last + 1):
            self.model.zero_grad()
            self.model(torch.randn(5, 3)).square().mean().backward()
            for number, optimizer in enumerate(self.optimizers):
                if number or not self.rests(step):
                    optimizer.step()
            if log:
                collector.log({"loss": float(step)})

    def saved(self) -> list[dict[str, Any]]:
        return [deepcopy(optimizer.state_dict()) for optimizer in self.optimizers]

    def load(self, saved: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self.optimizers, saved, strict=True):
            optimizer.load_state_dict(deepcopy(state))


def steps_of(root: Path, layer: str) -> list[int]:
    found = connect(root).execute("SELECT step FROM trust_ratios WHERE layer = ? ORDER BY step", [f"{layer}.weight"])
    return [step for (step,) in found.fetchall()]


def losses(root: Path, name: str = "loss") -> list[int]:
    found = connect(root).execute("SELECT step FROM metrics WHERE name = ? ORDER BY step", [name]).fetchall()
    return [step for (step,) in found]


def up_to(last: int) -> list[int]:
    return [*range(1, last + 1)]


def overlaid(params, lr: float) -> torch.optim.SGD:
    return over(torch.optim.SGD(params, lr=lr))


def early(step: int) -> bool:
    return step <= 15


AHEAD = [(torch.optim.AdamW, torch.optim.SGD), (LAMBC, torch.optim.SGD), (torch.optim.AdamW, LAMBC), (LAMBC, LAMBC)]


@pytest.mark.parametrize(("first", "second"), AHEAD)
@pytest.mark.parametrize("how", ["load, then collect", "collect, then load", "the same objects"])
def test_an_optimizer_that_began_late_goes_on_at_its_own_step_and_the_others_at_theirs(tmp_path, first, second, how):
    loop = Loop(first, second, early)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 20)
        saved = loop.saved()
    if how != "the same objects":
        loop.start()
    if how == "load, then collect":
        loop.load(saved)
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        if how == "collect, then load":
            loop.load(saved)
        assert collector.step == 20
        loop.train(collector, 21, 25)
    assert steps_of(tmp_path, "0") == up_to(10)
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(25)
    assert not (tmp_path / "r" / "superseded").exists()


@pytest.mark.parametrize(("first", "second"), AHEAD)
@pytest.mark.parametrize("resumed", [False, True], ids=["on the way", "resumed"])
def test_both_go_back_to_the_moment_of_their_states_and_with_them_one_that_rests(tmp_path, first, second, resumed):
    """Also where nothing is logged from then on: what the attempt that was given up had logged moves aside."""
    loop = Loop(first, second, lambda step: step > 10 and loop.resting)
    loop.resting = False
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 10)
        saved = loop.saved()
        loop.train(collector, 11, 20)
        loop.resting = True
        if not resumed:
            loop.load(saved)
            loop.train(collector, 11, 14, log=False)
    if resumed:
        loop.start()
        loop.load(saved)
        with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
            loop.train(collector, 11, 14, log=False)
    assert steps_of(tmp_path, "0") == losses(tmp_path) == up_to(10)
    assert steps_of(tmp_path, "2") == up_to(14)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, LAMBC])
def test_metrics_stay_where_the_first_to_step_after_a_resume_is_behind(tmp_path, kind):
    loop = Loop(kind, kind, early)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 20)
        saved = loop.saved()
    loop.start()
    loop.load(saved)
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        collector.log({"evaluated": 1.0})
        loop.model(torch.randn(5, 3)).square().mean().backward()
        loop.optimizers[0].step()
        collector.log({"between": 1.0})
        loop.optimizers[1].step()
        collector.log({"loss": 21.0})
    assert losses(tmp_path) == up_to(21)
    assert losses(tmp_path, "between") == losses(tmp_path, "evaluated") == [20]


def test_of_one_that_is_loaded_alone_the_rows_go_back_and_the_metrics_stay(tmp_path):
    loop = Loop(torch.optim.AdamW, torch.optim.AdamW)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 3)
        saved = loop.saved()
        loop.train(collector, 4, 20)
        loop.optimizers[0].load_state_dict(saved[0])
        loop.train(collector, 21, 25)
    assert steps_of(tmp_path, "0") == up_to(8)
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(25)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, LAMBC])
def test_a_state_of_the_beginning_takes_the_run_back_to_it(tmp_path, kind):
    """As those that look for a learning rate do."""
    loop = Loop(kind, kind)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        saved = loop.saved()
        loop.train(collector, 1, 20)
        loop.load(saved)
        assert collector.step == 0
        loop.train(collector, 1, 5)
    assert steps_of(tmp_path, "0") == steps_of(tmp_path, "2") == losses(tmp_path) == up_to(5)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, LAMBC])
def test_what_is_logged_once_a_state_is_loaded_stands_at_its_step_and_stays(tmp_path, kind):
    loop = Loop(kind, kind)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 5)
        saved = loop.saved()
        loop.train(collector, 6, 10)
        loop.load(saved)
        collector.log({"evaluated": 1.0})
        loop.train(collector, 6, 7)
    assert losses(tmp_path, "evaluated") == [5]
    assert losses(tmp_path) == up_to(7)


def test_a_run_that_is_resumed_to_be_evaluated_logs_at_the_step_of_its_state(tmp_path):
    loop = Loop(torch.optim.AdamW, torch.optim.AdamW)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 5)
        saved = loop.saved()
        loop.train(collector, 6, 10)
    loop.start()
    loop.load(saved)
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        collector.log({"evaluated": 1.0})
    assert losses(tmp_path, "evaluated") == [5]
    assert losses(tmp_path) == up_to(10)


def test_counts_that_were_not_noted_are_as_far_from_the_nearest_moment_as_they_have_grown(tmp_path):
    loop = Loop(torch.optim.AdamW, torch.optim.SGD, early)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 20)
    loop.train(collector, 21, 23, log=False)
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        loop.train(collector, 24, 25)
    assert steps_of(tmp_path, "0") == [*up_to(5), 9, 10]
    assert steps_of(tmp_path, "2") == [*up_to(20), 24, 25]


@pytest.mark.parametrize("first", [torch.optim.AdamW, LAMBC])
@pytest.mark.parametrize("second", [torch.optim.AdamW, torch.optim.SGD])
def test_one_that_has_not_begun_does_not_begin_again(tmp_path, first, second):
    """Warnings are errors here."""
    loop = Loop(first, second, early)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 10)
        saved = loop.saved()
    loop.start()
    loop.load(saved)
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        loop.train(collector, 11, 20)
    assert steps_of(tmp_path, "0") == up_to(5)
    assert steps_of(tmp_path, "2") == up_to(20)


def test_a_flush_holds_what_the_counts_were_when_a_state_was_taken(tmp_path):
    loop = Loop(torch.optim.AdamW, torch.optim.SGD, early)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 20)
        loop.saved()
        collector.flush()
        moments = json.loads((collector.folder / "run.json").read_text())["moments"]
    assert moments == {"layers": ["0.weight", "2.weight"], "noted": [{"counts": [[5, 10], None], "steps": [5, 20]}]}


@pytest.mark.parametrize(
    "noted", [None, 3, [3], [{"counts": [[1]], "steps": "x"}], [{"counts": [[3, 6], [3, 6]], "steps": [2**70, -1]}]]
)
def test_moments_that_make_no_sense_count_for_nothing(tmp_path, noted):
    loop = Loop(torch.optim.AdamW, torch.optim.AdamW)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 3)
    path = tmp_path / "r" / "run.json"
    damaged = {"moments": {"layers": ["0.weight", "2.weight"], "noted": noted}}
    path.write_text(json.dumps(json.loads(path.read_text()) | damaged))
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        loop.train(collector, 4, 5)
    assert steps_of(tmp_path, "0") == steps_of(tmp_path, "2") == up_to(5)


@pytest.mark.parametrize("first", [torch.optim.AdamW, LAMBC, overlaid], ids=["AdamW", "LAMBC", "over"])
@pytest.mark.parametrize(
    "second", [torch.optim.AdamW, torch.optim.SGD, LAMBC, overlaid], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "the other way around"])
def test_whichever_steps_first_after_all_were_loaded_no_step_stays_twice(tmp_path, first, second, turned):
    loop = Loop(first, second)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 5)
        saved = loop.saved()
        loop.train(collector, 6, 10)
        loop.load(saved)
        if turned:
            loop.optimizers.reverse()
        loop.train(collector, 6, 8)
    assert steps_of(tmp_path, "0") == steps_of(tmp_path, "2") == losses(tmp_path) == up_to(8)


@pytest.mark.parametrize("turned", [False, True], ids=["AdamW first", "the other first"])
def test_one_that_loads_no_state_itself_goes_back_with_the_others(tmp_path, new_emitter, turned):
    param = nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    adam, other = torch.optim.AdamW([("0.weight", param)]), new_emitter(["2.weight"])

    def train(collector: Collector, first: int, last: int) -> None:
        for step in range(first, last + 1):
            if turned:
                other.say(step)
            adam.step()
            if not turned:
                other.say(step)
            collector.log({"loss": float(step)})

    with Collector([adam, other], tmp_path, name="r") as collector:
        train(collector, 1, 5)
        saved = deepcopy(adam.state_dict())
        train(collector, 6, 10)
        adam.load_state_dict(saved)
        train(collector, 6, 8)
    assert steps_of(tmp_path, "0") == steps_of(tmp_path, "2") == losses(tmp_path) == up_to(8)


@pytest.mark.parametrize("kind", [LAMBC, overlaid], ids=["LAMBC", "over"])
def test_the_state_of_one_that_has_not_begun_takes_nothing_back(tmp_path, kind):
    loop = Loop(kind, torch.optim.SGD, lambda step: True)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 10)
        loop.load(loop.saved())
        assert collector.step == 10
        loop.train(collector, 11, 12)
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(12)


@pytest.mark.parametrize("second", [torch.optim.AdamW, torch.optim.SGD])
def test_a_state_that_is_taken_within_a_step_is_that_of_its_end(tmp_path, second):
    loop = Loop(torch.optim.AdamW, second)
    taken = []
    loop.optimizers[1].register_step_post_hook(lambda optimizer, args, kwargs: taken.append(loop.saved()))
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 10)
        loop.load(taken[4])
        loop.train(collector, 6, 8)
    assert steps_of(tmp_path, "0") == steps_of(tmp_path, "2") == losses(tmp_path) == up_to(8)


@pytest.mark.parametrize("state", range(1, 7))
def test_each_state_of_a_training_in_phases_is_taken_for_its_own_step(tmp_path, state):
    """The first layer is trained for 30 steps, then the second: the state's largest count stands still meanwhile."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.named_parameters())

    def train(collector: Collector, first: int, last: int) -> None:
        for step in range(first, last + 1):
            optimizer.zero_grad()
            for layer in model:
                layer.requires_grad_(layer is model[step > 30])
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
            collector.log({"loss": float(step)})

    taken = []
    with Collector(optimizer, tmp_path, name="r") as collector:
        for done in range(10, 61, 10):
            train(collector, done - 9, done)
            taken.append(deepcopy(optimizer.state_dict()))
        train(collector, 61, 65)
    optimizer.load_state_dict(taken[state - 1])
    with Collector(optimizer, tmp_path, name="r", resume=True) as collector:
        train(collector, 10 * state + 1, 10 * state + 3)
    assert losses(tmp_path) == up_to(10 * state + 3)
    assert steps_of(tmp_path, "0") + steps_of(tmp_path, "1") == up_to(10 * state + 3)


@pytest.mark.parametrize("state", range(3))
def test_one_without_a_count_that_rests_is_where_it_was_at_each_state(tmp_path, state):
    loop = Loop(torch.optim.SGD, torch.optim.AdamW, lambda step: 5 < step < 40)
    taken = []
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        for done in (10, 20, 30):
            loop.train(collector, done - 9, done)
            taken.append(loop.saved())
        loop.train(collector, 31, 35)
        loop.load(taken[state])
        loop.rests = lambda step: False
        loop.train(collector, 10 * state + 11, 10 * state + 11)
    assert steps_of(tmp_path, "0") == up_to(6)
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(10 * state + 11)


@pytest.mark.parametrize(
    "first", [torch.optim.AdamW, LAMBC, overlaid, torch.optim.Adagrad], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("later", [False, True], ids=["load, then collect", "collect, then load"])
def test_one_that_had_not_begun_at_a_state_has_no_rows_once_it_is_loaded(tmp_path, first, later):
    loop = Loop(first, torch.optim.AdamW, lambda step: step <= 10)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 5)
        saved = loop.saved()
        loop.train(collector, 6, 16)
    loop.start()
    if not later:
        loop.load(saved)
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        if later:
            loop.load(saved)
        loop.train(collector, 6, 9)
    assert steps_of(tmp_path, "0") == []
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(9)


def test_what_is_logged_before_the_first_step_of_a_new_run_stands_where_its_optimizer_does(tmp_path):
    loop = Loop(torch.optim.AdamW, LAMBC)
    with Collector(loop.optimizers, tmp_path / "other", name="r") as collector:
        loop.train(collector, 1, 5)
    with Collector(loop.optimizers, tmp_path / "new", name="r") as collector:
        collector.log({"evaluated": 1.0})
        loop.train(collector, 6, 7)
    assert losses(tmp_path / "new", "evaluated") == [5]
    assert steps_of(tmp_path / "new", "0") == losses(tmp_path / "new") == [6, 7]


@pytest.mark.parametrize("first", [torch.optim.AdamW, LAMBC, overlaid], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("second", [torch.optim.AdamW, LAMBC, overlaid], ids=lambda kind: kind.__name__)
def test_metrics_of_a_new_run_stand_at_the_steps_that_are_taken_in_it(tmp_path, first, second):
    """The first optimizer was trained for longer, and rests: a head that is trained once its backbone was."""
    loop = Loop(first, second)
    with Collector(loop.optimizers, tmp_path / "backbone", name="r") as collector:
        loop.train(collector, 1, 2)
        kept, loop.optimizers = loop.optimizers, loop.optimizers[:1]
        loop.rests = lambda step: False
        loop.train(collector, 3, 9)
        loop.optimizers, loop.rests = kept, lambda step: True
    with Collector(loop.optimizers, tmp_path / "head", name="r") as collector:
        loop.train(collector, 3, 6)
        assert collector.step == 6
    assert steps_of(tmp_path / "head", "0") == []
    assert steps_of(tmp_path / "head", "2") == losses(tmp_path / "head") == [3, 4, 5, 6]


def resting(collected: Path, steps: int, others: int) -> Loop:
    """Two optimizers that were trained elsewhere; the first, which rests from now on, for longer."""
    loop = Loop(LAMBC, LAMBC)
    with Collector(loop.optimizers, collected, name="r") as collector:
        loop.train(collector, 1, others)
        kept, loop.optimizers = loop.optimizers, loop.optimizers[:1]
        loop.train(collector, others + 1, steps)
    loop.optimizers, loop.rests = kept, lambda step: True
    return loop


@pytest.mark.parametrize("at", [4, 6], ids=["from a checkpoint", "where it ended"])
def test_a_run_beside_a_resting_optimizer_goes_on_where_its_own_steps_end(tmp_path, at):
    loop = resting(tmp_path / "backbone", 9, 2)
    with Collector(loop.optimizers, tmp_path / "head", name="r") as collector:
        loop.train(collector, 3, 4)
        saved = loop.saved()
        loop.train(collector, 5, 6)
        saved = saved if at == 4 else loop.saved()
    loop.start()
    loop.load(saved)
    with Collector(loop.optimizers, tmp_path / "head", name="r", resume=True) as collector:
        loop.train(collector, at + 1, at + 3)
        assert collector.step == at + 3
    assert steps_of(tmp_path / "head", "2") == losses(tmp_path / "head") == [*range(3, at + 4)]


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("back", [False, True], ids=["", "and a state is loaded later"])
def test_what_is_logged_before_the_first_step_stands_before_it_beside_a_resting_optimizer(tmp_path, flushed, back):
    loop = resting(tmp_path / "backbone", 9, 5)
    with Collector(loop.optimizers, tmp_path / "head", name="r") as collector:
        collector.log({"first": 100.0})
        if flushed:
            collector.flush()
        loop.train(collector, 6, 7)
        saved = loop.saved()
        loop.train(collector, 8, 10)
        if back:
            loop.load(saved)
            loop.train(collector, 8, 9)
    assert losses(tmp_path / "head", "first") == [5]
    assert steps_of(tmp_path / "head", "2") == losses(tmp_path / "head") == [*range(6, 10 if back else 11)]


def test_what_is_logged_after_states_were_loaded_into_a_new_run_stands_before_its_first_step(tmp_path):
    loop = resting(tmp_path / "backbone", 4, 2)
    saved = loop.saved()
    loop.rests = lambda step: False
    with Collector(loop.optimizers, tmp_path / "more", name="r") as collector:
        loop.train(collector, 3, 7)
    loop.rests = lambda step: True
    with Collector(loop.optimizers, tmp_path / "head", name="r") as collector:
        loop.load(saved)
        collector.log({"first": 100.0})
        loop.train(collector, 3, 5)
    assert losses(tmp_path / "head", "first") == [2]
    assert steps_of(tmp_path / "head", "2") == losses(tmp_path / "head") == [3, 4, 5]


@pytest.mark.parametrize("known", [False, True], ids=["without moments", "in another order"])
def test_an_optimizer_that_keeps_no_count_goes_on_after_the_logs_last_step_where_nothing_else_is_known(tmp_path, known):
    """A run of an earlier version has no moments; of optimizers in another order each is known by its first layer."""
    loop = Loop(torch.optim.AdamW, torch.optim.SGD, early)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        loop.train(collector, 1, 20)
    path = tmp_path / "r" / "run.json"
    if not known:
        path.write_text(
            json.dumps({key: each for key, each in json.loads(path.read_text()).items() if key != "moments"})
        )
    given = loop.optimizers[::-1] if known else loop.optimizers
    with Collector(given, tmp_path, name="r", resume=True) as collector:
        loop.train(collector, 21, 23)
    assert steps_of(tmp_path, "0") == up_to(8)
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(23)


def test_moments_that_tell_nothing_new_are_not_kept(tmp_path):
    """Of a state_dict at each of 30 steps: those in which the first optimizer rested, the next, and the last."""
    loop = Loop(torch.optim.AdamW, torch.optim.SGD, lambda step: step <= 5)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        taken = []
        for step in up_to(30):
            loop.train(collector, step, step)
            taken.append(loop.saved())
    assert len(json.loads((tmp_path / "r" / "run.json").read_text())["moments"]["noted"]) == 7
    loop.start()
    loop.load(taken[19])
    with Collector(loop.optimizers, tmp_path, name="r", resume=True) as collector:
        loop.train(collector, 21, 22)
    assert steps_of(tmp_path, "0") == up_to(17)
    assert steps_of(tmp_path, "2") == losses(tmp_path) == up_to(22)


def test_a_clip_for_several_optimizers_is_logged_once_the_last_of_them_has_stepped(tmp_path):
    """The first is one step behind, as after a step that GradScaler left out."""
    loop = Loop(torch.optim.AdamW, torch.optim.AdamW, lambda step: step == 3)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        for step in up_to(6):
            collector_clips(collector, loop)
            for number, optimizer in enumerate(loop.optimizers):
                if number or step != 3:
                    optimizer.step()
    assert losses(tmp_path, "grad_clip") == up_to(6)


def test_clips_of_an_optimizer_whose_steps_are_left_out_stand_at_the_steps_that_were_taken(tmp_path):
    """At most one step late: it is only seen that a step was left out when the next clip comes."""
    loop = Loop(torch.optim.AdamW, torch.optim.AdamW)
    with Collector(loop.optimizers, tmp_path, name="r") as collector:
        for step in up_to(6):
            loop.model.zero_grad()
            loop.model(torch.randn(5, 3)).square().mean().backward()
            for layer in (loop.model[0], loop.model[2]):
                collector.clip_grad_norm_(layer.parameters(), 1.0)
            for optimizer in loop.optimizers[: 1 if 2 < step < 6 else 2]:
                optimizer.step()
    assert losses(tmp_path, "grad_clip") == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def collector_clips(collector: Collector, loop: Loop) -> None:
    loop.model.zero_grad()
    loop.model(torch.randn(5, 3)).square().mean().backward()
    collector.clip_grad_norm_(loop.model.parameters(), 1.0)
