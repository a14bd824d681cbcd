"""The index of a run: it saves a reader the footers, and is never believed over the files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from collector import Collector, connect
from collector.log import index
from collector.log.maintain import compact_run
from collector.log.schema import LOG_TABLES, ROLLUPS
from collector.log.small_files import sealed
from collector.store.check import check_run
from collector.store.connect import fingerprint
from collector.store.footers import footer, footers
from collector.store.runs import read_runs
from tests.collector.damage import flipped, footer_bits
from tests.collector.emitter import Emitter

TABLES = (*LOG_TABLES, ROLLUPS)


def record(root: Path, first: int, last: int, *, flush_at: int = 0, **options) -> Path:
    emitter = Emitter(["a", "b"])
    with Collector(emitter, root, name="r", flush_seconds=3600, **options) as collector:
        for step in range(first, last + 1):
            emitter.say(step)
            collector.log({"loss": 1 / step})
            if step == flush_at:
                collector.flush()
    return collector.folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 100 steps that ended, of which nobody has read anything."""
    return record(tmp_path / "runs", 1, 100)


def files_of(run: Path) -> list[Path]:
    return [path for table in TABLES for path in sorted((run / table.folder).glob("*.parquet"))]


def says(run: Path) -> dict:
    """What the files say of themselves, to both readers."""
    return {f"{table.folder}/{path.name}": footer(path, table) for table in TABLES for path in files_of(run)
            if path.parent.name == table.folder}  # fmt: skip


def in_index(run: Path) -> dict:
    return {name: entry.footer for name, entry in index.read(run).items()}


def steps(run: Path) -> int:
    """How many steps the run is said to have."""
    ((found,),) = connect(run.parent).sql("SELECT steps FROM runs").fetchall()
    return found


def let_it_lie(run: Path, change: Callable[[dict], None] = lambda contents: None) -> None:
    """An index, whose checksum is right, of a run with 7 steps: who believes it is found out."""
    contents = json.loads((run / "index.json").read_text())
    for name, entry in contents["files"].items():
        if name.startswith("trust_ratios"):
            entry[5] = 7
    change(contents)
    (run / "index.json").write_text(sealed(contents))


def put(path: Path, contents: bytes) -> None:
    """Other bytes of as many, and no other time."""
    status = path.stat()
    path.write_bytes(contents)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_a_run_that_ends_has_an_index_of_what_its_files_say_of_themselves(run):
    assert in_index(run) == says(run)
    assert len(in_index(run)) == 3
    assert check_run(run) == []


def test_a_file_that_the_index_knows_is_not_asked(run):
    let_it_lie(run)
    assert steps(run) == 7


def test_check_does_not_believe_the_index(run):
    let_it_lie(run)
    ((file, problem),) = check_run(run)
    assert file == str(run / "index.json")
    assert problem.startswith("what it says of trust_ratios/step-000000000001-part-000001.parquet is not")
    assert problem.endswith("remove it, lambc compact makes it anew")


@pytest.mark.parametrize("place", range(3), ids=["size", "time", "checksum of the footer"])
def test_the_index_counts_for_nothing_where_the_file_is_another(run, place):
    def change(contents: dict) -> None:
        for entry in contents["files"].values():
            entry[place] ^= 1

    let_it_lie(run, change)
    assert steps(run) == 100
    assert check_run(run) == []


def replaced_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_link(path: Path) -> None:
    os.symlink(path.rename(path.with_name("elsewhere")), path)


def with_one_digit_changed(path: Path) -> None:
    path.write_text(path.read_text().replace(" 7,", " 8,"))


def without_checksum(path: Path) -> None:
    contents = json.loads(path.read_text())
    del contents["checksum"]
    path.write_text(json.dumps(contents))


def ours(path: Path) -> dict:
    return json.loads(path.read_text())


