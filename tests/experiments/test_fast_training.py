"""What makes a GPU fast leaves the results what they were."""

from dataclasses import replace

import pytest
import torch

from lambc.experiments.settings import Settings
from lambc.experiments.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def test_a_compiled_network_in_cuda_graphs_learns_what_the_plain_one_learns(few_digits, tmp_path):
    """The batches are of 32, 32 and 6 digits, so that each epoch changes between two graphs, and tests in a third."""
    run = Settings(batch_size=32, epochs=8, lr=5e-3, device="cuda")
    plain = train(run, few_digits, tmp_path / "plain").end
    compiled = train(replace(run, compile=True), few_digits, tmp_path / "compiled").end
    assert compiled.step == plain.step == 24
    assert compiled.loss == pytest.approx(plain.loss, abs=0.3)  # in bfloat16, whose rounding grows from step to step
    assert compiled.accuracy == pytest.approx(plain.accuracy, abs=0.15)


def test_the_weights_lie_as_convolutions_want_them_and_the_cards_flags_are_put_back(few_digits, tmp_path):
    before = torch.backends.cudnn.benchmark
    model = train(Settings(batch_size=35, epochs=1, device="cuda"), few_digits, tmp_path).model
    assert model.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.backends.cudnn.benchmark == before
