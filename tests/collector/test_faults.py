"""What a damaged, foreign or hostile file costs: itself. Others are read, and it is named."""

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from collector import Collector, connect
from collector.log.maintain import compact_run
from collector.log.run_folder import check_name
from collector.log.schema import LOG_TABLES, ROLLUPS, TRUST_RATIOS
from collector.store.check import _inspect, check_run, check_runs
from collector.store.footers import footer
from lambc.cli import app
from tests.collector.damage import flipped, footer_bits, two_runs
from tests.collector.emitter import Emitter

TABLES = ("trust_ratios", "metrics", "rollups")
OTHERS = "SELECT layer, count(*), sum(trust_ratio) FROM trust_ratios WHERE run = 'b' GROUP BY layer ORDER BY layer"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs, merged, with rollups."""
    for run in two_runs(tmp_path):
        compact_run(run)
    return tmp_path


def file_of(root: Path, table: str) -> Path:
    (path,) = (root / "a" / table).glob("*.parquet")
    return path


def damages(whole: bytes, *, seed: int, count: int) -> Iterator[bytes]:
    """Flips in the footer and elsewhere, several at once, cuts, and stretches that change places."""
    chance = random.Random(seed)
    for number in range(count):
        place, other = sorted(chance.sample(range(len(whole)), 2))
        match number % 4:
            case 0:
                yield flipped(whole, chance.choice(footer_bits(whole)))
            case 1:
                yield flipped(whole, *chance.sample(range(len(whole) * 8), 3))
            case 2:
                yield whole[:place]
            case _:
                width = min(16, other - place, len(whole) - other)
                swapped = bytearray(whole)
                swapped[place : place + width] = whole[other : other + width]
                swapped[other : other + width] = whole[place : place + width]
                yield bytes(swapped)


@pytest.mark.parametrize("table", TABLES)
def test_no_damage_to_a_file_of_one_run_is_felt_by_a_question_about_another(root, table):
    path = file_of(root, table)
    whole = path.read_bytes()
    answer = connect(root).sql(OTHERS).fetchall()
    for damage in damages(whole, seed=1, count=60):
        path.write_bytes(damage)
        con = connect(root)
        assert con.sql(OTHERS).fetchall() == answer
        assert {file for (file,) in con.sql("SELECT file FROM problems").fetchall()} <= {str(path), str(root / "a")}


def test_the_file_that_only_one_reader_refuses_is_named_by_problems_and_by_check(root):
    path = file_of(root, "trust_ratios")
    whole = path.read_bytes()
    refused = 0
    for bit in random.Random(2).sample(footer_bits(whole), 100):
        path.write_bytes(flipped(whole, bit))
        con = connect(root)
        try:
            if con.sql("FROM trust_ratios WHERE run = 'a'").fetchall():
                continue
        except duckdb.Error:  # its pages are where the footer does not say: only who reads them can know
            continue
        refused += 1
        files = [file for (file,) in con.sql("SELECT file FROM problems").fetchall()]
        assert files in ([str(path)], [str(root / "a")])  # the folder, where another run's name stands in the footer
        if refused % 20 == 1:
            assert {file for file, _ in check_run(root / "a")} == set(files)
    assert refused > 10


PLACES = "least(data_page_offset, dictionary_page_offset, index_page_offset)"
SIZES = "least(total_compressed_size, total_uncompressed_size, num_values)"


@pytest.mark.parametrize("kind", [*LOG_TABLES, ROLLUPS], ids=TABLES)
def test_a_column_of_a_negative_place_or_size_costs_that_file_alone(root, kind):
    """The lowest bit of a number is its sign. DuckDB takes such a footer, and some queries end its whole database."""
    path = file_of(root, kind.folder)
    whole = path.read_bytes()
    answer = connect(root).sql("FROM trust_ratios WHERE run = 'b' ORDER BY ALL").fetchall()
    duck, found = duckdb.connect(config={"enable_external_file_cache": False}), {PLACES: 0, SIZES: 0}
    for bit in footer_bits(whole)[::8]:
        path.write_bytes(flipped(whole, bit))
        try:
            (least,) = duck.sql(f"SELECT min({PLACES}), min({SIZES}) FROM parquet_metadata('{path}')").fetchall()
        except (duckdb.Error, UnicodeDecodeError):
            continue
        for numbers in [each for each, number in zip(found, least, strict=True) if number < 0]:
            found[numbers] += 1
            assert "it is damaged" in footer(path, kind).problem
            if found[numbers] == 1:
                assert connect(root).sql("FROM trust_ratios WHERE run = 'b' ORDER BY ALL").fetchall() == answer
    assert min(found.values()) >= len(pq.read_schema(io.BytesIO(whole)))


def test_statistics_that_are_not_those_of_the_rows_are_found(root):
    path = file_of(root, "trust_ratios")
    whole = path.read_bytes()
    # The greatest step stands in the statistics alone, so a query of later steps would pass over the rows.
    place = whole.rindex((200).to_bytes(8, "little"))
    path.write_bytes(flipped(whole, place * 8 + 3))
    ((file, problem),) = check_run(root / "a")
    assert file == str(path)
    assert "statistics of 'step' are not those of its rows" in problem


@pytest.mark.parametrize(
    ("table", "column"), [("trust_ratios", b"layer"), ("metrics", b"name"), ("rollups", b"last_level")]
)
def test_a_column_that_the_footer_calls_otherwise_is_found(root, table, column):
    path = file_of(root, table)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, whole.rindex(column) * 8))
    ((file, problem),) = check_run(root / "a")
    assert file == str(path)
    assert f"its footer does not name the column {column.decode()!r}" in problem


def test_a_checksum_that_only_pyarrow_compares_is_said_without_its_traceback(root):
    path = file_of(root, "metrics")
    whole = path.read_bytes()
    said = []
    for bit in random.Random(3).sample(range(footer_bits(whole).start), 40):
        path.write_bytes(flipped(whole, bit))
        said += [problem for _, problem in _inspect(root / "a", [], lambda path: None)]
    assert any("checksum verification failed" in problem for problem in said)
    assert not any("Traceback" in problem for problem in said)


def test_a_rollup_that_cannot_be_read_gives_way_to_the_rows(root):
    path = file_of(root, "rollups")
    histogram = "SELECT sum(upper_hits) FROM log.cells('a', 1::BIGINT << 62)"
    answer = connect(root).sql(histogram).fetchall()
    path.write_bytes(path.read_bytes()[:-200])
    con = connect(root)
    assert con.sql(histogram).fetchall() == answer
    assert [file for file, _ in check_run(root / "a")] == [str(path)]


def test_a_rollup_that_says_it_is_of_another_part_is_named_by_check(root):
    """One bit in its footer, where the number of the part's rows stands: it gives way to the rows."""
    path = file_of(root, "rollups")
    whole = path.read_bytes()
    place = whole.rindex(b"400", 0, -8)
    path.write_bytes(flipped(whole, place * 8 + 1))
    assert footer(path, ROLLUPS).rows == 600
    assert [file for file, _ in check_run(root / "a")] == [str(path)]


