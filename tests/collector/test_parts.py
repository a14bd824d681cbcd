"""What a part holds is what was recorded, bit for bit, and a merged part stands for those it was merged of."""

import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector import Collector, connect
from collector.log.compact import MIN_PARTS, clear_replaced, finish_merge, merge_all, merge_small, merge_tail, read_part
from collector.log.parts import in_order, list_files, list_parts, replaced_folder, write_part
from collector.log.schema import METRICS, TRUST_RATIOS
from collector.log.visible import all_visible
from tests.collector.emitter import Emitter

any_float32 = st.integers(0, 2**32 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
hostile = ["<script>alert(1)</script>", "'; DROP TABLE runs; --", '"', "🦊", "\u202egnp.exe", "a\nb", "%s"]
metric_names = names | st.sampled_from([*hostile, "\0", "a" * 300])


def trust_ratios(steps: list[int], layers: list[str], run: str = "r") -> pa.Table:
    count = len(steps) * len(layers)
    columns = {
        "run": [run] * count,
        "step": [step for step in steps for _ in layers],
        "epoch": [0] * count,
        "layer": layers * len(steps),
        **{name: [float(step) for step in steps for _ in layers] for name in TRUST_RATIOS.measured},
    }
    return in_order(pa.table(columns, schema=TRUST_RATIOS.schema), TRUST_RATIOS, layers)


def rows_in(folder: Path) -> list[tuple[int, str]]:
    """Step and layer of each row that the store sees in a run's trust_ratios."""
    return sorted((row["step"], row["layer"]) for path in list_files(folder) for row in pq.read_table(path).to_pylist())


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(any_float32, min_size=7, max_size=7), min_size=1, max_size=20))
@example([[0] * 7] * 6 + [[1, 55_129, 0, 1_984_619_108, 0, 0, 0]])  # a relative step that no float32 holds
def test_every_float32_comes_back_bit_for_bit(rows):
    """Also NaN with its payload, infinities, subnormals and the negative zero."""
    table = torch.tensor(rows, dtype=torch.int64).to(torch.int32).view(torch.float32).T.contiguous()
    table[6] = torch.arange(len(rows))  # a layer whose lr is NaN has no row
    emitter = Emitter([f"l{number}" for number in range(len(rows))])
    with tempfile.TemporaryDirectory() as root:
        with Collector(emitter, root, name="r"):
            emitter.say(1, table)
        found = duckdb.sql(f"FROM '{root}/r/trust_ratios/*.parquet'").to_arrow_table()
    for name, row in zip(TRUST_RATIOS.measured, table, strict=True):
        assert found[name].to_numpy().tobytes() == row.numpy().tobytes()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(metric_names, st.floats(width=64)), min_size=1, max_size=20))
def test_every_metric_comes_back_bit_for_bit_under_its_name(values):
    with tempfile.TemporaryDirectory() as root:
        with Collector(Emitter(["a"]), root, name="r") as collector:
            for name, value in values:
                collector.log({name: value})
        rows = connect(root).sql("FROM metrics").to_arrow_table()
    found = list(
        zip(rows["name"].to_pylist(), (struct.pack("d", value) for value in rows["value"].to_pylist()), strict=True)
    )
    assert sorted(found) == sorted((name, struct.pack("d", value)) for name, value in values)


@pytest.mark.parametrize("name", [name.replace("/", "") for name in hostile if all_visible(name)])
def test_a_run_and_a_layer_may_have_any_name(tmp_path, name):
    emitter = Emitter([name])
    with Collector(emitter, tmp_path, name=name, config={name: name}):
        emitter.say(1)
    con = connect(tmp_path)
    assert con.sql("SELECT run, layer FROM trust_ratios").fetchall() == [(name, name)]
    assert con.sql("SELECT run, layer FROM layers").fetchall() == [(name, name)]
    assert con.sql("SELECT json_keys(config), config -> '$.*' ->> 0 FROM runs").fetchall() == [([name], name)]
    assert con.sql("FROM problems").fetchall() == []


