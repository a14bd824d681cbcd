"""The paper's rule, on numbers that are worked out by hand."""

import math

import pytest
import torch

from lambc import rule

LARGEST = torch.finfo(torch.float32).max
UNUSABLE = [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)] + [
    pair for wrong in (math.inf, math.nan) for pair in ((wrong, 2.0), (2.0, wrong), (wrong, wrong))
]


def ratio_of(weight_norm: float, update_norm: float, **options) -> float:
    """The ratio of a layer, which must be the same from tensors and from plain numbers."""
    from_tensors = rule.trust_ratio(torch.tensor([weight_norm]), torch.tensor([update_norm]), **options).item()
    assert rule.trust_ratio_of_numbers(weight_norm, update_norm, options.get("phi"), LARGEST) == from_tensors
    return from_tensors


@pytest.mark.parametrize(
    ("eps_inside_sqrt", "expected"),
    [(False, (6 / 0.5) / (math.sqrt(4 / 0.25) + 9)), (True, (6 / 0.5) / math.sqrt(4 / 0.25 + 9))],
)
def test_the_direction_is_the_corrected_mean_over_the_root_of_the_corrected_square(eps_inside_sqrt, expected):
    direction = rule.update_direction(
        torch.tensor([6.0, -6.0]), torch.tensor([4.0, 4.0]), 0.5, 0.25, eps=9.0, eps_inside_sqrt=eps_inside_sqrt
    )
    torch.testing.assert_close(direction, torch.tensor([expected, -expected]))


def test_the_ratio_is_the_norm_of_the_weights_over_that_of_the_update():
    assert ratio_of(6.0, 3.0) == 2
    assert ratio_of(3.0, 6.0) == 0.5
    assert ratio_of(0.25, 0.5) == 0.5


@pytest.mark.parametrize(("weight_norm", "expected"), [(1.0, 0.5), (2.0, 0.5), (3.0, 0.75), (8.0, 2.0), (9.0, 2.0)])
def test_phi_limits_the_norm_of_the_weights_before_it_is_divided(weight_norm, expected):
    assert ratio_of(weight_norm, 4.0, phi=(2.0, 8.0)) == expected


def test_the_coefficient_of_lars_scales_the_ratio_but_not_the_fallback():
    ratios = rule.trust_ratio(torch.tensor([6.0, 0.0]), torch.tensor([3.0, 3.0]), coefficient=0.01)
    torch.testing.assert_close(ratios, torch.tensor([0.02, 1.0]))


@pytest.mark.parametrize(("weight_norm", "update_norm"), UNUSABLE)
def test_where_a_norm_is_zero_infinite_or_nan_the_ratio_is_one(weight_norm, update_norm):
    assert ratio_of(weight_norm, update_norm) == 1
    assert ratio_of(weight_norm, update_norm, phi=(0.5, 0.75)) == 1
    assert not rule.usable(torch.tensor(weight_norm), torch.tensor(update_norm))


def test_norms_of_any_size_between_zero_and_infinity_are_usable():
    norms = torch.tensor([1e-45, 1e-30, 0.5, 1.0, 1e30, LARGEST])
    assert rule.usable(norms, norms).all()
    assert [ratio_of(norm, norm) for norm in norms.tolist()] == [1.0] * 6


def test_a_ratio_that_overflows_is_one_and_the_largest_number_is_kept():
    assert ratio_of(1e30, 1e-30) == 1
    assert ratio_of(LARGEST, 1.0) == LARGEST


def test_a_bad_layer_spoils_neither_the_others_nor_their_gradients():
    weight_norm = torch.tensor([6.0, 0.0, 6.0], requires_grad=True)
    update_norm = torch.tensor([3.0, 3.0, 0.0], requires_grad=True)
    ratios = rule.trust_ratio(weight_norm, update_norm)
    ratios.sum().backward()
    assert ratios.tolist() == [2, 1, 1]
    torch.testing.assert_close(weight_norm.grad, torch.tensor([1 / 3, 0.0, 0.0]))
    torch.testing.assert_close(update_norm.grad, torch.tensor([-6 / 9, 0.0, 0.0]))


def test_each_layer_is_limited_to_its_own_bounds():
    ratios, lower, upper = torch.tensor([[0.1, 5.0, 5.0, 0.1], [0.5, 0.0, 0.0, 0.0], [9.0, 9.0, 2.0, math.inf]])
    torch.testing.assert_close(rule.clip(ratios, lower, upper), torch.tensor([0.5, 5.0, 2.0, 0.1]))
