"""What runs inside the process that answers a stranger's SQL; `sandbox` starts it and is its only caller.

Its standard input brings pickles: `Orders`, the runs, then questions (a number and SQL) and interrupts (a number); it
ends with its input. Its standard output gets a line of JSON (`Ending`) once the log is open, then for each answer an
Arrow IPC stream and such a line.

Nothing but the standard library may be imported before the process is confined: a thread that a library has started by
then stays free.
"""

import json
import os
import pickle
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypedDict

from collector.store import landlock

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from collector.store.runs import RunFiles

ADDRESS_SPACE = 2 * 2**30
"""Bytes. DuckDB's own limit does not hold for what a function makes (repeat, lpad); at 1 GiB it does not start."""

M_ARENA_MAX = -8
"""glibc's name for it, in malloc.h."""

THREADS = 4
BATCH_ROWS = 2**14

SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),  # the linker, in an import
    *("/proc/self/cgroup", "/sys/fs/cgroup"),  # DuckDB, which aborts if it may not see how much memory there is
)
"""What is read of the system."""

TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})
"""DuckDB's own that may be asked, beside the log's macros. Others run SQL out of a string: json_execute_serialized_sql
takes a COPY that overwrites the log, and `query` hides the call from whoever looks for it."""


class Orders(NamedTuple):
    """How this process is to work. readable: files and folders of the log. The rest as for `Sandbox`."""

    readable: Sequence[str]
    max_rows: int
    max_bytes: int
    memory: str


class Ending(TypedDict):
    """How an answer ended. error: why there is none, or ''. gone: a file is there no more, or the database has ended:
    another process may have the answer. cut: where the answer was cut off, or ''."""

    error: str
    gone: bool
    cut: str


class Refused(Exception):
    """A query that is not asked at all."""


def main() -> None:
    """Confine this process, open the log, and answer until the input ends."""
    orders: Orders = pickle.load(sys.stdin.buffer)
    spare_address_space()
    limit_resources()
    landlock.confine([*sys.path, *SYSTEM, *orders.readable])
    runs = pickle.load(sys.stdin.buffer)
    try:
        log = Log(runs, orders)
    except Exception as error:
        write_ending(sys.stdout.buffer, ending_of(error))
        return
    write_ending(sys.stdout.buffer, Ending(error="", gone=False, cut=""))
    questions: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(sys.stdin.buffer, log, questions), daemon=True).start()
    while True:
        log.answer(*questions.get(), sys.stdout.buffer)


def spare_address_space() -> None:
    """Leave the address space to queries: Arrow's own allocator takes 1 GiB of it, glibc's 64 MiB for each thread."""
    import ctypes

    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    with suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def limit_resources() -> None:
    """Bound the memory, and leave no core file after a crash; macOS does not bound the address space."""
    import resource

    names = {"RLIMIT_AS": ADDRESS_SPACE, "RLIMIT_CORE": 0}
    if sys.platform == "darwin":
        del names["RLIMIT_AS"]
    for name, most in names.items():
        if (limit := getattr(resource, name, None)) is not None:
            allowed = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (most, most) if allowed == resource.RLIM_INFINITY else (min(most, allowed),) * 2)


def listen(source: BinaryIO, log: "Log", questions: "queue.SimpleQueue[tuple[int, str]]") -> None:
    """Take in questions, and pass interrupts on while one is answered. The process ends with its input."""
    try:
        while True:
            number, sql = pickle.load(source)
            if sql is None:
                log.interrupt(number)
            else:
                questions.put((number, sql))
    finally:
        os._exit(0)


class Log:
    """The log's views in a connection that can do nothing but read them."""

    def __init__(self, runs: Sequence["RunFiles"], orders: Orders) -> None:
        import duckdb

        from collector.store.views import STATEMENTS, create_views, files_read, run_statement

        self._orders = orders
        self._answering: int | None = None
        self._changing = threading.Lock()
        self._functions = TABLE_FUNCTIONS | set(STATEMENTS)
        threads = min(THREADS, os.cpu_count() or 1)
        # Not 'by SET': as many threads as there are cores would take up the address space before.
        self._connection = duckdb.connect(config={"threads": threads})
        self._connection.execute("SET VARIABLE allowed_paths = ?", [files_read(runs)])
        self._connection.execute("SET VARIABLE memory = ?", [orders.memory])
        run_statement(self._connection, "untrusted")
        create_views(self._connection, runs)
        self._connection.execute("SET lock_configuration = true")

    def interrupt(self, number: int) -> None:
        """Interrupt question `number`, unless it is answered already."""
        with self._changing:  # so that it does not come to the next one
            if self._answering == number:
                self._connection.interrupt()

    def answer(self, number: int, sql: str, out: BinaryIO) -> None:
        """Write the answer to `sql`."""
        self._answering = number
        try:
            relation = self._ask(sql)
            reader = relation.to_arrow_reader(BATCH_ROWS)
        except Exception as error:
            answer_with_nothing(out, ending_of(error))
        else:
            write(reader, json_columns_marked(reader.schema, relation.types), self._orders, out)
        finally:
            with self._changing:
                self._answering = None

    def _ask(self, sql: str) -> "duckdb.DuckDBPyRelation":
        called = table_functions(self._connection, sql) - self._functions
        if called:
            raise Refused(f"{min(called)}() cannot be asked here: ask the log's views, which SHOW TABLES lists")
        # As a parameter the text is never executed itself: whatever writes, sets or attaches is no SELECT there, also
        # in a CTE, and a second statement is an error.
        return self._connection.sql("FROM query(?)", params=[sql])


