"""The `lambc` command, as it is typed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request

import pyarrow.parquet as pq
import pytest

ENVIRONMENT = {**os.environ, "COLUMNS": "160", "TERM": "dumb"}


def lambc(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "lambc", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        **options,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one short real run on digits."""
    folder = tmp_path_factory.mktemp("log") / "runs"
    trained = lambc("train", "--runs", folder, "--epochs", 1, "--batch-size", 700, "--name", "short", "--clip", "1")
    assert trained.returncode == 0, trained.stderr
    assert "short: test accuracy" in trained.stdout
    return folder


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def assert_refused(done, *words):
    """One line on stderr, exit code 2, no traceback."""
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_training_run_is_recorded_step_by_step(runs):
    answer = lambc(
        "sql", "--runs", runs, "--format", "json",
        "SELECT count(*) AS n, count(DISTINCT layer) AS layers, max(step) AS steps FROM trust_ratios",
    )  # fmt: skip
    assert json.loads(answer.stdout) == [{"n": 62 * 3, "layers": 62, "steps": 3}]
    metrics = lambc("sql", "--runs", runs, "--format", "csv", "SELECT DISTINCT name FROM metrics ORDER BY name")
    names = metrics.stdout.replace('"', "").split()
    assert names[0] == "name"
    assert {"lr", "test/accuracy", "test/loss", "train/accuracy", "train/loss"} <= set(names)


def test_runs_are_listed_with_status_accuracy_and_hit_rate(runs):
    listed = lambc("runs", "--runs", runs)
    assert listed.returncode == 0
    assert "short" in listed.stdout
    assert "finished" in listed.stdout
    (row,) = json.loads(lambc("runs", "--runs", runs, "--format", "json").stdout)
    assert row["run"] == "short"
    assert 0 <= row["last_accuracy"] <= 1
    assert 0 <= row["hit_rate"] <= 1


def test_sql_writes_parquet_to_a_file(runs, tmp_path):
    file = tmp_path / "answer.parquet"
    query = "SELECT step, layer, trust_ratio FROM trust_ratios ORDER BY ALL"
    assert lambc("sql", "--runs", runs, query, "--format", "parquet", "--output", file).returncode == 0
    assert pq.read_table(file).num_rows == 62 * 3


def test_a_table_says_how_many_rows_it_leaves_out(runs):
    answer = lambc("sql", "--runs", runs, "FROM trust_ratios")
    assert f"… {62 * 3 - 40} more rows" in answer.stdout


def test_a_name_that_looks_like_markup_is_shown_as_it_is(runs):
    assert "[red]x[/red]" in lambc("sql", "--runs", runs, "SELECT '[red]x[/red]' AS name").stdout


def test_a_typo_in_sql_is_answered_with_duckdbs_own_sentence(runs):
    assert_refused(lambc("sql", "--runs", runs, "SELEC 1"), "Parser Error", "SELEC")


def test_a_damaged_file_is_named_and_takes_nothing_down(runs, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    (folder / "short" / "trust_ratios" / "broken.parquet").write_bytes(b"PAR1 this is no Parquet PAR1")
    listed = lambc("runs", "--runs", folder)
    assert listed.returncode == 0
    assert "short" in listed.stdout
    assert "broken.parquet" in listed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "mnits"], ["mnits", "digits", "cifar10"]),
        (["--data", "parquet:nowhere"], ["nowhere"]),
        (["--clip", "3,1"], ["lower bound is above the upper"]),
        (["--clip", "tight"], ["clip='tight'", "none"]),
        (["--lr", "-1"], ["lr=-1.0"]),
        (["--lr", "nan"], ["lr=nan"]),
        (["--weight-decay", "-1"], ["weight_decay=-1.0"]),
        (["--batch-size", "1"], ["batch_size=1"]),
        (["--batch-size", "5000"], ["batch_size=5000", "1437"]),
        (["--epochs", "0"], ["epochs=0"]),
        (["--name", "../x"], ["../x"]),
        (["--name", "a/b"], ["a/b"]),
        (["--device", "nothing"], ["nothing"]),
    ],
    ids=lambda value: "_".join(value),
)
def test_training_refuses_what_makes_no_sense_in_one_sentence(arguments, words, empty):
    assert_refused(lambc("train", "--runs", empty, *arguments), *words)
    assert list(empty.iterdir()) == []


def test_a_run_name_that_is_taken_is_refused_and_the_run_is_untouched(runs):
    before = {path: path.read_bytes() for path in (runs / "short").rglob("*") if path.is_file()}
    assert_refused(lambc("train", "--runs", runs, "--epochs", 1, "--batch-size", 700, "--name", "short"), "short")
    assert {path: path.read_bytes() for path in (runs / "short").rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    assert_refused(lambc("train", "--runs", file / "runs", "--epochs", 1, "--batch-size", 700), "file")


@pytest.mark.parametrize("command", [["runs"], ["sql", "SELECT 1"]], ids=lambda command: command[0])
def test_a_runs_folder_that_is_not_there_is_said(command, tmp_path):
    assert_refused(lambc(*command, "--runs", tmp_path / "nowhere"), "nowhere")


def test_an_empty_runs_folder_says_how_to_make_a_run(empty):
    assert_refused(lambc("runs", "--runs", empty), "no runs", "lambc demo")


def test_the_dashboard_says_that_a_port_is_taken(runs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_refused(lambc("dashboard", runs, "--port", port), str(port), "--port")


def test_the_dashboard_says_that_its_folder_is_not_there(tmp_path):
    assert_refused(lambc("dashboard", tmp_path / "nowhere"), "nowhere")


def test_the_dashboard_is_served(runs):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lambc", "dashboard", str(runs), "--port", str(port)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            health = urllib.request.Request(f"http://127.0.0.1:{port}/_stcore/health")
            for _ in range(120):
                try:
                    with urllib.request.urlopen(health, timeout=1) as answer:
                        assert answer.status == 200
                        break
                except OSError:
                    assert server.poll() is None, server.stdout.read()
                    subprocess.run(["sleep", "0.5"], check=True)
            else:
                pytest.fail("the dashboard did not answer within a minute")
        finally:
            server.terminate()


def modules_after(*arguments):
    """Which heavy libraries a command has loaded when it ends."""
    code = (
        "import sys\nfrom lambc.cli import app\n"
        f"try: app({[str(each) for each in arguments]!r})\nexcept SystemExit: pass\n"
        "print(*sorted({'torch', 'duckdb', 'streamlit'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    return ran.stderr.splitlines()[-1].split() if ran.stderr.strip() else []


def test_a_command_loads_only_what_it_uses(runs, empty):
    assert modules_after("sql", "SELECT 1", "--runs", runs) == ["duckdb"]
    assert modules_after("runs", "--runs", runs) == ["duckdb"]
    trained = modules_after("train", "--runs", empty, "--epochs", "1", "--batch-size", "1437", "--name", "x")
    assert trained == ["torch"]


def test_every_command_and_option_has_a_help_text():
    for command in ("demo", "train", "runs", "sql", "dashboard"):
        shown = lambc(command, "--help").stdout
        assert command in shown
        assert "--help" in shown
    assert lambc("--version").stdout.strip().count(".") == 2
