"""Tables for charts, written by hand, and what a figure shows."""

import html

import numpy as np
import pandas as pd

from app.charts.metric import Metric

LAYERS = ["conv.weight", "conv.bias", "fc.weight"]


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
