"""The names of layers that are shown together."""

import re

import pytest

from app.charts.short_names import LENGTH, common_head, short_names
from tests.wide_models import MODELS

BLOCK = ["attention.self.query.weight", "attention.self.query.bias", "output.LayerNorm.weight", "output.dense.bias"]
BERT = [f"bert.encoder.layer.{block}.{part}" for block in (3, 11) for part in BLOCK]


def test_names_that_fit_are_left_as_they_are():
    names = ["conv1.weight", "layer4.1.bn2.bias", "fc.weight", ""]
    assert short_names(names) == names


def test_a_name_of_a_block_keeps_its_number_and_stays_in_line_with_the_others():
    assert short_names(BERT) == [
        "…3.attention.self.query", "…3.attention.self.query.bias", "…3.output.LayerNorm", "…3.output.dense.bias",
        "…11.attention.self.query", "…11.attention.self.query.bias", "…11.output.LayerNorm", "…11.output.dense.bias",
    ]  # fmt: skip
    assert short_names(["model.layers.47.self_attn.o_proj"]) == ["…layers.47.self_attn.o_proj"]
    assert short_names(["model.layers.12.block_sparse_moe.experts.7.w1"]) == ["…12…experts.7.w1"]


def test_a_word_that_alone_tells_two_names_apart_stays():
    names = [f"{side}.block.3.layer.0.SelfAttention.q.weight" for side in ("encoder", "decoder")]
    assert short_names(names) == ["encoder…3…0.SelfAttention.q", "decoder…3…0.SelfAttention.q"]


def test_what_is_left_out_is_not_all_that_tells_two_names_apart():
    names = [f"bert.encoder.layer.7.{part}output.LayerNorm.bias" for part in ("attention.", "")]
    assert short_names(names) == ["…7.attention…LayerNorm.bias", "…7.output.LayerNorm.bias"]


def test_of_a_long_word_the_middle_is_left_out_but_no_number():
    (label,) = short_names(["transformer_encoder_decoder_block_17_cross_attention_wrapper"])
    assert len(label) <= LENGTH
    assert label.startswith("transf")
    assert "_17_" in label
    assert label.endswith("rapper")


@pytest.mark.parametrize("length", [12, LENGTH])
@pytest.mark.parametrize(
    "names", [["x" * 500 + "y" + "x" * 500, "x" * 1001], ["a" * 40, "a" * 40 + ".weight"], ["." * 60, "." * 61]]
)
def test_names_that_hardly_differ_are_told_apart(names, length):
    short = short_names(names, length)
    assert len(set(short)) == 2
    assert max(map(len, short)) <= length + len(" (2)")


def test_a_name_that_is_there_twice_has_one_label():
    assert len(set(short_names([BERT[0], *BERT, BERT[0]]))) == len(BERT)


@pytest.mark.parametrize("model", MODELS)
def test_all_layers_of_a_model_have_labels_of_their_own_with_all_numbers(model):
    names = list(MODELS[model]())
    short = short_names(names)
    assert len(set(short)) == len(names)
    assert [re.findall(r"\d+", label) for label in short] == [re.findall(r"\d+", name) for name in names]
    assert max(map(len, short)) <= LENGTH


def test_what_all_names_begin_with_is_their_head_where_some_are_long():
    assert common_head(BERT) == "bert.encoder.layer."
    assert common_head(BERT[:2]) == "bert.encoder.layer.3.attention.self.query."
    assert common_head([*BERT, "classifier.weight"]) == ""
    assert common_head(["net.0.weight", "net.1.weight"]) == ""
    assert common_head(BERT[:1]) == ""
