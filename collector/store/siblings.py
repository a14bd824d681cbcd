"""More connections to one log, for threads that ask at the same time: they share a database, its memory and threads.

The views read variables, and a variable is its connection's own: `cursor()` alone gives a connection without them.
"""

import threading

import duckdb


class Siblings:
    """Connections with the views of one that `collector.connect` gave, which is asked nothing else from now on."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._names = [name for (name,) in connection.execute("SELECT name FROM duckdb_variables()").fetchall()]
        values = ", ".join(f"getvariable('{name}') AS {name}" for name in self._names)
        connection.execute(f"CREATE TABLE log.variables AS SELECT {values}")

    def one_more(self) -> duckdb.DuckDBPyConnection:
        """Another connection; may be called from any thread."""
        with self._lock:
            connection = self._connection.cursor()
        for name in self._names:
            connection.execute(f"SET VARIABLE {name} = (SELECT {name} FROM log.variables)")
        return connection
