"""Strangers' SQL: real processes and real attacks, after which every file is as it was."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from collector import Collector, connect
from collector.log.compact import MIN_PARTS
from collector.store import landlock
from collector.store.sandbox import NICENESS, QueryError, Sandbox, cut_off
from collector.store.sandbox_worker import ADDRESS_SPACE
from collector.store.views import STATEMENTS
from tests.collector.emitter import Emitter

ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r"
DEAF = "SELECT lpad('x', 400_000_000, 'y') FROM range(100)"
"""Hears no interrupt for as long as it makes one of its values, which is some seconds."""

LANDLOCK = "import sys; from collector.store import landlock; sys.exit(not landlock.confine(['/']))"
needs_landlock = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", LANDLOCK]).returncode != 0, reason="this kernel has no Landlock"
)


def record(root: Path, name: str, steps: int = 3) -> Path:
    emitter = Emitter(["a", "b"])
    with Collector(emitter, root, name=name, config={"lr": 0.1}) as collector:
        for step in range(1, steps + 1):
            emitter.say(step)
            collector.log({"loss": float(step)})
    return collector.folder


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("log") / "it's runs"
    record(root, "r")
    record(root, "other", steps=2)
    (root / "secret.csv").write_text("word\nplugh\n")
    return root


@pytest.fixture(scope="module")
def log(root):
    with connect(root, untrusted=True) as sandbox:
        yield sandbox


@pytest.fixture
def part(root) -> str:
    (path,) = (root / "r" / "trust_ratios").iterdir()
    return str(path).replace("'", "''")


@pytest.fixture
def unharmed(root):
    """Fails a test after which a file of the log, or the folders beside it, are not what they were."""

    def look() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in root.parent.rglob("*")}

    before, own = look(), set(os.listdir("."))
    yield
    assert look() == before
    assert set(os.listdir(".")) == own


def refusal(log: Sandbox, sql: str) -> str:
    """The one sentence with which a query is refused; the next one is answered."""
    with pytest.raises(QueryError) as refused:
        log.execute(sql)
    assert log.execute("SELECT 42 AS x").to_pylist() == [{"x": 42}]
    said = str(refused.value)
    assert said
    assert "\n" not in said
    return said


def test_the_views_say_what_they_say_to_everybody(root, log):
    trusted = connect(root)
    for view in ("layers", "trust_ratios", "metrics", "clip_hits", "problems", "run_results"):
        assert log.execute(f"FROM {view} ORDER BY ALL").equals(
            trusted.sql(f"FROM {view} ORDER BY ALL").to_arrow_table()
        )
    queries = (
        "SELECT run, status, steps, started FROM runs ORDER BY run",
        "FROM heatmap('r', 1, 3, 2) ORDER BY ALL",
        "SELECT column_name, column_type, min, max, count FROM (SUMMARIZE trust_ratios)",
        "DESCRIBE metrics",
        "SHOW TABLES",
        "VALUES (1, 'x')",
        "WITH x AS (SELECT max(step) AS step FROM trust_ratios) FROM x;",
        "PIVOT clip_hits ON layer IN ('a', 'b') USING sum(steps) GROUP BY run ORDER BY run",
        "SELECT 'ü', sum(steps), INTERVAL 1 DAY, [1], {'a': 1} FROM clip_hits",
    )
    for query in queries:
        assert log.execute(query).equals(trusted.sql(query).to_arrow_table()), query


def test_json_stays_json(log):
    config = log.execute("SELECT config FROM runs WHERE run = 'r'")
    assert config.schema.field("config").type == pa.json_()
    assert config.to_pylist() == [{"config": '{"lr":0.1}'}]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "attack",
    [
        "COPY (SELECT 1) TO '{target}'",
        "WITH x AS (COPY (SELECT 1) TO '{target}') FROM x",
        "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{target}') FROM x)",
        "WITH x AS (WITH y AS (COPY (SELECT 1) TO '{target}') FROM y) FROM x",
        "FROM query('WITH x AS (COPY (SELECT 1) TO ''{target}'') FROM x')",
        "SELECT 1) TO '{target}'; --",
        "SELECT 1; COPY (SELECT 1) TO '{target}'",
        "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{target}') FROM x",
        "EXPORT DATABASE '{target}'",
        # Runs SQL out of a string, in which nobody looks for a COPY; and the same, said so that no one finds its name.
        "FROM json_execute_serialized_sql(json_serialize_sql($$WITH x AS (COPY (SELECT 1) TO '{target}' "
        "(FORMAT csv, USE_TMP_FILE false)) FROM x$$))",
        'SELECT (SELECT count(*) FROM system.main."JSON_execute_serialized_sql"(json_serialize_sql($$WITH x AS ('
        "COPY (SELECT 1) TO '{target}' (FORMAT csv, USE_TMP_FILE false)) FROM x$$)))",
        "FROM query('FROM json_exec' || 'ute_serialized_sql(json_serialize_sql($$WITH x AS ("
        "COPY (SELECT 1) TO ''{target}'' (FORMAT csv, USE_TMP_FILE false)) FROM x$$))')",
        "FROM enable_logging(storage = 'file', storage_path = '{target}')",
    ],
)
def test_no_query_writes_a_file(root, log, part, attack):
    """Neither over the log's own, which it may read, nor a new one."""
    for target in (part, str(root / "new").replace("'", "''"), "new"):
        refusal(log, attack.replace("{target}", target))


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "attack",
    [
        "FROM read_text('/etc/passwd')",
        "FROM read_blob('/etc/passwd')",
        "FROM read_csv('/etc/passwd')",
        "FROM read_csv('secret.csv')",
        "FROM read_json('../secret.csv')",
        "FROM '{root}/secret.csv'",
        "FROM '{root}/*/trust_ratios/*.parquet'",
        "FROM '{root}/r/run.json'",
        "FROM glob('/*')",
        "FROM query_table('{root}/secret.csv')",
        "FROM sniff_csv('{root}/secret.csv')",
        "FROM parquet_metadata('{part}')",
        "FROM which_secret('s3://x', 's3')",
        "FROM 'https://example.com/x.csv'",
        "FROM read_csv('http://127.0.0.1:8501/')",
        "FROM 's3://bucket/x.parquet'",
        "ATTACH '{root}/new.db'",
        "ATTACH 'https://example.com/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '8GB'",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "FROM pragma_database_size()",
        "FROM duckdb_settings()",
        "CREATE TABLE x AS SELECT 1",
        "CREATE OR REPLACE VIEW runs AS SELECT 1",
        "DROP VIEW runs",
        "WITH x AS (INSERT INTO metrics VALUES (1)) SELECT 1",
        "WITH x AS (DELETE FROM runs) FROM x",
        "CREATE SECRET (TYPE s3)",
        "PREPARE x AS SELECT 1",
        "SET VARIABLE metrics_files = ['/etc/passwd']",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "",
        "-- nothing",
    ],
)
def test_no_query_does_anything_but_read_the_log(root, log, part, attack):
    refusal(log, attack.replace("{root}", str(root).replace("'", "''")).replace("{part}", part))


