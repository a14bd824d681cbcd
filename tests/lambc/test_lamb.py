"""LAMBC and LAMB as optimizers of torch: options, groups, state, and what they refuse."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from lambc import LAMB, LAMBC, LARS, parameter_groups
from lambc.bounds import Fixed

PATHS = [{"fused": True}, {"foreach": True}, {"foreach": False}]
BAD_OPTIONS = [
    ({"lr": -1.0}, r"lr=-1.0: the learning rate must be 0 or more"),
    ({"lr": math.nan}, r"lr=nan"),
    ({"lr": torch.ones(2)}, r"lr has 2 elements"),
    ({"betas": (1.0, 0.999)}, r"betas=\(1.0, 0.999\): β1 must lie in \[0, 1\)"),
    ({"betas": (0.9, math.nan)}, r"β2 must lie in"),
    ({"betas": (0.9,)}, r"betas=\(0.9,\): give two"),
    ({"betas": 0.9}, r"betas=0.9: give two"),
    ({"eps": 0.0}, r"eps=0.0: ε must be above 0"),
    ({"eps": math.nan}, r"eps=nan"),
    ({"weight_decay": -0.1}, r"weight_decay=-0.1"),
    ({"weight_decay": math.nan}, r"weight_decay=nan"),
    ({"phi": (2.0, 1.0)}, r"phi=\(2.0, 1.0\)"),
    ({"phi": 2.0}, r"phi=2.0: φ clamps ‖w‖ to \(low, high\)"),
    ({"clip": (2.0, 1.0)}, r"clip=\(2.0, 1.0\): the lower bound is above the upper one"),
    ({"clip": -1.0}, r"the upper bound is not above 0"),
    ({"clip": (-1.0, 1.0)}, r"the lower bound is negative"),
    ({"clip": math.nan}, r"a bound is NaN"),
]


class Unknown(Fixed):
    """A bound that the optimizer which loads it does not have."""

    def __init__(self):
        super().__init__(upper=1.0)


def make_model(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3)).to(dtype)


def backward(model, seed):
    """Gradients of a loss on a batch that depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    model.zero_grad()
    inputs = torch.randn(16, 6, generator=generator).to(dtype)
    model(inputs).square().mean().backward()


def train(model, optimizer, steps):
    for seed in steps:
        backward(model, seed)
        optimizer.step()
    return torch.cat([param.detach().flatten() for param in model.parameters()])


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: str(value))
def test_an_option_that_makes_no_sense_is_refused_with_its_value(options, message):
    with pytest.raises(ValueError, match=message):
        LAMBC(make_model().parameters(), **options)


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: str(value))
def test_a_group_is_checked_as_the_defaults_are(options, message):
    optimizer = LAMBC(make_model().parameters())
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("clip", ["1", (1.0, 2.0, 3.0), True, [1.0], Fixed], ids=str)
def test_a_clip_of_another_kind_is_refused(clip):
    with pytest.raises(TypeError, match="give an upper bound"):
        LAMBC(make_model().parameters(), clip=clip)


@pytest.mark.parametrize("unclipped", [LAMB, lambda params: LAMBC(params, clip=math.inf)], ids=["LAMB", "inf"])
def test_lamb_is_lambc_without_a_bound(unclipped):
    expected_model, model = make_model(), make_model()
    expected = train(expected_model, LAMBC(expected_model.parameters(), clip=None), range(5))
    assert torch.equal(train(model, unclipped(model.parameters()), range(5)), expected)


def test_lamb_takes_its_options_in_the_order_of_lambcs():
    group = LAMB(make_model().parameters(), 0.1, (0.5, 0.9), 1e-3, 0.2, maximize=True).param_groups[0]
    assert [group[name] for name in ("lr", "betas", "eps", "weight_decay", "clip", "maximize")] == [
        0.1, (0.5, 0.9), 1e-3, 0.2, None, True,
    ]  # fmt: skip


@pytest.mark.parametrize("clip", [(0.0, 0.5), Fixed(0.5)], ids=["pair", "Fixed"])
def test_a_number_a_pair_and_a_bound_say_the_same(clip):
    expected_model, model = make_model(), make_model()
    expected = train(expected_model, LAMBC(expected_model.parameters(), clip=0.5), range(5))
    assert torch.equal(train(model, LAMBC(model.parameters(), clip=clip), range(5)), expected)


