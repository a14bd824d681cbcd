"""The `lambc` command, as it is typed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from collector import Collector, connect
from lambc import cli
from lambc.experiments import demo, wide_logs
from lambc.experiments.data import sources as data
from lambc.experiments.settings import Settings
from tests.collector.emitter import Emitter
from tests.experiments.parquet_images import encode, write

ENVIRONMENT = {**os.environ, "COLUMNS": "160", "TERM": "dumb", "OMP_NUM_THREADS": "1"}


def lambc(*arguments):
    """The command in this process: a process of its own would import torch anew each time."""
    return CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(cli.app, [str(each) for each in arguments])


def start(*arguments):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "lambc", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which nohup, or CI, may have us ignore
    )


@pytest.fixture(scope="module")
def runs(few_digits, tmp_path_factory):
    """A folder with one short real run on a few digits: steps of 32, 32 and 6 images."""
    folder = tmp_path_factory.mktemp("log") / "runs"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(data, "digits", lambda: few_digits)
        trained = lambc("train", "--runs", folder, "--epochs", 1, "--batch-size", 32, "--name", "short", "--clip", "1")
    assert trained.exit_code == 0, trained.stderr
    assert "epoch 1/1" in trained.stdout
    return folder


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def assert_refused(done, *words):
    """One line on stderr, exit code 2, no traceback."""
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
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
    assert listed.exit_code == 0
    assert "short" in listed.stdout
    assert "finished" in listed.stdout
    (row,) = json.loads(lambc("runs", "--runs", runs, "--format", "json").stdout)
    assert row["run"] == "short"
    assert 0 <= row["last_accuracy"] <= 1
    assert 0 <= row["hit_rate"] <= 1


def test_sql_writes_parquet_to_a_file(runs, tmp_path):
    file = tmp_path / "answer.parquet"
    query = "SELECT step, layer, trust_ratio FROM trust_ratios ORDER BY ALL"
    assert lambc("sql", "--runs", runs, query, "--format", "parquet", "--output", file).exit_code == 0
    assert pq.read_table(file).num_rows == 62 * 3


def test_the_ending_of_the_output_says_the_format(runs, tmp_path):
    for name in ("answer.csv", "answer.json", "answer.parquet"):
        assert lambc("sql", "--runs", runs, "FROM layers", "--output", tmp_path / name).exit_code == 0
    assert pyarrow.csv.read_csv(tmp_path / "answer.csv").num_rows == 62
    assert len(json.loads((tmp_path / "answer.json").read_text())) == 62
    assert pq.read_table(tmp_path / "answer.parquet").num_rows == 62
    refused = lambc("sql", "--runs", runs, "FROM layers", "--output", tmp_path / "answer.xls")
    assert_refused(refused, "answer.xls", "--format csv")


def test_parquet_can_be_piped(runs, tmp_path):
    answer = lambc("sql", "--runs", runs, "FROM layers", "--format", "parquet")
    assert pq.read_table(pyarrow.BufferReader(answer.stdout_bytes)).num_rows == 62


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_views_that_are_listed_are_those_of_the_store(runs, kind):
    listed = lambc("sql", "--runs", runs, "SHOW TABLES", "--format", kind).stdout
    assert "answer" not in listed
    assert "run_summaries" in listed


@pytest.mark.parametrize("text", ["sql", "connect"])
def test_the_help_and_connect_name_every_view(runs, text):
    said = lambc("sql", "--help").stdout if text == "sql" else connect.__doc__
    for (name,) in connect(runs).sql("SHOW TABLES").fetchall():
        assert name in said, name


def test_json_has_null_for_what_it_cannot_say(runs):
    query = "SELECT 'inf'::FLOAT AS upper, 'nan'::DOUBLE AS loss, 1.5::FLOAT AS ratio, 'inf' AS name"
    answer = json.loads(lambc("sql", "--runs", runs, query, "--format", "json").stdout)
    assert answer == [{"upper": None, "loss": None, "ratio": 1.5, "name": "inf"}]


def test_json_keeps_columns_of_one_name_apart(runs):
    query = "SELECT 1.5::FLOAT AS ratio, 'nan'::FLOAT AS ratio, 2 AS ratio"
    answer = json.loads(lambc("sql", "--runs", runs, query, "--format", "json").stdout)
    assert [list(row.values()) for row in answer] == [[1.5, None, 2]]


@pytest.mark.parametrize("file", ["run.json", "trust_ratios/part.parquet", "new.csv"])
@pytest.mark.parametrize("command", [["runs"], ["sql", "SELECT 1"]], ids=lambda command: command[0])
def test_an_answer_is_never_written_into_a_run(runs, file, command, tmp_path):
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(runs / "short")
    for output in (runs / "short" / file, tmp_path / "link" / file):
        done = lambc(*command, "--runs", runs, "--format", "csv", "--output", output)
        assert_refused(done, f"lies in the run {(runs / 'short').resolve()}", "a file outside of it")
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


def test_an_answer_is_not_written_into_a_run_of_another_folder_either(runs, empty):
    shutil.copytree(runs, empty / "runs")
    output = runs / "short" / "run.json"
    assert_refused(lambc("sql", "SELECT 1", "--runs", empty / "runs", "--output", output), "lies in the run")


def test_an_output_that_cannot_be_written_is_refused(runs, tmp_path):
    assert_refused(lambc("sql", "SELECT 1", "--runs", runs, "-o", tmp_path / "no" / "x.csv"), "no folder", "make it")
    assert_refused(lambc("sql", "SELECT 1", "--runs", runs, "-o", tmp_path, "--format", "csv"), "is a folder")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--format", "csv"]], ids=["table", "csv"])
def test_ctrl_c_ends_a_question_in_one_line(runs, arguments):
    query = f"SELECT count(*) FROM range(10), range({10**12}) AS far(away) WHERE range * away % 7 = 8"
    with start("sql", query, "--runs", runs, *arguments) as asked:
        try:
            until = time.monotonic() + 600
            while cpu_seconds(asked.pid) < 4 and time.monotonic() < until:  # imports take one or two of them
                time.sleep(0.05)
            asked.send_signal(signal.SIGINT)
            said, complained = asked.communicate(timeout=600)
        finally:
            asked.kill()
    assert (asked.returncode, said, complained) == (130, "", "interrupted\n")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_sql_takes_what_the_user_may_do(runs, tmp_path):
    """It is one's own SQL over one's own log; strangers' is for connect(root, untrusted=True)."""
    other = tmp_path / "other.csv"
    other.write_text("word\nplugh\n")
    assert "plugh" in lambc("sql", f"FROM '{other}'", "--runs", runs).stdout
    assert lambc("sql", f"COPY (SELECT run FROM runs) TO '{tmp_path}/x.csv'", "--runs", runs).exit_code == 0
    assert (tmp_path / "x.csv").read_text().startswith("run\n")


