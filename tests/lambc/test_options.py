"""Options as configurations, schedulers and checkpoints give them are used and saved as plain numbers."""

import copy
import io
from collections import UserList
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy
import pytest
import torch

from lambc import LAMBC, LARS, parameter_groups
from lambc.bounds import Deviation, DynamicBound, Fixed, Quantile, Scheduled, as_bound

NUMBERS = [numpy.float64(0.25), numpy.float32(0.25), numpy.array(0.25), Fraction(1, 4), Decimal("0.25")]
PAIRS = [UserList([0.25, 0.5]), [0.25, 0.5], numpy.array([0.25, 0.5]), (numpy.float32(0.25), Fraction(1, 2))]
TENSORS = [torch.tensor([0.25, 0.5]), (torch.tensor(0.25), torch.tensor(0.5, dtype=torch.float64))]
OF_LAMBC = ["lr", "eps", "weight_decay", "clip", "max_grad_norm"]
OF_LARS = ["lr", "momentum", "weight_decay", "clip", "trust_coefficient", "max_grad_norm"]
NO_NUMBERS = ["0.1", True, numpy.bool_(True), None, 1j, [0.1], numpy.ones(3), {"value": 0.1}]


def make_parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]


def step(optimizer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.randn(param.shape, generator=generator)
    optimizer.step()


def saved_and_loaded(optimizer):
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def weights(optimizer):
    return torch.cat([param.detach().flatten() for group in optimizer.param_groups for param in group["params"]])


@pytest.mark.parametrize("value", [*NUMBERS, torch.tensor(0.25)], ids=repr)
@pytest.mark.parametrize(
    ("optimizer_class", "option"), [(LAMBC, name) for name in OF_LAMBC] + [(LARS, name) for name in OF_LARS]
)
def test_a_number_of_another_library_is_that_number(optimizer_class, option, value):
    expected, given = (optimizer_class(make_parameters(), **{option: each}) for each in (0.25, value))
    step(expected)
    step(given)
    assert torch.equal(weights(given), weights(expected))
    (group,) = saved_and_loaded(given)["param_groups"]
    if option != "lr" or not isinstance(value, torch.Tensor):
        assert (type(group[option]), group[option]) == (float, 0.25)


@pytest.mark.parametrize("value", [*PAIRS, *TENSORS], ids=repr)
@pytest.mark.parametrize("option", ["betas", "phi", "clip"])
def test_any_two_numbers_are_a_pair(option, value):
    expected, given = (LAMBC(make_parameters(), **{option: each}) for each in ((0.25, 0.5), value))
    step(expected)
    step(given)
    assert torch.equal(weights(given), weights(expected))
    (group,) = saved_and_loaded(given)["param_groups"]
    assert group[option] == (0.25, 0.5)


def test_whole_numbers_stay_whole():
    optimizer = LAMBC(make_parameters(), lr=numpy.int64(1), clip=numpy.array([0, 2]), max_grad_norm=1)
    (group,) = saved_and_loaded(optimizer)["param_groups"]
    assert (group["lr"], group["clip"], group["max_grad_norm"]) == (1, (0, 2), 1)
    assert type(group["lr"]) is int


def test_flags_of_another_library_are_saved_plain():
    flags = {"adapt": numpy.bool_(False), "bias_correction": numpy.array(True), "fused": numpy.bool_(True)}
    optimizer = LAMBC(make_parameters(), clip=Deviation(per_layer=numpy.bool_(False)), **flags)
    step(optimizer)
    (group,) = saved_and_loaded(optimizer)["param_groups"]
    assert [group[name] for name in flags] == [False, True, True]
    assert group["clip"]["per_layer"] is False


def test_groups_take_what_the_optimizer_takes():
    first, second = make_parameters()
    optimizer = LAMBC([{"params": [first], "betas": numpy.array([0.5, 0.75]), "lr": numpy.float32(0.5)}])
    optimizer.add_param_group({"params": [second], "clip": UserList([0, 1]), "weight_decay": numpy.float64(0.25)})
    step(optimizer)
    one, two = saved_and_loaded(optimizer)["param_groups"]
    assert (one["betas"], one["lr"]) == ((0.5, 0.75), 0.5)
    assert (two["clip"], two["weight_decay"]) == ((0, 1), 0.25)
    decayed = LAMBC(parameter_groups(torch.nn.Linear(2, 2), weight_decay=numpy.float64(0.25)))
    assert saved_and_loaded(decayed)["param_groups"][0]["weight_decay"] == 0.25


@pytest.mark.parametrize("optimizer_class", [LAMBC, LARS])
def test_what_a_scheduler_writes_is_saved_plain(optimizer_class):
    optimizer = optimizer_class(make_parameters(), lr=numpy.float64(0.5))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: numpy.cos(step / 10))
    for seed in range(3):
        step(optimizer, seed)
        schedule.step()
    group = saved_and_loaded(optimizer)["param_groups"][0]  # after the scheduler, before the next step
    assert (type(group["lr"]), type(group["initial_lr"])) == (float, float)
    assert group["lr"] == pytest.approx(0.5 * numpy.cos(0.3))


