"""What was unusual in a run: NaN, Inf, zero norms and ratios that jump, each with a way to the place."""

import pandas as pd
import streamlit as st

from app import queries, unusual, words
from app.charts.text import ratio_text, shorten
from app.layers.one_layer import AT, LAYER
from app.layers.opened import open_page

KINDS = {"nan": "✕ NaN", "inf": "✕ Inf", "jump": "⇅ jump", "zero norm": "○ zero norm"}
"""As the table says them."""

WEIGHTS = {"nan": 0, "inf": 0, "jump": 1, "zero norm": 2}
"""What comes first in the table; where Inf and NaN are, one breeds the other."""

NORMS = {"weight_norm": "‖w‖", "update_norm": "‖update‖", "trust_ratio": "the ratio"}
VALUES = {"nan": "NaN", "inf": "infinite", "zero norm": "0"}

TABLE = "events"
MOST_ROWS = 1000

LAYER_SIGNS, LAYER_WIDTH = 36, 264
"""Signs of a layer's name, and pixels in which these are read to the end, where most often what differs is."""

AROUND = 30
"""Recorded steps before and after an event that the page Layers shows with it."""

MOST_SHOWN = 120
"""Of an event that goes on for longer, the beginning is shown."""


def draw(state: queries.RunState) -> None:
    """A row an event; what begins in several layers at the same step is one."""
    st.subheader(f"Unusual in {words.plain(shorten(state.run, 60))}", anchor=False)
    found = unusual.events(state)
    listed, more = found[found["kind"] != "more"], found[found["kind"] == "more"]
    rates = queries.hit_rates(state)
    looked_at = f"{int(rates['rows'].sum()):,} layer-steps"
    if listed.empty:
        st.success(f"Nothing unusual in {looked_at}: {nothing(rates)}", icon=":material/check_circle:")
    else:
        events = together(listed)
        st.caption(f"{_count(listed)} in {looked_at}. Choose a row to see the place on the page Layers.")
        chosen = st.dataframe(
            table(events.head(MOST_ROWS), state.steps, queries.stride(state, 1, state.steps)),
            hide_index=True,
            height="auto" if len(events) <= 8 else 318,
            key=TABLE,
            on_select="rerun",
            selection_mode="single-row",
            column_config={
                "step": st.column_config.NumberColumn(format="localized", width=62),
                "event": st.column_config.TextColumn(width=96),
                "layers": st.column_config.NumberColumn(
                    format="localized", width=64, help="In so many at the same step"
                ),
                "layer": st.column_config.TextColumn("layer, or the worst of them", width=LAYER_WIDTH),
                "what": st.column_config.TextColumn("what happened", width=400),
            },
        )
        if len(events) > MOST_ROWS:
            st.caption(f"The first {MOST_ROWS:,} of {len(events):,} rows.")
        if chosen["selection"]["rows"]:
            _show(state, events.iloc[chosen["selection"]["rows"][0]])
    if len(more):
        st.caption(_more(more))


def nothing(rates: pd.DataFrame) -> str:
    """What there is none of: ratios are looked at in adapted layers alone. rates: how often each layer was clipped."""
    exempt = queries.not_adapted(rates)
    if exempt.all():
        return "no NaN, no Inf and no norm of zero. No layer is adapted, so that the ratios were not looked at."
    few = int(exempt.sum())
    but = (
        f" Ratios were looked at in the {len(rates) - few:,} of {len(rates):,} layers that are adapted." if few else ""
    )
    return f"no NaN, no Inf, no norm of zero, and no ratio that jumped tenfold.{but}"


