"""Tables for charts, written by hand, and what a figure shows."""

import html
import json
import zlib
from typing import Any

import numpy as np
import pandas as pd

from app.charts.bands import Member, Stack, stack
from app.charts.metric import Metric

LAYERS = ["conv.weight", "conv.bias", "fc.weight"]


def in_depth_order(layers: list[str]) -> Stack:
    """A row a layer."""
    return stack([Member(layer, layer, None) for layer in layers], "depth")


def row_cells(width: int = 1, layers: list[str] = LAYERS, **columns: list[float]) -> pd.DataFrame:
    """The same, as heatmap_rows has them: by the number of the row, each value as lowest and as highest."""
    found = cells(width, **columns)
    found["row"] = found["layer"].map({layer: row for row, layer in enumerate(layers)})
    for name in ("trust_ratio", "clipped_ratio", "weight_norm", "update_norm", "hit_rate"):
        found[f"{name}_low"] = found[f"{name}_high"] = found[name]
    return found.drop(columns="layer").assign(last_step=found["step"] + width - 1, relative_step=0.01)


def cells(width: int = 1, **columns: list[float]) -> pd.DataFrame:
    """Three layers, four cells each; every value stands for its layer and place unless it is given."""
    rows = pd.DataFrame(
        [(layer, 1 + width * place, width, width) for layer in LAYERS for place in range(4)],
        columns=["layer", "step", "width", "rows"],
    )
    ratio = np.geomspace(0.01, 100, 12)
    return rows.assign(
        trust_ratio=ratio,
        clipped_ratio=np.minimum(ratio, 1),
        hit_rate=(ratio > 1) * 0.5,
        weight_norm=2.0,
        update_norm=1.0,
        not_finite=0,
        stride=1,
    ).assign(**columns)


def metric(name: str, *, own_steps: bool = False) -> Metric:
    """What the log says of a name like test/accuracy."""
    split, _, quantity = name.rpartition("/")
    scale = {"accuracy": "share", "loss": "log"}.get(quantity, "linear")
    return Metric(name, split or None, quantity, scale, split, own_steps)


def texts(figure: object) -> list[str]:
    """Every text of a figure that a reader sees, entities resolved."""
    found: list[str] = []

    def walk(part: object) -> None:
        if isinstance(part, dict):
            for value in part.values():
                walk(value)
        elif isinstance(part, list | tuple | np.ndarray):
            for value in part:
                walk(value)
        elif isinstance(part, str):
            found.append(part)

    walk(figure.to_plotly_json())  # type: ignore[attr-defined]
    return [html.unescape(text) for text in found]


def drawn(packed: bytes) -> dict[str, Any]:
    """The figure that a chart was given, whose arrays are NumPy's again; read apart from what wrote it."""
    figure, arrays = _cut(zlib.decompress(_cut(packed)[1]))

    def whole(part: dict[str, Any]) -> Any:
        if "at" not in part or "dtype" not in part:
            return part
        begin, length = part["at"]
        dtype = np.dtype(part["dtype"])
        stored = np.frombuffer(arrays[begin : begin + length], np.uint8).reshape(dtype.itemsize, -1)
        return np.ascontiguousarray(stored.T).view(dtype).reshape([int(n) for n in part.get("shape", "-1").split(",")])

    return json.loads(figure, object_hook=whole)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4], "little")
    return data[4:end], data[end:]