@pytest.mark.parametrize("name", ["lr=0.01", "a*", "a?b", "[ab]", "{a,b}", "~", "s3:", "a b", "a%20b", "$x", "a" * 200])
def test_a_run_may_be_called_what_a_path_pattern_would_mean(tmp_path, name):
    for run in (name, "a", "ab", "axb"):
        emitter = Emitter(["l"])
        with Collector(emitter, tmp_path, name=run):
            emitter.say(1)
    con = connect(tmp_path)
    assert sorted(con.sql("SELECT run FROM trust_ratios").fetchall()) == sorted([(name,), ("a",), ("ab",), ("axb",)])
    assert sorted(con.sql("SELECT run FROM runs").fetchall()) == sorted([(name,), ("a",), ("ab",), ("axb",)])
    assert con.sql("FROM trust_ratios").columns[:11] == TRUST_RATIOS.schema.names


def test_a_part_has_the_columns_of_the_schema_and_checksums(tmp_path):
    with Collector(Emitter(["a"]), tmp_path, name="r") as collector:
        collector.log({"x": 1.0})
    path = write_part(trust_ratios([1], ["a"]), TRUST_RATIOS, tmp_path, 1)
    assert pq.read_schema(path).equals(TRUST_RATIOS.full)
    (metrics,) = (collector.folder / "metrics").iterdir()
    assert pq.read_schema(metrics).equals(METRICS.schema)


def test_flipped_bytes_are_noticed_when_a_part_is_read_for_a_merge(tmp_path):
    path = write_part(trust_ratios(list(range(500)), ["a", "b"]), TRUST_RATIOS, tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"CRC|checksum|corrupt"):
        read_part(path, TRUST_RATIOS)


def test_names_of_parts_sort_by_first_step_and_no_part_is_overwritten(tmp_path):
    first = write_part(trust_ratios([9], ["a"]), TRUST_RATIOS, tmp_path, 1)
    second = write_part(trust_ratios([10_000_000], ["a"]), TRUST_RATIOS, tmp_path, 2)
    assert sorted([second.name, first.name]) == [first.name, second.name]
    with pytest.raises(FileExistsError, match="is another process writing to this run"):
        write_part(trust_ratios([9], ["b"]), TRUST_RATIOS, tmp_path, 1)
    assert rows_in(tmp_path) == [(9, "a"), (10_000_000, "a")]


def test_small_parts_become_one(tmp_path):
    for number in range(1, MIN_PARTS):
        write_part(trust_ratios([number], ["a", "b"]), TRUST_RATIOS, tmp_path, number)
    merge_small(TRUST_RATIOS, tmp_path, ["a", "b"])
    assert len(list_parts(tmp_path)) == MIN_PARTS - 1
    write_part(trust_ratios([MIN_PARTS], ["a", "b"]), TRUST_RATIOS, tmp_path, MIN_PARTS)
    merge_small(TRUST_RATIOS, tmp_path, ["b", "a"])
    (merged,) = tmp_path.iterdir()
    assert len(list(replaced_folder(tmp_path).iterdir())) == MIN_PARTS
    assert [(part.first, part.last) for part in list_parts(tmp_path)] == [(1, MIN_PARTS)]
    rows = pq.read_table(merged)
    assert rows["layer"].to_pylist() == ["b"] * MIN_PARTS + ["a"] * MIN_PARTS
    assert rows["step"].to_pylist() == list(range(1, MIN_PARTS + 1)) * 2