def test_no_variable_of_python_can_be_read(log):
    for name in ("json", "sys", "log", "self", "runs_", "orders", "tree", "reader"):
        assert "does not exist" in refusal(log, f"FROM {name}")


@pytest.mark.usefixtures("unharmed")
def test_a_copy_that_nobody_asks_for_does_not_happen(log, part):
    sql = f"WITH x AS (WITH y AS (COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)) FROM y) SELECT 1 AS x"
    assert log.execute(sql).to_pylist() == [{"x": 1}]


def test_every_view_and_macro_of_the_log_may_be_asked(log):
    """Without arguments each table macro is refused for that alone."""
    for name in STATEMENTS:
        with pytest.raises(QueryError) as refused:
            log.execute(f"FROM {name}()")
        assert "cannot be asked here" not in str(refused.value)


def test_a_typo_is_answered_with_duckdbs_own_sentence(log):
    assert refusal(log, "SELEC 1") == 'Parser Error: syntax error at or near "SELEC"'
    assert refusal(log, "SELECT stepp FROM metrics") == (
        'Binder Error: Referenced column "stepp" not found in FROM clause! Candidate bindings: "step", "time"'
    )
    assert refusal(log, "FROM metrix") == (
        'Catalog Error: Table with name metrix does not exist! Did you mean "metrics"?'
    )
    assert refusal(log, "SELECT 'x'::INT").startswith("Conversion Error")
    assert "only a query that reads" in refusal(log, "DROP TABLE runs")
    assert refusal(log, "FROM glob('*')") == "glob() cannot be asked here: ask the log's views, which SHOW TABLES lists"


