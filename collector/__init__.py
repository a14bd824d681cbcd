"""Records the trust ratios of an optimizer to Parquet, and reads them back through DuckDB.

    from collector import Collector, connect

`Collector` needs torch and `connect` needs duckdb; each name is imported when it is first used, so that a training node
needs no duckdb and a laptop that only reads needs no torch.
"""

from typing import TYPE_CHECKING

from collector.system import check_system

if TYPE_CHECKING:
    from collector.recording.collector import Collector
    from collector.store.connect import connect

__all__ = ["Collector", "connect"]


def __getattr__(name: str) -> object:
    if name in __all__:
        check_system()
    if name == "Collector":
        from collector.recording.collector import Collector

        return Collector
    if name == "connect":
        from collector.store.connect import connect

        return connect
    raise AttributeError(f"module 'collector' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
