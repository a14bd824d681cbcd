"""A text in windows, and the transformer that reads it."""

from pydoc_data.topics import topics as by_name

import pytest
import torch

from lambc.experiments.data import sources as data
from lambc.experiments.data.text import Text
from lambc.experiments.models import Transformer
from lambc.experiments.settings import Settings
from lambc.experiments.train import train


@pytest.fixture(scope="module")
def topics():
    return data.load("topics")


def test_each_byte_is_followed_by_its_label(topics):
    inputs, labels = topics.batch(torch.tensor([3, 0]))
    assert inputs.shape == labels.shape == (2, 128)
    assert torch.equal(inputs[:, 1:], labels[:, :-1])
    text = "\n".join(by_name[name] for name in sorted(by_name)).encode()
    assert bytes(inputs[1].tolist()) == text[:128]
    assert bytes(inputs[0].tolist()) == text[3 * 128 : 4 * 128]
    assert labels[0, -1] == text[4 * 128]


def test_the_last_tenth_is_held_out_and_no_byte_is_trained_on_that_is_tested(topics):
    text = "\n".join(by_name[name] for name in sorted(by_name)).encode()
    inputs, _ = next(topics.test_batches(1))
    assert bytes(inputs[0].tolist()) == text[-(len(text) // 10) :][:128]
    assert topics.train_windows.shape[0] * 128 + 1 <= len(text) - len(text) // 10


def test_the_transformer_sees_nothing_of_what_comes():
    torch.manual_seed(0)
    model = Transformer(256, 32)
    text = torch.randint(256, (3, 32))
    other = text.clone()
    other[:, 20:] = 0
    for mode in (model.train(), model.eval()):
        with torch.no_grad():
            torch.testing.assert_close(mode(text)[:, :20], mode(other)[:, :20])
            assert not torch.equal(mode(text)[:, 20:], mode(other)[:, 20:])
    assert model(text[:, :10]).shape == (3, 10, 256)


def test_its_layers_begin_with_different_weights():
    first, second = Transformer(256, 32).layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_a_text_in_which_each_byte_decides_the_next_is_learnt_to_the_last(tmp_path):
    counting = (torch.arange(40 * 16 + 1) % 10).unfold(0, 17, 16).clone()
    run = Settings(data="topics", model="transformer", batch_size=8, epochs=12, lr=1e-2, clip=None, device="cpu")
    end = train(run, Text("counting", counting[:32], counting[32:]), tmp_path, "counting").end
    assert end.test_accuracy == 1.0
    assert end.unit == "windows"
