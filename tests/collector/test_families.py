"""Families: the names of layers with their block numbers taken out."""

from collections import Counter

import pytest
import torch

from collector import Collector, connect
from collector.store.families import MOST_PARTS, Place, families
from lambc.experiments.wide_logs import transformer
from tests.collector.emitter import Emitter
from tests.wide_models import MODELS

GOLDEN = {
    # tensors, families, those of one; and how many are in some of them
    "GPT-2": (148, 16, 4, {"transformer.h.*.attn.c_attn.weight": 12, "transformer.wte.weight": 1}),
    "Llama": (291, 12, 3, {"model.layers.*.mlp.gate_proj.weight": 32, "lm_head.weight": 1}),
    "Mixtral, packed": (291, 12, 3, {"model.layers.*.mlp.experts.gate_up_proj": 32}),
    "Mixtral": (
        995,
        13,
        3,
        {
            "model.layers.*.block_sparse_moe.experts.*.w1.weight": 256,
            "model.layers.*.block_sparse_moe.experts.*.w2.weight": 256,
            "model.layers.*.block_sparse_moe.gate.weight": 32,
        },
    ),
    "DeepSeek, packed": (909, 21, 3, {"model.layers.*.mlp.gate_proj.weight": 3, "model.layers.*.mlp.gate.weight": 58}),
    "DeepSeek": (
        10_180,
        16,
        3,
        {"model.layers.*.mlp.experts.*.up_proj.weight": 3248, "model.layers.*.mlp.up_proj.weight": 3},
    ),
    "T5": (
        131,
        26,
        5,
        {
            "encoder.block.*.layer.0.SelfAttention.q.weight": 6,
            "decoder.block.*.layer.1.EncDecAttention.q.weight": 6,
            "encoder.block.*.layer.0.SelfAttention.relative_attention_bias.weight": 1,
        },
    ),
    "ViT, timm": (152, 20, 8, {"blocks.*.mlp.fc1.weight": 12, "cls_token": 1}),
    "ViT": (152, 20, 8, {"encoder.layers.encoder_layer_*.mlp.0.weight": 12}),
    "ConvNeXt, timm": (
        182,
        21,
        8,
        {"stages.*.blocks.*.conv_dw.weight": 18, "stages.*.downsample.0.weight": 3, "stem.0.weight": 1},
    ),
    "ConvNeXt": (182, 15, 4, {"features.*.*.block.0.weight": 18, "classifier.2.weight": 1}),
    "ResNet-18": (62, 14, 5, {"layer*.*.conv2.weight": 8, "layer*.*.downsample.0.weight": 3, "conv1.weight": 1}),
    "ResNet-50": (161, 17, 5, {"layer*.*.conv3.weight": 16, "layer*.*.downsample.1.bias": 4}),
    "DenseNet": (
        364,
        16,
        7,
        {"features.denseblock*.denselayer*.conv1.weight": 58, "features.transition*.conv.weight": 3},
    ),
    "Swin, timm": (173, 24, 8, {"layers.*.blocks.*.attn.qkv.weight": 12, "layers.*.downsample.reduction.weight": 3}),
    "MaxViT, timm": (458, 54, 12, {"stages.*.blocks.*.conv.conv1_1x1.weight": 11}),
    "VGG": (58, 58, 58, {"features.0.weight": 1}),
    "GPT of 33 blocks": (400, 16, 4, {"blocks.*.attn.qkv.weight": 33, "tok_emb.weight": 1}),
    "unnamed": (40, 40, 40, {"0.0": 1}),
}


def found(names, shape=(8, 8)):
    """Of layers of one shape: each family and its members' blocks."""
    places = families((name, shape) for name in names)
    assert list(places) == list(names)
    return {
        family: [place.block for place in places.values() if place.family == family] for family, _ in places.values()
    }


@pytest.mark.parametrize("model", GOLDEN)
def test_the_layers_of_known_models_fall_into_these_families(model):
    shapes = MODELS[model]()
    counts = Counter(place.family for place in families(shapes.items()).values())
    tensors, count, of_one, some = GOLDEN[model]
    assert (len(shapes), len(counts), list(counts.values()).count(1)) == (tensors, count, of_one)
    assert {family: counts[family] for family in some} == some