def test_groups_have_options_of_their_own():
    model = make_model()
    named = list(model.named_parameters())
    groups = [
        {"params": named[:2], "clip": 0.25},
        {"params": named[2:4], "adapt": False},
        {"params": named[4:], "clip": (0.5, 0.75), "lr": 0.5},
    ]
    optimizer = LAMBC(groups, lr=0.125)
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append((record.layers, record.table.clone())))
    train(model, optimizer, range(1))
    layers, table = seen[0]
    assert layers == ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias")
    lower, upper, lr = table[4:]
    assert lower.tolist() == [0, 0, 1, 1, 0.5, 0.5]
    assert upper.tolist() == [0.25, 0.25, 1, 1, 0.75, 0.75]
    assert lr.tolist() == [0.125, 0.125, 0.125, 0.125, 0.5, 0.5]


def test_a_layer_that_is_not_adapted_takes_adams_step_and_still_shows_its_ratio():
    adapted, exempt, adam = make_model(), make_model(), make_model()
    optimizers = LAMBC(adapted.parameters(), lr=1e-2), LAMBC(exempt.parameters(), lr=1e-2, adapt=False)
    ratios = []
    for optimizer in optimizers:
        optimizer.register_trust_ratio_hook(lambda record: ratios.append(record.table[2:4].clone()))
    for model, optimizer in zip((adapted, exempt), optimizers, strict=True):
        train(model, optimizer, range(1))
    assert torch.equal(ratios[0][0], ratios[1][0])
    assert (ratios[1][1] == 1).all()
    expected = train(adam, torch.optim.Adam(adam.parameters(), lr=1e-2, eps=1e-6), range(6))
    torch.testing.assert_close(train(exempt, optimizers[1], range(1, 6)), expected, rtol=1e-5, atol=1e-6)


def test_a_group_can_be_added_in_mid_training():
    model = make_model()
    optimizer = LAMBC(model[0].named_parameters())
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append((record.step, record.layers)))
    train(model, optimizer, range(2))
    optimizer.add_param_group({"params": list(model[2].named_parameters())})
    train(model, optimizer, range(2, 3))
    assert seen[0][1] is seen[1][1]
    assert seen[2] == (3, ("weight", "bias", "weight", "bias"))


def test_the_learning_rate_may_be_a_tensor_that_a_schedule_writes():
    number, tensor = make_model(), make_model()
    expected = train(number, LAMBC(number.parameters(), lr=0.01), range(2))
    lr = torch.tensor(0.5)
    optimizer = LAMBC(tensor.parameters(), lr=lr)
    lr.fill_(0.01)
    torch.testing.assert_close(train(tensor, optimizer, range(2)), expected, rtol=1e-6, atol=1e-7)


def test_a_scheduler_changes_the_step_and_the_record():
    model = make_model()
    optimizer = LAMBC(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.lr[0].item()))
    for seed in range(3):
        train(model, optimizer, [seed])
        scheduler.step()
    assert seen == pytest.approx([0.1, 0.05, 0.025])


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_an_lr_of_one_element_is_a_rate_and_stays_the_callers_tensor(path, shape):
    expected_model, model = make_model(), make_model()
    expected = train(expected_model, LAMBC(expected_model.parameters(), lr=0.5, **path), range(2))
    lr = torch.full(shape, 0.25)
    optimizer = LAMBC(model.parameters(), lr=lr, **path)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0]["lr"] = lr
    rates = []
    optimizer.register_trust_ratio_hook(lambda record: rates.append(record.lr.unique().tolist()))
    lr.fill_(0.5)
    torch.testing.assert_close(train(model, optimizer, range(2)), expected)
    assert rates == [[0.5], [0.5]]


def test_a_closure_is_called_with_gradients_enabled_and_its_loss_returned():
    model = make_model()
    optimizer = LAMBC(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 6)).square().mean()
        loss.backward()
        return loss

    first, second = optimizer.step(closure), optimizer.step(closure)
    assert second < first


