"""Norms are right to the rounding of their dtype, whatever the size and layout."""

import pytest
import torch

from lambc.norms import ROW, flat, layer_norms


@pytest.mark.parametrize("size", [0, 1, ROW - 1, ROW, ROW + 1, 3 * ROW, 2_359_296, 50_000_000])
def test_a_norm_is_within_a_millionth_of_its_float64_value(size):
    tensor = torch.rand(size, generator=torch.Generator().manual_seed(0))
    expected = tensor.double().square().sum().sqrt().float()
    torch.testing.assert_close(layer_norms([tensor])[0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1e-3])
@pytest.mark.parametrize("size", [ROW, 16_384, 1 << 20, 50_000_000])
def test_it_is_also_where_all_elements_round_the_same_way(size, value):
    tensor = torch.full((size,), value)
    expected = tensor[0].double() * size**0.5
    torch.testing.assert_close(layer_norms([tensor])[0], expected.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(0, 1),
        lambda x: x[:, ::2],
        lambda x: x[:1].expand(32, 32, 5, 3),
    ],
    ids=["contiguous", "channels_last", "transposed", "strided", "expanded"],
)
def test_the_layout_in_memory_does_not_matter(layout):
    tensor = layout(torch.randn(32, 32, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    expected = tensor.contiguous().square().sum().sqrt()
    torch.testing.assert_close(layer_norms([tensor])[0], expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2), (1, 0, 2, 3), (3, 2, 1, 0)], ids=str)
def test_what_lies_densely_is_not_copied(order):
    tensor = torch.arange(120.0).view(2, 3, 4, 5).permute(order)
    elements = flat(tensor)
    assert elements.shape == (120,)
    assert elements.data_ptr() == tensor.data_ptr()


def test_a_non_finite_element_makes_the_norm_non_finite():
    tensor = torch.ones(2 * ROW + 5)
    tensor[-1] = torch.inf
    assert layer_norms([tensor]).tolist() == [torch.inf]
    tensor[0] = torch.nan
    assert layer_norms([tensor]).isnan().all()
