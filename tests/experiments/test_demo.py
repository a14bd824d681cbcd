"""What the demo trains, and what it leaves alone."""

from collector.log.run import Run
from lambc.experiments.demo import RUNS, finished_or_free


def put_run(folder, status):
    run = Run.create(folder, config=None, environment={})
    run.contents["status"] = status
    run.save()


def test_the_runs_differ_in_nothing_but_the_bound():
    assert [run.clip for run in RUNS.values()] == [None, 10.0, 1.0]
    assert len({(run.data, run.batch_size, run.epochs, run.lr, run.seed) for run in RUNS.values()}) == 1


def test_a_run_that_is_not_there_gets_its_name(tmp_path):
    assert finished_or_free(tmp_path / "runs", "demo") == ("demo", False)


def test_a_finished_run_is_kept(tmp_path):
    put_run(tmp_path / "demo", "finished")
    assert finished_or_free(tmp_path, "demo") == ("demo", True)


def test_a_run_that_did_not_finish_stays_and_another_takes_its_place(tmp_path):
    put_run(tmp_path / "demo", "interrupted")
    (tmp_path / "demo-2").mkdir()  # whatever it is
    assert finished_or_free(tmp_path, "demo") == ("demo-3", False)
    put_run(tmp_path / "demo-3", "finished")
    assert finished_or_free(tmp_path, "demo") == ("demo-3", True)