def test_maximize_goes_the_other_way():
    up, down = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    for param, maximize in ((up, True), (down, False)):
        param.grad = torch.ones(3)
        LAMBC([param], maximize=maximize).step()
    torch.testing.assert_close(up - 1, 1 - down)
    assert (up > 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_resumed_run_equals_one_that_did_not_stop_bit_for_bit(dtype):
    straight, stopped, resumed = make_model(dtype), make_model(dtype), make_model(dtype)
    expected = train(straight, LAMBC(straight.named_parameters(), weight_decay=0.1), range(8))

    optimizer = LAMBC(stopped.named_parameters(), weight_decay=0.1)
    train(stopped, optimizer, range(4))
    file = io.BytesIO()
    torch.save({"model": stopped.state_dict(), "optimizer": optimizer.state_dict()}, file)
    checkpoint = torch.load(io.BytesIO(file.getvalue()), weights_only=True)

    optimizer = LAMBC(resumed.named_parameters())  # its options come from the checkpoint
    resumed.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    steps = []
    optimizer.register_trust_ratio_hook(lambda record: steps.append(record.step))
    assert torch.equal(train(resumed, optimizer, range(4, 8)), expected)
    assert steps == [5, 6, 7, 8]


def test_a_state_dict_of_another_layout_is_refused():
    model = make_model()
    whole, part = LAMBC(model.parameters()), LAMBC(model[0].parameters())
    for optimizer, other in ((part, whole), (whole, part)):
        with pytest.raises(ValueError, match="doesn't match the size"):
            optimizer.load_state_dict(other.state_dict())
    groups = LAMBC([{"params": module.parameters()} for module in model])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        groups.load_state_dict(part.state_dict())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda model: LARS(model.parameters()), "momentum for layer 0.0, but LAMBC needs exp_avg, exp_avg_sq"),
        (lambda model: LAMBC([*model.parameters()][::-1]), r"shape \[3\] for layer 0.0, whose shape is \[8, 6"),
        (lambda model: LAMBC(model.parameters(), clip=Unknown()), "saved with the clip bound Unknown"),
    ],
    ids=["optimizer", "order", "bound"],
)  # fmt: skip
def test_a_state_dict_that_does_not_fit_is_refused_before_anything_changes(other, message):
    model = make_model()
    optimizer, saved = LAMBC(model.parameters(), lr=0.5), other(model)
    train(model, optimizer, range(1))
    train(model, saved, range(2))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved.state_dict())
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(torch.equal(after["state"][0][name], before["state"][0][name]) for name in before["state"][0])


def named(*names):
    """An optimizer of layers of one shape, a group each."""
    return LAMBC([{"params": [(name, torch.nn.Parameter(torch.ones(3)))]} for name in names])


def test_layers_in_another_order_than_in_the_state_dict_are_refused():
    with pytest.raises(ValueError, match="has layer k where the optimizer has layer v: give the optimizer its param"):
        named("q", "v", "k").load_state_dict(named("q", "k", "v").state_dict())


@pytest.mark.parametrize("flat", [False, True])
def test_a_checkpoint_by_name_is_loaded_whatever_the_order_of_the_layers(flat):
    """torch.distributed.checkpoint puts the parameters in the optimizer's order, but not their names."""
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    saved = LAMBC(model.named_parameters())
    model(torch.ones(4, 3)).square().sum().backward()
    saved.step()
    loaded = LAMBC(reversed(list(other.named_parameters())))
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    state = get_optimizer_state_dict(model, saved, options=options)
    set_optimizer_state_dict(other, loaded, state, options=options)
    assert loaded.param_groups[0]["param_names"] == ["bias", "weight"]
    for (_, param), (_, mine) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(saved.state[param]["exp_avg"], loaded.state[mine]["exp_avg"])


@pytest.mark.parametrize("saved", [("module.q", "module.k"), ("query", "q")])
def test_layers_of_other_names_are_loaded_by_their_place_and_keep_their_names(saved):
    optimizer = named("q", "k")
    optimizer.load_state_dict(named(*saved).state_dict())
    assert [group["param_names"] for group in optimizer.param_groups] == [["q"], ["k"]]


@pytest.mark.filterwarnings("ignore:the state_dict is another optimizer's")  # tests/lambc/test_moving.py
def test_options_that_a_state_dict_does_not_have_stay_what_they_are():
    model = make_model()
    optimizer = LAMBC(parameter_groups(model, weight_decay=0.1), clip=0.5, phi=(0.1, 2.0))
    adam = torch.optim.AdamW([{"params": group["params"]} for group in optimizer.param_groups], weight_decay=0.2)
    optimizer.load_state_dict(adam.state_dict())
    kept = [[group[name] for name in ("adapt", "clip", "phi", "weight_decay")] for group in optimizer.param_groups]
    assert kept == [[True, 0.5, (0.1, 2.0), 0.2], [False, 0.5, (0.1, 2.0), 0.2]]


