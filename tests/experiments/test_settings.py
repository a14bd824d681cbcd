"""The settings of a run, and the names they make."""

import pytest

from lambc.experiments.settings import Run


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "digits-b128-clip1-s0"),
        ({"clip": None, "seed": 3}, "digits-b128-noclip-s3"),
        ({"clip": (0.5, 3.0), "batch_size": 64}, "digits-b64-clip0.5-3-s0"),
        ({"data": "parquet:/somewhere/cifar10-jpeg/", "batch_size": 1000}, "cifar10-jpeg-b1000-clip1-s0"),
        ({"lr": 5e-3, "epochs": 80, "weight_decay": 1e-4}, "digits-b128-clip1-lr0.005-wd0.0001-e80-s0"),
        ({"stem": "torchvision", "augment": True}, "digits-b128-clip1-stem-torchvision-augment-s0"),
    ],
)
def test_a_name_says_what_the_run_is_and_what_differs_from_the_defaults(settings, name):
    assert Run(**settings).name == name


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 1}, "batch_size=1: batch norm needs at least 2"),
        ({"epochs": 0}, "epochs=0: train for at least 1 epoch"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Run(**settings)


def test_the_config_names_the_optimizer_and_the_device_that_auto_became():
    config = Run(clip=None).config("cuda:0")
    assert config["optimizer"] == "lamb"
    assert config["clip"] is None
    assert config["device"] == "cuda:0"
    assert Run(clip=(0.5, 3.0)).config("cpu")["clip"] == (0.5, 3.0)