def test_sql_keeps_json_and_whole_numbers_as_they_are(runs):
    query = "SELECT config->'optimizer' AS optimizer, sum(steps) AS steps FROM runs GROUP BY ALL"
    (row,) = json.loads(lambc("sql", query, "--runs", runs, "--format", "json").stdout)
    assert row == {"optimizer": "lambc", "steps": 3}
    (row,) = json.loads(lambc("sql", "SELECT config FROM runs", "--runs", runs, "--format", "json").stdout)
    assert row["config"]["batch_size"] == 32


def test_a_table_shows_numbers_that_can_be_read(runs):
    query = (
        "SELECT 1234567 AS steps, 0.123456::FLOAT AS rate, NULL AS none, [1, 2] AS list, INTERVAL 5 MINUTE AS silent"
    )
    shown = lambc("sql", "--runs", runs, query).stdout.splitlines()[3].split()
    assert shown == ["1,234,567", "0.1235", "[1,", "2]", "5", "min"]


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
    assert listed.exit_code == 0
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
        (["--device", "meta"], ["device='meta' is not there"]),
        (["--clip", "larc"], ["clip='larc'", "give --rule lars"]),
        (["--clip", "twice"], ["clip='twice'", "scheduled:START:END"]),
        (["--clip", "scheduled:1:0"], ["Scheduled", "end=0"]),
        (["--rule", "adamw", "--clip", "1"], ["adamw has no trust ratio"]),
        (["--model", "transformer"], ["model='resnet18'"]),
        (["--data", "folder:nowhere"], ["nowhere has no folder train"]),
    ],
    ids=lambda value: "_".join(value),
)
def test_training_refuses_what_makes_no_sense_in_one_sentence(arguments, words, empty):
    assert_refused(lambc("train", "--runs", empty, *arguments), *words)
    assert list(empty.iterdir()) == []


def test_the_defaults_in_the_help_are_those_of_a_run():
    shown = " ".join(lambc("train", "--help").stdout.split())
    for default in (Settings.data, Settings.batch_size, Settings.epochs, Settings.stem, Settings.device):
        assert f"[default: {default}]" in shown
    assert "[default: (0.01 for lamb, 10 for lars, 0.001 for adamw)]" in shown


