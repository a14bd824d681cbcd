"""How often the chosen runs' layers are clipped."""

import pandas as pd
import streamlit as st

from app import band_cells, queries
from app.charts import hit_rates
from app.charts.hit_matrix import hit_matrix
from app.charts.run_names import told_apart
from app.charts.text import shorten
from app.plotly_view import plotly_view
from app.shell.selection import Selection

MOST_MATRICES = 4
"""So many runs have a matrix of their own."""

RUN_SIGNS, LAYER_SIGNS, LAYER_WIDTH = 18, 52, 370
"""Signs of names, and pixels of those of layers, that leave room for the hits beside them on 1280 pixels."""

GUIDE = """
- A **hit** is a layer in a step whose trust ratio was cut by its bound: orange by the upper, blue by the lower one. A
  ratio that is 1 for another reason (a zero norm, a layer that is not adapted) is no hit.
- A layer that is clipped **in all steps** never uses LAMB's ratio: its step is the plain update times the bound.
- A bound that **no layer hits** does nothing; at a bound of 1 often only the one-dimensional layers hit it.
- A ratio **jumps** if it is tenfold, or a tenth, from one step to the next; there and back is one event.
- Biases begin at zero, so that **a norm of zero** at step 1 is nothing to worry about; one that *stays* zero is a layer
  that does not learn.
- **NaN** and **Inf** spread from the layer where they begin: look at the first row first.
"""


def any_clipped(states: dict[str, queries.RunState]) -> bool:
    """Whether any layer of the runs was ever clipped; if not, the page says what there is to do."""
    if any(queries.hit_rate(state) for state in states.values()):
        return True
    rates = pd.concat([queries.hit_rates(state) for state in states.values()])
    st.info(f"None of these runs was ever clipped. {_why_none(rates)}", icon=":material/content_cut:")
    return False


def _why_none(rates: pd.DataFrame) -> str:
    """Why no layer was clipped, or what there is to do. rates: of the layers of all runs."""
    if rates["adapted"].any():
        return "A run gets a bound by `LAMBC(…, clip=1.0)`; the page Bounds shows what a bound would clip."
    if queries.not_adapted(rates).all():
        return "Their optimizers adapt no layer, so that there is nothing for a bound to clip."
    return "In all steps of their adapted layers a norm was zero or not finite, so that there was no ratio to clip."


def draw_by_layer(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """Of models of many layers families by blocks; of the others a bar a layer, a panel a run."""
    wide = {run: state for run, state in states.items() if band_cells.drawn_by_family(state)}
    few = {run: state for run, state in states.items() if run not in wide}
    if len(states) == 1 and not wide:
        return  # the map has it all
    st.subheader("How often each layer is clipped", anchor=False)
    if few:
        _draw_bars(chosen, few)
    if wide:
        _draw_matrices(chosen, wide)


def _draw_matrices(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    newest = list(states.items())[-MOST_MATRICES:]
    more = f" Of {len(states)} such runs the newest {len(newest)}." if len(newest) < len(states) else ""
    st.caption(
        "Share of the steps in which the bound cut the layer's trust ratio: a cell is the layer of a kind in a block, "
        f"of several, as of experts, the one that was clipped most.{more}"
    )
    for place, (run, state) in enumerate(newest):
        named = pd.DataFrame(band_cells.members(state))
        matrix = hit_matrix(named.merge(queries.hit_rates(state), on="layer"), theme=chosen.theme)
        never = "" if queries.hit_rate(state) else ": never clipped"
        if never or len(states) > 1:
            st.markdown(f"{chosen.name(run)}{never}")
        if not never and matrix is not None:
            plotly_view(
                matrix,
                key=f"hits_by_block_{place}",
                label="How often each layer is clipped, by kind and block",
                of=queries.about([state], 1, state.steps),
            )


def _draw_bars(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    newest = list(states.items())[-hit_rates.MOST_PANELS :]
    rates = {run: queries.hit_rates(state) for run, state in newest}
    layers = list(dict.fromkeys(layer for frame in rates.values() for layer in frame["layer"]))
    more = f" Of the {len(states)} chosen runs the newest {len(newest)}." if len(newest) < len(states) else ""
    st.caption(f"Share of the steps in which the bound cut the layer's trust ratio.{more}")
    plotly_view(
        hit_rates.hit_rates_by_layer(rates, layers=layers, lines=chosen.lines, theme=chosen.theme),
        key="hits_by_layer",
        label="How often each layer is clipped, by run",
        of=queries.about(dict(newest).values(), 1, max(state.steps for _, state in newest)),
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
        of=queries.about(states.values(), 1, max(state.steps for state in states.values())),
    )


def draw_table(chosen: Selection, states: dict[str, queries.RunState]) -> None:
    """The layers of all chosen runs, those first that are clipped most."""
    st.subheader("First and last hit of each layer", anchor=False)
    st.caption("Those that are clipped most come first; a click on a column's name sorts by it.")
    frames = [queries.hit_rates(state).assign(run=run) for run, state in states.items()]
    rows = pd.concat(frames).sort_values(["upper_rate", "lower_rate"], ascending=False, kind="stable")
    rows["run"] = rows["run"].map(told_apart(states, RUN_SIGNS))
    rows["layer"] = [shorten(layer, LAYER_SIGNS) for layer in rows["layer"]]
    shown = ["layer", "upper_rate", "lower_rate", "first_hit", "last_hit", "rows", "parameters"]
    st.dataframe(
        rows[["run", *shown] if len(states) > 1 else shown],
        hide_index=True,
        height=320,
        column_config={
            "run": st.column_config.TextColumn(width=140),
            "layer": st.column_config.TextColumn(width=LAYER_WIDTH if rows["layer"].str.len().max() > 44 else None),
            "upper_rate": st.column_config.ProgressColumn(
                "upper hits", format="percent", min_value=0, max_value=1, width=110, color=chosen.theme.upper
            ),
            "lower_rate": st.column_config.ProgressColumn(
                "lower hits", format="percent", min_value=0, max_value=1, width=110, color=chosen.theme.lower
            ),
            "first_hit": st.column_config.NumberColumn("first hit", format="localized", width=74, help="The step"),
            "last_hit": st.column_config.NumberColumn("last hit", format="localized", width=74, help="The step"),
            "rows": st.column_config.NumberColumn("steps", format="localized"),
            "parameters": st.column_config.NumberColumn(format="localized"),
        },
    )
