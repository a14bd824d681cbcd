"""What a bound would clip: the share of all steps that any bound would cut, and the layers that it would cut."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.cells import layer_axis
from app.charts.layers import KINDS, Side
from app.charts.text import escape, label_margin, ratio_text, ratio_ticks
from app.charts.theme import LIGHT, Theme

HUES = {"convolution": 0, "linear": 2, "embedding": 5, "norm": 3, "bias": 4, "other": 6}

RIGHT = 24


def kind_colour(kind: str, side: Side, theme: Theme) -> str:
    """The colour of a kind of layers, which is not that of what a bound cuts: orange for an upper, blue for a lower."""
    blue_is_taken = side == "lower" and HUES[kind] == 0
    return theme.runs[1 if blue_is_taken else HUES[kind]]


def survival_curves(
    survival: pd.DataFrame,
    *,
    side: Side = "upper",
    bound: float,
    clipped: float,
    own_bound: float | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """The share of steps that any bound would clip: of all layers, of each kind, and faintly of each layer.

    survival: a row a layer and bound: layer, kind, bound, above (in so many of its steps the ratio was), steps.
    side: an upper bound clips what is above it, a lower one the rest.
    bound, clipped: the bound that is suggested, and the share that it clips.
    own_bound: the bound that the run had.
    """
    cut = survival["above"] if side == "upper" else survival["steps"] - survival["above"]
    survival = survival.assign(cut=cut, share=cut / survival["steps"])
    figure = go.Figure(layout={"template": theme.template, "height": 430})
    everything = _share(survival, ["bound"])
    kinds = _share(survival, ["kind", "bound"])
    shown = [kind for kind in KINDS if (kinds["kind"] == kind).any()]
    for kind in shown:
        along = survival[survival["kind"] == kind].sort_values(["layer", "bound"], ascending=[True, side == "upper"])
        figure.add_trace(_layers(along, kind, kind_colour(kind, side, theme)))
    for kind in shown:
        colour = kind_colour(kind, side, theme)
        figure.add_trace(_curve(kinds[kinds["kind"] == kind], kind, colour, 2, legendgroup=kind))
    figure.add_trace(_curve(everything, "all layers", theme.text, 3.5))
    figure.add_trace(
        go.Scatter(
            x=[bound],
            y=[clipped],
            name="suggested",
            mode="markers",
            marker={"size": 12, "color": getattr(theme, side), "line": {"color": theme.background, "width": 2}},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    low, high = _reach(everything, bound, own_bound)
    ticks = ratio_ticks(low, high)
    figure.update_layout(
        hovermode="x unified",
        margin={"l": 60, "r": RIGHT, "t": 50, "b": 44},
        showlegend=True,
        legend={"orientation": "h", "y": 1.07, "yanchor": "bottom", "x": 0, "traceorder": "reversed"},
        xaxis={
            "type": "log",
            "title": f"{side} bound",
            "range": [low, high],
            "tickvals": ticks,
            "ticktext": [ratio_text(tick) for tick in ticks],
            "showgrid": False,
            "unifiedhovertitle": {"text": "A bound of <b>%{x:.3~g}</b> would clip"},
        },
        yaxis={"range": [0, 1.02], "tickformat": ".0%", "title": "share of layer-steps clipped"},
    )
    # The label of the bound further left is written to the left of its line, so that neither lies on the other.
    own_is_right = own_bound is not None and own_bound > bound
    mark_bound(figure, bound, f"<b>{bound:g}</b> suggested", getattr(theme, side), "solid", left=own_is_right)
    if own_bound is not None:
        mark_bound(figure, own_bound, f"{own_bound:g} this run had", theme.faint, "dash", left=not own_is_right)
    return figure


def _share(survival: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    summed = survival.groupby(by, sort=True)[["cut", "steps"]].sum().reset_index()
    return summed.assign(share=summed["cut"] / summed["steps"])


def _curve(curve: pd.DataFrame, name: str, colour: str, width: float, **options: object) -> go.Scatter:
    return go.Scatter(
        x=curve["bound"],
        y=curve["share"],
        name=name,
        mode="lines",
        line={"color": colour, "width": width},
        hovertemplate="%{y:.1%}",
        **options,
    )


def _layers(survival: pd.DataFrame, kind: str, colour: str) -> go.Scatter:
    """The curves of a kind's layers as one trace with gaps, each from its last 100% to its first 0%.

    survival: of one layer after the other, each in the order in which its share falls.
    """
    layers, share = survival["layer"].to_numpy(), survival["share"].to_numpy()
    same_before, same_after = layers[1:] == layers[:-1], layers[:-1] == layers[1:]
    after = np.append(np.where(same_after, share[1:], 0.0), 0.0)
    before = np.insert(np.where(same_before, share[:-1], 1.0), 0, 1.0)
    curve = survival[(after < 1) & (before > 0)]
    starts = np.flatnonzero(curve["layer"].to_numpy()[1:] != curve["layer"].to_numpy()[:-1]) + 1
    return go.Scatter(
        x=np.insert(curve["bound"].to_numpy(dtype=float), starts, np.nan),
        y=np.insert(curve["share"].to_numpy(dtype=float), starts, np.nan),
        name=kind,
        meta={"layers": [escape(layer) for layer in curve["layer"].unique()]},
        mode="lines",
        line={"color": colour, "width": 1},
        opacity=0.22,
        legendgroup=kind,
        showlegend=False,
        hoverinfo="skip",
    )


def _reach(everything: pd.DataFrame, bound: float, own_bound: float | None) -> tuple[float, float]:
    """The part of the axis in which the curve falls, as powers of ten; a hundredth at its left tells nothing more."""
    falling = everything[(everything["share"] < 0.99) & (everything["share"] > 0)]["bound"]
    ends = np.log10([*falling, bound, *([own_bound] if own_bound else [])])
    room = max(0.1, 0.04 * float(ends.max() - ends.min()))
    return float(ends.min()) - room, float(ends.max()) + 2 * room


def mark_bound(figure: go.Figure, bound: float, text: str, colour: str, dash: str, left: bool = False) -> None:
    """Draw a bound as a line with its name above, at its right, or at its left."""
    figure.add_shape(
        type="line",
        x0=bound,
        x1=bound,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": colour, "width": 1.5, "dash": dash},
        layer="below",
    )
    figure.add_annotation(
        x=np.log10(bound),
        y=1,
        yref="paper",
        yanchor="bottom",
        xanchor="right" if left else "left",
        text=text,
        showarrow=False,
        font={"color": colour, "size": 12},
    )


def layer_ranges(
    ranges: pd.DataFrame,
    *,
    layers: Sequence[str],
    side: Side = "upper",
    bound: float,
    wanted: float,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A row a layer: where its ratios lie, in the bound's colour what the bound of all would clip, and its own bound.

    ranges: a row a layer: layer, kind, q01, q05, q50, q95, q99, own (its bound), clipped_by_all (a share).
    layers: all rows from top to bottom.
    """
    row = 18 if len(layers) <= 24 else 13 if len(layers) <= 70 else 4
    height = min(max(row * len(layers), 200), 820)
    figure = go.Figure(layout={"template": theme.template, "height": height + 90})
    width = max(2, min(7, 0.45 * height / max(1, len(layers))))
    below = ranges.assign(start=ranges["q05"], end=ranges["q95"].clip(upper=bound))[ranges["q05"] < bound]
    above = ranges.assign(start=ranges["q05"].clip(lower=bound), end=ranges["q95"])[ranges["q95"] > bound]
    kept, cut = (below, above) if side == "upper" else (above, below)
    for kind in KINDS:
        if (ranges["kind"] == kind).any():
            figure.add_trace(_bars(kept[kept["kind"] == kind], kind, kind_colour(kind, side, theme), width))
    figure.add_trace(_bars(cut, "clipped by the bound of all", getattr(theme, side), width))
    names = [escape(layer) for layer in ranges["layer"]]
    marker = max(4, min(9, width + 2))
    far = "q99" if side == "upper" else "q01"
    figure.add_trace(
        go.Scatter(
            x=ranges["own"],
            y=names,
            name=f"its own bound for {100 * wanted:g}%",
            mode="markers",
            marker={"symbol": "line-ns", "size": marker + 2, "line": {"color": theme.text, "width": 2}},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=ranges["q50"],
            y=names,
            name="median",
            mode="markers",
            marker={"size": marker, "color": theme.background, "line": {"color": theme.text, "width": 1.2}},
            customdata=ranges[["kind", "q05", "q95", far, "own", "clipped_by_all"]].to_numpy(),
            hovertemplate=(
                "<b>%{y}</b> · %{customdata[0]}<br>median <b>%{x:.3~g}</b>, 90% of its steps from "
                "%{customdata[1]:.3~g} to %{customdata[2]:.3~g}<br>99% of its steps "
                f"{'below' if side == 'upper' else 'above'} %{{customdata[3]:.3~g}}<br>"
                f"its own bound for {100 * wanted:g}%: <b>%{{customdata[4]:.3~g}}</b><br>"
                f"a bound of {bound:g} would clip <b>%{{customdata[5]:.1%}}</b> of its steps<extra></extra>"
            ),
        )
    )
    figure.update_layout(
        hovermode="y",
        margin={"l": label_margin(layers), "r": RIGHT, "t": 50, "b": 40},
        showlegend=True,
        # From the top down: measured from below, a second row would lie over the bars if it came late, as with a font.
        legend={"orientation": "h", "y": 1, "yanchor": "top", "yref": "container", "x": 0},
        xaxis=ratio_axis([*ranges[["q05", "q99", "own"]].to_numpy().ravel()], bound)
        | {"title": "trust ratio before clipping"},
        yaxis={
            "showgrid": False,
            **layer_axis(layers, height),
        },
    )
    figure.add_vline(x=bound, line={"color": getattr(theme, side), "width": 1.5})
    return figure


def _bars(ranges: pd.DataFrame, name: str, colour: str, width: float) -> go.Scatter:
    """From `start` to `end`, a line a layer."""
    gaps = np.full(len(ranges), np.nan)
    names = [escape(layer) for layer in ranges["layer"]]
    return go.Scatter(
        x=np.stack([ranges["start"], ranges["end"], gaps], axis=1).ravel(),
        y=[each for name in names for each in (name, name, None)],
        name=name,
        mode="lines",
        line={"color": colour, "width": width},
        hoverinfo="skip",
    )


def ratio_axis(ratios: Sequence[float], bound: float) -> dict[str, object]:
    """A logarithmic axis for some ratios and a bound; one layer whose ratio was zero leaves the others their room."""
    low, high = max(np.nanmin([*ratios, bound]), bound / 1e4), np.nanmax([*ratios, bound])
    room = 0.03 * np.log10(high / low) + 0.02
    ends = float(np.log10(low) - room), float(np.log10(high) + room)
    ticks = ratio_ticks(*ends)
    return {
        "type": "log",
        "range": list(ends),
        "tickvals": ticks,
        "ticktext": [ratio_text(tick) for tick in ticks],
    }
