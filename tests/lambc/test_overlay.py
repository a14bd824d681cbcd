"""A trust ratio over the steps of other optimizers: LAMB over AdamW, LARS over SGD, a floor under Muon."""

import copy
import io
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import SGD, Adam, AdamW, NAdam
from torch.optim.lr_scheduler import StepLR

import lambc
from collector import Collector, connect
from lambc import LAMB, LAMBC, LARS
from lambc.bounds import LARC, Quantile, Scheduled
from tests.ranks import Ranks


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.LayerNorm(30), nn.ReLU(), nn.Linear(30, 5)).to(dtype)


def backward(model: nn.Module, seed: int) -> torch.Tensor:
    model.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 20, generator=generator, dtype=torch.float64).to(next(model.parameters()).dtype)
    loss = nn.functional.cross_entropy(model(images), torch.arange(16) % 5)
    loss.backward()
    return loss


def train(make: Callable[..., torch.optim.Optimizer], steps: int = 20, dtype: torch.dtype = torch.float64):
    """The weights after some steps, and the table of each step's record."""
    model = network(dtype)
    optimizer = make(model.named_parameters())
    tables: list[torch.Tensor] = []
    if hasattr(optimizer, "register_trust_ratio_hook"):
        optimizer.register_trust_ratio_hook(lambda record: tables.append(record.table.clone()))
    for step in range(steps):
        backward(model, step)
        optimizer.step()
    return list(model.parameters()), tables


