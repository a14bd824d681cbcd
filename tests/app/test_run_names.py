"""The names of runs that are shown together."""

import string

from hypothesis import given
from hypothesis import strategies as st

from app.charts.run_names import told_apart
from app.charts.text import shorten

ARM = "cifar10-jpeg-b100-{}-e80-w8-px16-augment-cpu-every25-avg10-test2500-n5000-s{}"


def told(*names: str, length: int = 34) -> list[str]:
    return list(told_apart(names, length).values())


def test_names_that_fit_stay_and_a_long_one_beside_them_loses_its_middle():
    assert told("a", "b", ARM.format("clip1", 0)) == ["a", "b", "cifar10-jpeg-b10…test2500-n5000-s0"]


def test_names_that_differ_at_their_ends_keep_these():
    assert told(ARM.format("clip1", 0), ARM.format("clip1", 1)) == [
        "cifar10-jpeg-b100-clip1-e80-w8…s0",
        "cifar10-jpeg-b100-clip1-e80-w8…s1",
    ]


def test_names_without_a_common_word_lose_their_middle():
    assert told("a" * 40, "b" * 40, length=9) == ["aaaa…aaaa", "bbbb…bbbb"]


def test_names_that_differ_in_their_middle_keep_what_differs():
    assert told(ARM.format("clip1", 0), ARM.format("noclip", 0), ARM.format("clip1-linear", 0)) == [
        "cifar10-jpeg-b100-clip1-e80-w8…",
        "cifar10-jpeg-b100-noclip-e80-w8…",
        "cifar10-jpeg-b100-clip1-linear…",
    ]
    assert told(ARM.format("clip-conv-1-other-none", 3), ARM.format("clip-norm-1-other-none", 3)) == [
        "cifar10-jpeg-b100-clip-conv-1…",
        "cifar10-jpeg-b100-clip-norm-1…",
    ]


def test_a_seed_that_tells_two_of_three_apart_stays():
    labels = told(ARM.format("clip1", 0), ARM.format("noclip", 0), ARM.format("noclip", 1))
    assert all(part in label for label, part in zip(labels, ("clip1", "noclip", "noclip"), strict=True))
    assert len(set(labels)) == 3


def test_a_name_of_which_no_word_is_its_own_is_cut_in_its_middle():
    names = ["resnet18baseline", "resnet18baseline-clip1", "resnet18baseline-clip10"]
    assert told(*names, length=14) == ["resnet…aseline", "…clip1", "…clip10"]


def test_an_unrelated_name_beside_them_changes_nothing():
    clip, none, _ = told(
        ARM.format("clip1", 0), ARM.format("noclip", 0), "imagenet_resnet50_adamw_baseline_cosine_warmup5"
    )
    assert "clip1" in clip
    assert "noclip" in none


def test_the_same_words_in_another_order_are_told_apart_by_the_ends_of_the_names():
    dates = [f"resnet18_cifar10_augmented_baseline_lambc_2024-{day}" for day in ("01-02", "02-01")]
    assert all(label.endswith(day) for label, day in zip(told(*dates), ("01-02", "02-01"), strict=True))


def test_a_number_is_one_word_with_its_decimals():
    sweep = [f"resnet18-cifar10-augmented-baseline-lr{lr}-wd{wd}" for lr, wd in ((0.1, 0.01), (0.01, 0.1))]
    assert told(*sweep, length=36) == ["resnet18-cifar10…lr0.1-wd0.01", "resnet18-cifar10…lr0.01-wd0.1"]


def test_names_of_the_same_words_are_numbered():
    one, other = "-".join(["left", "right"] * 20), "-".join(["right", "left", *["left", "right"] * 18, "left", "right"])
    assert len(set(told(one, other, length=20))) == 2


NAMES = st.lists(
    st.lists(st.sampled_from(["lr", "0.1", "seed1", "seed2", "clip", "long" * 5]), min_size=1, max_size=14).map(
        "-".join
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(NAMES, st.integers(12, 40))
def test_no_two_are_alike_and_none_is_longer_than_its_place_but_for_a_number(names: list[str], length: int):
    short = told_apart(names, length)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(label) <= length + len(" (6)") for label in short.values())
    assert all(short[name] == name for name in names if len(name) <= length)


@given(st.text(string.ascii_letters + "-_. ", max_size=60))
def test_a_name_alone_is_cut_in_its_middle(name: str):
    assert told_apart([name], 30) == {name: shorten(name, 30)}
