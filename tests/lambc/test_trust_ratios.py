"""The record of a step and its hook."""

import math

import torch

from lambc import LAMBC


def make_params(count=4):
    return [torch.nn.Parameter(torch.full((3,), float(index + 1))) for index in range(count)]


def give_gradients(params, without=()):
    for index, param in enumerate(params):
        param.grad = None if index in without else torch.ones_like(param)


def collect(optimizer):
    records = []
    optimizer.register_trust_ratio_hook(lambda record: records.append((record.step, record.table.clone())))
    return records


def test_layers_without_names_are_called_by_group_and_index():
    params = make_params()
    optimizer = LAMBC([{"params": params[:3]}, {"params": params[3:]}])
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.layers))
    give_gradients(params)
    optimizer.step()
    assert seen == [("0.0", "0.1", "0.2", "1.0")]


def test_a_layer_without_gradient_has_nan_in_its_row_and_keeps_its_place():
    params = make_params()
    optimizer = LAMBC(params)
    records = collect(optimizer)
    give_gradients(params, without=(0, 2))
    optimizer.step()
    give_gradients(params)
    optimizer.step()
    (_, first), (_, second) = records
    assert first.isnan().all(dim=0).tolist() == [True, False, True, False]
    assert first[0, 1].item() == torch.full((3,), 2.0).norm().item()
    assert not second.isnan().any()


def test_layers_whose_names_change_are_shown_under_their_new_names():
    params = make_params(2)
    optimizer = LAMBC([("a", params[0]), ("b", params[1])])
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.layers))
    give_gradients(params)
    optimizer.step()
    optimizer.step()
    optimizer.param_groups[0]["param_names"][1] = "c"
    optimizer.step()
    assert seen == [("a", "b"), ("a", "b"), ("a", "c")]
    assert seen[0] is seen[1]


def test_a_layer_without_gradient_does_not_age():
    params = make_params(2)
    optimizer = LAMBC(params)
    give_gradients(params)
    optimizer.step()
    give_gradients(params, without=(1,))
    optimizer.step()
    assert [optimizer.state[param]["step"].item() for param in params] == [2, 1]


def test_a_call_without_any_gradient_is_no_step():
    params = make_params(1)
    optimizer = LAMBC(params)
    records = collect(optimizer)
    optimizer.step()
    give_gradients(params)
    optimizer.step()
    assert [step for step, _ in records] == [1]
    assert optimizer.state_dict()["param_groups"][0]["step"] == 1


def test_the_fields_are_the_rows_of_the_table():
    params = make_params(2)
    optimizer = LAMBC(params, lr=0.5, clip=(0.25, 2.0))

    def check(record):
        fields = ("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "lower", "upper", "lr")
        assert record.table.shape == (7, 2)
        assert record.table.dtype == torch.float32
        for row, field in zip(record.table, fields, strict=True):
            assert torch.equal(getattr(record, field), row)
        assert torch.equal(record.trust_ratio, record.weight_norm / record.update_norm)
        assert torch.equal(record.clipped_ratio, record.trust_ratio.clamp(record.lower, record.upper))
        assert (record.lower == 0.25).all()
        assert (record.upper == 2).all()
        assert (record.lr == 0.5).all()

    optimizer.register_trust_ratio_hook(check)
    give_gradients(params)
    optimizer.step()


def test_the_weight_norm_is_that_before_the_step():
    params = make_params(1)
    optimizer = LAMBC(params)
    records = collect(optimizer)
    for _ in range(3):
        before = params[0].detach().norm().item()
        give_gradients(params)
        optimizer.step()
        assert records[-1][1][0, 0].item() == before


def test_a_zero_norm_gives_ratio_one_which_is_then_clipped():
    params = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.ones(3))]
    optimizer = LAMBC(params, clip=(0.0, 0.5))
    records = collect(optimizer)
    params[0].grad, params[1].grad = torch.ones(3), torch.zeros(3)
    optimizer.step()
    (_, table), *_ = records
    assert table[2].tolist() == [1, 1]
    assert table[3].tolist() == [0.5, 0.5]
    assert (params[0] < 0).all()


def test_phi_clamps_the_ratio_and_not_the_recorded_norm():
    params = [torch.nn.Parameter(torch.full((4,), 8.0)), torch.nn.Parameter(torch.zeros(4))]
    optimizer = LAMBC(params, clip=None, phi=(1.0, 2.0))
    records = collect(optimizer)
    give_gradients(params)
    optimizer.step()
    weight_norm, update_norm, ratio = records[0][1][:3]
    assert weight_norm.tolist() == [16, 0]
    assert ratio[0] == 2 / update_norm[0]
    assert ratio[1] == 1  # a zero norm is tested before φ


def test_no_bound_is_recorded_as_zero_and_infinity():
    params = make_params(1)
    optimizer = LAMBC(params, clip=None)
    records = collect(optimizer)
    give_gradients(params)
    optimizer.step()
    assert records[0][1][4:6, 0].tolist() == [0, math.inf]


def test_a_removed_hook_is_not_called_again():
    params = make_params(1)
    optimizer = LAMBC(params)
    calls = []
    handle = optimizer.register_trust_ratio_hook(lambda record: calls.append(record.step))
    give_gradients(params)
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert calls == [1]
