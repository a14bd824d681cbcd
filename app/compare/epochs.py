"""Runs without epochs, as of a trainer that counts steps alone: all their values would be one point by epoch."""

from collections.abc import Iterable

import pandas as pd

from app.compare.seeds import listed


def without(results: pd.DataFrame, runs: Iterable[str]) -> list[str]:
    """Those of the runs whose metrics are all of epoch 0. results: a row a run, with `run` and `epochs`."""
    last = results.set_index("run")["epochs"].fillna(0)
    return [run for run in runs if not last.get(run, 0) > 0]


def left_out(runs: list[str]) -> str:
    """That they are not in a figure by epoch."""
    return f"{listed(runs)} {'has' if len(runs) == 1 else 'have'} no epochs: not drawn by epoch."