@pytest.mark.filterwarnings("ignore:the state_dict is another optimizer's")  # tests/lambc/test_moving.py
def test_steps_that_were_counted_in_the_group_are_taken_over_and_none_at_all_are_refused():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LAMBC([param])
    moments = {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    group = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-6, "params": [0]}
    with pytest.raises(ValueError, match="but LAMBC needs step, exp_avg, exp_avg_sq"):
        optimizer.load_state_dict({"state": {0: moments}, "param_groups": [group]})
    optimizer.load_state_dict({"state": {0: moments}, "param_groups": [group | {"step": 5}]})
    param.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[param]["step"] == optimizer.param_groups[0]["step"] == 6


def test_what_a_users_hook_makes_of_a_state_dict_is_what_is_loaded():
    def halve(optimizer, state_dict):
        state_dict = copy.deepcopy(state_dict)
        state_dict["state"][0]["exp_avg"].mul_(0.5)
        return state_dict

    model = make_model()
    saved, optimizer = LAMBC(model.parameters()), LAMBC(model.parameters())
    train(model, saved, range(1))
    optimizer.register_load_state_dict_pre_hook(halve)
    seen = []
    optimizer.register_load_state_dict_post_hook(lambda loaded: seen.append(loaded.param_groups[0]["step"]))
    optimizer.load_state_dict(saved.state_dict())
    first = next(model.parameters())
    assert torch.equal(optimizer.state[first]["exp_avg"], saved.state[first]["exp_avg"] * 0.5)
    assert seen == [1]


def test_an_lr_that_is_differentiated_can_be_copied_and_loaded():
    lr = torch.tensor(0.1, requires_grad=True)
    optimizer = LAMBC([torch.nn.Parameter(torch.ones(3))], lr=lr)
    assert optimizer.param_groups[0]["lr"] is lr
    copy.deepcopy(optimizer).load_state_dict(optimizer.state_dict())


@pytest.mark.filterwarnings("ignore:the state_dict is another optimizer's")  # tests/lambc/test_moving.py
@pytest.mark.parametrize("saves", ["tensors", "numbers"])
def test_training_goes_on_from_adams_state(saves):
    model = make_model()
    adam = torch.optim.Adam(model.parameters(), lr=0.125)
    train(model, adam, range(3))
    state_dict = adam.state_dict()
    if saves == "numbers":  # as torch did up to 1.11
        for state in state_dict["state"].values():
            state["step"] = int(state["step"])
    optimizer = LAMBC(model.parameters())
    optimizer.load_state_dict(state_dict)
    steps = []
    optimizer.register_trust_ratio_hook(lambda record: steps.append(record.step))
    train(model, optimizer, range(1))
    assert steps == [4]
    assert optimizer.param_groups[0]["lr"] == 0.125
    assert all(state["step"] == 4 for state in optimizer.state.values())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_goes_on_like_the_original_and_without_its_hooks(duplicate):
    model = make_model()
    optimizer = LAMBC(model.named_parameters())
    train(model, optimizer, range(2))
    calls = []
    optimizer.register_trust_ratio_hook(lambda record: calls.append(record.step))
    model_copy, optimizer_copy = duplicate((model, optimizer))
    weights = train(model_copy, optimizer_copy, range(2, 4))
    assert calls == []
    assert torch.equal(train(model, optimizer, range(2, 4)), weights)


def test_moments_of_half_precision_parameters_are_float32_also_after_loading():
    model = make_model(torch.bfloat16)
    optimizer = LAMBC(model.parameters())
    train(model, optimizer, range(2))
    loaded = LAMBC(model.parameters())
    loaded.load_state_dict(optimizer.state_dict())
    for param in model.parameters():
        assert param.dtype == torch.bfloat16
        for name in ("exp_avg", "exp_avg_sq"):
            assert loaded.state[param][name].dtype == torch.float32
            assert torch.equal(loaded.state[param][name], optimizer.state[param][name])


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_master_weights_add_up_what_half_precision_rounds_away(path):
    dtypes = torch.float32, torch.bfloat16, torch.bfloat16
    exact, rounded, kept = (torch.nn.Parameter(torch.ones(64, dtype=dtype)) for dtype in dtypes)
    optimizers = [LAMBC([param], lr=1e-4, master_weights=param is kept, **path) for param in (exact, rounded, kept)]
    for _ in range(100):
        for optimizer in optimizers:
            (param,) = optimizer.param_groups[0]["params"]
            param.grad = torch.ones_like(param)
            optimizer.step()
    assert (rounded == 1).all()
    assert torch.equal(kept, exact.bfloat16())
    assert torch.equal(optimizers[2].state[kept]["master"], exact)