def test_a_failure_after_some_rows_were_read_gives_no_rows(log):
    query = "SELECT CASE WHEN range = 99_999 THEN error('too far') ELSE range END AS x FROM range(200_000)"
    assert "too far" in refusal(log, query)


def test_odd_sql_is_answered_in_a_sentence(log):
    refusal(log, "\ud800")
    refusal(log, "SELECT '\ud800'")
    refusal(log, "SELECT " + "(SELECT " * 3000 + "1" + ")" * 3000)
    refusal(log, "SELECT " + "[" * 100_000)
    assert log.execute("SELECT '" + "x" * 2_000_000 + "' AS x").nbytes > 2_000_000
    assert log.execute("SELECT '\0\"\\' AS x").to_pylist() == [{"x": '\0"\\'}]


def test_a_query_that_wants_too_much_memory_ends_in_a_sentence(log):
    for sql in (
        "SELECT repeat('x', 3_000_000_000)",
        "SELECT length(format('{:>1900000000}', 1))",  # which DuckDB's own limit does not see
        "SELECT list(range) FROM range(1_000_000_000)",
        "SELECT range, string_agg(repeat('x', 1_000_000), ',') FROM range(5_000) GROUP BY range ORDER BY 2",
    ):
        said = refusal(log, sql)
        assert said.startswith("Out of Memory Error")
        assert said.endswith("; ask for less at once")


def test_a_query_that_takes_too_long_is_stopped(root):
    with connect(root, untrusted=True, timeout=0.5) as log:
        said = refusal(log, ENDLESS)
        assert said == "the query took longer than 0.5 s and was stopped: ask for less at once"


def test_a_query_that_hears_no_interrupt_is_killed_and_the_next_one_is_answered(root):
    with connect(root, untrusted=True, timeout=0.5) as log:
        process = log._worker._process
        assert "longer than 0.5 s" in refusal(log, DEAF)
        assert process.returncode == -9
        log._timeout = None  # however long it takes
        assert log.execute("SELECT count(*) AS n FROM trust_ratios").to_pylist() == [{"n": 10}]


def test_a_query_gives_way_and_the_next_one_has_a_process_of_full_priority(root):
    with connect(root, untrusted=True, timeout=None) as log:
        log.give_way()  # there is nothing to give way
        process = log._worker._process.pid
        priorities = set()

        def give_way() -> None:
            while NICENESS not in priorities:
                log.give_way()
                with suppress(ProcessLookupError):
                    priorities.add(os.getpriority(os.PRIO_PGRP, process))
                time.sleep(0.01)
            log.interrupt()

        threading.Thread(target=give_way).start()
        assert refusal(log, ENDLESS) == "the query was interrupted"
        assert log.execute("SELECT 1 AS one").to_pylist() == [{"one": 1}]
        assert log._worker._process.pid != process
        assert os.getpriority(os.PRIO_PROCESS, log._worker._process.pid) == os.getpriority(os.PRIO_PROCESS, 0)


def once_it_works(log: Sandbox, act: Callable[[], object]) -> None:
    """Have a thread do something as soon as the process has worked on its next query for a while."""
    stat = Path(f"/proc/{log._worker._process.pid}/stat")

    def worked() -> int:
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return int(user) + int(system)

    def wait() -> None:
        while worked() < before + os.sysconf("SC_CLK_TCK") / 4:
            time.sleep(0.01)
        act()

    before = worked()
    threading.Thread(target=wait).start()


def test_another_thread_interrupts_a_query(root):
    with connect(root, untrusted=True) as log:
        log.interrupt()  # there is nothing to interrupt
        log.execute("SELECT 1")
        process = log._worker._process
        answered = threading.Event()

        def interrupt():
            while not answered.wait(0.2):  # again, where the query had not begun
                log.interrupt()

        threading.Thread(target=interrupt).start()
        try:
            assert refusal(log, ENDLESS) == "the query was interrupted"
        finally:
            answered.set()
        assert log._worker._process is process


