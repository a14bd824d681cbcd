"""Events, beside the same answer worked out slowly from all rows, with rollups and without."""

import math
import shutil
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from collector import Collector, connect
from collector.log.parts import list_parts, write_part
from collector.log.rollups import roll_up, rollup_path
from collector.log.schema import ROLLUPS, TRUST_RATIOS
from tests.collector.emitter import Emitter

LAYERS = ["calm", "broken", "dead", "odd", "exempt", "gaps", "noisy"]
STEPS = 5000
ENDS = [1, 700, 701, 2500, 4990, STEPS + 1]
LISTED = 20

COLUMNS = ["layer", "position", "kind", "step", "last_step", "steps", "quantity", "before", "after", "last_after"]


def norms(layer: str) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weight and update norms at steps 1 to STEPS, with every kind of event in some layer."""
    random = np.random.default_rng(LAYERS.index(layer))
    weight, update = 2 * np.exp(0.1 * random.normal(size=(2, STEPS + 1)))
    if layer == "noisy":
        update *= 10 ** random.normal(size=STEPS + 1)
    if layer == "broken":  # Inf for a moment, and from 3000 on nothing but NaN
        update[1500:1503] = math.inf
        update[2999] = math.inf
        weight[3000:] = update[3000:] = math.nan
    if layer == "dead":  # its gradient is zero for two thousand steps, and again at the end
        update[1000:3001] = 0
        update[4995:] = 0
    if layer == "odd":
        weight[1] = 0  # as a bias begins
        weight[64] = update[64] = 0
        weight[127:130] = [math.nan, math.inf, 0]
        weight[2000], update[2000] = 1e30, 1e-30  # their ratio is no float
        update[2499:2502] = math.nan  # over the end of a part
        update[699:702] *= 30  # a dip of three steps, over the ends of two parts
        weight[320] *= 40  # a spike of one step, at the beginning of a place
        weight[383] *= 40  # and at the end of one
        weight[4000:] *= 20  # a step that stays
        weight[4500:4510:2] *= 50  # up and down ten times
    if layer == "exempt":
        weight[100] *= 1000
        update[200:203] = 0
        update[300] = math.nan
    return weight.astype(np.float32)[1:], update.astype(np.float32)[1:]


def recorded(layer: str) -> np.ndarray:
    """The steps in which a layer has a row."""
    steps = np.arange(1, STEPS + 1)
    return steps[(steps < 100) | (steps % 100 == 0)] if layer == "gaps" else steps


def rows() -> pd.DataFrame:
    tables = []
    for layer in LAYERS:
        weight, update = norms(layer)
        if layer == "gaps":
            weight[2000 - 1 :] *= 100  # a jump between two steps that lie a hundred apart
        with np.errstate(all="ignore"):
            ratio = weight / update
            ratio[~((weight > 0) & (update > 0) & np.isfinite(weight) & np.isfinite(update) & np.isfinite(ratio))] = 1
        table = pd.DataFrame({"layer": layer, "step": np.arange(1, STEPS + 1), "weight_norm": weight})
        table = table.assign(update_norm=update, trust_ratio=ratio, lower=np.float32(0.5), upper=np.float32(2))
        if layer == "exempt":
            table = table.assign(lower=np.float32(1), upper=np.float32(1))
        tables.append(table[table["step"].isin(recorded(layer))])
    every = pd.concat(tables)
    clipped = every["trust_ratio"].clip(every["lower"], every["upper"])
    return every.assign(run="r", epoch=every["step"] // 100, clipped_ratio=clipped, lr=np.float32(0.01))


def table_of(rows: pd.DataFrame) -> pa.Table:
    """Rows as the log has them: a norm that is NaN is no null."""
    return pa.table({name: rows[name].to_numpy() for name in TRUST_RATIOS.schema.names}, schema=TRUST_RATIOS.schema)


@pytest.fixture(scope="module")
def every_row() -> pd.DataFrame:
    return rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, every_row: pd.DataFrame) -> Path:
    """A run whose parts end in the middle of places, and whose last part has no rollup."""
    with Collector(Emitter(LAYERS), tmp_path_factory.mktemp("runs"), name="r") as collector:
        folder = collector.folder / TRUST_RATIOS.folder
    for number, (first, end) in enumerate(pairwise(ENDS), start=1):
        part = every_row[every_row["step"].between(first, end - 1)]
        write_part(table_of(part), TRUST_RATIOS, folder, number)
    roll_up(folder)
    rollup_path(list_parts(folder)[-1].path).unlink()
    return folder


@pytest.fixture(scope="module", params=["with rollups", "without rollups"])
def log(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory):
    if request.param == "with rollups":
        return connect(folder.parent.parent)
    bare = tmp_path_factory.mktemp("bare")
    shutil.copytree(folder.parent, bare / "r")
    shutil.rmtree(bare / "r" / ROLLUPS.folder)
    return connect(bare)


def expected(rows: pd.DataFrame, first: int, last: int) -> list[tuple]:
    """Row by row: layer, kind, first and last step, steps, of what, and a jump's ratios before and after."""
    found: list[list] = []
    rows = rows[rows["step"].between(first, last)].sort_values(["layer", "step"])
    for layer, layer_rows in rows.groupby("layer"):
        before = going = None
        for row in layer_rows.itertuples():
            w, u, ratio = float(row.weight_norm), float(row.update_norm), float(row.trust_ratio)
            odd = odd_kind(w, u)
            now = None if odd or (row.lower, row.upper) == (1, 1) else ratio
            if odd is None and None not in (now, before) and abs(math.log10(now / before)) >= 1:
                kind, quantity, values = "jump", "trust_ratio", (before, now, now)
            else:
                kind, quantity = odd or (None, None)
                values = (None, None, None)
            if kind and going and going[1] == kind:
                going[3], going[4], going[-1] = row.step, going[4] + 1, values[-1]
            else:
                going = [layer, kind, row.step, row.step, 1, quantity, *values] if kind else None
                if going:
                    found.append(going)
            before = now
    return [tuple(each) for each in found]


