"""How often the chosen runs' layers are clipped."""

import itertools

import pandas as pd
import streamlit as st

from app import queries, words
from app.charts import hit_rates
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.shell.selection import Selection

CARDS_A_ROW = 5
CARDS_WIDTH = 95
"""Characters of the runs' names that a row of cards has room for on a page of 1280 pixels."""

GUIDE = """
- A **hit** is a layer in a step whose trust ratio was cut by its bound: orange by the upper, blue by the lower one. A
  ratio that is 1 for another reason (a zero norm, a layer that is not adapted) is no hit.
- A layer that is clipped **in all steps** never sees LAMB's ratio: its step is the plain update times the bound.
- A bound that **nobody hits** does nothing; at a bound of 1 it is often the one-dimensional layers alone that hit it.
- A ratio **jumps** if it is tenfold, or a tenth, from one step to the next; there and back is one event.
- Biases begin at zero, so that **a norm of zero** at step 1 is nothing to worry about; one that *stays* zero is a layer
  that does not learn.
- **NaN** and **Inf** spread from the layer where they begin: the first row is the place to look at.
"""


def any_clipped(states: dict[str, queries.RunState]) -> bool:
    """Whether any layer of the runs was ever clipped; if not, the page says what there is to do."""
    if any(queries.hit_rate(state) for state in states.values()):
        return True
    st.info(
        "None of these runs was ever clipped. A run gets a bound by `LAMBC(…, clip=1.0)`; the page Bounds says what a "
        "bound would clip.",
        icon=":material/content_cut:",
    )
    return False


def draw_numbers(states: dict[str, queries.RunState]) -> None:
    """A card a run: its hit rate, and how many layers it comes from."""
    cards = min(max(3, len(states)), CARDS_A_ROW)
    columns = itertools.cycle(st.columns(cards))
    for column, state in zip(columns, states.values(), strict=False):
        rates = queries.hit_rates(state)
        hits, adapted = int(rates[["upper_hits", "lower_hits"]].sum().sum()), int(rates["adapted"].sum())
        clipped = int(((rates["upper_hits"] + rates["lower_hits"]) > 0).sum())
        column.metric(
            words.plain(shorten(state.run, CARDS_WIDTH // cards)),
            words.percent(hits / adapted if adapted else None),
            f"in {clipped} of {len(rates)} layers",
            delta_color="off",
            delta_arrow="off",
            border=True,
        )


def draw_by_layer(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """A bar a layer, a panel a run."""
    st.subheader("How often each layer is clipped", anchor=False)
    newest = list(states.items())[-hit_rates.MOST_PANELS :]
    rates = {run: queries.hit_rates(state) for run, state in newest}
    layers = list(dict.fromkeys(layer for frame in rates.values() for layer in frame["layer"]))
    more = f" Of the {len(states)} chosen runs the newest {len(newest)}." if len(newest) < len(states) else ""
    st.caption(f"Share of the steps in which the bound cut the layer's trust ratio.{more}")
    plotly_view(
        hit_rates.hit_rates_by_layer(rates, layers=layers, lines=chosen.lines, theme=chosen.theme),
        key="hits_by_layer",
        label="How often each layer is clipped, by run",
    )


def draw_over_time(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """A line a run."""
    st.subheader("Hits over time", anchor=False)
    rates = {run: queries.hit_rates_over_time(state) for run, state in states.items()}
    st.caption("Share of the layers that are clipped, as training goes on.")
    plotly_view(
        hit_rates.hit_rates_over_time(rates, lines=chosen.lines, theme=chosen.theme),
        key="hits_over_time",
        label="Clip hits over time",
    )


def draw_table(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """The layers of all chosen runs, those first that are clipped most."""
    st.subheader("First and last hit of each layer", anchor=False)
    st.caption("Those that are clipped most come first; a click on a column's name sorts by it.")
    frames = [queries.hit_rates(state).assign(run=run) for run, state in states.items()]
    rows = pd.concat(frames).sort_values(["upper_rate", "lower_rate"], ascending=False, kind="stable")
    st.dataframe(
        rows[["run", "layer", "upper_rate", "lower_rate", "first_hit", "last_hit", "rows", "parameters"]],
        hide_index=True,
        height=320,
        column_config={
            "upper_rate": st.column_config.ProgressColumn(
                "upper hits", format="percent", min_value=0, max_value=1, color=chosen.theme.upper
            ),
            "lower_rate": st.column_config.ProgressColumn(
                "lower hits", format="percent", min_value=0, max_value=1, color=chosen.theme.lower
            ),
            "first_hit": st.column_config.NumberColumn("first hit", format="localized", help="The step"),
            "last_hit": st.column_config.NumberColumn("last hit", format="localized", help="The step"),
            "rows": st.column_config.NumberColumn("steps", format="localized"),
            "parameters": st.column_config.NumberColumn(format="localized"),
        },
    )
