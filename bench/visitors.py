"""Aim: of 50 visitors at once on the dashboard five ask the slowest question there is, and the pages of the others take
at most twice as long as without these five; the server takes at most 1 GB.

A visitor is a WebSocket client that does what a browser does: it opens a page, has the sidebar drawn anew every two
seconds, and goes on to another page after some seconds. Each has a run of its own chosen, so that no visitor finds
answers that were given to another. A page's time is that of Streamlit's script, from the request to its end, without a
browser. The slowest question is a query on the SQL page that has no end: it is stopped after 30 s, and asked again.

    python bench/visitors.py
"""

import asyncio
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple, Self
from urllib.parse import urlencode

import typer
from browsing import busy, server_of
from runs_page import make_run
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from collector.recording.environment import device_name
from tests.browser.dashboard import serve

RESULTS = Path(__file__).parent / "results" / "visitors.md"
PAGES = ("runs", "layers", "clipping", "bounds", "compare")
VISITORS, SLOW = 45, 5
ENDLESS = """
WITH kept AS MATERIALIZED (FROM range(5_000_000))
SELECT sum(sqrt(a.range * b.range * c.range)) FROM kept AS a, kept AS b, kept AS c
"""
BETWEEN = 20.0
"""Seconds from one page to the next, on average."""

PATIENCE = 60.0
"""Seconds that a visitor waits for a page at most."""


class Visitor:
    """One session of the dashboard."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._query = ""
        self._hashes: dict[str, str] = {}
        self._drawn = asyncio.Event()
        self._tasks = {"": asyncio.create_task(self._listen())}

    @classmethod
    async def arrive(cls, address: str) -> Self:
        socket = await connect(
            address.replace("http", "ws") + "/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            origin=address,  # type: ignore[arg-type]
            max_size=None,
            open_timeout=120,
            ping_timeout=None,
        )
        return cls(socket)

    async def open(self, page: str, **query: str) -> float:
        """Seconds until a page is drawn."""
        start = time.perf_counter()
        self._drawn.clear()
        for fragment in [each for each in self._tasks if each]:
            self._tasks.pop(fragment).cancel()
        self._query = urlencode(query)
        message = BackMsg()
        message.rerun_script.query_string = self._query
        message.rerun_script.page_name = page
        message.rerun_script.page_script_hash = self._hashes.get(page, "")
        await self._socket.send(message.SerializeToString())
        drawn = asyncio.create_task(self._drawn.wait())
        await asyncio.wait({drawn, self._tasks[""]}, return_when=asyncio.FIRST_COMPLETED)
        if not drawn.done():
            self._tasks[""].result()  # raises what ended it
            raise ConnectionError("the server has closed the connection")
        return time.perf_counter() - start

    async def leave(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._socket.close()

    async def _listen(self) -> None:
        async for data in self._socket:
            message = ForwardMsg.FromString(data)  # type: ignore[arg-type]
            kind = message.WhichOneof("type")
            if kind == "navigation":
                self._hashes = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            elif kind == "auto_rerun":
                fragment, interval = message.auto_rerun.fragment_id, message.auto_rerun.interval
                if fragment not in self._tasks:
                    self._tasks[fragment] = asyncio.create_task(self._pulse(fragment, interval))
            elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                self._drawn.set()

    async def _pulse(self, fragment: str, interval: float) -> None:
        """Have a fragment drawn anew, as the browser does."""
        while True:
            await asyncio.sleep(interval)
            message = BackMsg()
            message.rerun_script.query_string = self._query
            message.rerun_script.fragment_id = fragment
            message.rerun_script.is_auto_rerun = True
            await self._socket.send(message.SerializeToString())


async def browse(address: str, number: int, until: float, seconds: list[float]) -> None:
    """Go from page to page, and note how long each took."""
    generator = random.Random(number)
    await asyncio.sleep(generator.uniform(0, BETWEEN))
    visitor = await Visitor.arrive(address)
    with suppress(TimeoutError):
        await asyncio.wait_for(visitor.open("runs", runs=f"run-{number:04}"), PATIENCE)
    page = number
    while time.monotonic() < until:
        await asyncio.sleep(generator.uniform(0.5, 1.5) * BETWEEN)
        page += 1
        start = time.perf_counter()
        with suppress(TimeoutError):  # it counts as so long
            await asyncio.wait_for(visitor.open(PAGES[page % len(PAGES)], runs=f"run-{number:04}"), PATIENCE)
        seconds.append(time.perf_counter() - start)
    await visitor.leave()


async def ask_without_end(address: str, number: int, until: float) -> None:
    """Ask the slowest question again and again."""
    while time.monotonic() < until:
        visitor = await Visitor.arrive(address)
        with suppress(TimeoutError):
            await asyncio.wait_for(visitor.open("sql", sql=f"{ENDLESS} -- {number}", runs=f"run-{number:04}"), 60)
        await asyncio.sleep(min(30, max(0, until - time.monotonic())))
        await visitor.leave()


class Phase(NamedTuple):
    """seconds: how long each page took. cores: how many the server had, on average."""

    seconds: list[float]
    cores: float


async def phase(address: str, visitors: int, slow: int, lasts: float) -> Phase:
    """How long the pages of some visitors took while others asked the slowest question."""
    seconds: list[float] = []
    server = server_of(address)
    begin, before = time.monotonic(), busy(server)
    await asyncio.gather(
        *(browse(address, number, begin + lasts, seconds) for number in range(visitors)),
        *(ask_without_end(address, VISITORS + number, begin + lasts) for number in range(slow)),
    )
    found = Phase(seconds, (busy(server) - before) / (time.monotonic() - begin))
    print(
        f"{visitors} and {slow} visitors: {len(seconds)} pages, {found.cores:.2f} cores, load {os.getloadavg()[0]:.0f}"
    )
    return found


class Memory(threading.Thread):
    """The most memory that the server held: alone, and with the processes that answer the SQL page; in MB."""

    def __init__(self, server: Path) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.alone = self.together = 0.0
        self.start()

    def run(self) -> None:
        while self._server.exists():
            with suppress(OSError, StopIteration):
                alone = proportional(self._server)
                children = {
                    child
                    for task in (self._server / "task").iterdir()
                    for child in (task / "children").read_text().split()
                }
                together = alone + sum(proportional(Path("/proc") / child) for child in children)
                self.alone, self.together = max(self.alone, alone), max(self.together, together)
            time.sleep(1)


def proportional(process: Path) -> float:
    """What is shared counts in parts."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def said(name: str, phases: list[Phase], reference: list[Phase]) -> str:
    """A row: both quantiles, and how many times those of the reference they are."""
    median, late = quantiles(phases)
    ratios = median / quantiles(reference)[0], late / quantiles(reference)[1]
    pages, cores = sum(len(each.seconds) for each in phases), statistics.mean(each.cores for each in phases)
    return f"| {name} | {pages} | {median:.3f} | {late:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} | {cores:.2f} |"


