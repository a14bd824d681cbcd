"""Optimizers that know nothing of trust ratios are recorded from outside."""

import math
from copy import deepcopy
from functools import partial

import pytest
import torch

import lambc
from collector import Collector, connect
from collector.recording.observer import Observer
from collector.recording.selection import Selection
from lambc import LAMBC


def tables(optimizer, selection=None) -> list[tuple]:
    """What a hook is shown, as it was then: a list that grows with each step."""
    seen = []
    observer = Observer(optimizer, selection or Selection())
    observer.register_trust_ratio_hook(lambda record: seen.append((record.step, record.layers, record.table.clone())))
    return seen


def norm(tensor) -> float:
    return tensor.detach().double().square().sum().sqrt().item()


def small_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def backward(model) -> None:
    model.zero_grad()
    model(torch.randn(5, 3)).square().mean().backward()


@pytest.mark.parametrize(
    "make",
    [
        lambda params: torch.optim.AdamW(params, lr=1e-2, weight_decay=0.1),
        lambda params: torch.optim.AdamW(params, lr=1e-2, fused=True),
        lambda params: torch.optim.AdamW(params, lr=torch.tensor(1e-2)),
        lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9),
        lambda params: torch.optim.RMSprop(params, lr=1e-2),
    ],
    ids=["AdamW", "fused AdamW", "AdamW, lr a tensor", "SGD", "RMSprop"],
)
def test_a_row_says_how_far_the_step_moved_the_layer(make):
    model = small_model()
    optimizer = make(model.named_parameters())
    seen = tables(optimizer)
    for step in range(1, 4):
        backward(model)
        before = [param.detach().clone() for param in model.parameters()]
        optimizer.step()
        number, layers, table = seen[-1]
        assert (number, layers) == (step, ("0.weight", "0.bias", "2.weight", "2.bias"))
        for param, old, row in zip(model.parameters(), before, table.T.tolist(), strict=True):
            weight, update = norm(old), norm(param.double() - old.double()) / 1e-2
            assert row == pytest.approx([weight, update, weight / update, 1, 1, 1, 1e-2], rel=1e-5)


def test_muon_and_adamw_together_are_one_run(tmp_path):
    model = small_model()
    named = list(model.named_parameters())
    muon = torch.optim.Muon([pair for pair in named if pair[1].dim() == 2], lr=1e-2)
    adamw = torch.optim.AdamW([pair for pair in named if pair[1].dim() == 1], lr=1e-3)
    with Collector([muon, adamw], tmp_path, name="r", model=model):
        for _ in range(3):
            backward(model)
            muon.step()
            adamw.step()
    con = connect(tmp_path)
    rows = con.sql("SELECT layer, count(*), min(lr), any_value(outcome) FROM trust_ratios GROUP BY 1 ORDER BY 1")
    assert [(layer, n, round(lr, 6), outcome) for layer, n, lr, outcome in rows.fetchall()] == [
        ("0.bias", 3, 1e-3, "exempt"),
        ("0.weight", 3, 1e-2, "exempt"),
        ("2.bias", 3, 1e-3, "exempt"),
        ("2.weight", 3, 1e-2, "exempt"),
    ]


def test_lambc_tells_its_own_ratios_beside_one_that_is_watched(training, tmp_path):
    head = torch.nn.Parameter(torch.ones(3))
    head.grad = torch.ones(3)
    sgd = torch.optim.SGD([("head", head)], lr=0.1)
    with Collector([training.optimizer, sgd], tmp_path, name="r"):
        training.steps()
        sgd.step()
    con = connect(tmp_path)
    assert con.sql("SELECT DISTINCT outcome FROM trust_ratios WHERE layer = 'head'").fetchall() == [("exempt",)]
    assert con.sql("SELECT count(*) FROM trust_ratios WHERE outcome <> 'exempt'").fetchall() == [(4,)]