@pytest.mark.parametrize(("options", "lr"), [(["--rule", "lars"], 10.0), (["--rule", "adamw", "--lr", "0.5"], 0.5)])
def test_a_rule_has_the_rate_that_moves_a_layer(options, lr, few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "digits", lambda: few_digits)
    assert not lambc(
        "train", "--epochs", "1", "--batch-size", "70", "--runs", tmp_path, "--name", "r", *options
    ).exit_code
    assert json.loads((tmp_path / "r" / "run.json").read_text())["config"]["lr"] == lr


@pytest.mark.parametrize(
    ("command", "module", "extra"), [("train", "torch", "train"), ("dashboard", "streamlit", "app")]
)
def test_a_command_whose_libraries_are_missing_says_what_to_install(command, module, extra, tmp_path):
    arguments = [command] if command == "train" else [command, str(tmp_path)]
    code = f"import sys; sys.modules[{module!r}] = None; from lambc.cli import app; app({arguments!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert ran.returncode == 2
    assert f"needs {module}: in the checkout of lambc, pip install '.[{extra}]'" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_demo_says_what_it_found_and_trains_nothing_twice(few_digits, tmp_path, monkeypatch):
    tiny = Settings(batch_size=70, epochs=1)
    monkeypatch.setattr(data, "digits", lambda: few_digits)
    monkeypatch.setattr(demo, "RUNS", {"demo-lamb": replace(tiny, clip=None), "demo-clip1": tiny})
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no environment is active
    tmp_path /= "it's a folder"
    first = lambc("demo", "--runs", tmp_path)
    assert first.exit_code == 0, first.output
    assert "124 trust ratios" in first.stdout
    assert "bytes each" in first.stdout
    proposed = next(line for line in first.stdout.splitlines() if "clip_hits" in line)
    answer = subprocess.run(["sh", "-c", proposed], capture_output=True, text=True, check=True)
    assert "hit_rate" in answer.stdout
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = lambc("demo", "--runs", tmp_path)
    assert again.stdout.count("already, finished, and is kept") == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_goes_on_by_the_same_command_and_is_kept_once_it_has_finished(runs, few_digits, tmp_path, monkeypatch):
    shutil.copytree(runs / "short", tmp_path / "short")
    command = ["train", "--runs", tmp_path, "--batch-size", 32, "--name", "short", "--clip", "1", "--epochs"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = lambc(*command, 1, "--resume")
    assert again.exit_code == 0, again.stderr
    assert "has finished already, and is kept" in again.stdout
    assert_refused(lambc(*command, 2, "--resume"), "epochs=1 and not 2")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    run_json = json.loads((tmp_path / "short" / "run.json").read_text())
    (tmp_path / "short" / "run.json").write_text(json.dumps(run_json | {"status": "failed"}))
    monkeypatch.setattr(data, "digits", lambda: few_digits)
    gone_on = lambc(*command, 1, "--resume", "--keep-weights")
    assert gone_on.exit_code == 0, gone_on.stderr
    assert (tmp_path / "short" / "weights.pt").exists()
    log = connect(tmp_path)
    assert log.sql("SELECT status, steps FROM run_summaries").fetchall() == [("finished", 3)]
    log.close()


def test_the_wide_demo_writes_a_log_once_and_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(wide_logs, "DEMO_LOG", replace(wide_logs.DEMO_LOG, steps=10, faults=[]))
    first = lambc("demo", "--wide", "--no-serve", "--runs", tmp_path)
    assert first.exit_code == 0, first.stderr
    assert "wide-experts: 1,943 tensors over 10 steps" in first.stdout
    again = lambc("demo", "--wide", "--no-serve", "--runs", tmp_path)
    assert "is kept" in again.stdout
    assert connect(tmp_path).sql("SELECT run, steps FROM runs").fetchall() == [("wide-experts", 10)]


def test_the_question_that_the_demo_proposes_has_an_answer(runs):
    query = "SELECT layer, hit_rate FROM clip_hits WHERE run = 'short' ORDER BY hit_rate DESC LIMIT 10"
    answer = json.loads(lambc("sql", query, "--runs", runs, "--format", "json").stdout)
    assert answer[0]["hit_rate"] > 0


def test_a_run_name_that_is_taken_is_refused_and_the_run_is_untouched(runs):
    before = {path: path.read_bytes() for path in (runs / "short").rglob("*") if path.is_file()}
    assert_refused(lambc("train", "--runs", runs, "--name", "short"), "short")
    assert {path: path.read_bytes() for path in (runs / "short").rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    assert_refused(lambc("train", "--runs", file / "runs", "--epochs", 1, "--batch-size", 32), "file")


@pytest.mark.parametrize("command", [["runs"], ["sql", "SELECT 1"]], ids=lambda command: command[0])
def test_a_runs_folder_that_is_not_there_is_said(command, tmp_path):
    assert_refused(lambc(*command, "--runs", tmp_path / "nowhere"), "nowhere")


@pytest.mark.parametrize("command", [["runs"], ["sql", "SELECT 1"]], ids=lambda command: command[0])
def test_a_runs_folder_that_is_a_link_to_nothing_is_said(command, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert_refused(lambc(*command, "--runs", tmp_path / "link"), "link", "leads to no folder")


@pytest.mark.parametrize("command", [["runs", "--runs"], ["sql", "SELECT 1", "--runs"], ["dashboard"]], ids=str)
def test_one_run_in_the_place_of_all_is_told_where_they_are(command, runs):
    assert_refused(lambc(*command, runs / "short"), "short is one run", f"holds it, {runs.resolve()}")


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


@pytest.mark.parametrize("name", ["https://lambc.example.org", "lambc.example.org/x", "*", "", "a,b"])
def test_what_is_no_name_of_a_host_is_refused(runs, name):
    assert_refused(lambc("dashboard", runs, "--allow-host", name), repr(name), "--allow-host")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_dashboard_is_served_until_it_is_stopped(runs, stop):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with start("dashboard", runs, "--port", port) as server:
        try:
            assert answers(server, f"http://127.0.0.1:{port}/_stcore/health")
            server.send_signal(stop)
            assert server.wait(600) == 0
        finally:
            server.terminate()  # by kill, Streamlit would go on alone
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))  # Streamlit is gone too


def answers(server, address, seconds=600):
    """Whether an address answers before its server ends or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.2)
    return False


@pytest.mark.slow
def test_ctrl_c_ends_a_training_run_in_one_sentence_and_keeps_its_log(tmp_path):
    with start("train", "--runs", tmp_path, "--epochs", 100, "--batch-size", 32, "--name", "cut") as training:
        try:
            until = time.monotonic() + 600
            while not (tmp_path / "cut" / "run.json").exists() and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(1)
            training.send_signal(signal.SIGINT)
            _, said = training.communicate(timeout=600)
        finally:
            training.kill()
    assert training.returncode == 130
    assert said.count("\n") == 1
    assert "interrupted" in said
    log = connect(tmp_path)
    assert log.sql("SELECT status FROM runs").fetchall() == [("interrupted",)]
    log.close()


def modules_after(*arguments):
    """Which heavy libraries a command has loaded when it ends."""
    code = (
        "import sys\nfrom lambc.cli import app\n"
        f"try: app({[str(each) for each in arguments]!r})\nexcept SystemExit: pass\n"
        "print(*sorted({'torch', 'duckdb', 'streamlit'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    return ran.stderr.splitlines()[-1].split() if ran.stderr.strip() else []


@pytest.mark.slow
def test_a_command_loads_only_what_it_uses(runs, few_digits, tmp_path):
    assert modules_after("sql", "SELECT 1", "--runs", runs) == ["duckdb"]
    assert modules_after("runs", "--runs", runs) == ["duckdb"]
    assert modules_after("dashboard", tmp_path / "nowhere") == []
    images = [encode(image[0].numpy()) for image in few_digits.train_images[:8]]
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", images, few_digits.train_labels[:8].tolist(), class_names=None)
    trained = modules_after(
        "train", "--data", f"parquet:{tmp_path}", "--batch-size", 8, "--epochs", 1, "--runs", tmp_path
    )
    assert trained == ["torch"]


def test_every_command_and_option_has_a_help_text():
    for command in ("demo", "train", "runs", "sql", "dashboard"):
        shown = lambc(command, "--help").stdout
        assert command in shown
        assert "--help" in shown
    assert lambc("--version").stdout.strip().count(".") == 2


def test_a_command_line_that_makes_no_sense_points_to_the_help():
    assert_refused(lambc("train", "--epochs", "many"), "--epochs", "lambc train --help")
    assert_refused(lambc("trian"), "trian", "lambc --help")
    assert_refused(lambc("sql"), "query", "lambc sql --help")


def test_a_terminal_of_another_encoding_shows_a_sign_by_its_number(tmp_path):
    with Collector(Emitter(["a"]), tmp_path, name="lr→0"):
        pass
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    for arguments in (["runs", "--runs", tmp_path], ["sql", "SELECT run FROM runs", "--runs", tmp_path]):
        done = subprocess.run([sys.executable, "-m", "lambc", *arguments], capture_output=True, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"lr\\u21920" in done.stdout
