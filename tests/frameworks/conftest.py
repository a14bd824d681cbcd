"""The frameworks' tests write logs as the collector's do."""

from tests.collector.conftest import no_fsync

__all__ = ["no_fsync"]
