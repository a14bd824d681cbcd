"""An answer to a query that somebody wrote: lines, bars or points, by what its columns hold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pandas.api import types

from app.charts.text import counted, escape, label_margin, layer_ticks, ratio_text, ratio_ticks, shorten
from app.charts.theme import LIGHT, Line, Theme, lines, run_lines

KINDS = ("lines", "bars", "points")
POINTS, BARS, SERIES = 20_000, 300, 14
"""The most that is drawn: of points, of bars, and of colours (seven hues, each of them solid and dashed)."""

ALONG = ("step", "epoch", "bound", "position")
"""Columns that are rather drawn along than up."""

COUNTS = ("width", "rows", "steps", *ALONG)
"""Columns that are drawn only where there is nothing else."""

FAR = 50
"""An axis on which the largest value is so many times the smallest is logarithmic."""


@dataclass(frozen=True)
class Drawing:
    """How an answer is drawn: `kind` of KINDS, and columns. colour: '' for none."""

    kind: str
    x: str
    y: str
    colour: str


def numbers(answer: pd.DataFrame) -> list[str]:
    """The columns that can be drawn up."""
    return _columns(answer, lambda values: types.is_numeric_dtype(values) and not types.is_bool_dtype(values))


def words(answer: pd.DataFrame) -> list[str]:
    """The columns whose values tell rows apart by name."""
    return _columns(answer, lambda values: types.is_string_dtype(values) or types.is_bool_dtype(values))


def along(answer: pd.DataFrame) -> list[str]:
    """The columns that can be drawn along."""
    fit = (*numbers(answer), *words(answer), *_columns(answer, types.is_datetime64_any_dtype))
    return [name for name in answer.columns if name in fit]


def first_drawing(answer: pd.DataFrame) -> Drawing | None:
    """How one would draw it; None if it holds nothing that can be drawn."""
    texts, across = words(answer), along(answer)
    measured = sorted(numbers(answer), key=lambda name: name in COUNTS)  # stable: else in the answer's order
    if len(answer) < 2 or len(across) < 2 or not measured:
        return None
    named = next((name for name in texts if answer[name].is_unique and answer[name].notna().all()), None)
    if named:
        return Drawing("bars", named, measured[0], "")
    x = next((name for name in ALONG if name in across), next(name for name in across if name not in texts[:1]))
    y = next((name for name in measured if name != x), x)
    colour = next((name for name in texts if name != x and answer[name].nunique() > 1), "")
    groups = answer.groupby(colour, sort=False)[x] if colour else [("", answer[x])]
    ordered = all(values.is_monotonic_increasing and values.is_unique for _, values in groups)
    return Drawing("lines" if ordered and x not in texts else "points", x, y, colour)


def what_is_drawn(answer: pd.DataFrame, drawing: Drawing) -> tuple[pd.DataFrame, str]:
    """The rows of an answer that are drawn, columns x, y and colour; and a sentence about the others, or ''."""
    rows = pd.DataFrame({"x": answer[drawing.x], "y": answer[drawing.y].astype("float64")})
    rows["colour"] = _named(answer[drawing.colour]) if drawing.colour else ""
    if drawing.x in words(answer):
        rows["x"] = _named(rows["x"])
    there = np.isfinite(rows["y"]) & rows["x"].notna()
    if types.is_numeric_dtype(rows["x"]):
        there &= np.isfinite(rows["x"].astype("float64"))
    said = [] if there.all() else [f"{there.sum():,} of {counted(len(rows), 'row')}, {_drawable(rows, drawing)}"]
    rows = rows[there]
    colours = rows["colour"].unique()
    if len(colours) > SERIES:
        rows = rows[rows["colour"].isin(colours[:SERIES])]
        said.append(f"the first {SERIES} of {len(colours):,} values of {drawing.colour}")
    if drawing.kind == "bars" and len(rows) > BARS:
        said.append(f"the first {BARS} of {len(rows):,} bars")
        rows = rows.head(BARS)
    elif len(rows) > POINTS:
        said.append(f"{POINTS:,} of {len(rows):,} points, the furthest up and down among them")
        rows = _thinned(rows)
    return rows, f"Drawn: {'; '.join(said)}." if said else ""


def _drawable(rows: pd.DataFrame, drawing: Drawing) -> str:
    """Which rows have a place in the chart."""
    x, y = shorten(drawing.x, 40), shorten(drawing.y, 40)
    if types.is_string_dtype(rows["x"]) or x == y:
        return f"those in which {y} is a finite number"
    if types.is_numeric_dtype(rows["x"]):
        return f"those in which {x} and {y} are finite numbers"
    return f"those in which {y} is a finite number and {x} a time"


def answer_chart(
    rows: pd.DataFrame, drawing: Drawing, *, runs: dict[str, Line] | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """The chart of the rows that `what_is_drawn` gives.

    runs: how runs are drawn elsewhere, for a column of that name.
    """
    figure = go.Figure(layout={"template": theme.template, "height": 440})
    names = list(rows["colour"].unique())
    styles = run_lines([*(runs or {}), *names]) if drawing.colour == "run" else lines(names)
    across = drawing.kind == "bars" and types.is_string_dtype(rows["x"])
    for name in names:
        of_name = rows[rows["colour"] == name]
        trace = _bars(of_name, across) if drawing.kind == "bars" else _scatter(of_name, drawing.kind)
        trace.update(name=escape(shorten(name, 40)))
        _colour(trace, styles[name], theme)
        figure.add_trace(trace)
    figure.update_layout(
        margin={"l": 68, "r": 16, "t": 14, "b": 44},
        hovermode="x unified" if drawing.kind == "lines" else "closest",
        barmode="group",
        bargap=0.25,
        xaxis={"title": escape(shorten(drawing.x, 60)), **_scale(rows["x"], drawing)},
        yaxis={"title": escape(shorten(drawing.y, 60)), "nticks": 8, **_scale(rows["y"], drawing)},
    )
    if drawing.colour:
        figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
        figure.update_layout(margin={"t": 30 + 19 * -(-len(names) // 3)})
    return _on_their_side(figure, rows, drawing) if across else figure


def _columns(answer: pd.DataFrame, fit: Callable[[pd.Series], bool]) -> list[str]:
    return [name for name in answer.columns if fit(answer[name])]


def _named(values: pd.Series) -> pd.Series:
    return values.astype("object").where(values.notna(), "NULL").astype(str)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS rows in their order: the smallest and the largest of each stretch, and others evenly between."""
    count = POINTS // 4
    stretch = np.arange(len(rows)) * count // len(rows)
    values = pd.Series(rows["y"].to_numpy())
    by_stretch = values.groupby(stretch)
    kept = np.unique(
        np.concatenate(
            [by_stretch.idxmin(), by_stretch.idxmax(), np.linspace(0, len(rows) - 1, POINTS - 2 * count).astype(int)]
        )
    )
    return rows.iloc[kept]