def test_replaced_parts_are_kept_for_a_while(tmp_path):
    folder = tmp_path / "trust_ratios"
    folder.mkdir()
    for number in (1, 2):
        write_part(trust_ratios([number], ["a"]), TRUST_RATIOS, folder, number)
    merge_tail(TRUST_RATIOS, folder, ["a"])
    clear_replaced(folder)
    assert len(list((tmp_path / "replaced_trust_ratios").iterdir())) == 2
    old = next((tmp_path / "replaced_trust_ratios").iterdir())
    os.utime(old, (time.time() - 601,) * 2)
    clear_replaced(folder)
    assert len(list((tmp_path / "replaced_trust_ratios").iterdir())) == 1
    clear_replaced(folder, seconds=0)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_part_that_is_large_is_left_alone_when_a_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("collector.log.compact.TIERS", (0, 10, 100))
    for number, count in enumerate((1, 20, 1, 2, 3), start=1):
        write_part(trust_ratios(list(range(100 * number, 100 * number + count)), ["a"]), TRUST_RATIOS, tmp_path, number)
    before = rows_in(tmp_path)
    merge_tail(TRUST_RATIOS, tmp_path, ["a"])
    assert [(part.first, part.last) for part in list_parts(tmp_path)] == [(1, 1), (2, 2), (3, 5)]
    assert rows_in(tmp_path) == before


def test_a_row_is_merged_with_its_tier_alone(tmp_path, monkeypatch):
    """16 small parts become one of the next tier, and 16 of those one of the last, which stays."""
    monkeypatch.setattr("collector.log.compact.TIERS", (0, MIN_PARTS, MIN_PARTS**2))
    folder = tmp_path / "trust_ratios"
    folder.mkdir()
    for step in range(1, 2 * MIN_PARTS**2 + MIN_PARTS + 2):
        parts = list_parts(folder)
        write_part(trust_ratios([step], ["a"]), TRUST_RATIOS, folder, parts[-1].last + 1 if parts else 1)
        merge_small(TRUST_RATIOS, folder, ["a"])
    assert [part.rows for part in list_parts(folder)] == [MIN_PARTS**2, MIN_PARTS**2, MIN_PARTS, 1]
    assert rows_in(folder) == [(number, "a") for number in range(1, step + 1)]
    written = sum(pq.read_metadata(path).num_rows for path in tmp_path.glob("*/*.parquet"))  # the replaced ones, too
    assert written <= 3 * step


def test_all_parts_become_one_with_row_groups_that_hold_few_layers(tmp_path, monkeypatch):
    monkeypatch.setattr("collector.log.parts.ROW_GROUP", 100)
    monkeypatch.setattr("collector.log.compact.ROW_GROUP", 100)
    layers = ["a", "b", "c", "d"]
    for number in range(4):
        steps = list(range(50 * number, 50 * number + 50))
        write_part(trust_ratios(steps, layers), TRUST_RATIOS, tmp_path, number + 1)
    (merged,) = merge_all(TRUST_RATIOS, tmp_path, layers)
    metadata = pq.read_metadata(merged)
    position = metadata.schema.names.index("layer")
    held = [metadata.row_group(group).column(position).statistics for group in range(metadata.num_row_groups)]
    assert [(each.min, each.max) for each in held] == [(layer, layer) for layer in layers for _ in range(2)]
    assert pq.read_table(merged)["step"].to_pylist() == list(range(200)) * 4


def test_layers_that_came_between_others_are_put_in_their_place(tmp_path):
    write_part(trust_ratios([1, 2], ["a", "c"]), TRUST_RATIOS, tmp_path, 1)
    write_part(trust_ratios([3, 4], ["b", "c", "a"]), TRUST_RATIOS, tmp_path, 2)
    merged = merge_tail(TRUST_RATIOS, tmp_path, ["a", "b", "c"])
    rows = pq.read_table(merged)
    found = list(zip(rows["layer"].to_pylist(), rows["step"].to_pylist(), strict=True))
    assert found == [(layer, step) for layer in "abc" for step in (1, 2, 3, 4) if layer != "b" or step > 2]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(2, 5), st.data())
