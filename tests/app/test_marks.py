"""Events above a picture of layers."""

import pandas as pd

from app.charts.bands import Member, stack
from app.charts.heatmap import heatmap
from app.charts.marks import marks
from tests.app.figures import row_cells

STEPS = (1, 1000)


def events(*rows):
    return pd.DataFrame(rows, columns=["layer", "kind", "step"])


def test_events_that_are_close_are_one_mark_and_say_how_many_layers_they_are_of():
    jumps = [(f"blocks.{block}.q", "jump", 500 + block) for block in range(30)]
    found = marks(events(*jumps, ("blocks.0.q", "nan", 510), ("blocks.1.q", "jump", 900)), STEPS, 600)
    assert [(mark.first, mark.last, mark.label) for mark in found] == [
        (500, 529, "jumps from step 500, NaN from 510"),
        (900, 900, "blocks.1.q jump, step 900"),
    ]
    assert "NaN from step 510 in blocks.0.q<br>jump from step 500 in 30 layers, first in blocks.0.q" in found[0].said
    assert found[0].at == ()


def test_kinds_that_begin_together_have_one_step():
    both = events(("a", "jump", 500), ("b", "jump", 500), ("a", "nan", 500))
    (mark,) = marks(both, STEPS, 600)
    assert mark.label == "NaN, jumps, step 500"
    (narrow,) = marks(both.assign(step=[500, 500, 505]), STEPS, 120)
    assert narrow.label == "NaN, jumps"  # no room to say when


def test_events_outside_of_what_is_shown_and_norms_that_begin_at_zero_are_no_marks():
    found = marks(events(("a", "jump", 5), ("bias", "zero norm", 1), ("b", "zero norm", 40)), (10, 100), 600)
    assert [(mark.first, mark.label) for mark in found] == [(40, "b zero norm, step 40")]
    assert marks(events(), STEPS, 600) == []


def test_what_goes_on_from_layer_to_layer_is_one_mark():
    wave = [(f"blocks.{block}.q", "jump", 100 + 10 * block) for block in range(64)]
    assert [(mark.first, mark.last) for mark in marks(events(*wave), STEPS, 600)] == [(100, 730)]


def test_closer_steps_are_marked_apart_once_they_are_zoomed_to():
    two = events(("a", "jump", 500), ("b", "jump", 510))
    assert len(marks(two, STEPS, 600)) == 1
    assert len(marks(two, (490, 520), 600)) == 2


def test_a_resume_is_marked_and_hostile_names_are_text():
    found = marks(events((None, "resumed", 300), ("<img src=x>", "jump", 700)), STEPS, 600)
    assert [mark.label for mark in found] == ["resumed, step 300", "<img src=x> jump, step 700"]
    names = [f"blocks.{block}.q" for block in range(80)]
    shown = stack([Member(name, "blocks.*.q", block) for block, name in enumerate(names)])
    figure = heatmap(row_cells(), stack=shown, marks=found)
    assert not any("<img" in (note.text + (note.hovertext or "")) for note in figure.layout.annotations)


def test_lines_lie_between_the_bands_and_a_few_layers_are_ringed_where_rows_are_thin():
    names = [Member(f"b.{block}.{role}", f"b.*.{role}", block) for role in "qk" for block in range(150)]
    shown = stack(names)
    figure = heatmap(row_cells(), stack=shown, marks=marks(events(("b.7.k", "jump", 2)), (1, 4), 600))
    top, bottom = figure.layout.yaxis.domain[0], figure.layout.yaxis2.domain[1]
    assert [(line.y0, line.y1) for line in figure.layout.shapes] == [(bottom, top)]
    (ring,) = (trace for trace in figure.data if trace.name == "events")
    assert (list(ring.x), list(ring.y), ring.yaxis) == ([2], ["b.7.k"], "y2")


def test_a_jump_of_one_layer_says_its_step_and_its_numbers_where_there_is_room():
    jump = events(("a", "jump", 13_368)).assign(before=1.4612, after=0.0419)
    (mark,) = marks(jump, (1, 20_000), 600)
    assert mark.label == "a jump 1.46→0.0419, step 13,368"
    assert marks(jump, (1, 20_000), 280)[0].label == "jump 1.46→0.0419, step 13,368"
    assert marks(jump, (1, 20_000), 120)[0].label == "a jump"
    two = events(("a", "jump", 500), ("b", "jump", 501)).assign(before=1.0, after=20.0)
    assert marks(two, STEPS, 600)[0].label == "jumps, step 500"


def test_a_mark_says_the_block_of_a_layer_whose_name_is_long():
    (mark,) = marks(events(("model.layers.47.self_attn.o_proj.weight", "jump", 800)), STEPS, 600)
    assert mark.label == "…layers.47.self_attn.o_proj jump, step 800"


def test_no_label_begins_before_the_one_at_its_left_has_ended():
    two = events(("a", "jump", 20), ("b", "jump", 300)).assign(before=1.0, after=20.0)
    left, right = marks(two, STEPS, 600)
    assert not left.leftwards  # at the edge
    assert right.leftwards is False
    assert right.label == "b jump 1→20, step 300"