def test_queries_of_several_threads_are_answered_one_after_the_other(log):
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = log.execute(f"SELECT {number} AS n FROM range(1000)").column("n").unique().to_pylist()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [number] for number in range(8)}


def test_a_long_answer_is_cut_off_and_says_so(root):
    with connect(root, untrusted=True, max_rows=50_000, max_bytes=2_000_000) as log:
        exact = log.execute("FROM range(50_000)")
        assert (exact.num_rows, cut_off(exact)) == (50_000, "")
        rows = log.execute("FROM range(1_000_000_000_000)")
        assert (rows.num_rows, cut_off(rows)) == (50_000, "after 50,000 rows")
        assert rows.column(0).to_pylist() == list(range(50_000))
        wide = log.execute("SELECT repeat('x', 1000) AS x FROM range(10_000)")
        assert 1000 < wide.num_rows <= 2000
        assert cut_off(wide) == "after 2 MB"
        assert cut_off(log.execute("SELECT repeat('x', 3_000_000) AS x")) == "after 2 MB"
        assert cut_off(log.execute("SELECT 1")) == ""


def test_parts_that_are_merged_meanwhile_stay_readable(tmp_path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="a*[b]", flush_seconds=3600) as collector:
        for step in range(1, MIN_PARTS + 1):
            emitter.say(step)
            collector.flush()
        with connect(tmp_path, untrusted=True) as log:
            query = "SELECT run, count(*) AS n FROM trust_ratios GROUP BY run"
            assert log.execute(query).to_pylist() == [{"run": "a*[b]", "n": MIN_PARTS}]
            process = log._worker._process
            collector._attempt.writer._merge()
            assert len(list((collector.folder / "trust_ratios").iterdir())) == 1
            assert log.execute(query).to_pylist() == [{"run": "a*[b]", "n": MIN_PARTS}]
            assert log._worker._process is process
            collector.close()  # which removes what was merged
            assert log.execute(query).to_pylist() == [{"run": "a*[b]", "n": MIN_PARTS}]
            assert log._worker._process is not process
            shutil.rmtree(collector.folder)
            assert log.execute("SELECT 1 AS x").to_pylist() == [{"x": 1}]


