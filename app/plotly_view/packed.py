"""A figure as bytes for the browser: its arrays beside the JSON instead of in it, and all of it compressed.

A heatmap of a large model is megabytes of numbers, which as text in JSON in JSON are half as much again, and which
hardly anything can compress. `unpack` in view.js reads what is written here.
"""

import base64
import zlib
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly


def packed(figure: go.Figure) -> bytes:
    """Returns the length of the figure's JSON, the JSON, and its arrays, all compressed as zlib does.

    In the JSON an array has its dtype, its shape, and `at`: where it begins, and how many bytes it has. Of its elements
    the first bytes stand together, then the second, and so on, since neighbours differ in the last ones alone.
    """
    arrays: list[bytes] = []
    drawn = to_json_plotly(_without_arrays(figure.to_dict(), arrays))
    return zlib.compress(with_head(drawn, b"".join(arrays)), 1)


def with_head(head: str, data: bytes = b"") -> bytes:
    """Returns the length of some JSON, in four bytes, little-endian, the JSON, and the data."""
    return len(head.encode()).to_bytes(4, "little") + head.encode() + data


def _without_arrays(part: Any, arrays: list[bytes]) -> Any:
    """The same, but for what Plotly has made of arrays, which is added to `arrays`."""
    if isinstance(part, dict):
        if isinstance(part.get("bdata"), str) and "dtype" in part:
            stored = np.frombuffer(base64.b64decode(part["bdata"]), np.uint8)
            begin = sum(map(len, arrays))
            arrays.append(stored.reshape(-1, np.dtype(part["dtype"]).itemsize).T.tobytes())
            return {key: value for key, value in part.items() if key != "bdata"} | {"at": [begin, stored.size]}
        return {key: _without_arrays(value, arrays) for key, value in part.items()}
    return [_without_arrays(value, arrays) for value in part] if isinstance(part, list | tuple) else part