def _scatter(rows: pd.DataFrame, kind: str) -> go.Scatter:
    trace = go.Scatter(x=_escaped(rows["x"]), y=rows["y"])
    if kind == "lines":
        return trace.update(mode="lines" if len(rows) > 1 else "markers", hovertemplate="%{y:.5~g}")
    return trace.update(mode="markers")


def _bars(rows: pd.DataFrame, across: bool) -> go.Bar:
    x, y = _escaped(rows["x"]), rows["y"]
    return go.Bar(x=y, y=x, orientation="h") if across else go.Bar(x=x, y=y)


def _escaped(values: pd.Series) -> pd.Series:
    return values.map(escape) if types.is_string_dtype(values) else values


def _colour(trace: go.Scatter | go.Bar, line: Line, theme: Theme) -> None:
    colour = line.colour(theme)
    if isinstance(trace, go.Bar):
        trace.marker = {"color": colour, "line": {"width": 0}, "opacity": 1 if line.dash == "solid" else 0.55}
    else:
        trace.line = {"color": colour, "dash": line.dash, "width": 2}
        trace.marker = {"color": colour, "size": 6, "symbol": "circle" if line.dash == "solid" else "circle-open"}


def _scale(values: pd.Series, drawing: Drawing) -> dict[str, object]:
    """Logarithmic where a linear axis would show the largest values alone; no half steps."""
    if not types.is_numeric_dtype(values):
        return {}
    lowest, highest = values.min(), values.max()
    if types.is_integer_dtype(values):
        return {"dtick": 1} if drawing.kind != "bars" and highest - lowest < 8 else {}
    if drawing.kind == "bars" or lowest <= 0 or highest <= FAR * lowest:
        # Else Plotly would write 100µ; of thousands its k is as short as one would say it.
        return {"exponentformat": "e"} if max(abs(lowest), abs(highest)) < 0.001 else {}
    ticks = ratio_ticks(np.log10(lowest), np.log10(highest))
    return {"type": "log", "tickvals": ticks, "ticktext": [ratio_text(tick) for tick in ticks]}


def _on_their_side(figure: go.Figure, rows: pd.DataFrame, drawing: Drawing) -> go.Figure:
    """Bars that have names lie on their side, the first on top, so that the names can be read."""
    names = list(rows["x"].unique())
    height = min(max(18 * len(names), 220), 820)
    top = figure.layout.margin.t
    figure.update_layout(
        height=height + top + 44,
        meta={"rows": escape(drawing.x)},
        margin={"l": label_margin(names)},
        xaxis={"title": escape(shorten(drawing.y, 60)), **_scale(rows["y"], drawing)},
        yaxis={
            "title": None,
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [escape(name) for name in names],
            "range": [len(names) - 0.5, -0.5],
            **layer_ticks(names, height),
        },
    )
    return figure