def test_links_in_a_log_are_followed(root, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r").symlink_to(root / "r")
    own = tmp_path / "runs" / "other"
    shutil.copytree(root / "other", own)
    (part,) = (own / "trust_ratios").iterdir()
    part.rename(tmp_path / "elsewhere.parquet")
    part.symlink_to(tmp_path / "elsewhere.parquet")
    with connect(tmp_path / "runs", untrusted=True) as log:
        rows = log.execute("SELECT run, count(*) AS n FROM trust_ratios GROUP BY run ORDER BY run").to_pylist()
    assert rows == [{"run": "other", "n": 4}, {"run": "r", "n": 6}]


def test_an_empty_log_has_its_views_too(tmp_path):
    with connect(tmp_path, untrusted=True) as log:
        assert log.execute("FROM trust_ratios").num_rows == 0
        assert log.execute("FROM runs").num_rows == 0


def test_a_root_that_is_not_there_and_limits_without_a_sandbox_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        connect(tmp_path / "nowhere", untrusted=True)
    with pytest.raises(TypeError, match=r"timeout: only connect\(root, untrusted=True\) has limits"):
        connect(tmp_path, timeout=3)


def test_a_process_that_was_killed_is_said_and_replaced(root):
    with connect(root, untrusted=True) as log:
        log.execute("SELECT 1")
        once_it_works(log, log._worker._process.kill)
        assert "ended by the system" in refusal(log, ENDLESS)


def test_a_process_that_was_killed_between_two_queries_is_replaced_without_a_word(root):
    with connect(root, untrusted=True) as log:
        log.execute("SELECT 1")
        log._worker._process.kill()
        log._worker._process.wait()
        assert log.execute("SELECT count(*) AS n FROM trust_ratios").to_pylist() == [{"n": 10}]


def test_a_question_that_reached_a_dead_process_does_not_trouble_those_that_follow(root):
    with connect(root, untrusted=True) as log:
        log.execute("SELECT 1")
        log._worker._process.kill()
        log._worker._process.wait()
        log._worker.interrupt()  # stays in the pipe's buffer, which is written when the pipe is closed
        assert log.execute("SELECT 42 AS x").to_pylist() == [{"x": 42}]


def test_most_of_the_address_space_is_left_to_queries(root):
    """Libraries reserve gigabytes that they never use; what is then left is too little to sort a window."""
    with connect(root, untrusted=True) as log:
        log.execute("FROM trust_ratios")
        status = Path(f"/proc/{log._worker._process.pid}/status").read_text()
    reserved = int(status.partition("VmSize:")[2].split()[0]) * 2**10
    assert reserved < ADDRESS_SPACE / 2


def test_closing_ends_the_process_and_a_query_under_way(root):
    log = connect(root, untrusted=True)
    log.execute("SELECT 1")
    process = log._worker._process
    once_it_works(log, log.close)
    with pytest.raises(QueryError, match="the connection was closed"):
        log.execute(ENDLESS)
    assert process.wait(600) == -9
    log.close()
    with pytest.raises(QueryError, match="the connection is closed; connect again"):
        log.execute("SELECT 1")


def test_the_process_has_no_environment_no_open_files_and_ends_with_its_owner(root):
    code = f"""
import os, sys, time
from collector import connect
os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
log = connect({str(root)!r}, untrusted=True)
log.execute("SELECT 1")
print(log._worker._process.pid, flush=True)
log.execute({ENDLESS!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        try:
            process = Path("/proc") / owner.stdout.readline().strip()
            files = {os.readlink(file).partition(":")[0] for file in (process / "fd").iterdir()}
            environment, folder = (process / "environ").read_text(), os.readlink(process / "cwd")
        finally:
            owner.kill()
    assert files <= {"pipe", "/dev/null"}
    assert (environment, folder) == ("", "/")
    until = time.monotonic() + 600
    while (process / "exe").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not (process / "exe").exists()


CONFINED = """
import os, socket, sys
from collector.store import landlock
allowed, secret = sys.argv[1:]
landlock.confine([allowed, "/nowhere"])
for attempt in (
    lambda: open(secret),
    lambda: open(allowed, "r+"),
    lambda: os.truncate(allowed, 0),
    lambda: os.unlink(allowed),
    lambda: os.rename(allowed, allowed + "2"),
    lambda: open(allowed + ".new", "w"),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: socket.create_connection(("127.0.0.1", 9)),
):
    try:
        attempt()
        print("done")
    except PermissionError:
        print("refused")
    except OSError as error:
        print(error)
print(open(allowed).read())
"""


@needs_landlock
def test_a_confined_process_reads_what_it_may_and_does_nothing_else(tmp_path):
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.write_text("hello")
    secret.write_text("plugh")
    command = [sys.executable, "-c", CONFINED, allowed, secret]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[-1] == "hello"
    assert set(said[:7]) == {"refused"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["allowed", "secret"]


@needs_landlock
def test_a_library_that_could_write_is_kept_from_it_by_the_kernel(root, part, unharmed, tmp_path):
    """Even if a query could run any SQL: the process of a sandbox, in which everything but Landlock is left out."""
    code = f"""
import sys; sys.path += sys.argv[1:]
from collector.store import landlock, sandbox_worker
landlock.confine([*sys.path, *sandbox_worker.SYSTEM, {str(root)!r}])
import duckdb
print(duckdb.sql("SELECT count(*) FROM '{part}'").fetchall())
for sql in (
    "COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)",
    "COPY (SELECT 1) TO '{tmp_path}/new'",
    "FROM read_text('/etc/passwd')",
):
    try:
        duckdb.sql(sql).show()
    except duckdb.Error:
        print("refused")
"""
    from collector.store.sandbox import package_folders

    command = [sys.executable, "-I", "-S", "-c", code, *package_folders()]
    said = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert said == ["[(6,)]", "refused", "refused", "refused"]
    assert list(tmp_path.iterdir()) == []


def test_without_landlock_nothing_is_confined_and_nothing_fails(monkeypatch):
    def no_such_call(number: int, *arguments: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(landlock, "_call", no_such_call)
    assert landlock.confine(["/"]) is False