def assert_same(made, expected, rtol: float = 1e-6) -> None:
    torch.testing.assert_close(made, expected, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("clip", [None, 1.0, (0.05, 0.5), Scheduled(3.0, 0.5, 4), Quantile(0.5, 0.5)], ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_over_adamw_it_is_lamb(clip, decay):
    def overlaid(params):
        return lambc.over(AdamW(params, lr=1e-2, eps=1e-6, weight_decay=decay), clip=clip)

    expected, tables = train(lambda params: LAMBC(params, lr=1e-2, weight_decay=decay, clip=clip))
    made, records = train(overlaid)
    assert_same(made, expected)
    assert_same(records, tables, rtol=1e-5)


def test_in_float32_too():
    made, _ = train(lambda params: lambc.over(AdamW(params, lr=1e-2, eps=1e-6, weight_decay=0)), dtype=torch.float32)
    expected, _ = train(lambda params: LAMB(params, lr=1e-2), dtype=torch.float32)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-6)


def test_over_sgd_it_is_lars():
    def with_weights(make):  # where a norm is zero SGD's buffer, whose first gradient has no dampening, is another
        def begin(params):
            params = list(params)
            with torch.no_grad():
                for _, param in params:
                    param.add_(0.01)
            return make(params)

        return begin

    expected, _ = train(with_weights(lambda params: LARS(params, lr=0.5, momentum=0.0, weight_decay=0.01)))
    made, _ = train(with_weights(lambda params: lambc.over(SGD(params, lr=0.5, weight_decay=0.01), coefficient=1e-3)))
    assert_same(made, expected)


def test_decoupled_decay_can_be_left_out_of_the_ratio():
    model, expected = network(), network()
    optimizer = lambc.over(AdamW(model.parameters(), lr=1e-2, weight_decay=0.1), clip=(0.2, 0.3), decay="apart")
    plain = AdamW(expected.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(5):
        backward(model, step)
        optimizer.step()
        before = [param.detach().clone() for param in expected.parameters()]
        backward(expected, step)
        plain.step()
        with torch.no_grad():
            for param, was in zip(expected.parameters(), before, strict=True):
                moved = param - was
                ratio = was.norm() / (moved.norm() / 1e-2) if was.norm() > 0 and moved.norm() > 0 else torch.ones(())
                param.copy_(was * (1 - 1e-2 * 0.1) + ratio.clamp(0.2, 0.3) * moved)
    assert_same(list(model.parameters()), list(expected.parameters()))


def test_a_floor_under_muon_is_a_smallest_relative_step():
    torch.manual_seed(0)
    weight = nn.Parameter(100 * torch.randn(30, 20))
    optimizer = lambc.over(torch.optim.Muon([weight], lr=1e-2, weight_decay=0.0), clip=(1, math.inf), coefficient=0.35)
    for _ in range(3):
        weight.grad = torch.randn(30, 20)
        before = weight.detach().clone()
        optimizer.step()
        assert ((weight - before).norm() / before.norm()).item() == pytest.approx(0.35 * 1e-2, rel=1e-4)


@pytest.mark.parametrize("make", [AdamW, SGD, torch.optim.Adagrad, torch.optim.RMSprop])
def test_a_bound_that_never_acts_leaves_every_bit(make):
    made, tables = train(lambda params: lambc.over(make(params, lr=1e-3), clip=(1, 1)), steps=3, dtype=torch.float32)
    expected, _ = train(lambda params: make(params, lr=1e-3), steps=3, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))
    assert len(tables) == 3


def test_groups_have_bounds_of_their_own_and_those_not_adapted_keep_their_steps():
    model, tables = network(), []
    groups = lambc.parameter_groups(model)
    groups[0]["trust_clip"] = 0.25
    optimizer = lambc.over(AdamW(groups, lr=1e-2), clip=2.0)
    optimizer.register_trust_ratio_hook(lambda record: tables.append(record))
    late = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer.add_param_group({"params": [("late", late)]})
    late.grad = torch.ones(3, dtype=torch.float64)
    backward(model, 0)
    optimizer.step()
    (record,) = tables
    upper = dict(zip(record.layers, record.upper.tolist(), strict=True))
    assert upper["0.weight"] == upper["3.weight"] == 0.25
    assert upper["0.bias"] == upper["1.weight"] == 1
    assert upper["late"] == 2


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler_skips_a_step_that_overflowed(fused):
    model = network(torch.float32)
    optimizer = lambc.over(AdamW(model.parameters(), lr=1e-2, fused=fused), clip=Quantile(0.5, 0.5))
    records = []
    optimizer.register_trust_ratio_hook(lambda record: records.append(record.table.clone()))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(nn.functional.cross_entropy(model(torch.ones(4, 20)), torch.arange(4))).backward()
    scaler.step(optimizer)
    scaler.update()
    before = [param.detach().clone() for param in model.parameters()]
    for param in model.parameters():
        param.grad.fill_(math.inf)
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert not records[0][6].isnan().any()
    assert all(record[6].isnan().all() for record in records[1:])  # a row without a rate is no row of the log


def test_a_closure_a_schedule_and_gradients_that_come_late_are_seen():
    def closed(overlaid: bool):
        model = network()
        optimizer = (
            AdamW(model.parameters(), lr=1e-2, eps=1e-6, weight_decay=0) if overlaid else LAMB(model.parameters())
        )
        optimizer = lambc.over(optimizer) if overlaid else optimizer
        schedule = StepLR(optimizer, 2, 0.5)
        for step in range(6):
            optimizer.step(lambda step=step: backward(model, step))
            schedule.step()
        return list(model.parameters())

    assert_same(closed(overlaid=True), closed(overlaid=False))


def test_gradients_that_a_closure_throws_away_make_no_step_of_their_layers():
    """The gradients of the step before are still there when a closure begins; the second one computes none."""
    model = network()
    optimizer = lambc.over(SGD(model.parameters(), lr=0.1), clip=10.0)
    names = [name for name, _ in model.named_parameters()]
    found = []
    optimizer.register_trust_ratio_hook(lambda record: found.append(record.table[0].isfinite().tolist()))

    def closure(params):
        optimizer.zero_grad()
        if params:
            sum(param.square().sum() for param in params).backward()

    for params in ([*model.parameters()], [], [next(model.parameters())]):
        optimizer.step(lambda params=params: closure(params))
    assert found == [[True] * len(names), [True, *[False] * (len(names) - 1)]]
    assert optimizer.param_groups[0]["trust_step"] == 2


def test_a_group_that_is_added_is_saved_before_its_first_step():
    optimizer = lambc.over(SGD([nn.Parameter(torch.ones(2))], lr=0.1), clip=2.0)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))], "trust_clip": 3.0})
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(4))]})
    assert [group["trust_clip"] for group in optimizer.state_dict()["param_groups"]] == [2.0, 3.0, 2.0]


@pytest.mark.parametrize(("mine", "warns"), [(5.0, True), (None, False), (2.0, False), ((0, 2), False)])
def test_a_loaded_state_says_where_its_bound_replaces_the_groups(mine, warns):
    saved, loaded = (lambc.over(SGD([nn.Parameter(torch.ones(2))], lr=0.1), clip=clip) for clip in (2.0, mine))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loaded.load_state_dict(saved.state_dict())
    said = f"the state_dict replaces clip={mine} by clip=2.0: to keep yours, set group['trust_clip'] after loading"
    assert [(str(each.message), each.filename) for each in warned] == [(said, __file__)] * warns
    assert loaded.param_groups[0]["trust_clip"] == 2.0