def test_what_one_cycle_keeps_in_the_groups_is_saved_plain():
    optimizer = LAMBC(make_parameters())
    limits = {"base_momentum": numpy.float64(0.8), "max_momentum": numpy.float32(0.9)}
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=numpy.float64(0.1), total_steps=9, **limits)
    step(optimizer)
    group = saved_and_loaded(optimizer)["param_groups"][0]
    assert {type(group[name]) for name in ("lr", "max_lr", "min_lr", "initial_lr", "max_momentum")} == {float}
    assert {type(beta) for beta in group["betas"]} == {float}


def test_numbers_written_by_hand_act_as_plain_ones():
    expected, given = LAMBC(make_parameters()), LAMBC(make_parameters())
    expected.param_groups[0].update(lr=0.5, betas=(0.5, 0.75), clip=(0.25, 0.5), phi=(0.25, 0.5), eps=0.5)
    given.param_groups[0].update(
        lr=numpy.float32(0.5), betas=UserList([0.5, 0.75]), clip=numpy.array([0.25, 0.5]),
        phi=numpy.array([0.25, 0.5]), eps=torch.tensor(0.5),
    )  # fmt: skip
    for optimizer in (expected, given):
        step(optimizer)
    assert torch.equal(weights(given), weights(expected))
    assert given.param_groups[0]["betas"] == (0.5, 0.75)


def test_a_text_written_by_hand_is_refused_before_anything_moves():
    optimizer = LAMBC(make_parameters())
    before = weights(optimizer)
    optimizer.param_groups[0]["lr"] = "1e-3"
    with pytest.raises(ValueError, match="lr='1e-3' is a string"):
        step(optimizer)
    assert torch.equal(weights(optimizer), before)
    assert optimizer.param_groups[0]["step"] == 0


def test_a_tensor_as_learning_rate_stays_the_tensor_that_a_scheduler_writes_to():
    lr = torch.tensor([0.5])
    optimizer = LAMBC(make_parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    step(optimizer)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.25
    assert saved_and_loaded(optimizer)["param_groups"][0]["lr"] == torch.tensor([0.25])


@pytest.mark.filterwarnings("ignore:the state_dict replaces clip")  # tests/lambc/test_moving.py
def test_a_checkpoint_with_numbers_of_another_library_is_loaded_as_plain_ones():
    optimizer = LAMBC(make_parameters())
    step(optimizer)
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0].update(
        lr=numpy.float32(0.5), betas=[numpy.float64(0.5), numpy.float64(0.75)], clip=numpy.array([0.25, 0.5])
    )
    other = LAMBC(make_parameters())
    other.load_state_dict(state_dict)
    group = other.param_groups[0]
    assert (group["lr"], group["betas"], group["clip"]) == (0.5, (0.5, 0.75), (0.25, 0.5))
    assert saved_and_loaded(copy.deepcopy(other))["param_groups"][0]["lr"] == 0.5


