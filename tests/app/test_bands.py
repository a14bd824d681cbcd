"""Which rows a picture of many layers has."""

import pytest

from app.charts.bands import MOST_NAMED, MOST_PIXELS, Member, labels, orders, stack
from app.charts.layers import family_pattern, matching
from collector.store.families import families
from lambc.experiments.wide_logs import mixture, transformer
from tests.wide_models import MODELS, deepseek


def members(shapes):
    places = families(shapes.items())
    return [Member(name, *places[name]) for name in shapes]


WIDE = {
    "71": lambda: dict(list(transformer(6).items())[:71]),
    "150": lambda: transformer(12),
    "400": transformer,
    "2,000": mixture,
    "10,000": deepseek,
}


@pytest.mark.parametrize("order", ["depth", "kind"])
@pytest.mark.parametrize("model", WIDE)
def test_rows_are_whole_pixels_and_each_layer_has_one(model, order):
    shown = stack(members(WIDE[model]()), order)
    assert sorted(shown.row_of) == sorted(WIDE[model]())
    assert all(band.row_pixels >= 1 and band.row_pixels == int(band.row_pixels) for band in shown.bands)
    assert shown.height <= MOST_PIXELS + 60  # bands of few rows are drawn higher
    assert [band.first for band in shown.bands] == [
        sum(len(band.rows) for band in shown.bands[:place]) for place in range(len(shown.bands))
    ]


def test_few_layers_are_in_depth_order_with_their_names_and_many_by_kind():
    assert orders(members(MODELS["ResNet-18"]())) == ["depth", "kind"]
    assert orders(members(transformer())) == ["kind", "depth"]
    few = stack(members(MODELS["ResNet-18"]()))
    assert [row.mark for row in few.rows] == list(MODELS["ResNet-18"]())
    assert few.height == 62 * 12


@pytest.mark.parametrize("model", ["VGG", "unnamed"])
def test_where_no_number_counts_blocks_there_is_depth_order_alone(model):
    assert orders(members(MODELS[model]())) == ["depth"]


def test_too_many_families_are_put_together_by_their_names_without_numbers():
    shown = stack(members(MODELS["MaxViT, timm"]()))
    assert shown.order == "kind"
    assert sum(bool(band.label) for band in shown.bands) <= 40


def test_experts_of_a_block_share_a_row_before_blocks_do():
    shown = stack(members(mixture()))
    experts = next(band for band in shown.bands if band.label.endswith("experts.*.w1"))
    assert [len(row.layers) for row in experts.rows] == [8] * 62
    assert experts.rows[10].said == "model.layers.12.block_sparse_moe.experts.*.w1.weight (8 tensors)"
    attention = next(band for band in shown.bands if band.label == "self_attn.q_proj")
    assert [len(row.layers) for row in attention.rows] == [1] * 64


def test_experts_alone_have_a_row_each():
    alone = [member for member in members(mixture()) if member.family.endswith("experts.*.w1.weight")]
    shown = stack(alone)
    assert (shown.order, len(shown.bands), len(shown.rows)) == ("kind", 1, 496)
    assert shown.rows[0].mark == "2.0"


def test_blocks_share_a_row_where_there_are_more_than_pixels():
    shown = stack(members(transformer(100)))  # 12 families of 100
    assert {len(row.layers) for band in shown.bands if band.label for row in band.rows} == {2}
    assert shown.bands[1].rows[3].said == "blocks.6–7.ln_1.weight (2 tensors)"


@pytest.mark.parametrize("model", MODELS)
def test_no_row_has_layers_of_two_kinds(model):
    of = {member.layer: member.family for member in members(MODELS[model]())}
    for row in stack(members(MODELS[model]()), "kind").rows:
        assert len({of[layer] for layer in row.layers}) == 1


@pytest.mark.parametrize("model", MODELS)
def test_the_pattern_of_a_family_means_exactly_its_members(model):
    all_of_them = members(MODELS[model]())
    names = [member.layer for member in all_of_them]
    for family in {member.family for member in all_of_them}:
        its = [member.layer for member in all_of_them if member.family == family]
        assert matching(names, family_pattern([family])) == its
    two = sorted({member.family for member in all_of_them})[:2]
    assert matching(names, family_pattern(two)) == [each.layer for each in all_of_them if each.family in two]


def test_labels_leave_out_what_all_families_begin_with_and_stay_different():
    assert labels(["h.*.attn.weight", "h.*.attn.bias"]) == ("h.*", ["attn", "attn.bias"])
    head, told = labels(["encoder.*.q.weight", "decoder.*.q.weight", "encoder.*.wi.weight"])
    assert (head, told) == ("", ["encoder.*.q", "decoder.*.q", "wi"])


def test_labels_that_are_too_long_keep_what_tells_them_apart():
    families = [f"bert.encoder.layer.*.attention.self.{role}.{kind}" for role in "qkv" for kind in ("weight", "bias")]
    assert labels(families) == (
        "bert.encoder.layer.*",
        ["attention.self.q", "attention.self.q.bias", "attention.self.k", "attention.self.k.bias",
         "attention.self.v", "attention.self.v.bias"],
    )  # fmt: skip
    _, told = labels(["h.*.attention.self.query.weight", "h.*.attention.self.query.bias", "h.*.attention.self.q.bias"])
    assert told == ["attention.self.query", "…self.query.bias", "attention.self.q.bias"]


def test_in_depth_order_what_all_names_begin_with_is_said_once():
    names = [f"bert.encoder.layer.{block}.attention.self.query.weight" for block in range(4)]
    shown = stack([Member(name, name, None) for name in names], "depth")
    assert shown.head == "bert.encoder.layer."
    assert [row.mark for row in shown.rows] == [f"{block}.attention.self.query.weight" for block in range(4)]
    assert [row.said for row in shown.rows] == names


def test_layers_that_stand_for_each_other_are_told_by_the_order_alone():
    shown, backwards = members(transformer()), members(dict(reversed(transformer().items())))
    assert stack(shown).key != stack(backwards).key
    assert stack(shown).key == stack(list(shown)).key
    assert len(members(transformer(2))) < MOST_NAMED