def test_a_step_within_a_step_is_scaled_once_also_after_one_that_raised():
    class Decaying(Adam):
        fails = False

        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    param.data.mul_(0.9)
            if self.fails:
                raise RuntimeError("out of memory")
            return super().step(closure)

    Adam([torch.zeros(1, requires_grad=True)])  # from here on Adam's own step has hooks, too
    weight = nn.Parameter(torch.full((4,), 2.0, dtype=torch.float64))
    optimizer = lambc.over(Decaying([weight], lr=0.1), clip=(0.5, 0.5))
    weight.grad = torch.ones(4, dtype=torch.float64)
    Decaying.fails = True
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step()
    Decaying.fails = False
    before = weight.detach().clone()
    optimizer.step()
    whole = before * 0.9 - 0.1 - before
    torch.testing.assert_close(weight.detach(), before + 0.5 * whole)


def test_what_is_saved_goes_on_as_if_nothing_had_happened():
    def make(params):
        return lambc.over(AdamW(params, lr=1e-2), clip=Quantile(0.5, 0.5), coefficient=0.5)

    expected, tables = train(make, steps=8)
    model = network()
    optimizer = make(model.named_parameters())
    for step in range(4):
        backward(model, step)
        optimizer.step()
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = network()
    again.load_state_dict(saved["model"])
    resumed = lambc.over(AdamW(again.named_parameters(), lr=1.0))
    resumed.load_state_dict(saved["optimizer"])
    records = []
    resumed.register_trust_ratio_hook(lambda record: records.append((record.step, record.table.clone())))
    for step in range(4, 8):
        backward(again, step)
        resumed.step()
    assert_same(list(again.parameters()), expected)
    assert [step for step, _ in records] == [5, 6, 7, 8]
    assert_same([table for _, table in records], tables[4:])


def test_a_checkpoint_made_without_it_keeps_the_options_and_counts_on():
    model = network()
    plain = AdamW(model.parameters(), lr=1e-2)
    for step in range(3):
        backward(model, step)
        plain.step()
    optimizer = lambc.over(AdamW(model.parameters(), lr=1.0), clip=0.5)
    optimizer.load_state_dict(plain.state_dict())
    records = []
    optimizer.register_trust_ratio_hook(records.append)
    backward(model, 3)
    optimizer.step()
    assert (records[0].step, optimizer.param_groups[0]["trust_clip"], optimizer.param_groups[0]["lr"]) == (4, 0.5, 1e-2)


def overlaid_before(how: str, clip: lambc.bounds.Clip) -> torch.optim.Optimizer:
    """An optimizer whose groups, one of which has a bound of its own, say that it was under `over`."""
    groups = [{"params": [nn.Parameter(torch.ones(3))], **own} for own in ({"trust_clip": 0.25}, {})]
    optimizer = lambc.over(AdamW(groups), clip=clip, coefficient=0.5)
    if how == "copied":
        return copy.deepcopy(optimizer)
    loaded = AdamW([{"params": group["params"]} for group in groups])
    loaded.load_state_dict(optimizer.state_dict())
    return loaded


@pytest.mark.parametrize("how", ["copied", "loaded"])
@pytest.mark.parametrize("clip", [2.0, (1, math.inf), Quantile(0.5)], ids=str)
def test_called_again_it_goes_on_with_the_options_of_the_groups(how, clip):
    for given in ({}, {"clip": clip, "coefficient": 0.5, "decay": "in"}):
        optimizer = lambc.over(overlaid_before(how, clip), **given)
        assert [group["trust_clip"] for group in optimizer.param_groups] == [0.25, clip]
        assert {group["trust_coefficient"] for group in optimizer.param_groups} == {0.5}


@pytest.mark.parametrize("how", ["copied", "loaded"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"clip": 3.0},
            r"clip=3.0, but the groups have trust_clip=0.25 .*: leave it out .*, or set group\['trust_clip'\]",
        ),
        ({"coefficient": 1.0}, "coefficient=1.0, but the groups have trust_coefficient=0.5"),
        ({"decay": "apart"}, "decay=apart, but the groups have trust_decay=in"),
    ],
)
def test_an_option_that_the_groups_have_otherwise_from_an_earlier_call_is_refused(how, given, said):
    with pytest.raises(ValueError, match=said):
        lambc.over(overlaid_before(how, Quantile(0.5)), **given)


