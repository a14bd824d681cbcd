"""The `lambc` command on terminals of any kind, and its answers in formats that others read."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lambc
from collector import Collector
from lambc import cli
from tests.collector.emitter import Emitter

ROOT = Path(lambc.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "160"}
NAME = "lr→0 ε"
COMMANDS = [
    ["--help"],
    ["runs"],
    ["runs", "runs"],
    ["runs", "--format", "csv"],
    ["sql", "SELECT run, '‖w‖' AS \"ratio γ\" FROM runs"],
    ["sql", "SELECT run FROM runs", "--format", "json"],
    ["check"],
    ["compact"],
    ["export", "-o", "Größe", "--format", "csv"],
    ["rm", NAME, "--yes"],
]
FAILURES = [
    ["runs", "läufe→"],
    ["check", "γ"],
    ["rm", "γ"],
    ["sql", "SELECT ε"],
    ["sql", "SELECT 1", "-o", "→/x.csv"],
    ["ε"],
]


def command(*arguments):
    """The command in this process."""
    return CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(cli.app, [str(each) for each in arguments])


def on_a_terminal(arguments, folder, encoding):
    return subprocess.run(
        [sys.executable, "-m", "lambc", *arguments], cwd=folder, capture_output=True,
        env=ENVIRONMENT | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A folder with a log of one run, under a name that few encodings have."""
    emitter = Emitter(["gewicht→1", "β"])
    with Collector(emitter, tmp_path / "runs", name=NAME, config={"note": "ε"}):
        for step in range(1, 4):
            emitter.say(step)
    return tmp_path


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_what_a_terminal_cannot_show_is_replaced(encoding, folder):
    for arguments in COMMANDS:
        done = on_a_terminal(arguments, folder, encoding)
        assert done.returncode == 0, (arguments, done.stderr)
        assert done.stderr == b""
        assert done.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_an_error_that_a_terminal_cannot_show_is_one_line_all_the_same(encoding, folder):
    for arguments in FAILURES:
        done = on_a_terminal(arguments, folder, encoding)
        assert (done.returncode, done.stdout) == (2, b""), arguments
        assert done.stderr.count(b"\n") == 1, done.stderr


def test_csv_and_json_are_utf_8_on_every_terminal(folder):
    for kind in ("csv", "json"):
        done = on_a_terminal(["sql", "SELECT run FROM runs", "--format", kind], folder, "ascii")
        assert NAME in done.stdout.decode()


def test_json_has_null_for_a_number_that_it_lacks_wherever_it_stands(folder):
    query = """
        SELECT ['nan'::DOUBLE, 1.5] AS list, {'x': 'inf'::FLOAT, 'y': [{'z': '-inf'::DOUBLE}]} AS struct,
               MAP {'k': ['nan'::DOUBLE]} AS map, array_value(1.5::FLOAT, 'nan'::FLOAT) AS array,
               NULL::DOUBLE[] AS no_list, NULL::STRUCT(x DOUBLE) AS no_struct, NULL::MAP(VARCHAR, DOUBLE) AS no_map,
               [{'x': 'nan'::DOUBLE}, NULL] AS structs, [[['nan'::FLOAT]]] AS deep, ['nan'] AS words,
               {'a "b" c': 'nan'::DOUBLE} AS odd
    """
    done = command("sql", query, "--runs", folder / "runs", "--format", "json")
    assert json.loads(done.stdout, parse_constant=pytest.fail) == [
        {
            "list": [None, 1.5], "struct": {"x": None, "y": [{"z": None}]}, "map": {"k": [None]}, "array": [1.5, None],
            "no_list": None, "no_struct": None, "no_map": None, "structs": [{"x": None}, None], "deep": [[[None]]],
            "words": ["nan"], 'odd': {'a "b" c': None},
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("FROM trust_ratio", 'does not exist! Did you mean "trust_ratios"?'),
        ("SELECT layr FROM layers", 'not found in FROM clause! Candidate bindings: "layer"'),
        ("SELECT levenstein('a', 'b')", 'Did you mean "levenshtein"?'),
    ],
)
def test_a_typo_in_sql_is_answered_with_what_was_meant_in_one_line(query, hint, folder):
    done = command("sql", query, "--runs", folder / "runs")
    assert (done.exit_code, done.stdout) == (2, "")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_folder_of_runs_is_an_argument_or_an_option(folder):
    positional, option = command("runs", folder / "runs"), command("runs", "--runs", folder / "runs")
    assert NAME in positional.stdout
    assert positional.stdout == option.stdout
    twice = command("runs", folder / "runs", "--runs", folder / "runs")
    assert twice.exit_code == 2
    assert "give it once" in twice.stderr


def test_the_dashboard_takes_its_folders_as_other_commands_do(folder):
    for arguments in (["nowhere"], ["--runs", "nowhere"], [folder / "runs", "--runs", "nowhere"]):
        refused = command("dashboard", *arguments)
        assert refused.exit_code == 2
        assert "there is no folder 'nowhere'" in refused.stderr


ON_ITS_TERMINAL = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.executable, sys.argv[1:])"
"""The first terminal that the leader of a session opens is the one whose end it is told of."""


@pytest.mark.slow
def test_the_dashboard_starts_among_modules_of_its_names_and_ends_with_its_terminal(folder):
    for name in ("app", "collector", "streamlit"):
        (folder / f"{name}.py").write_text("raise SystemExit('a module of the user was run')\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dashboard = [sys.executable, "-m", "lambc", "dashboard", "--port", str(port)]
    ours, its = os.openpty()
    server = subprocess.Popen(
        [sys.executable, "-c", ON_ITS_TERMINAL, *dashboard],
        cwd=folder, env=ENVIRONMENT, stdin=its, stdout=its, stderr=its, start_new_session=True,
    )  # fmt: skip
    os.close(its)
    try:
        assert is_served(f"http://127.0.0.1:{port}/_stcore/health", server), os.read(ours, 10_000)
        os.close(ours)
        assert server.wait(600) == 0
    finally:
        server.terminate()  # by kill, Streamlit would go on alone
        server.wait()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))  # the server is gone too


def is_served(address, server):
    """Whether an address answers before its server ends, or a minute is over."""
    until = time.monotonic() + 600
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.2)
    return False