def table_functions(connection: "duckdb.DuckDBPyConnection", sql: str) -> set[str]:
    """The table functions that a query calls, by DuckDB's own parser. Raises Refused for what it cannot take apart."""
    found: set[str] = set()

    def note(node: dict[str, Any]) -> dict[str, Any]:
        if node.get("type") == "TABLE_FUNCTION":
            found.add(node["function"]["function_name"])
        return node

    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(text, object_hook=note)
    if tree["error"] and tree["error_type"] == "parser":
        raise Refused(f"Parser Error: {tree['error_message']}")
    if tree["error"]:
        raise Refused("only a query that reads is answered: SELECT, FROM, WITH, VALUES, DESCRIBE, SHOW or SUMMARIZE")
    return found


def json_columns_marked(schema: "pa.Schema", types: Sequence[Any]) -> "pa.Schema":
    """DuckDB says that JSON is a string, unless it is to say of HUGEINT that it is 16 bytes."""
    mark = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}
    for place, (field, kind) in enumerate(zip(schema, types, strict=True)):
        if str(kind) == "JSON":
            schema = schema.set(place, field.with_metadata(mark))
    return schema


def write(reader: "pa.RecordBatchReader", schema: "pa.Schema", orders: Orders, out: BinaryIO) -> None:
    """Write an answer as it comes, up to as many rows and bytes as are wanted."""
    import pyarrow as pa

    ending = Ending(error="", gone=False, cut="")
    with pa.ipc.new_stream(out, schema) as stream:
        try:
            for batch in up_to_limits(reader, orders, ending):
                stream.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        except BrokenPipeError:  # nobody is there to read it
            os._exit(0)
        except Exception as error:
            ending = ending_of(error)
    write_ending(out, ending)
    with suppress(Exception):
        reader.close()


def up_to_limits(reader: "pa.RecordBatchReader", orders: Orders, ending: Ending) -> Iterator["pa.RecordBatch"]:
    """The batches of an answer up to its limits; `ending` says whether there were more."""
    rows, size = orders.max_rows, orders.max_bytes
    for batch in reader:
        if batch.num_rows > rows:
            ending["cut"] = f"after {orders.max_rows:,} rows"
            batch = batch.slice(0, rows)
        while batch.nbytes > size and batch.num_rows:
            ending["cut"] = f"after {orders.max_bytes / 1e6:,.0f} MB"
            batch = batch.slice(0, batch.num_rows // 2)
        yield batch
        if ending["cut"]:
            return
        rows, size = rows - batch.num_rows, size - batch.nbytes


def answer_with_nothing(out: BinaryIO, ending: Ending) -> None:
    """Write an answer without columns."""
    import pyarrow as pa

    with pa.ipc.new_stream(out, pa.schema([])):
        pass
    write_ending(out, ending)


def write_ending(out: BinaryIO, ending: Ending) -> None:
    """Say how it went, in a line."""
    out.write(json.dumps(ending).encode() + b"\n")
    out.flush()


def ending_of(error: Exception) -> Ending:
    """What went wrong, as the first line of what DuckDB, or Arrow for DuckDB, says, and the names that it suggests."""
    said, *rest = str(error).strip().split("\n")
    said = " ".join([said, *(line for line in rest if line.startswith(("Did you mean", "Candidate")))])
    if isinstance(error, MemoryError) or said.startswith("Out of Memory"):
        said = f"{said or 'Out of Memory Error'}; ask for less at once"
    elif isinstance(error, RecursionError):
        said = "it is nested too deeply; take it apart"
    # FATAL: an internal error in an earlier query has ended the database, and with it this process's use.
    gone = said.startswith(("IO Error", "FATAL Error"))
    return Ending(error=said or type(error).__name__, gone=gone, cut="")
