"""What the Triton kernels compile to, for cards that are not here."""

import pytest

pytest.importorskip("triton")

from bench.kernels import CARDS, FLOOR, KERNELS, look


@pytest.mark.parametrize("card", CARDS)
def test_whole_blocks_move_in_128_bits_with_few_registers_and_no_float64(card):
    seen = {name: look(name, card) for name in KERNELS}
    for each in seen.values():
        assert each.registers <= 64
        assert (each.spills, each.narrow, each.float64) == (0, 0, 0)
    assert sum(each.bytes for each in seen.values()) == FLOOR
