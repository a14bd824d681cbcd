"""Damaged logs: a part of what `make fuzz` tries."""

from tests.collector.fuzz import Trials

TRIALS = 100


def test_no_damage_ends_or_confuses_a_reader_and_check_names_the_file(tmp_path):
    trials = Trials(tmp_path)
    outcomes = [trials.make(number, page=number % 20 == 0) for number in range(TRIALS)]
    assert [outcome for outcome in outcomes if outcome.faults] == []
    assert sum(outcome.differs for outcome in outcomes) > TRIALS / 2
