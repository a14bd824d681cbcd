"""How bounds are spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambc.experiments.clip_text import SPELLINGS, parse_clip, spell


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("1", 1.0),
        ("0.5,3", (0.5, 3.0)),
        ("none", None),
        ("None", None),
        (" 0 , 2 ", (0.0, 2.0)),
        ("scheduled:10:1", "scheduled:10:1"),
        ("Scheduled:10.0:1e0:500", "scheduled:10:1:500"),
        ("dynamic:1:0.001", "dynamic:1:0.001"),
        ("deviation:3", "deviation:3"),
        ("quantile:.95", "quantile:0.95"),
        ("larc", "larc"),
        ("1-d:10,other:1", "1-d:10,other:1"),
        ("1-d:0.5,3,other:none", "1-d:0.5,3,other:none"),
        ("1-d:deviation:2,other:scheduled:10:1", "1-d:deviation:2,other:scheduled:10:1"),
        ("1-d:1,other:1.0", 1.0),
    ],
)
def test_a_bound_has_one_spelling_however_it_was_typed(text, clip):
    assert parse_clip(text) == clip
    assert parse_clip(spell(clip)) == clip


@pytest.mark.parametrize(
    "text",
    ["", "one", "1,2,3", "scheduled", "scheduled:1", "scheduled:1:2:3:4", "dynamic:", "deviation:x", "1-d:1", "other:1",
     "1-d:1,other:", "1-d:1-d:1,other:2,other:3", "larc:1", "none:1"],
)  # fmt: skip
def test_what_is_no_bound_is_answered_with_those_that_are(text):
    with pytest.raises(ValueError, match="give one of 1, ") as error:
        parse_clip(text)
    assert str(error.value).startswith(f"clip={text!r}: ")
    assert all(spelling in str(error.value) for spelling in SPELLINGS)
    assert "\n" not in str(error.value)


numbers = st.floats(allow_nan=False)
plain = st.none() | numbers | st.tuples(numbers, numbers)


@given(plain)
def test_numbers_keep_every_bit(clip):
    assert parse_clip(spell(clip)) == clip


@given(plain, plain)
def test_bounds_by_kind_are_read_as_they_were_spelled(one_d, other):
    text = f"1-d:{spell(one_d)},other:{spell(other)}"
    assert parse_clip(text) == (one_d if one_d == other else text)