def odd_kind(w: float, u: float) -> tuple[str, str] | None:
    for kind, is_odd in (("nan", math.isnan), ("inf", math.isinf), ("zero norm", lambda norm: norm == 0)):
        for norm, quantity in ((w, "weight_norm"), (u, "update_norm")):
            if is_odd(norm):
                return kind, quantity
    return None if w / u < 3.4e38 else ("inf", "trust_ratio")


def events(log: duckdb.DuckDBPyConnection, first: int, last: int) -> pd.DataFrame:
    answer = log.sql("FROM events('r', $first, $last) ORDER BY layer, step", params={"first": first, "last": last})
    assert answer.columns == COLUMNS
    return answer.to_arrow_table().to_pandas()


def as_tuples(found: pd.DataFrame) -> list[tuple]:
    said = found.drop(columns="position").astype(object)
    return [tuple(None if pd.isna(value) else value for value in row) for row in said.itertuples(index=False)]


@pytest.mark.parametrize(
    ("first", "last"), [(1, STEPS), (1, 10**9), (2, 4999), (64, 127), (65, 320), (699, 702), (1100, 2900), (3500, 4501)]
)
def test_events_are_those_that_a_look_at_every_row_finds(log, every_row, first, last):
    calm = every_row[every_row["layer"] != "noisy"]
    found = events(log, first, last).query("layer != 'noisy'")
    assert as_tuples(found) == expected(calm, first, last)
    assert set(found["layer"].map(LAYERS.index) == found["position"]) <= {True}


def test_every_kind_is_among_them(log):
    found = events(log, 1, STEPS)
    assert set(found["kind"]) == {"nan", "inf", "zero norm", "jump", "more"}
    assert set(found["quantity"]) == {"weight_norm", "update_norm", "trust_ratio"}


def test_what_lasts_is_one_event_and_so_is_a_spike(log):
    found = events(log, 1, STEPS).set_index(["layer", "kind", "step"])
    assert found.loc[("broken", "nan", 3000), ["last_step", "steps"]].to_list() == [5000, 2001]
    assert found.loc[("dead", "zero norm", 1000), ["last_step", "steps"]].to_list() == [3000, 2001]
    assert found.loc[("odd", "jump", 383), ["last_step", "steps"]].to_list() == [384, 2]
    assert found.loc[("odd", "jump", 4500), ["last_step", "steps"]].to_list() == [4509, 10]


def test_of_a_noisy_layer_the_first_jumps_are_listed_and_the_others_summed_up(log, every_row):
    found = events(log, 1, STEPS).query("layer == 'noisy'")
    (more,) = found[found["kind"] == "more"].itertuples()
    jumps = expected(every_row[every_row["layer"] == "noisy"], 1, STEPS)
    assert as_tuples(found[found["kind"] == "jump"]) == jumps[:LISTED]
    assert (more.step, more.last_step, more.quantity) == (jumps[LISTED][2], STEPS, "trust_ratio")
    assert sum(steps for *_, steps, _, _, _, _ in jumps[LISTED:]) <= more.steps <= STEPS


def test_a_calm_run_has_no_events(tmp_path, every_row):
    with Collector(Emitter(["calm"]), tmp_path, name="r") as collector:
        folder = collector.folder / TRUST_RATIOS.folder
    write_part(table_of(every_row[every_row["layer"] == "calm"]), TRUST_RATIOS, folder, 1)
    assert events(connect(tmp_path), 1, STEPS).empty


def test_a_run_that_is_not_there_has_none(log):
    assert log.sql("FROM events('nobody', 1, 1000)").fetchall() == []
    assert log.sql("FROM events('r', 5, 4)").fetchall() == []


def test_a_terminal_user_may_ask_for_them(folder):
    with connect(folder.parent.parent, untrusted=True) as safe:
        answer = safe.execute("FROM events('r', 1, 1000) WHERE kind = 'jump' ORDER BY step").to_pydict()
    assert {"odd"} <= set(answer["layer"])
