"""The difference of two runs as a picture."""

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest

from app.charts.difference import QUANTITIES, difference_map
from tests.app.figures import in_depth_order, texts
from tests.dashboard_log import HOSTILE, HOSTILE_LAYER

RATIO = QUANTITIES[0]


def compared(*rows: tuple, **columns: object) -> pd.DataFrame:
    """Cells of the two layers `a` and `b`, as compare_rows has them: row, step, one, other."""
    cells = pd.DataFrame(rows, columns=["row", "step", "one", "other"]).assign(width=1, stride=1, rows=2, not_finite=0)
    apart = np.log10(cells["one"]) - np.log10(cells["other"])
    return cells.assign(apart=apart, last_step=cells["step"]).assign(**columns)


def test_a_hostile_name_is_text_in_the_difference():
    cells = compared((0, 1, 2.0, 2.0))
    drawn = difference_map(cells, stack=in_depth_order([HOSTILE_LAYER]), quantity=RATIO, names=(HOSTILE, HOSTILE))
    assert any("<script>" in said for said in texts(drawn))
    assert "<script>" not in pio.to_json(drawn)
    assert "<img" not in pio.to_json(drawn)


def test_a_cell_that_one_run_lacks_is_empty_and_one_with_a_norm_that_is_not_finite_is_marked():
    cells = compared((0, 1, 2.0, 0.5), (0, 2, 2.0, np.nan), not_finite=[0, 1])
    drawn, bar = difference_map(cells, stack=in_depth_order(["a"]), quantity=RATIO, names=("A", "B")).data
    assert drawn.z[0, 0] == pytest.approx(np.log10(4))
    assert np.isnan(drawn.z[0, 1])
    assert list(bar.x[:2]) == [1.5, 2.5]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_what_is_equal_is_said_to_be(quantity):
    drawn = difference_map(compared((0, 1, 0.5, 0.5)), stack=in_depth_order(["a"]), quantity=quantity, names=("A", "B"))
    bar = drawn.layout.coloraxis.colorbar
    assert dict(zip(bar.tickvals, bar.ticktext, strict=True))[0] == "<b>equal</b>"


def test_where_the_colours_end_before_the_values_it_is_said():
    cells = compared(*[(0, step, 1.5, 1.0) for step in range(1, 1000)], (0, 1000, 1.0, 500.0))
    drawn = difference_map(cells, stack=in_depth_order(["a"]), quantity=RATIO, names=("A", "B"))
    assert drawn.layout.coloraxis.colorbar.ticktext[-2:] == ("≤ ×0.5", "<b>equal</b>")
    zoomed = difference_map(cells, shown=(900, 1000), stack=in_depth_order(["a"]), quantity=RATIO, names=("A", "B"))
    assert zoomed.layout.coloraxis.cmax > 2


@pytest.mark.parametrize(("stride", "said"), [(8, "step %{customdata[3]:,.0f}, the one of 8"), (1, "8 steps around")])
def test_the_step_of_a_cell_is_named_where_both_runs_record_one_of_so_many(stride: int, said: str):
    cells = compared((0, 8, 2.0, 0.5), (0, 16, 2.0, 0.5), width=8, stride=stride)
    drawn = difference_map(cells, stack=in_depth_order(["a"]), quantity=RATIO, names=("A", "B"))
    assert said in drawn.data[0].hovertemplate