def test_pages_that_do_not_agree_with_their_checksum_are_left_out_if_that_is_asked(root):
    for table in TABLES:
        path = file_of(root, table)
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, 8 * (footer_bits(whole)[0] // 8 - 40)))
        con = connect(root, verify=True)
        named = con.sql("SELECT file FROM problems").fetchall()
        assert named == ([] if table == "rollups" else [(str(path),)])
        assert con.sql("SELECT run, count(*) FROM trust_ratios GROUP BY run ORDER BY run").fetchall() == (
            [("b", 400)] if table == "trust_ratios" else [("a", 400), ("b", 400)]
        )
        assert con.sql("SELECT sum(rows) FROM log.cells('a', 1::BIGINT << 62)").fetchall() == [
            (None if table == "trust_ratios" else 400,)
        ]
        with connect(root, verify=True, untrusted=True) as safe:
            assert safe.execute("SELECT file FROM problems").num_rows == len(named)
        path.write_bytes(whole)
    assert connect(root, verify=True).sql("FROM problems").fetchall() == []


def test_check_goes_on_where_a_file_ends_its_process(root, monkeypatch, tmp_path):
    path = file_of(root, "trust_ratios")
    # No file is known that ends the process; so what reads one is made to die of it, as by a fault in a library.
    monkeypatch.setattr(
        "collector.store.check._MAIN",
        f"import sys, os; sys.path += sys.argv[1:]; import collector.store.check as c; read = c._unreadable\n"
        f"c._unreadable = lambda p, t: os.abort() if str(p) == {str(path)!r} else read(p, t)\n"
        "c.main()",
    )
    (root / "b" / "metrics" / "foreign.parquet").write_bytes(b"no Parquet")
    found = dict(check_runs([root / "a", root / "b"]))
    assert found[str(path)] == "it is damaged (reading it ends the process, with signal 6): move it out of the run"
    assert found.keys() == {str(path), str(root / "b" / "metrics" / "foreign.parquet")}


def test_many_rows_without_statistics_are_left_out_unread(root):
    path = root / "a" / "trust_ratios" / "foreign.parquet"
    count = 10**6
    texts = {"run": "a", "layer": "x"}
    columns = [pa.repeat(pa.scalar(texts.get(field.name, 1)).cast(field.type), count) for field in TRUST_RATIOS.schema]
    rows = pa.table(columns, schema=TRUST_RATIOS.schema)
    with pq.ParquetWriter(path, TRUST_RATIOS.schema, write_statistics=False) as writer:
        for _ in range(20):
            writer.write_table(rows)
    con = connect(root)
    ((file, problem),) = con.sql("SELECT file, problem FROM problems").fetchall()
    assert file == str(path)
    assert "20,000,000 rows without statistics" in problem
    assert con.sql("SELECT count(*) FROM trust_ratios").fetchall() == [(800,)]


def test_steps_that_no_training_takes_are_a_problem_of_their_file(root):
    path = file_of(root, "trust_ratios")
    rows = pq.read_table(path, partitioning=None).cast(TRUST_RATIOS.full)
    steps = pa.array([2**62] * len(rows), pa.int64())
    foreign = path.with_name("foreign.parquet")
    pq.write_table(rows.set_column(1, TRUST_RATIOS.schema.field("step"), steps), foreign)
    ((file, problem),) = connect(root).sql("SELECT file, problem FROM problems").fetchall()
    assert file == str(foreign)
    assert "steps from 4,611,686,018,427,387,904" in problem


@pytest.mark.parametrize(
    "heartbeat",
    [
        b'{"time": "2026-01-01T00:00:00+00:00", "step": 1e400}',
        b'{"time": "2026-01-01T00:00:00+00:00", "step": -1}',
        b'{"time": "2026-01-01T00:00:00+00:00", "step": 1e300}',
        b'{"time": "0001-01-01T00:00:00+14:00", "step": 1}',
        b'{"time": "9999-12-31T23:59:59-14:00", "step": 1}',
        b'{"time": "2026-01-01T00:00:00", "step": 1}',
        b'{"time": "2026-01-01T00:00:00+00:00", "step": 1}' + b" " * 10**6,
        b"\xff",
        b"[" * 10**5,
    ],
)
def test_a_heartbeat_that_says_nothing_sensible_is_named_and_none(root, heartbeat):
    path = root / "a" / "heartbeat"
    path.write_bytes(heartbeat)
    assert connect(root).sql("SELECT run, file FROM problems").fetchall() == [("a", str(path))]
    assert connect(root).sql("SELECT heartbeat IS NULL FROM runs ORDER BY run").fetchall() == [(True,), (False,)]
    done = CliRunner().invoke(app, ["runs", "--runs", str(root), "--format", "csv"])
    assert done.exit_code == 0
    assert "\na," in done.stdout
    assert "\nb," in done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"started": "20', '"started": "00'), "is not between 1970 and 2261"),
        (lambda text: text.replace('"started": "2', '"started": "3'), "is not between 1970 and 2261"),
        (lambda text: text.replace('"format": 1', '"format": 1e999'), "its format is '1e999'"),
        (lambda text: text + " " * 2**26, "bytes, which no run writes"),
    ],
    ids=["the first years", "another thousand years", "infinity", "size"],
)
def test_a_run_json_that_no_run_writes_is_a_problem_of_that_run(root, change: Callable[[str], str], words):
    path = root / "a" / "run.json"
    path.write_text(change(path.read_text()))
    con = connect(root)
    ((run, file, problem),) = con.sql("FROM problems").fetchall()
    assert (run, file) == ("a", str(path))
    assert words in problem
    assert con.sql("SELECT status FROM runs ORDER BY run").fetchall() == [(None,), ("finished",)]