@pytest.mark.parametrize("kind", [torch.channels_last, "transposed", torch.float64, torch.complex64])
def test_layouts_and_dtypes_of_all_kinds(kind):
    torch.manual_seed(0)
    weights = torch.randn(6, 5, 4, 3)
    if kind == "transposed":
        weights = weights.transpose(0, 1)
    elif isinstance(kind, torch.dtype):
        weights = weights.to(kind)
    else:
        weights = weights.to(memory_format=kind)
    param = torch.nn.Parameter(weights.clone())  # which keeps the layout
    param.grad = torch.ones_like(param)
    optimizer = torch.optim.SGD([("w", param)], lr=0.5)
    seen = tables(optimizer)
    optimizer.step()
    before = torch.view_as_real(weights) if weights.is_complex() else weights.double()
    assert seen[0][2][0, 0].item() == pytest.approx(norm(before), rel=1e-6)
    assert seen[0][2][1, 0].item() == pytest.approx(math.sqrt(param.numel()), rel=1e-5)


def test_norms_are_right_to_rounding_at_millions_of_elements():
    torch.manual_seed(0)
    param = torch.nn.Parameter(torch.rand(5_000_001) + 1)
    param.grad = torch.rand_like(param) + 1
    optimizer = torch.optim.SGD([("w", param)], lr=1.0)
    seen = tables(optimizer)
    before = param.detach().clone()
    optimizer.step()
    weight, update = seen[0][2][:2, 0].tolist()
    assert weight == pytest.approx(norm(before), rel=3e-7)
    assert update == pytest.approx(norm(param.double() - before.double()), rel=3e-7)


def test_a_parameter_without_a_gradient_gets_no_row(tmp_path, steps_of):
    model = small_model()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    with Collector(optimizer, tmp_path, name="r") as collector:
        backward(model)
        optimizer.step()
        optimizer.zero_grad()
        optimizer.step()  # nothing has a gradient
    assert steps_of(collector.folder, "0.weight") == []
    assert steps_of(collector.folder, "0.bias") == [1]


def test_gradients_that_a_closure_computes_count():
    model = small_model()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
    seen = tables(optimizer)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(5, 3)).square().mean()
        loss.backward()
        return loss

    before = model[0].weight.detach().clone()
    optimizer.step(closure)
    assert seen[0][1][0] == "0.0"  # without names, a layer is called by group and index
    assert seen[0][2][1, 0].item() == pytest.approx(norm(model[0].weight.double() - before.double()) / 0.1, rel=1e-4)


@pytest.mark.parametrize("kind", [LAMBC, torch.optim.AdamW, torch.optim.SGD])
def test_gradients_that_a_closure_throws_away_do_not_count(tmp_path, steps_of, kind):
    """In turn of one layer, of none and of the other: each time the last gradients are still there before the step."""
    model = small_model()
    optimizer = kind(model.named_parameters(), lr=1e-2)

    def closure(layer):
        optimizer.zero_grad()
        if layer is not None:
            model[layer].weight.square().sum().backward()

    with Collector(optimizer, tmp_path, name="r", gradients=True) as collector:
        for layer in (0, None, 2, None, 0):
            optimizer.step(partial(closure, layer))
        assert collector.step == 3
    assert steps_of(collector.folder, "0.weight") == [1, 3]
    assert steps_of(collector.folder, "2.weight") == [2]


def test_gradients_that_were_there_before_a_closure_which_leaves_them_count():
    model = small_model()
    optimizer = torch.optim.AdamW(model.named_parameters())
    seen = tables(optimizer)
    backward(model)
    optimizer.step(lambda: 0.0)
    assert seen[0][2].isfinite().all()


class Clearing(torch.optim.SGD):
    """Lets its gradients go within its step, as one that ends with `zero_grad`."""

    def step(self, closure=None):
        loss = super().step(closure)
        self.zero_grad()
        return loss


@pytest.mark.parametrize("over", [False, True], ids=["observed", "over"])
@pytest.mark.parametrize("computes", [False, True], ids=["before the closure", "in the closure"])
def test_gradients_that_the_step_lets_go_count_and_so_do_their_norms(tmp_path, computes, over):
    model = small_model()
    optimizer = Clearing(model.parameters(), lr=0.1)
    optimizer = lambc.over(optimizer) if over else optimizer
    norms = []

    def closure():
        if computes:
            backward(model)
        norms.extend(norm(param.grad) for param in model.parameters())

    with Collector(optimizer, tmp_path, name="r", model=model, gradients=True) as collector:
        for _ in range(3):
            if not computes:
                backward(model)
            optimizer.step(closure)
        assert collector.step == 3
    rows = "trust_ratios JOIN layers USING (run, layer)"
    found = connect(tmp_path).sql(f"SELECT grad_norm FROM {rows} ORDER BY step, position").fetchall()
    assert [value for (value,) in found] == pytest.approx(norms, rel=1e-5)