def test_merging_changes_no_row_wherever_it_is_cut_short(sizes, enough, data):
    """However parts and merges follow each other, and whichever replaced parts are still there."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr("collector.log.compact.TIERS", (0, 60, 120))
        patch.setattr("collector.log.compact.MIN_PARTS", enough)
        expected = []
        for step, size in enumerate(sizes, start=1):
            layers = [f"l{number}" for number in range(size)]
            number = max((part.last for part in list_parts(folder)), default=0) + 1
            write_part(trust_ratios([step], layers), TRUST_RATIOS, folder, number)
            expected += [(step, layer) for layer in layers]
            before = {path: path.read_bytes() for path in list_files(folder)}
            data.draw(st.sampled_from([merge_small, merge_tail, merge_all]))(TRUST_RATIOS, folder, [])
            for path in before:
                if not path.exists() and data.draw(st.booleans()):
                    path.write_bytes(before[path])  # as if the merge had been killed before it was removed
            assert rows_in(folder) == sorted(expected)
        finish_merge(folder)
        assert rows_in(folder) == sorted(expected)
        assert sorted(folder.iterdir()) == list_files(folder)


# For n = 1, 2, …: a process that is killed just before the n-th thing it does to a file, until one comes through.
KILLED = """
import os, shutil, sys
from pathlib import Path
from collector.log.compact import merge_tail
from collector.log.supersede import supersede
from collector.log.schema import TRUST_RATIOS

template, root = Path(sys.argv[1]), Path(sys.argv[2])
for fatal in range(1, 100):
    folder = root / str(fatal) / "r" / "trust_ratios"
    shutil.copytree(template, folder)
    child = os.fork()
    if not child:
        count = 0
        def kill(event, arguments):
            global count
            if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(str(root)):
                count += 1
                if count == fatal:
                    os._exit(137)
        sys.addaudithook(kill)
        WORK
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not status:
        sys.exit()
    assert os.waitstatus_to_exitcode(status) == 137
"""


def killed_at_every_step(tmp_path: Path, work: str) -> list[Path]:
    """The folders that the processes left: killed one step later each, and the last one not at all."""
    template, root = tmp_path / "template", tmp_path / "killed"
    template.mkdir()
    for number in range(1, 4):
        write_part(trust_ratios([2 * number, 2 * number + 1], ["a", "b"]), TRUST_RATIOS, template, number)
    code = KILLED.replace("WORK", work)
    subprocess.run([sys.executable, "-c", code, template, root], check=True, timeout=600)
    return sorted(root.glob("*/r/trust_ratios"), key=lambda folder: int(folder.parts[-3]))


ALL = sorted((step, layer) for step in range(2, 8) for layer in "ab")


def test_a_merge_that_is_killed_at_any_step_leaves_each_row_once(tmp_path):
    folders = killed_at_every_step(tmp_path, "merge_tail(TRUST_RATIOS, folder, ['a', 'b'])")
    assert len(folders) > 5
    for folder in folders:
        con = connect(folder.parent.parent)
        assert sorted(con.sql("SELECT step, layer FROM trust_ratios").fetchall()) == ALL
        assert con.sql("SELECT file FROM problems WHERE file NOT LIKE '%run.json'").fetchall() == []
        finish_merge(folder)  # what whoever opens the run next does first
        assert rows_in(folder) == ALL
        assert len(list(folder.glob("*.parquet"))) in (1, 3)
    assert len(list(folders[-1].iterdir())) == 1


def test_a_resume_that_is_killed_at_any_step_loses_no_row_and_doubles_none(tmp_path):
    work = "supersede(TRUST_RATIOS, folder, folder.parent / 'superseded', 5)"
    folders = killed_at_every_step(tmp_path, work)
    assert len(folders) > 4
    for folder in folders:
        old = folder.parent / "superseded"
        here = rows_in(folder)
        assert len(here) == len(set(here))
        assert set(here) | (set(rows_in(old)) if old.exists() else set()) == set(ALL)
        assert [row for row in here if row[0] < 5] == [row for row in ALL if row[0] < 5]
    assert {step for step, _ in rows_in(folders[-1])} == {2, 3, 4}