@pytest.mark.parametrize(("name", "key"), [("run.json", "started"), ("heartbeat", "time")])
def test_a_small_file_that_was_changed_is_found_by_its_checksum(root, name, key):
    path = root / "a" / name
    contents = json.loads(path.read_text())
    contents[key] = "2026-01-02" + contents[key][10:]
    path.write_text(json.dumps(contents))
    ((file, problem),) = check_run(root / "a")
    assert file == str(path)
    assert "it is not what was written, by its checksum" in problem
    del contents["checksum"]  # as in an old log
    path.write_text(json.dumps(contents))
    assert check_run(root / "a") == []


def test_a_repaired_heartbeat_is_read_again_though_the_run_has_ended(root):
    path = root / "a" / "heartbeat"
    whole = path.read_bytes()
    for known in (False, True):
        path.write_bytes(whole if known else b"")
        assert connect(root).sql("SELECT heartbeat IS NOT NULL FROM runs WHERE run = 'a'").fetchall() == [(known,)]


@pytest.mark.parametrize("table", ["metrics", "rollups"])
def test_a_page_that_cannot_be_read_is_left_out_of_the_list_of_runs_and_sql_says_how_to_look(root, table):
    path = file_of(root, table)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, *range(32, footer_bits(whole)[0] - 8, 3)))
    done = CliRunner().invoke(app, ["runs", "--runs", str(root), "--format", "csv"])
    assert (done.exit_code, "\na," in done.stdout) == (0, True)
    assert (f"{path}: it is damaged" in done.stderr) == (table == "metrics")  # a rollup's rows are there anyway
    done = CliRunner().invoke(app, ["sql", f"FROM log.rows('{table}')", "--runs", str(root)])
    assert done.exit_code == 2
    assert "lambc check names it" in done.output


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(tmp_path):
    evil = "\x1b[2Jx\u202ey\x07"
    emitter = Emitter([evil])
    with Collector(emitter, tmp_path, name="r", config={evil: evil}) as collector:
        emitter.say(1)
        collector.log({evil: 1.0})
    folder = collector.folder.rename(tmp_path / evil)
    for command in (
        ["runs", "--runs", str(tmp_path)],
        ["check", "--runs", str(tmp_path)],
        ["sql", 'SELECT layer, layer AS "a\x1b[1m" FROM layers', "--runs", str(tmp_path)],
        ["sql", "SELECT config FROM runs", "--runs", str(tmp_path)],
        ["sql", "SELECT name FROM metrics", "--runs", str(tmp_path)],
        ["compact", "--runs", str(tmp_path)],
        ["rm", "-y", evil, "--runs", str(tmp_path)],
    ):
        done = CliRunner().invoke(app, command)
        assert not set(done.output) & set("\x1b\u202e\x07"), command
        assert "sql" in command or "\\x1b[2Jx\\u202ey\\x07" in done.output.replace("\n", "")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "a\u202eb", "a\x7f", "a\x9bb", "\ta"])
def test_a_new_run_has_no_name_that_a_terminal_would_obey(name):
    with pytest.raises(ValueError, match="control characters"):
        check_name(name)


@pytest.mark.parametrize("name", ["größe 日本", "naïve-👩‍💻", "a b"])
def test_a_name_in_any_language_is_welcome(name):
    check_name(name)


def test_a_pipe_in_the_place_of_a_rollup_is_not_waited_for(root):
    path = file_of(root, "rollups")
    path.unlink()
    os.mkfifo(path)
    assert connect(root).sql("SELECT sum(rows) FROM log.cells('a', 1::BIGINT << 62)").fetchall() == [(400,)]