def test_a_checkpoint_with_a_text_for_a_number_is_refused_before_anything_changes():
    optimizer = LAMBC(make_parameters())
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0].update(lr=0.5, betas="0.9, 0.99")
    with pytest.raises(ValueError, match=r"betas='0\.9, 0\.99': give two numbers"):
        optimizer.load_state_dict(state_dict)
    assert optimizer.param_groups[0]["lr"] == 1e-2


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("option", ["lr", "eps", "weight_decay", "max_grad_norm", "betas", "phi"])
def test_what_is_no_number_is_refused_in_a_sentence_with_its_value(option, value):
    if value is None and option in ("max_grad_norm", "phi"):
        return
    if isinstance(value, list | numpy.ndarray) and option in ("betas", "phi"):
        value = (0.1, value[0] if len(value) == 1 else "0.2", 0.3)
    with pytest.raises(ValueError, match=f"^{option}=") as refused:
        LAMBC(make_parameters(), **{option: value})
    assert repr(value) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["1", "ab", True, (True, 2), ("0", "1"), {0, 1}, numpy.bool_(True), b"ab"], ids=repr)
def test_what_is_no_bound_is_refused_with_its_value(value):
    with pytest.raises(TypeError, match="give an upper bound, a pair"):
        LAMBC(make_parameters(), clip=value)


@pytest.mark.parametrize("lr", [torch.tensor(True), torch.tensor(1j)])
def test_a_learning_rate_that_is_a_tensor_of_no_real_number_is_refused(lr):
    with pytest.raises(ValueError, match="lr is a tensor of torch"):
        LAMBC(make_parameters(), lr=lr)


def test_a_gradient_that_would_be_lost_is_refused():
    decay = torch.tensor(0.1, requires_grad=True)
    with pytest.raises(ValueError, match="autograd follows no option but lr"):
        LAMBC(make_parameters(), weight_decay=decay, differentiable=True)


BOUNDS = [
    (Fixed(1, 0.5), Fixed(numpy.float32(1), numpy.float64(0.5))),
    (Scheduled(4, 1, 10), Scheduled(numpy.float64(4), torch.tensor(1.0), numpy.int64(10))),
    (DynamicBound(1, 0.5), DynamicBound(numpy.int64(1), Fraction(1, 2))),
    (Deviation(2, 0.5, False), Deviation(numpy.float32(2), Decimal("0.5"), numpy.bool_(False))),
    (Quantile(0.5, 0.25), Quantile(numpy.float64(0.5), numpy.array(0.25))),
]


@pytest.mark.filterwarnings("ignore:the state_dict replaces clip")  # tests/lambc/test_moving.py
@pytest.mark.parametrize(("plain", "bound"), BOUNDS, ids=repr)
def test_a_bound_takes_the_same_numbers_and_is_saved_plain(plain, bound):
    optimizer = LAMBC(make_parameters(), clip=bound)
    step(optimizer)
    other = LAMBC(make_parameters(), clip=None)
    other.load_state_dict(saved_and_loaded(optimizer))
    assert other.param_groups[0]["clip"] == bound == plain


@pytest.mark.parametrize("make", [lambda: Fixed("1"), lambda: Scheduled(4, 1, "10"), lambda: Quantile(True)])
def test_a_bound_refuses_what_is_no_number(make):
    with pytest.raises(ValueError, match=r"^(Fixed\.upper='1'|Scheduled\.steps='10'|Quantile\.q=True).* give a number"):
        make()


class Ceiling(NamedTuple):
    """A bound of a user's own that is a pair of numbers as well."""

    low: float
    high: float
    state = {}  # noqa: RUF012

    def limits(self, state):
        return 0.0, self.high

    def learn(self, state, ratio, usable):
        return {}


def test_a_bound_that_is_a_sequence_is_a_bound():
    bound = Ceiling(0.5, 0.75)
    assert as_bound(bound) is bound
    optimizer = LAMBC(make_parameters(), clip=bound)
    step(optimizer)
    assert optimizer.param_groups[0]["clip"] is bound
    assert saved_and_loaded(optimizer)["param_groups"][0]["clip"] == {"kind": "Ceiling"}
