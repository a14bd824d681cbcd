"""A figure as bytes for the browser."""

import numpy as np
import plotly.graph_objects as go
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.plotly_view.packed import packed, with_head
from tests.app.figures import drawn

NUMBERS = arrays.arrays(
    st.sampled_from(["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4"]),
    st.one_of(arrays.array_shapes(min_dims=2, max_dims=2), arrays.array_shapes(min_dims=3, max_dims=3)),
)


@given(z=NUMBERS, x=arrays.arrays("f8", st.integers(1, 9)), name=st.text(st.characters(codec="utf-8"), max_size=9))
def test_arrays_and_names_come_back_bit_for_bit(z: np.ndarray, x: np.ndarray, name: str):
    figure = go.Figure([go.Heatmap(z=z, name=name), go.Scatter(x=x)])
    heatmap, curve = drawn(with_head('{"label": "é"}', packed(figure)))["data"]
    assert heatmap["z"].dtype == z.dtype
    assert heatmap["z"].shape == z.shape
    assert heatmap["z"].tobytes() == z.tobytes()
    assert curve["x"].tobytes() == x.tobytes()
    assert heatmap["name"] == name


def test_a_list_with_gaps_stays_a_list():
    figure = drawn(with_head("{}", packed(go.Figure(go.Scatter(x=[1, None, 3], y=["<b>", float("nan"), None])))))
    assert figure["data"][0]["x"] == [1, None, 3]
    assert figure["data"][0]["y"] == ["<b>", None, None]
