"""Damage to Parquet files, and runs that get it."""

from pathlib import Path

import duckdb

from collector import Collector
from tests.collector.emitter import Emitter


def two_runs(root: Path) -> list[Path]:
    """The folders of two runs, a and b, of 200 steps of two layers each, with a metric."""
    for name in "ab":
        emitter = Emitter(["x", "y"])
        with Collector(emitter, root, name=name, flush_seconds=3600) as collector:
            for step in range(1, 201):
                emitter.say(step)
                collector.log({"train/loss": 1 / step})
    return [root / name for name in "ab"]


def footer_bits(whole: bytes) -> range:
    size = int.from_bytes(whole[-8:-4], "little")
    return range((len(whole) - 8 - size) * 8, len(whole) * 8)


def flipped(whole: bytes, *bits: int) -> bytes:
    changed = bytearray(whole)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def end_database(path: Path) -> None:
    """Flip the bit of which DuckDB has an internal error, after which its database answers nothing any more."""
    whole = path.read_bytes()
    connection = duckdb.connect(config={"enable_external_file_cache": False})
    for bit in footer_bits(whole):
        path.write_bytes(flipped(whole, bit))
        try:
            connection.execute("FROM read_parquet(?)", [str(path)]).fetchall()
        except duckdb.InternalException:
            return
        except (duckdb.Error, UnicodeDecodeError):
            continue
    raise AssertionError("no flipped bit is an internal error")