def test_a_compiled_step_is_scaled_too():
    def compiled(params):
        optimizer = lambc.over(AdamW(params, lr=1e-2, eps=1e-6, weight_decay=0.0, capturable=False))
        optimizer.step = torch.compile(optimizer.step, backend="eager")
        return optimizer

    assert_same(train(compiled, steps=4)[0], train(lambda params: LAMB(params, lr=1e-2), steps=4)[0])


def test_a_collector_records_the_ratio_that_was_used(tmp_path):
    model = network(torch.float32)
    optimizer = lambc.over(torch.optim.RMSprop(model.named_parameters(), lr=1e-2), clip=0.0625)
    with Collector(optimizer, tmp_path, name="r"):
        for step in range(5):
            backward(model, step)
            optimizer.step()
    rows = (
        connect(tmp_path).sql("SELECT count(*), count(DISTINCT step), max(clipped_ratio) FROM trust_ratios").fetchall()
    )
    assert rows == [(30, 5, 0.0625)]
    assert connect(tmp_path).sql("SELECT count(*) FROM trust_ratios WHERE outcome = 'upper'").fetchall() != [(0,)]


def half(params):
    return [nn.Parameter(param.detach().bfloat16()) for _, param in params]


class Copying(SGD):
    """Goes on from weights that it keeps itself."""

    def step(self, closure=None):
        for param in self.param_groups[0]["params"]:
            kept = self.state[param].setdefault("z", param.detach().clone())
            kept.sub_(param.grad, alpha=0.1)
            param.data.copy_(kept)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda params: lambc.over(LAMB(params)), "LAMB has a trust ratio already"),
        (lambda params: lambc.over(lambc.over(AdamW(params))), "AdamW has a trust ratio already"),
        (lambda params: lambc.over(torch.optim.LBFGS([p for _, p in params])), "LBFGS takes several steps in one"),
        (lambda params: lambc.over(AdamW(half(params))), "parameter 0.0 is torch.bfloat16"),
        (lambda params: lambc.over(Adam(params), decay="apart"), "decay='apart' needs an optimizer that is known to"),
        (lambda params: lambc.over(NAdam(params), decay="beside"), "decay='beside': give 'in' or 'apart'"),
        (lambda params: lambc.over(AdamW(params), coefficient=0), "coefficient=0: η must be above 0"),
        (lambda params: lambc.over(AdamW(params), clip=-1), "the upper bound is not above 0"),
        (lambda params: lambc.over(AdamW(params), clip=LARC()), "which only LARS can"),
    ],
)
def test_what_would_be_wrong_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make(network().named_parameters())


def test_optimizers_that_are_none_and_those_of_others_that_have_a_ratio_are_refused():
    timm = pytest.importorskip("timm.optim")
    with pytest.raises(ValueError, match="Lamb has a trust ratio of its own"):
        lambc.over(timm.Lamb(network().parameters()))
    with pytest.raises(TypeError, match="not object"):
        lambc.over(object())


def test_an_optimizer_that_goes_on_from_a_copy_of_the_weights_is_refused_at_its_first_step():
    model = network()
    optimizer = lambc.over(Copying(model.parameters(), lr=0.1))
    backward(model, 0)
    with pytest.raises(RuntimeError, match="Copying keeps a copy of the weights in its state \\('z'\\)"):
        optimizer.step()


def test_a_collector_that_was_made_before_is_not_left_to_record_the_wrong_step(tmp_path):
    model = network()
    optimizer = AdamW(model.parameters())
    with Collector(optimizer, tmp_path, name="r"):
        with pytest.raises(ValueError, match="before the Collector is made"):
            lambc.over(optimizer)
        backward(model, 0)
        optimizer.step()


def sharded_beside_whole():
    """On each rank: a sharded model and the whole one, whose weights stay the same."""
    mesh = init_device_mesh("cpu", (2,))
    sharded, whole = network(), network()
    for layer in (sharded[0], sharded[3]):
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    optimizers = [lambc.over(AdamW(model.parameters(), lr=1e-2), clip=0.3, decay="apart") for model in (sharded, whole)]
    for step in range(6):
        for model, optimizer in zip((sharded, whole), optimizers, strict=True):
            backward(model, step)
            optimizer.step()
    for part, param in zip(sharded.parameters(), whole.parameters(), strict=True):
        assert isinstance(part, DTensor)
        torch.testing.assert_close(part.full_tensor(), param.detach(), rtol=1e-9, atol=1e-12)


def test_sharded_layers_have_the_ratio_of_the_whole_layer():
    ranks = Ranks(2)
    try:
        ranks.run(sharded_beside_whole)
    finally:
        ranks.close()
