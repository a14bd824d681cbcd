"""The usual groups of a model's parameters."""

import pytest
import torch

from lambc import LAMBC, bounds, clip_groups, parameter_groups


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


def test_biases_of_more_dimensions_are_known_by_the_last_part_of_their_names():
    experts = torch.nn.ParameterDict({name: torch.ones(4, 6) for name in ("up", "up_bias", "bias", "unbias", "biased")})
    attention = torch.nn.MultiheadAttention(4, 2, bias=False, add_bias_kv=True)
    groups = parameter_groups(torch.nn.ModuleDict({"bias": experts, "attention": attention}))
    weights, others = ({name for name, _ in group["params"]} for group in groups)
    assert weights >= {"bias.up", "bias.unbias", "bias.biased", "attention.in_proj_weight"}
    assert others == {"bias.up_bias", "bias.bias", "attention.bias_k", "attention.bias_v"}


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


BY_NAME = {"0.weight": 1.0, "*.weight": 2.0, "*.bias": (0.1, 3)}


def test_a_layer_has_the_bound_of_its_pattern_and_that_of_its_full_name_before():
    optimizer = LAMBC(clip_groups(make_model(), BY_NAME))
    found = {name: group["clip"] for group in optimizer.param_groups for name in group["param_names"]}
    assert found == {
        **{f"{place}.weight": 2.0 for place in (1, 2, 3)},
        **{f"{place}.bias": (0.1, 3) for place in range(4)},
        "0.weight": 1.0,
    }
    assert len(optimizer.param_groups) == 3


def test_layers_of_one_bound_share_a_group_whatever_kind_of_bound_it_is():
    quantile = bounds.Quantile(0.95)
    patterns = {"0.weight": quantile, "1.weight": quantile, "2.weight": None, "3.weight": None, "*.bias": 1.0}
    groups = clip_groups(make_model(), patterns)
    assert [[name for name, _ in group["params"]] for group in groups] == [
        ["0.weight", "1.weight"],
        ["0.bias", "1.bias", "2.bias", "3.bias"],
        ["2.weight", "3.weight"],
    ]
    LAMBC(groups)


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ({"*.weight": 1.0}, "no bound for the layer '0.bias'"),
        ({"*.weight": 1.0, "*.bias": 1.0, "blocks.*.weight": 2.0}, "no layer of the model matches 'blocks.*.weight'"),
        ({"*": 1.0}, "no bound for the layer '0.weight'"),  # a number, and no dots
        ({"*.weight": 1.0, "*.bias": 1.0, "0.weigh[t]": 2.0}, "no layer of the model matches"),
    ],
)
def test_a_layer_without_bound_and_a_pattern_without_layer_are_errors(patterns, said):
    with pytest.raises(ValueError, match="^" + said.replace("*", r"\*")):
        clip_groups(make_model(), patterns)


def test_two_patterns_that_match_a_layer_have_to_agree():
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False)))
    with pytest.raises(
        ValueError, match=r"several bounds for the layer '0\.0\.weight', of \*\.0\.weight, 0\.\*\.weight"
    ):
        clip_groups(model, {"*.0.weight": 1.0, "0.*.weight": 2.0})
    assert len(clip_groups(model, {"*.0.weight": 1.0, "0.*.weight": 1.0})) == 1


def test_a_frozen_layer_needs_no_bound_and_is_in_no_group():
    model = make_model()
    for name, param in model.named_parameters():
        param.requires_grad_(name == "2.weight")
    (group,) = clip_groups(model, {"2.weight": 1.0, "0.weight": 2.0})
    assert [name for name, _ in group["params"]] == ["2.weight"]
