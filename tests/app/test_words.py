from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from app import words

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def run(status: str, **columns: object) -> pd.Series:
    started = {"started": NOW - timedelta(hours=1), "finished": pd.NaT, "heartbeat": NOW - timedelta(minutes=4)}
    return pd.Series(
        {"run": "a", "status": status, "last_step": 1200, "failure": None, "config": "{}", **started, **columns}
    )


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (run("stalled"), "no word for 4 minutes; the run did not finish"),
        (run("stalled", heartbeat=pd.NaT), "no word since it started; the run did not finish"),
        (run("running", heartbeat=NOW - timedelta(seconds=1)), "training, last word 1 second ago"),
        (run("failed", failure="ValueError: x"), "failed at step 1,200: ValueError: x"),
        (run("failed"), "failed at step 1,200: no reason was noted"),
        (run("interrupted"), "interrupted at step 1,200"),
        (run("finished"), "finished"),
        (run(None), "its run.json cannot be read"),
    ],
)
def test_a_status_is_a_sentence(row, sentence):
    assert words.status_sentence(row, NOW) == sentence


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "1 second"),
        (89, "89 seconds"),
        (240, "4 minutes"),
        (7200, "2.0 hours"),
        (200_000, "2.3 days"),
        (0.7, "under a second"),
        (-3, "under a second"),
    ],
)
def test_a_time_is_said_in_the_unit_that_fits(seconds, said):
    assert words.duration(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{}", "bound not noted"),
        ('{"clip": null}', "no bound"),
        ('{"clip": 1.0}', "bound 1"),
        ('{"clip": [0.5, 2.0]}', "bound 0.5 to 2"),
        ('{"clip": "Percentile(q=0.9)"}', "bound Percentile(q=0.9)"),
        ("[1, 2]", "bound not noted"),
        (None, "bound not noted"),
    ],
)
def test_the_bound_is_what_the_config_says(config, said):
    assert words.bound(words.config(run("finished", config=config))) == said


def test_a_run_took_until_its_end_or_its_last_sign_of_life():
    assert words.time_taken(run("finished", finished=NOW)) == timedelta(hours=1)
    assert words.time_taken(run("stalled")) == timedelta(minutes=56)
    assert words.time_taken(run(None, started=pd.NaT)) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.123456, "0.1235"), (float("nan"), "NaN"), (float("inf"), "Inf"), (-float("inf"), "-Inf"), (None, "—")],
)
def test_a_loss_is_said_as_one_compares_it(value, said):
    assert words.loss(value) == said


def test_markdown_in_a_name_is_text():
    assert words.plain("a*b_[c](d) :red[e]\nf") == r"a\*b\_\[c\]\(d\) \:red\[e\] f"


@pytest.mark.parametrize(
    ("share", "digits", "said"),
    [
        (0.0, 1, "0.0%"),
        (1 / 3000, 1, "<0.1%"),
        (0.0005, 1, "0.1%"),
        (0.9996, 1, ">99.9%"),
        (0.9994, 1, "99.9%"),
        (1.0, 1, "100.0%"),
        (0.99999, 2, ">99.99%"),
        (0.001, 0, "<1%"),
        (None, 1, "—"),
    ],
)
def test_nothing_and_all_are_said_of_nothing_and_all_alone(share, digits, said):
    assert words.percent(share, digits) == said