def test_masters_that_were_not_kept_up_to_date_are_made_anew():
    param = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = LAMBC([param], lr=0.1, master_weights=True)
    before = 1.0
    for keeps in (True, False, False, True):
        optimizer.param_groups[0]["master_weights"] = keeps
        param.grad = torch.ones_like(param)
        optimizer.step()
        assert param[0] < before
        assert ("master" in optimizer.state[param]) == keeps
        before = param[0].item()


def test_master_weights_are_in_the_state_dict_as_they_are():
    model = make_model(torch.bfloat16)
    optimizer = LAMBC(model.parameters(), master_weights=True)
    train(model, optimizer, range(3))
    loaded = LAMBC(model.parameters())
    loaded.load_state_dict(optimizer.state_dict())
    for param in model.parameters():
        assert torch.equal(loaded.state[param]["master"], optimizer.state[param]["master"])
        assert torch.equal(loaded.state[param]["master"].bfloat16(), param)


def test_dtypes_may_be_mixed_in_a_group():
    weights = [torch.linspace(0.5, 1.5, 12), torch.linspace(-1, 1, 7), torch.linspace(1, 2, 5), torch.ones(3)]
    dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.bfloat16]
    together = [torch.nn.Parameter(weight.to(dtype, copy=True)) for weight, dtype in zip(weights, dtypes, strict=True)]
    alone = copy.deepcopy(together)
    optimizer = LAMBC(together)
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.weight_norm.clone()))
    for params, optimizers in ((together, [optimizer]), (alone, [LAMBC([param]) for param in alone])):
        for param in params:
            param.grad = torch.full_like(param, 0.25)
        for each in optimizers:
            each.step()
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    expected = torch.stack([weight.to(dtype).float().norm() for weight, dtype in zip(weights, dtypes, strict=True)])
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_an_infinite_gradient_spoils_its_own_element_alone(path):
    param = torch.nn.Parameter(torch.linspace(1, 2, 10))
    param.grad = torch.ones(10)
    param.grad[3] = math.inf
    optimizer = LAMBC([param], **path)
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.table[:4, 0].tolist()))
    optimizer.step()
    assert param.isfinite().tolist() == [position != 3 for position in range(10)]
    _, update_norm, ratio, clipped = seen[0]
    assert math.isnan(update_norm)  # the record keeps the norm as it was
    assert ratio == clipped == 1


def test_sparse_and_complex_gradients_are_refused_by_name():
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="LAMBC takes no sparse gradients, but parameter weight has one"):
        LAMBC(embedding.named_parameters()).step()
    param = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    param.grad = torch.ones_like(param)
    with pytest.raises(RuntimeError, match="LAMB takes no complex gradients, but parameter number 0"):
        LAMB([param]).step()


def test_a_refused_step_has_moved_nothing():
    dense, embedding = torch.nn.Parameter(torch.ones(3)), torch.nn.Embedding(4, 2, sparse=True)
    dense.grad = torch.ones(3)
    embedding(torch.tensor([1])).sum().backward()
    optimizer = LAMBC([{"params": [dense]}, {"params": embedding.parameters()}])
    with pytest.raises(RuntimeError, match="takes no sparse gradients"):
        optimizer.step()
    assert dense.tolist() == [1, 1, 1]
    assert [group["step"] for group in optimizer.param_groups] == [0, 0]
    assert not optimizer.state


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_layer_that_is_not_finite_leaves_nothing_behind_for_the_next(weight_decay):
    """Layers share a buffer, also across steps: 600,000 elements have it to themselves, in turn."""
    weights = [torch.full((600_000,), math.nan), *(torch.ones(size) for size in (600_000, 3, 5))]
    params = [torch.nn.Parameter(weight) for weight in weights]
    optimizer = LAMBC(params, weight_decay=weight_decay, decay_in_ratio=False)
    for _ in range(2):
        for param in params:
            param.grad = torch.full_like(param, math.inf if len(param) == 3 else 0.5)
        optimizer.step()
    assert [param.isfinite().all().item() for param in params] == [False, True, False, True]


def test_a_gradient_is_never_written_to():
    model = make_model()
    backward(model, 0)
    before = [param.grad.clone() for param in model.parameters()]
    LAMBC(model.parameters(), maximize=True, weight_decay=0.1).step()
    assert all(torch.equal(param.grad, grad) for param, grad in zip(model.parameters(), before, strict=True))
