"""The usual groups of a model's parameters."""

import pytest
import torch

from lambc import LAMBC, parameter_groups


def make_model():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 6), torch.nn.LayerNorm((2, 3))
    )


def test_biases_and_normalisation_layers_of_any_shape_have_no_decay_and_no_ratio():
    optimizer = LAMBC(parameter_groups(make_model(), weight_decay=0.1))
    weights, others = optimizer.param_groups
    assert weights["param_names"] == ["0.weight", "2.weight"]
    assert (weights["weight_decay"], weights["adapt"]) == (0.1, True)
    assert others["param_names"] == ["0.bias", "1.weight", "1.bias", "2.bias", "3.weight", "3.bias"]
    assert (others["weight_decay"], others["adapt"]) == (0.0, False)


def test_they_can_stay_adapted_as_in_the_paper():
    assert parameter_groups(make_model(), adapt=True)[1]["adapt"]


def test_frozen_parameters_are_left_out_and_no_group_is_empty():
    model = make_model()
    for name, param in model.named_parameters():
        param.requires_grad_(name == "2.weight")
    (group,) = parameter_groups(model)
    assert [name for name, _ in group["params"]] == ["2.weight"]


def test_a_shared_parameter_is_there_once():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    names = [name for group in parameter_groups(model) for name, _ in group["params"]]
    assert names == ["0.weight", "0.bias", "1.bias"]


@pytest.mark.parametrize("model", [torch.nn.Identity()], ids=["empty"])
def test_a_model_without_parameters_has_no_group(model):
    assert parameter_groups(model) == []