def test_the_block_is_the_first_number_that_is_taken_out():
    places = families(MODELS["Mixtral"]().items())
    assert places["model.layers.17.block_sparse_moe.experts.3.w1.weight"].block == 17
    assert places["lm_head.weight"] == Place("lm_head.weight", None)


def test_numbers_that_tell_roles_apart_stay():
    roles = ("attn1.q.weight", "attn2.q.weight", "fc1.weight", "w1", "w2", "w3")
    names = [f"blocks.{block}.{role}" for block in range(3) for role in roles]
    assert list(found(names)) == [f"blocks.*.{role}" for role in roles]


def test_the_parts_of_a_sequence_are_blocks_where_all_their_shapes_agree():
    assert found([f"mlp.{number}.weight" for number in range(4)]) == {"mlp.*.weight": [0, 1, 2, 3]}
    unlike = {"mlp.0.weight": (8, 4), "mlp.2.weight": (4, 8)}
    assert [place.family for place in families(unlike.items()).values()] == list(unlike)
    assert list(found(["net.0.weight", "net.1.weight", "net.1.bias"])) == ["net.0.weight", "net.1.weight", "net.1.bias"]


def test_parameters_with_a_number_are_blocks_if_there_are_four_of_one_shape():
    assert found([f"experts.weight{number}" for number in (0, 1, 2, 127)]) == {"experts.weight*": [0, 1, 2, 127]}
    assert found([f"scales.{number}" for number in range(4)]) == {"scales.*": [0, 1, 2, 3]}
    assert len(found([f"experts.w{number}" for number in range(3)])) == 3
    assert len(found([f"0.{number}" for number in range(40)])) == 40  # what layers without names are called


def test_the_first_block_may_lack_or_have_what_the_others_do_not():
    names = [f"layers.{block}.{name}.weight" for block in range(4) for name in "abcd"]
    assert list(found([*names, "layers.0.extra.bias.weight"])) == [
        *(f"layers.*.{name}.weight" for name in "abcd"),
        "layers.*.extra.bias.weight",
    ]


def test_one_block_alone_keeps_its_number():
    """As where `include=` records one block."""
    names = [name for name in transformer(3) if name.startswith("blocks.1.")]
    assert found(names) == {name: [None] for name in names}


@pytest.mark.parametrize(
    "names",
    [
        [],
        [""],
        ["w"],
        ["0", "1", "2", "3", "4"],
        ["a.b.c", "a.b.d"],
        ["...", "..", "."],
        ["Schicht.eins.weight", "層.二.weight", "слой.🙂.weight"],
        ["a.١.b.c", "a.٢.b.c"],  # numbers, but not such as a program counts with
        [f"a.{10**12 + number}.b.c" for number in range(3)],  # no block has such a number
        ["a" + ".0" * 50_000, "a" + ".1" * 50_000],
    ],
)
def test_names_in_which_nothing_counts_blocks_are_families_of_their_own(names):
    assert found(names) == {name: [None] for name in names}


def test_numbers_with_leading_zeros_are_told_apart():
    names = ["net.1.a.b", "net.01.a.b", "net.2.a.b"]
    assert found(names) == {"net.*.a.b": [1, 1, 2]}


def test_the_order_of_the_layers_changes_nothing():
    shapes = list(MODELS["Mixtral"]().items())
    assert families(reversed(shapes)) == families(shapes)


def test_a_name_of_many_parts_is_walked_up_to_a_limit():
    within = [".".join(["layers", str(block), *"x" * (MOST_PARTS - 2)]) for block in range(3)]
    assert len(found(within)) == 1
    assert len(found([name + ".x" for name in within])) == 3


def test_the_view_of_layers_has_family_and_block(tmp_path):
    names = [f"blocks.{block}.{name}.weight" for block in range(11) for name in ("attn.qkv", "mlp")]
    with Collector(Emitter(["tok_emb.weight", *names]), tmp_path, name="wide") as collector:
        collector.log({"loss": torch.tensor(1.0)})
    asked = connect(tmp_path).sql(
        "SELECT family, count(*), min(block), max(block) FROM layers GROUP BY family ORDER BY min(position)"
    )
    assert asked.fetchall() == [
        ("tok_emb.weight", 1, None, None),
        ("blocks.*.attn.qkv.weight", 11, 0, 10),
        ("blocks.*.mlp.weight", 11, 0, 10),
    ]
