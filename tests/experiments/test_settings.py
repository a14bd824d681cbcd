"""The settings of a run, and the names they make."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.log.run_folder import check_name
from lambc.experiments.settings import Settings


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "digits-b128-clip1-s0"),
        ({"clip": None, "seed": 3}, "digits-b128-noclip-s3"),
        ({"clip": (0.5, 3.0), "batch_size": 64}, "digits-b64-clip0.5-3-s0"),
        ({"data": "parquet:/somewhere/cifar10-jpeg/", "batch_size": 1000}, "cifar10-jpeg-b1000-clip1-s0"),
        ({"lr": 5e-3, "epochs": 80, "weight_decay": 1e-4}, "digits-b128-clip1-lr0.005-wd0.0001-e80-s0"),
        ({"stem": "torchvision", "augment": True}, "digits-b128-clip1-stem-torchvision-augment-s0"),
        ({"data": "folder:/a/cats", "rule": "adamw", "clip": None}, "cats-b128-adamw-s0"),
        ({"rule": "lars", "clip": "larc", "warmup_epochs": 0.5}, "digits-b128-lars-clip-larc-warmup0.5-s0"),
        ({"clip": "1-d:10,other:scheduled:10:1"}, "digits-b128-clip-1-d-10-other-scheduled-10-1-s0"),
        ({"data": "topics", "model": "transformer", "device": "cuda:1"}, "topics-b128-clip1-transformer-cuda1-s0"),
        (
            {"bias_correction": False, "reset_optimizer_each_epoch": True, "exempt_1d": True},
            "digits-b128-clip1-exempt1d-uncorrected-reset-s0",
        ),
    ],
)
def test_a_name_says_what_the_run_is_and_what_differs_from_the_defaults(settings, name):
    assert Settings(**settings).name == name


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 1}, "batch_size=1: batch norm needs at least 2"),
        ({"epochs": 0}, "epochs=0: train for at least 1 epoch"),
        ({"seed": -1}, "seed=-1"),
        ({"warmup_epochs": -1}, "warmup_epochs=-1"),
        ({"warmup_epochs": float("nan")}, "warmup_epochs=nan"),
        ({"warmup_epochs": 11}, "warmup_epochs=11: a warm-up takes from 0 to all 10 epochs"),
        ({"rule": "sgd"}, "rule='sgd': give one of lamb, lars, adamw"),
        ({"model": "vgg"}, "model='vgg'"),
        ({"clip": "tight"}, "clip='tight'"),
        ({"rule": "adamw"}, "clip='1': adamw has no trust ratio"),
        ({"rule": "adamw", "clip": None, "exempt_1d": True}, "exempt_1d=True"),
        ({"rule": "lars", "bias_correction": False}, "only lamb can do without, and the rule is lars"),
        ({"data": "topics"}, "model='resnet18' cannot read data='topics': give model='transformer'"),
        ({"model": "transformer"}, "give model='resnet18'"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Settings(**settings)


numbers = st.floats(0, 1e6)
networks = st.sampled_from([("digits", "resnet18"), ("cifar10", "resnet18"), ("topics", "transformer")])
rules = st.one_of(
    st.tuples(st.sampled_from(["lamb", "lars"]), st.none() | numbers | st.tuples(numbers, numbers)),
    st.tuples(st.just("lamb"), st.sampled_from(["scheduled:10:1", "1-d:10,other:1", "1-d:10,other:1,2", "dynamic:1"])),
    st.just(("adamw", None)),
)


@st.composite
def runs(draw):
    (source, model), (rule, clip) = draw(networks), draw(rules)
    switches = {name: draw(st.booleans()) for name in ("compile", "reset_optimizer_each_epoch")}
    if model == "resnet18":
        switches |= {"augment": draw(st.booleans()), "stem": draw(st.sampled_from(["auto", "3x3"]))}
    return Settings(
        data=source, model=model, rule=rule, clip=clip, lr=draw(numbers), weight_decay=draw(numbers),
        batch_size=draw(st.integers(2, 9999)), epochs=draw(st.integers(5, 99)), warmup_epochs=draw(st.floats(0, 5)),
        seed=draw(st.integers(0, 9)),
        device=draw(st.sampled_from(["auto", "cpu", "cuda", "cuda:1"])),
        exempt_1d=rule != "adamw" and draw(st.booleans()),
        bias_correction=rule != "lamb" or draw(st.booleans()),
        **switches,
    )  # fmt: skip


@given(runs(), runs(), st.data())
def test_runs_of_different_settings_have_different_names(one, other, data):
    # Two that are drawn apart differ in nearly all; a mix of the two also in a single setting.
    settings = ["lr", "weight_decay", "batch_size", "seed", "device"]
    if one.model == "resnet18":
        settings += ["stem", "augment"]
    taken = data.draw(st.sets(st.sampled_from(settings)))
    mixed = replace(one, **{name: getattr(other, name) for name in taken})
    for run in (other, mixed):
        assert (run.name == one.name) == (run == one)
    check_name(one.name)


@pytest.mark.parametrize(("setting", "value"), [("stem", "3x3"), ("augment", True)])
def test_what_a_text_has_no_use_for_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"{setting}={value!r}: a text has no images, so leave it out"):
        Settings(data="topics", model="transformer", **{setting: value})


def test_the_config_names_the_optimizer_and_the_device_that_auto_became():
    config = Settings(clip=None).config("cuda:0")
    assert config["optimizer"] == "lamb"
    assert config["clip"] is None
    assert config["device"] == "cuda:0"
    assert Settings(clip=(0.5, 3.0)).config("cpu")["clip"] == (0.5, 3.0)
    optimizers = [
        Settings(rule="lars"),
        Settings(rule="adamw", clip=None),
        Settings(clip="dynamic:1"),
        Settings(rule="lars", clip=None),
    ]
    assert [run.config("cpu")["optimizer"] for run in optimizers] == ["lars", "adamw", "lambc", "lars"]
