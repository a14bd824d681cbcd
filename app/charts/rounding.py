"""Numbers with no more bits than one sees of them: the others are noise, which nothing can compress."""

import numpy as np

COLOUR_BITS = 12
"""Bits of a fraction that a colour's place on its scale is told by: the scale has 255 colours."""


def rounded(values: np.ndarray, digits: int) -> np.ndarray:
    """Returns float32 whose first `digits` significant decimal digits are those of the values, half away from zero.

    What comes behind these digits is gone: it is the decimal number with fewest bits that is written alike.
    """
    exact = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = np.floor(np.log10(np.abs(exact))) - (digits - 1)
        # One of them is 1, for 10 ** -5 is not exact, and what lies halfway must stay there.
        over, under = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
        decimal = np.copysign(np.floor(np.abs(exact) / over * under + 0.5) * over / under, exact)
    # 2^-(bits + 1) is less than half a unit in the last digit, also of 9.999.
    return _with_bits(np.where(np.isfinite(decimal), decimal, exact), values, int(np.log2(2 * 10**digits)))


def short_of_all(shares: np.ndarray) -> np.ndarray:
    """Shares that four digits do not round up to all of it: 99.99 % where a few of 100,000 steps are not in it."""
    return np.where(shares < 1, np.minimum(shares, 0.9999), shares).astype(shares.dtype)


def coarse(values: np.ndarray) -> np.ndarray:
    """Returns float32 as near to the values as colours tell."""
    return _with_bits(values, values, COLOUR_BITS)


def _with_bits(values: np.ndarray, otherwise: np.ndarray, bits: int) -> np.ndarray:
    """The nearest float32 whose fraction has no more than so many bits; `otherwise` where there is none."""
    fraction, exponent = np.frexp(values)
    with np.errstate(over="ignore"):
        found = np.ldexp(np.rint(np.ldexp(fraction, bits + 1)), exponent - bits - 1).astype(np.float32)
    kept = np.isfinite(found) & (np.abs(found) >= np.finfo(np.float32).tiny)
    return np.where(kept, found, np.asarray(otherwise, dtype=np.float32))