def test_an_lr_of_0_moves_nothing_and_is_a_step():
    param = torch.nn.Parameter(torch.ones(4))
    param.grad = torch.ones(4)
    optimizer = torch.optim.SGD([("w", param)], lr=0.0)
    seen = tables(optimizer)
    optimizer.step()
    assert seen[0][2][:, 0].tolist() == [2, 0, 1, 1, 1, 1, 0]


def test_a_norm_that_is_not_finite_leaves_the_ratio_at_1():
    param = torch.nn.Parameter(torch.tensor([1.0, math.inf]))
    param.grad = torch.ones(2)
    optimizer = torch.optim.SGD([("w", param)], lr=1.0)
    seen = tables(optimizer)
    optimizer.step()
    weight, update, ratio, *_, lr = seen[0][2][:, 0].tolist()
    assert (weight, ratio, lr) == (math.inf, 1.0, 1.0)
    assert math.isnan(update)


@pytest.mark.parametrize("kind", [LAMBC, torch.optim.AdamW])
@pytest.mark.parametrize(("fused", "recorded"), [(False, [1, 2]), (True, [1, 3])])
def test_a_step_that_amp_skips_gets_no_row(tmp_path, steps_of, kind, fused, recorded):
    """A fused optimizer takes it in vain, so it has a number; else it is not taken at all."""
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([("a", param)], lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu")
    with Collector(optimizer, tmp_path, name="r") as collector:
        for factor in (1.0, math.inf, 1.0):
            optimizer.zero_grad()
            scaler.scale((param * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert steps_of(collector.folder) == recorded


def test_only_recorded_steps_copy_the_weights(monkeypatch):
    model = small_model()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=1e-2)
    copied = []
    for module in ("observer", "movement"):
        monkeypatch.setattr(
            f"collector.recording.{module}.flat", lambda param: copied.append(param.shape) or param.detach().reshape(-1)
        )
    seen = tables(optimizer, Selection(every=3, exclude="*.weight"))
    looked_at = []
    for _ in range(6):
        copied.clear()
        backward(model)
        optimizer.step()
        looked_at.append(len(copied))
    assert looked_at == [4, 0, 4, 0, 0, 4]  # each of two biases, before and after
    assert [step for step, _, _ in seen] == [1, 2, 3, 4, 5, 6]


def test_steps_go_on_from_the_optimizers_own_count(tmp_path, steps_of):
    model = small_model()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    for _ in range(3):
        backward(model)
        optimizer.step()
    saved = deepcopy(optimizer.state_dict())
    with Collector(optimizer, tmp_path, name="r") as collector:
        backward(model)
        optimizer.step()
        backward(model)
        optimizer.step()
    assert steps_of(collector.folder, "0.bias") == [4, 5]
    fresh = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    with Collector(fresh, tmp_path, name="r", resume=True):
        fresh.load_state_dict(saved)
        backward(model)
        fresh.step()
    assert steps_of(collector.folder, "0.bias") == [4]


def test_a_loaded_checkpoint_takes_the_count_back(tmp_path, steps_of):
    model = small_model()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    with Collector(optimizer, tmp_path, name="r") as collector:
        for step in (1, 2, 3, 4):
            backward(model)
            optimizer.step()
            if step == 2:
                saved = deepcopy(optimizer.state_dict())
        collector.flush()
        optimizer.load_state_dict(saved)
        backward(model)
        optimizer.step()
    assert steps_of(collector.folder, "0.bias") == [1, 2, 3]


def test_an_optimizer_that_keeps_no_count_goes_on_from_the_log(tmp_path, steps_of):
    model = small_model()
    for _ in range(2):
        optimizer = torch.optim.SGD(model.named_parameters(), lr=1e-2)
        with Collector(optimizer, tmp_path, name="r", resume=True) as collector:
            for _ in range(2):
                backward(model)
                optimizer.step()
    assert steps_of(collector.folder, "0.bias") == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:run 'r' was resumed, and its log reaches step 3, but the optimizer begins again")
def test_an_optimizer_whose_groups_count_from_0_begins_the_log_anew(tmp_path, steps_of):
    """Also where the state is new and counts from 0 again, as it does when moments are thrown away."""
    model = small_model()
    for steps in (3, 2):
        optimizer = torch.optim.SGD([{"params": list(model.named_parameters()), "step": 0}], lr=1e-2)
        with Collector(optimizer, tmp_path, name="r", resume=True) as collector:
            for _ in range(steps):
                backward(model)
                optimizer.step()
        assert steps_of(collector.folder, "0.bias") == [*range(1, steps + 1)]


def test_a_group_that_is_added_later_is_recorded_from_then_on(tmp_path, steps_of):
    model = small_model()
    optimizer = torch.optim.SGD(model[0].named_parameters(prefix="0"), lr=1e-2)
    with Collector(optimizer, tmp_path, name="r") as collector:
        backward(model)
        optimizer.step()
        optimizer.add_param_group({"params": list(model[2].named_parameters(prefix="2")), "lr": 0.5})
        backward(model)
        optimizer.step()
    assert steps_of(collector.folder, "0.bias") == [1, 2]
    assert steps_of(collector.folder, "2.bias") == [2]


def test_a_step_within_a_step_is_one_and_what_the_child_adds_is_part_of_it():
    class Child(torch.optim.SGD):
        def step(self, closure=None):
            loss = super().step(closure)
            with torch.no_grad():
                self.param_groups[0]["params"][0].mul_(0.5)
            return loss

    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    torch.optim.SGD([param], lr=1.0)  # which has torch wrap the parent's step, too
    optimizer = Child([("w", param)], lr=0.5)
    seen = tables(optimizer)
    optimizer.step()
    optimizer.step()
    assert [step for step, _, _ in seen] == [1, 2]
    assert seen[0][2][1, 0].item() == pytest.approx(math.sqrt(3) * (1 - 0.25) / 0.5)


def test_a_step_that_failed_is_none():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([("w", param)], lr=0.5)
    seen = tables(optimizer)

    def closure():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    param.grad = torch.ones(3)
    optimizer.step()
    assert [step for step, _, _ in seen] == [1]


def test_after_close_the_optimizer_is_as_before(tmp_path):
    optimizer = torch.optim.SGD(small_model().named_parameters(), lr=1e-2)
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        optimizer._optimizer_load_state_dict_post_hooks,
    )
    with Collector(optimizer, tmp_path, name="r"):
        assert all(hooks)
        optimizer.param_groups[0]["params"][0].grad = torch.ones(4, 3)
        optimizer.step()
    assert not any(hooks)


def test_what_is_no_optimizer_is_an_error(training, tmp_path):
    with pytest.raises(
        TypeError, match=r"Linear is no torch\.optim\.Optimizer and has no register_trust_ratio_hook: give"
    ):
        Collector(training.model[0], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_compiled_step_is_recorded_as_an_eager_one(tmp_path):
    model = small_model()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=1e-2)
    seen = tables(optimizer)
    step = torch.compile(optimizer.step)
    for _ in range(2):
        backward(model)
        before = model[0].weight.detach().clone()
        step()
    assert [number for number, _, _ in seen] == [1, 2]
    assert seen[-1][2][1, 0].item() == pytest.approx(norm(model[0].weight.double() - before.double()) / 1e-2, rel=1e-4)


def test_the_rate_is_that_of_the_step_also_where_a_scheduler_steps_right_after_it(tmp_path):
    for lr in (0.5, torch.tensor(0.5)):
        param = torch.nn.Parameter(torch.full((3,), 2.0))
        param.grad = torch.ones(3)
        optimizer = torch.optim.AdamW([("w", param)], lr=lr, weight_decay=0.0)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.1)
        optimizer.register_step_post_hook(lambda *_, scheduler=scheduler: scheduler.step())
        seen = tables(optimizer)
        optimizer.step()
        _, update_norm, _, clipped_ratio, _, _, rate = seen[0][2][:, 0].tolist()
        assert rate == 0.5
        assert clipped_ratio == 1
        assert update_norm == pytest.approx(math.sqrt(3))
