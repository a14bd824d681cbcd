"""Events above a picture of layers: a mark where something unusual begins, and lines where they hide no layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go

from app.charts import band_map
from app.charts.bands import Stack
from app.charts.short_names import short_names
from app.charts.text import escape, ratio_text
from app.charts.theme import Theme

NEAR, SIGN = 60, 5.4
"""Marks that are closer than so many pixels are one; and the pixels of a sign of their labels."""

FEW, THIN = 8, 4
"""Of so few layers, each is ringed, where rows are thinner than so many pixels."""

TIP = '<span style="font-size:9px">▼</span>'

KINDS = {"nan": "NaN", "inf": "Inf", "jump": "jump", "zero norm": "zero norm", "resumed": "resumed"}
"""What a mark is called, the most severe first."""


@dataclass(frozen=True)
class Mark:
    """Events that begin close to each other. label: in a word or two; said: in a sentence, as HTML.

    precisely: the label with step and numbers, for where there is room. at: layers and steps, where these are few.
    leftwards: whether the label ends at the mark, or begins there.
    """

    first: int
    last: int
    label: str
    said: str
    precisely: str = ""
    at: tuple[tuple[str, int], ...] = ()
    leftwards: bool = True


def marks(events: pd.DataFrame, shown: tuple[int, int], pixels: int) -> list[Mark]:
    """The marks of what began in the steps that are shown over so many pixels.

    events: layer, kind and step; a row a beginning. A norm that is zero from the start, as that of a new bias, is none.
    """
    first, last = shown
    wanted = events["kind"].isin(list(KINDS)) & ~((events["kind"] == "zero norm") & (events["step"] <= 1))
    found = events[wanted & (events["step"] >= first) & (events["step"] <= last)].sort_values("step", kind="stable")
    if found.empty:
        return []
    near = NEAR / pixels * (last - first + 1)
    begins, before, groups = -1, -1, []
    for step in found["step"].astype(int):
        # What goes on from layer to layer is one mark, however long it takes.
        if begins < 0 or (step - begins >= near and step - before >= near / 4):
            begins = step
        before = step
        groups.append(begins)
    each = [_mark(group) for _, group in found.groupby(groups, sort=True)]
    scale, free, placed = pixels / (last - first + 1), 0.0, []
    for mark, after in zip(each, [*(mark.first for mark in each[1:]), last + 1], strict=True):
        place = (mark.first - first) * scale
        placed.append(_placed(mark, place - free, (after - mark.first) * scale))
        free = place if placed[-1].leftwards else place + SIGN * len(placed[-1].label)  # beside the label before
    return placed


def _placed(mark: Mark, before: float, after: float) -> Mark:
    """With as much of the name of its layer, of its step and its numbers as has room in the free pixels beside it."""
    layers = {layer for layer, _ in mark.at}
    named = f"{short_names([layers.pop().removesuffix('.weight')])[0]} " if len(layers) == 1 else ""
    for label in (f"{named}{mark.precisely}", mark.precisely, f"{named}{mark.label}"):
        room = SIGN * len(label) + 24
        if label != mark.label and max(before, after) >= room:
            return replace(mark, label=label, leftwards=before >= room)
    return replace(mark, leftwards=before >= SIGN * len(mark.label))


def _mark(group: pd.DataFrame) -> Mark:
    first, last = int(group["step"].min()), int(group["step"].max())
    kinds = [kind for kind in KINDS if (group["kind"] == kind).any()]
    several = {kind: group[group["kind"] == kind]["layer"].nunique() for kind in kinds}
    names = [KINDS[kind] + ("s" if kind == "jump" and several[kind] > 1 else "") for kind in kinds]
    begins = {kind: int(group[group["kind"] == kind]["step"].min()) for kind in kinds}
    pairs = zip(group["layer"], group["step"], strict=True)
    named = [(layer, int(step)) for layer, step in pairs if isinstance(layer, str)]
    at = tuple(named) if len({layer for layer, _ in named}) <= FEW else ()
    label = ", ".join(names[:2]) + (" …" if len(names) > 2 else "")
    precisely = f"{label}{_numbers(group)}, step {first:,}"
    if len(set(begins.values())) > 1:
        precisely = _each_from(dict(zip(names, begins.values(), strict=True)))
    return Mark(first, last, label, _said(group, begins), precisely, at)


def _said(group: pd.DataFrame, begins: dict[str, int]) -> str:
    """What a hover says: what began, in how many layers, and if not all began together, at which step."""
    first, last = int(group["step"].min()), int(group["step"].max())
    said = [f"<b>step {first:,}</b>" if first == last else f"<b>steps {first:,} to {last:,}</b>"]
    for kind, begin in begins.items():
        since = f" from step {begin:,}" if len(set(begins.values())) > 1 else ""
        layers = group[group["kind"] == kind]["layer"].dropna()
        if layers.empty:
            said.append(f"the run was resumed{since}")
        else:
            count = layers.nunique()
            of = "" if count == 1 else f"{count:,} layers, first in "
            said.append(f"{KINDS[kind]}{since} in {of}{escape(short_names([layers.iloc[0]], 60)[0])}")
    return "<br>".join([*said, "click to zoom in"])


def _each_from(begins: dict[str, int]) -> str:
    """What began when, in order, of several that did not begin together."""
    name, *others = sorted(begins, key=begins.__getitem__)
    return ", ".join([f"{name} from step {begins[name]:,}", *(f"{other} from {begins[other]:,}" for other in others)])


def _numbers(group: pd.DataFrame) -> str:
    """From where to where the ratio jumped, if that is all that happened, and in one layer."""
    one = group["layer"].nunique() == 1 and (group["kind"] == "jump").all() and "before" in group
    if not one or group[["before", "after"]].iloc[0].isna().any():
        return ""
    return f" {ratio_text(group['before'].iloc[0])}→{ratio_text(group['after'].iloc[0])}"


def draw(
    figure: go.Figure, found: Sequence[Mark], stack: Stack, inner: int, panels: Sequence[str], theme: Theme
) -> None:
    """Draw marks above the bands, which begin at the top of the plot, and lines between them and through `panels`."""
    if not found:
        return
    figure.layout.annotations += tuple(
        go.layout.Annotation(
            text=f"{escape(mark.label)} {TIP}" if mark.leftwards else f"{TIP} {escape(mark.label)}",
            name=f"steps:{mark.first}:{mark.last}",
            captureevents=True,
            hovertext=mark.said,
            x=mark.first,
            xref="x",
            xanchor="right" if mark.leftwards else "left",
            xshift=6 if mark.leftwards else -6,  # so that the tip of the mark stands over the step
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            borderpad=0,
            font={"size": 11, "color": theme.text},
        )
        for mark in found
    )
    figure.add_traces(_rings(found, stack, theme))
    line = {"type": "line", "xref": "x", "line": {"color": theme.text, "width": 1}}
    edges = [(1 - low / inner, 1 - high / inner, "paper") for high, low in band_map.gaps(stack)]
    edges += [(0, 1, f"{panel} domain") for panel in panels]
    figure.layout.shapes += tuple(
        go.layout.Shape(**line, x0=mark.first, x1=mark.first, y0=low, y1=high, yref=yref)
        for mark in found
        for low, high, yref in edges
    )


def _rings(found: Sequence[Mark], stack: Stack, theme: Theme) -> list[go.Scatter]:
    """A ring around the first event of each of a few layers: a row of a pixel is easily overlooked."""
    first: dict[str, int] = {}
    for layer, step in (each for mark in found for each in mark.at):
        first.setdefault(layer, step)
    traces = []
    for place, band in enumerate(stack.bands):
        rows = [(row.said, first[layer]) for row in band.rows for layer in row.layers if layer in first]
        if rows and band.row_pixels < THIN:
            traces.append(
                go.Scatter(
                    x=[step for _, step in rows],
                    y=[escape(said) for said, _ in rows],
                    yaxis=band_map.axis(place),
                    name="events",
                    mode="markers",
                    marker={"symbol": "circle-open", "size": 13, "color": theme.text, "line": {"width": 1.2}},
                    hoverinfo="skip",
                )
            )
    return traces