def quantiles(phases: list[Phase]) -> tuple[float, float]:
    """The median and the 95th of a hundred."""
    ordered = sorted(second for each in phases for second in each.seconds)
    return statistics.median(ordered), ordered[int(0.95 * len(ordered))]


def main(
    runs: Annotated[int, typer.Option(help="Runs of the log.")] = 60,
    lasts: Annotated[float, typer.Option(help="Seconds of a phase.")] = 90.0,
    rounds: Annotated[int, typer.Option(help="How often the phases are repeated, in turn.")] = 2,
) -> None:
    """Write a log, visit it, and write the table to bench/results/."""
    home = Path(tempfile.mkdtemp())
    try:
        for number in range(runs):
            make_run(home / "runs", number)
        alone, others, disturbed = [], [], []
        with serve(home / "runs") as address:
            memory = Memory(server_of(address))
            asyncio.run(phase(address, 1, 0, lasts / 2))  # finds a server that has read nothing
            for _ in range(rounds):
                alone.append(asyncio.run(phase(address, 1, 0, lasts)))
                others.append(asyncio.run(phase(address, VISITORS, 0, lasts)))
                disturbed.append(asyncio.run(phase(address, VISITORS, SLOW, lasts)))
    finally:
        shutil.rmtree(home)
    lines = [
        "# Fifty visitors\n",
        (__doc__ or "").rpartition("\n\n")[0].strip() + "\n",
        f"{device_name('cpu')} of {os.cpu_count()} cores; streamlit {version('streamlit')}, "
        f"duckdb {version('duckdb')}, {datetime.now(UTC):%Y-%m-%d}. A log of {runs} runs; a page every {BETWEEN:.0f} s "
        f"on average; load of the machine at the end {os.getloadavg()[0]:.1f}. Visitors and server share the cores.\n",
        "| on the dashboard | pages | median, s | 95 %, s | ratio of medians | ratio of 95 % | server's cores |",
        "|---|---:|---:|---:|---:|---:|---:|",
        said("one visitor", alone, others),
        said(f"{VISITORS} visitors", others, others),
        said(f"{VISITORS} visitors, and {SLOW} who ask the slowest question", disturbed, others),
        "",
        f"The server took at most {memory.alone:.0f} MB, {memory.together:.0f} MB with the processes that answer SQL.",
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
