"""What is known of a layer by its name and shape."""

import pytest

from app.charts.layers import blocks, layer_kind, matching

RESNET = [
    "conv1.weight",
    "bn1.weight",
    "bn1.bias",
    "layer1.0.conv1.weight",
    "layer1.0.bn1.weight",
    "layer1.1.conv1.weight",
    "layer2.0.conv1.weight",
    "fc.weight",
    "fc.bias",
]


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("conv1.weight", [64, 3, 3, 3], "convolution"),
        ("encoder.0.attention.in_proj_weight", [768, 256], "linear"),
        ("encoder.0.attention.in_proj_bias", [768], "bias"),
        ("bn1.weight", [64], "norm"),
        ("fc.bias", [10], "bias"),
        ("embeddings.word_embeddings.weight", [30522, 1024], "embedding"),
        ("transformer.wte.weight", [50257, 768], "embedding"),
        ("embeddings.position_embeddings.weight", [512, 1024], "embedding"),
        ("tok_embeddings.weight", [32000, 4096], "embedding"),
        ("model.embed_tokens.weight", [32000, 4096], "embedding"),
        ("wte.weight", [50257, 768], "embedding"),
        ("pos_embed", [197, 768], "embedding"),
        ("ensemble.0.fc.weight", [64, 64], "linear"),
        ("member.weight", [64, 64], "linear"),
        ("time_embedding.linear_1.weight", [1280, 320], "linear"),
        ("embed_out.weight", [50432, 6144], "linear"),
        ("scale", [], "other"),
        ("unknown", None, "other"),
    ],
)
def test_a_layer_is_known_by_its_shape_and_name(name, shape, kind):
    assert layer_kind(name, shape) == kind


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", RESNET),
        ("bn1", ["bn1.weight", "bn1.bias", "layer1.0.bn1.weight"]),
        ("layer1.*", RESNET[3:6]),
        ("*.bias", ["bn1.bias", "fc.bias"]),
        (r"/^(conv|fc)\d?\.w/", ["conv1.weight", "fc.weight"]),
        ("nothing", []),
        ("[", []),
    ],
)
def test_a_pattern_is_a_part_of_the_name_a_glob_or_an_expression(pattern, found):
    assert matching(RESNET, pattern) == found


def test_an_expression_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match=r"/\(/ is no regular expression: missing \)"):
        matching(RESNET, "/(/")


def test_blocks_are_cut_as_finely_as_there_is_room_for():
    assert blocks(RESNET, 8)[2:5] == [("layer1.0.conv1", 3, 4), ("layer1.0.bn1", 4, 5), ("layer1.1.conv1", 5, 6)]
    assert [name for name, _, _ in blocks(RESNET, 6)] == ["conv1", "bn1", "layer1.0", "layer1.1", "layer2.0", "fc"]
    assert blocks(RESNET, 5) == [("conv1", 0, 1), ("bn1", 1, 3), ("layer1", 3, 6), ("layer2", 6, 7), ("fc", 7, 9)]
    assert blocks(RESNET, 4) == []


def test_blocks_of_which_one_is_most_of_the_model_are_cut_finer():
    gpt = ["wte.weight", *(f"h.{block}.{part}.weight" for block in range(64) for part in "qkvo"), "ln_f.weight"]
    named = [name for name, _, _ in blocks(gpt, 29)]
    assert named == ["wte", *(f"h.{block}" for block in range(64)), "ln_f"]
    assert [name for name, _, _ in blocks(gpt, 10)] == ["wte", "h", "ln_f"]  # there are more than 60


def test_layers_that_nothing_tells_apart_have_no_blocks():
    assert blocks(["a", "b"], 10) == []
    assert blocks(["net.0.weight"], 10) == []
    assert blocks([], 10) == []
