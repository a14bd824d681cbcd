"""Numbers as they are sent to the browser: the digits that a hover shows are right, and the other bits are gone."""

from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.charts.hit_map import hit_map
from app.charts.rounding import COLOUR_BITS, coarse, rounded, short_of_all
from tests.app.figures import in_depth_order

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def written(value: float, digits: int) -> Decimal:
    """As JavaScript's toPrecision has it, and d3's formats with it."""
    return Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal(Decimal(float(value)))


@given(value=FLOATS, digits=st.integers(3, 5))
@example(value=1024.5, digits=4)  # halfway
@example(value=9999.5, digits=4)  # another digit more
@example(value=float(np.finfo(np.float32).max), digits=4)
@example(value=float(np.float32(1e-45)), digits=3)
def test_the_digits_that_are_shown_are_those_of_the_number_itself(value: float, digits: int):
    (sent,) = rounded(np.array([value], dtype=np.float32), digits)
    assert sent.dtype == np.float32
    assert written(sent, digits) == written(value, digits)
    assert np.signbit(sent) == np.signbit(np.float32(value))


@pytest.mark.parametrize("digits", [3, 4])
def test_a_number_beside_a_half_is_rounded_to_its_own_side(digits: int):
    """Of every half of a last digit between 1e-12 and 1e12 the two nearest float32."""
    some = np.random.default_rng(0).integers(10 ** (digits - 1), 10**digits, 400)
    halves = np.ravel((some + 0.5)[:, None] * 10.0 ** np.arange(-12, 12 - digits)).astype(np.float32)
    beside = np.concatenate([halves, np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(np.inf))])
    sent = rounded(beside, digits)
    wrong = [value for value, each in zip(beside, sent, strict=True) if written(value, digits) != written(each, digits)]
    assert wrong == []


def test_what_is_no_number_stays_so():
    values = np.array([np.nan, np.inf, -np.inf, 0], dtype=np.float32)
    assert np.array_equal(rounded(values, 4), values, equal_nan=True)
    assert np.array_equal(coarse(values), values, equal_nan=True)


def test_the_last_bits_are_zero():
    values = np.random.default_rng(0).lognormal(0, 5, 1000).astype(np.float32)
    assert not (rounded(values, 4).view(np.uint32) & 0x1FF).any()
    assert not (coarse(values).view(np.uint32) & 0x7FF).any()


@given(value=st.floats(-40, 40, width=32))
def test_a_colour_is_where_it_was(value: float):
    (sent,) = coarse(np.array([value], dtype=np.float32))
    assert abs(sent - value) <= abs(value) / 2 ** (COLOUR_BITS + 1)


@given(share=st.floats(0, 1, width=32))
@example(share=float(np.nextafter(np.float32(1), np.float32(0))))
def test_a_share_is_said_to_be_all_where_it_is_all_alone(share: float):
    (sent,) = short_of_all(np.array([share, np.nan], dtype=np.float32))[:1]
    assert (written(100 * float(sent), 4) == 100) == (share == 1)
    assert abs(sent - share) <= 1e-4


def test_a_hit_map_says_so_of_both_bounds():
    cells = pd.DataFrame({"row": [0], "step": [0], "width": 64, "stride": 1, "rows": 64, "not_finite": 0})
    rates = pd.DataFrame({"layer": ["a"], "first_hit": [None], "last_hit": [None]})
    almost = cells.assign(upper_rate=0.999999, lower_rate=0.000001)
    drawn = hit_map(almost, rates, stack=in_depth_order(["a"])).data[0]
    assert drawn.hovertemplate.count(":.4~p}") == 2
    assert np.allclose(drawn.customdata[0, 0], [0.9999, 0.000001], rtol=1e-6)