DAMAGES = {
    "pipe": replaced_by_pipe,
    "link": replaced_by_link,
    "a digit": with_one_digit_changed,
    "no checksum": without_checksum,
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "no JSON": lambda path: path.write_text("{"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "cut": lambda path: path.write_text(path.read_text()[:-9]),
    "empty": lambda path: path.write_text(""),
    "too large": lambda path: path.write_text(path.read_text() + " " * 2**22),
    "another object": lambda path: path.write_text(sealed({"columns": 1})),
    "empty entries": lambda path: path.write_text(sealed(ours(path) | {"files": {"metrics/a.parquet": []}})),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_an_index_that_is_damaged_counts_for_nothing_and_confuses_nobody(run, damage):
    let_it_lie(run)
    damage(run / "index.json")
    assert steps(run) == 100
    assert connect(run.parent).sql("FROM problems").fetchall() == []


@pytest.mark.parametrize("name", ["pipe", "link", "a digit", "no checksum", "no text", "too large"])
def test_check_names_an_index_that_cannot_be_used(run, name):
    let_it_lie(run)
    DAMAGES[name](run / "index.json")
    ((file, problem),) = check_run(run)
    assert file == str(run / "index.json")
    assert problem.endswith(": remove it, lambc compact makes it anew")


def test_an_index_of_a_version_with_other_columns_counts_for_nothing(run):
    let_it_lie(run, lambda contents: contents.update(columns=contents["columns"] ^ 1))
    assert steps(run) == 100
    assert check_run(run) == []


def test_a_flipped_bit_in_a_footer_is_found_though_size_and_time_are_the_same(run, tmp_path):
    """Each such log is read as the same log without an index is."""
    without = Path(shutil.copytree(run.parent, tmp_path / "without")) / "r"
    (without / "index.json").unlink()
    named = set()

    def read(folder: Path) -> tuple:
        (found,) = read_runs([folder.parent])
        named.update(Path(file).parent.name for file, _ in found.problems)
        said = [(os.path.relpath(file, folder), problem.replace(str(folder), "")) for file, problem in found.problems]
        return said, found.steps, len(found.rollups), len(found.fresh)

    for table in TABLES:
        (path,) = (run / table.folder).iterdir()
        whole = path.read_bytes()
        for bit in footer_bits(whole)[::97]:
            for folder in (run, without):
                put(folder / table.folder / path.name, flipped(whole, bit))
            assert read(run) == read(without), bit
        for folder in (run, without):
            put(folder / table.folder / path.name, whole)
    assert named >= {"metrics", "trust_ratios"}


def test_a_resumed_run_is_read_as_its_files_are_and_has_a_new_index_in_the_end(run):
    emitter = Emitter(["a", "b"])
    with Collector(emitter, run.parent, name="r", flush_seconds=3600, resume=True) as collector:
        emitter.say(50)
        collector.flush()
        assert steps(run) == 50
    assert in_index(run) == says(run)
    assert steps(run) == 50


def test_an_index_that_a_killed_writer_left_half_written_is_no_index(run):
    let_it_lie(run)
    (run / "index.json").rename(run / ".index.json.tmp")
    assert steps(run) == 100
    compact_run(run)
    assert in_index(run) == {}  # nobody has looked whether its files are good
    assert not (run / ".index.json.tmp").exists()


def test_compacting_renews_the_index(tmp_path):
    run = record(tmp_path, 1, 100, flush_at=50)
    emitter = Emitter(["a", "b"])
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600, resume=True):
        emitter.say(101)
    shutil.rmtree(run / "rollups")
    compact_run(run)
    assert in_index(run) == says(run)
    assert len(in_index(run)) == 3


def test_an_old_log_is_read_as_ever_and_gets_its_index_where_the_store_reads_it(run):
    (run / "index.json").unlink()
    compact_run(run)
    assert in_index(run) == {}  # nobody has looked whether these files are good
    assert steps(run) == 100
    compact_run(run, footers)
    assert in_index(run) == says(run)


def test_a_file_that_a_reader_refuses_or_whose_rows_had_to_be_read_gets_no_entry(run):
    (part,) = (run / "metrics").iterdir()
    pq.write_table(pq.read_table(part, partitioning=None), run / "metrics" / "mine.parquet", write_statistics=False)
    (run / "metrics" / "foreign.parquet").write_text("no Parquet")
    assert steps(run) == 100
    compact_run(run, footers)
    assert sorted(in_index(run)) == sorted(index.name_of(path) for path in files_of(run) if path.name[:4] == "step")


def test_the_index_is_of_files_wherever_the_run_lies(run):
    """A folder that was renamed is told apart by what its rows say, as without an index."""
    run.rename(run.with_name("other"))
    ((problem,),) = connect(run.parent).sql("SELECT problem FROM problems").fetchall()
    assert problem.startswith("the rows say that this run is called 'r'")


def test_the_index_is_nothing_of_a_log_s_version(run):
    before = fingerprint(run.parent)
    let_it_lie(run)
    assert fingerprint(run.parent) == before


def test_parts_that_are_merged_are_not_kept_in_memory(tmp_path):
    emitter = Emitter(["a"])
    with Collector(emitter, tmp_path, name="r", flush_seconds=3600) as collector:
        for step in range(1, 40):
            emitter.say(step)
            collector.flush()
        collector._attempt.writer._merge()
        assert len(index._written[collector.folder]) == len(files_of(collector.folder))
    assert collector.folder not in index._written
