"""The trust ratio that an optimizer which is not ours has used, read from its state and proven by a sample."""

import json
import math

import pytest
import timm.optim
import torch
from torch.optim import SGD, Adafactor, Adam, AdamW, NAdam, RAdam

from collector import Collector, connect
from lambc import LAMBC

FIELDS = "weight_norm, update_norm, trust_ratio, clipped_ratio, lower, upper, lr"


def network(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Linear(60, 80), torch.nn.LayerNorm(80), torch.nn.ReLU(), torch.nn.Linear(80, 20)
    return torch.nn.Sequential(*layers).to(dtype)


def record(make, root, steps: int = 8, dtype: torch.dtype = torch.float32):
    """Train the same network on the same gradients; returns the rows by step and layer, and run.json."""
    model = network(dtype)
    optimizer = make(model.named_parameters())
    with Collector(optimizer, root, name="r", model=model) as collector:
        for step in range(steps):
            generator = torch.Generator().manual_seed(step)
            for param in model.parameters():
                param.grad = (torch.randn(param.shape, generator=generator) * 1e-2).to(dtype)
            optimizer.step()
    rows = connect(root).sql(f"SELECT step, layer, outcome, {FIELDS} FROM trust_ratios ORDER BY step, layer").df()
    return rows, json.loads((collector.folder / "run.json").read_text())


# Of timm's Lamb, and the options by which LAMBC does the same.
LAMBS = {
    "as it is": ({"weight_decay": 0.01, "max_grad_norm": None}, {"weight_decay": 0.01, "clip": None}),
    "clipped": ({"trust_clip": True, "max_grad_norm": None}, {"weight_decay": 0.01, "clip": 1.0}),
    "uncorrected": (
        {"bias_correction": False, "max_grad_norm": None},
        {"weight_decay": 0.01, "clip": None, "bias_correction": False},
    ),
    "limited": ({"max_grad_norm": 0.1}, {"weight_decay": 0.01, "clip": None, "max_grad_norm": 0.1}),
    "without decay": ({"weight_decay": 0.0, "always_adapt": True, "max_grad_norm": None}, {"clip": None}),
    "not adapted": ({"weight_decay": 0.0, "max_grad_norm": None}, {"adapt": False}),
}


def how(contents: dict) -> list[dict]:
    """How each optimizer was recorded, but for where checkpoints were taken."""
    return [{key: value for key, value in said.items() if key != "checkpoints"} for said in contents["recorded"]]


@pytest.mark.parametrize("case", LAMBS)
def test_timms_lamb_is_recorded_as_lambc_says_of_itself(case, tmp_path):
    theirs, ours = LAMBS[case]
    found, contents = record(lambda named: timm.optim.Lamb(named, lr=1e-2, **theirs), tmp_path / "timm")
    expected, _ = record(lambda named: LAMBC(named, lr=1e-2, **ours), tmp_path / "lambc")
    assert how(contents) == [{"optimizer": "Lamb", "by": "state", "unproven": []}]
    first = (found["step"] == 1) & found["layer"].str.endswith("bias")  # weights of zero: no ratio to speak of
    assert (found["outcome"] == expected["outcome"])[~first].all()
    assert found["weight_norm"].tolist() == pytest.approx(expected["weight_norm"].tolist(), rel=1e-6)
    for field, within in {"update_norm": 1e-5, "trust_ratio": 1e-5, "clipped_ratio": 1e-3, "lr": 1e-6}.items():
        assert found[field].tolist() == pytest.approx(expected[field].tolist(), rel=within), field
    assert found["upper"][~first].tolist() == pytest.approx(expected["upper"][~first].tolist(), rel=1e-3)


@pytest.mark.parametrize("lr", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize(
    "options", [{"weight_decay": 0.1}, {"fused": True}, {"lr": "tensor"}, {"amsgrad": True}], ids=str
)
def test_adamw_uses_no_ratio(lr, options, tmp_path):
    options = options | {"lr": torch.tensor(lr) if "lr" in options else lr}
    rows, contents = record(lambda named: AdamW(named, **options), tmp_path)
    assert how(contents) == [{"optimizer": "AdamW", "by": "state", "unproven": []}]
    assert set(rows["outcome"]) == {"exempt"}
    assert set(rows["clipped_ratio"]) == {1.0}


def test_adams_decay_lies_in_its_moments(tmp_path):
    rows, contents = record(lambda named: Adam(named, lr=1e-3, weight_decay=0.1), tmp_path)
    assert how(contents) == [{"optimizer": "Adam", "by": "state", "unproven": []}]
    assert set(rows["clipped_ratio"]) == {1.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda named: AdamW(named, lr=1e-3),
        lambda named: SGD(named, lr=1e-2),
        lambda named: timm.optim.Lamb(named, lr=1e-2, trust_clip=True),
        lambda named: timm.optim.Lamb(named, lr=1e-2, max_grad_norm=1e-3),
    ],
)
def test_in_every_row_a_layer_moved_by_lr_times_the_used_ratio_times_the_update(make, tmp_path):
    moved: list[float] = []
    model_before: list[torch.Tensor] = []

    def watched(named):
        named = list(named)
        optimizer = make(named)
        params = [param for _, param in sorted(named)]
        optimizer.register_step_pre_hook(
            lambda *_: model_before.__setitem__(slice(None), [param.detach().double().clone() for param in params])
        )
        optimizer.register_step_post_hook(
            lambda *_: moved.extend(
                (param.double() - old).norm().item() for param, old in zip(params, model_before, strict=True)
            )
        )
        return optimizer

    rows, _ = record(watched, tmp_path)
    distance = rows["lr"] * rows["clipped_ratio"] * rows["update_norm"]
    assert distance.tolist() == pytest.approx(moved, rel=2e-5)


@pytest.mark.parametrize("make", [NAdam, RAdam, SGD, Adafactor], ids=lambda make: make.__name__)
def test_another_rule_is_recorded_by_how_far_it_moved_and_said_so(make, tmp_path):
    rows, contents = record(lambda named: make(named, lr=1e-3), tmp_path)
    assert how(contents) == [{"optimizer": make.__name__, "by": "step"}]
    assert set(rows["outcome"]) == {"exempt"}


@pytest.mark.parametrize("options", [{"caution": True}, {"decoupled_decay": True, "weight_decay": 0.1}], ids=str)
def test_no_name_is_believed_where_the_weights_moved_otherwise(options, tmp_path):
    with pytest.warns(
        UserWarning,
        match=r"has 6 layers, the first 0\.weight, that Lamb in most steps did not move along the direction",
    ):
        rows, contents = record(lambda named: timm.optim.Lamb(named, lr=1e-2, **options), tmp_path)
    assert "0.weight" in contents["recorded"][0]["unproven"]
    last = rows[(rows["step"] == 8) & (rows["layer"] == "0.weight")].iloc[0]
    assert (last["outcome"], last["clipped_ratio"]) == ("exempt", 1.0)


def test_a_class_of_ones_own_that_changes_the_step_is_not_adam(tmp_path):
    class Signed(Adam):
        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    param.data.sub_(param.grad.sign(), alpha=1e-3)

    _, contents = record(lambda named: Signed(named, lr=1e-3), tmp_path)
    assert how(contents) == [{"optimizer": "Signed", "by": "step"}]


@pytest.mark.parametrize("lr", [1e-2, 1e-3, 1e-5])
def test_norms_of_half_precision_come_from_the_state(lr, tmp_path):
    found, _ = record(lambda named: AdamW(named, lr=lr), tmp_path / "bf16", dtype=torch.bfloat16)
    expected, _ = record(lambda named: AdamW(named, lr=lr), tmp_path / "fp32")
    weights = found["layer"].str.endswith("weight") & (found["weight_norm"] > 0)
    assert found["update_norm"][weights].tolist() == pytest.approx(expected["update_norm"][weights].tolist(), rel=0.02)


def test_half_precision_whose_direction_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"parameter 0\.weight is torch\.bfloat16, so that its step is rounded"):
        record(lambda named: SGD(named, lr=1e-2), tmp_path, dtype=torch.bfloat16)
    assert not list(tmp_path.iterdir())


def test_a_layer_that_never_moves_is_no_surprise(tmp_path):
    def frozen(named):
        named = list(named)
        optimizer = AdamW(named, lr=1e-3, weight_decay=0.0)

        def freeze(*_):
            named[0][1].grad.zero_()

        optimizer.register_step_pre_hook(freeze)
        return optimizer

    rows, contents = record(frozen, tmp_path)
    assert contents["recorded"][0]["unproven"] == []
    assert set(rows[rows["layer"] == "0.weight"]["update_norm"]) == {0.0}
    assert math.isfinite(rows["trust_ratio"].max())
