"""Arrow arrays of what Python, numpy and torch hold, and back.

Not by `pa.array` and `to_numpy`: where pandas is installed they import it, and 0.3 s of that on the writer thread is
0.3 s in which a training loop in Python stands still.
"""

from array import array
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

_CODES = {pa.int32(): "i", pa.int64(): "q", pa.timestamp("us", tz="UTC"): "q", pa.float64(): "d"}


def numbers(values: Iterable[float], kind: pa.DataType) -> pa.Array:
    """An array of `kind`: int32, int64, float64, or timestamp[us, UTC] of microseconds since 1970."""
    return of_buffer(array(_CODES[kind], values), kind)


def of_buffer(values: Any, kind: pa.DataType, valid: Any = None) -> pa.Array:
    """An array of `kind` over the memory of `values`, a 1-D array of numpy's or Python's with elements of that size.

    valid: a 1-D array of numpy's that is False where the element is null; None where none is.
    """
    mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(values)])


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The memory of a column of numbers without nulls, as numpy sees it."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return np.from_dlpack(column) if len(column) else np.empty(0)


def strings(values: Iterable[str]) -> pa.Array:
    """An array of strings."""
    encoded = [value.encode() for value in values]
    offsets = array("i", accumulate(map(len, encoded), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)