def together(events: pd.DataFrame) -> pd.DataFrame:
    """A row for each kind of event and step: in how many layers it is there, and what became of the worst of them.

    The worst has the largest jump, or is odd for longest.
    """
    sizes = (events["after"] / events["before"]).map(lambda factor: max(factor, 1 / factor) if factor else float("inf"))
    ordered = events.assign(size=sizes, weight=events["kind"].map(WEIGHTS))
    ordered = ordered.sort_values(["weight", "step", "position"], kind="stable")
    keys = ["weight", "step", "kind", "quantity"]
    groups = ordered.groupby(keys, sort=False)
    found = groups.agg(layers=("layer", "size"), last_step=("last_step", "max"))
    worst = ordered.sort_values(["size", "last_step"], ascending=False, kind="stable")
    worst = worst.drop_duplicates(keys).set_index(keys)
    return found.join(worst[["layer", "before", "after", "last_after", "steps"]]).reset_index()


def table(events: pd.DataFrame, last: int, stride: int = 1) -> pd.DataFrame:
    """Events in words. last: the last recorded step; stride: how far apart recorded steps are."""
    return pd.DataFrame(
        {
            "step": events["step"],
            "event": events["kind"].map(KINDS),
            "layers": events["layers"],
            "layer": [shorten(layer, LAYER_SIGNS) for layer in events["layer"]],
            "what": [sentence(event, last, stride) for _, event in events.iterrows()],
        }
    )


def sentence(event: pd.Series, last: int, stride: int = 1) -> str:
    """What happened: ‖w‖ is NaN from then on; the ratio goes from 0.9 to 18 and back."""
    if event["kind"] != "jump":
        return f"{NORMS[event['quantity']]} is {VALUES[event['kind']]} {_lasting(event, last, stride)}"
    ratios = (
        f"the ratio goes from {ratio_text(event['before'])} to {ratio_text(event['after'])}{_going_on(event, stride)}"
    )
    return ratios if event["layers"] == 1 else f"the furthest: {ratios}"


def _going_on(event: pd.Series, stride: int) -> str:
    """What a ratio does after its first jump; it jumps in all of the steps."""
    if event["steps"] == 1:
        return ""
    if event["steps"] == 2:
        low, high = sorted((event["before"], event["last_after"]))
        return " and back" if high < 10 * low else f", then to {ratio_text(event['last_after'])}"
    return f", and on for {event['steps']:,} {'recorded steps' if stride > 1 else 'steps'}"


def _lasting(event: pd.Series, last: int, stride: int) -> str:
    """For how long, as far as one knows: nothing is known of the steps between two recorded ones."""
    first, until, steps = event["step"], event["last_step"], event["steps"]
    if until >= last:
        return "from then on" if steps > 1 else "in the last recorded step"
    if stride == 1 and until - first + 1 == steps:
        return "for one step" if steps == 1 else f"for {steps:,} steps"
    return "in one recorded step" if steps == 1 else f"in {steps:,} recorded steps, {first:,} to {until:,}"


def _count(events: pd.DataFrame) -> str:
    counts = events["kind"].value_counts()
    kinds = [(kind.split(" ", 1)[1], int(counts[name])) for name, kind in KINDS.items() if name in counts]
    return ", ".join(f"{count:,} × {kind}" for kind, count in kinds)


def _more(more: pd.DataFrame) -> str:
    """That not all was looked at, and where."""
    said = []
    for rows, what in ((more[more["quantity"].isna()], "norms"), (more[more["quantity"].notna()], "ratios")):
        if len(rows) == 1:
            said.append(f"The {what} of {words.plain(shorten(rows['layer'].iloc[0], 40))}")
        elif len(rows):
            said.append(f"The {what} of {len(rows):,} layers")
    since = int(more["step"].min())
    return (
        f"{' and the '.join([said[0], *(each[4:] for each in said[1:])])} go on like this; from step {since:,} on not "
        "every place was examined. `lambc sql` with `WHERE kind = 'more'` lists the others."
    )


def _show(state: queries.RunState, event: pd.Series) -> None:
    """Go to the page Layers: to the event's layer and the step where it begins, among those around it."""
    step, last_step = int(event["step"]), int(event["last_step"])
    stride = queries.stride(state, step, last_step)
    first = max(1, step - AROUND * stride)
    last = min(state.steps, step + MOST_SHOWN * stride, last_step + AROUND * stride)
    open_page(state, {LAYER: event["layer"], AT: str(step)}, (first, last))
