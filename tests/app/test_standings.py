"""How runs stand is asked once for all visitors, and again only when it may have changed."""

from itertools import count

import pandas as pd
import pytest

from app import standings
from app.standings import Standings


class Log:
    """A log whose one run has a status; it counts how often it is asked."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.asked = 0

    def ask(self) -> pd.DataFrame:
        self.asked += 1
        return pd.DataFrame({"run": ["r"], "status": [self.status]})


@pytest.fixture(autouse=True)
def _each_look_is_an_hour_later(monkeypatch: pytest.MonkeyPatch):
    hours = count(1)
    monkeypatch.setattr(standings.time, "monotonic_ns", lambda: next(hours) * 3600 * 10**9)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted", None])
def test_runs_that_have_ended_are_asked_for_once_a_version(status):
    known, log = Standings(), Log(status)
    first = known.of("1", log.ask)
    assert known.of("1", log.ask).asked == first.asked
    assert log.asked == 1
    assert known.of("2", log.ask).version == "2"
    assert log.asked == 2


@pytest.mark.parametrize(("before", "after"), [("running", "stalled"), ("stalled", "running")])
def test_a_run_that_may_say_another_word_is_asked_for_again(before, after):
    known, log = Standings(), Log(before)
    first = known.of("1", log.ask)
    log.status = after
    second = known.of("1", log.ask)
    assert second.runs["status"].tolist() == [after]
    assert second.asked != first.asked


def test_what_one_visitor_changes_no_other_sees():
    known, log = Standings(), Log("finished")
    mine = known.of("1", log.ask).runs
    mine.loc[0, "status"] = "mine"
    assert known.of("1", log.ask).runs["status"].tolist() == ["finished"]


def test_a_question_that_failed_is_asked_again():
    known, log = Standings(), Log("finished")

    def fail() -> pd.DataFrame:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        known.of("1", fail)
    assert known.of("1", log.ask).runs["run"].tolist() == ["r"]
