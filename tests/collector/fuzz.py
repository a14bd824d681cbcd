"""Claim: no damage to a file of a log ends, hangs or confuses a reader, and `check` names the file that was damaged.

Each trial flips bits of one file of a small log, cuts it or swaps two stretches of it, in a way that its number and the
seed decide. Then it asks: `lambc runs`; all of the other run; `check`; all that there is; in one trial of so many the
dashboard's first page; and in fewer the commands `runs` and `check` as processes of their own. A trial is bad if a
process dies or hangs, if there is a traceback, if the other run's answer differs, or if any answer differs and `check`
does not name the file.

    python -m tests.collector.fuzz --trials 20000 --save         # or: make fuzz; Ctrl-C ends it before
    python -m tests.collector.fuzz --first 4711 --trials 1       # one trial again

Trials are made by a few long-lived processes, each of which is replaced when it dies.
"""

import contextlib
import faulthandler
import io
import itertools
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

SEED = 16
DAMAGES = ("one bit", "several bits", "cut", "swap")
PAGE_EACH, COMMANDS_EACH = 4, 100
"""In one trial of so many the page is drawn and the commands are run, which take three and fifteen times as long as all
the rest."""

_SILENT_SECONDS = 600.0
_TRIALS_OF_A_PROCESS = 500
_RESULT = Path(__file__).parents[2] / "bench" / "results" / "fuzz.md"
_ANSWERS = (
    "SELECT * EXCLUDE (version) FROM runs ORDER BY ALL",
    "FROM layers ORDER BY ALL",
    "FROM attempts ORDER BY ALL",
    "FROM trust_ratios ORDER BY ALL",
    "FROM metrics ORDER BY ALL",
    "FROM clip_hits ORDER BY ALL",
    "FROM log.cells('a', 1::BIGINT << 62) ORDER BY ALL",
    "FROM log.cells('b', 1::BIGINT << 62) ORDER BY ALL",
)
_OF_A_LISTING = {
    "log_runs": "TABLE log.runs",
    "layers": "TABLE layers",
    "attempts": "TABLE attempts",
    "log_heartbeats": "VIEW log.heartbeats",
    "log_no_heartbeats": "VIEW log.heartbeats",
}
"""What holds rows of its own in a connection, and no names of files."""
_OF_ONE_RUN = ("trust_ratios", "metrics", "layers")


@dataclass(frozen=True)
class Outcome:
    """What a trial showed. differs: whether any answer was another than that of the undamaged log."""

    number: int
    file: str
    damage: str
    differs: bool = False
    faults: tuple[str, ...] = ()


def build(root: Path) -> None:
    """Two runs of two parts each, one of which has a rollup."""
    import torch

    from collector import Collector
    from collector.log.maintain import compact_run
    from tests.collector.emitter import Emitter

    chance = torch.Generator().manual_seed(SEED)
    lower, upper, lr = torch.zeros(3), torch.ones(3), torch.full((3,), 0.1)
    clock = itertools.count(1_700_000_000 * 10**9, 10**9)
    for name, first in itertools.product("ab", (1, 61)):
        with patch("time.time_ns", lambda: next(clock)):  # a trial is the same each time
            emitter = Emitter(["first.weight", "first.bias", "last.weight"])
            config = {"lr": 0.1, "model": "small", "clip": [0.5, 1.0]}
            with Collector(emitter, root, name=name, flush_seconds=3600, config=config, resume=True) as collector:
                for step in range(first, first + 60):
                    weight, update = torch.rand((2, 3), generator=chance) + 0.1
                    ratio = weight / update
                    emitter.say(step, torch.stack([weight, update, ratio, ratio.clamp(lower, upper), lower, upper, lr]))
                    collector.log({"train/loss": 1 / step, "test/accuracy": 0.5 + step / 1000})
        if first == 1:
            compact_run(root / name)


def files_of(root: Path) -> list[Path]:
    """All files of the log that have a byte, in their order."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size]


def damaged(whole: bytes, chance: random.Random) -> tuple[str, bytes]:
    """The kind of a damage, and a file's bytes after it; every second flip is in the last third, where footers are."""
    kind = chance.choice(DAMAGES)
    if kind == "cut":
        return kind, whole[: chance.randrange(len(whole))]
    changed = bytearray(whole)
    if kind == "swap":
        place, other = sorted(chance.sample(range(len(whole)), 2))
        width = min(chance.choice((1, 4, 16, 64)), other - place, len(whole) - other)
        changed[place : place + width], changed[other : other + width] = (
            whole[other : other + width],
            whole[place : place + width],
        )
        return kind, bytes(changed)
    bits = len(whole) * 8
    for _ in range(1 if kind == "one bit" else chance.randint(2, 8)):
        bit = chance.randrange(bits * 2 // 3 if chance.random() < 0.5 else 0, bits)
        changed[bit // 8] ^= 1 << bit % 8
    return kind, bytes(changed)


class Trials:
    """A log of its own, and what it answers undamaged."""

    def __init__(self, root: Path) -> None:
        from collector import connect

        self._root = root
        build(root)
        self._files = files_of(root)
        self._connection = connect(root)
        self._whole = _answers(self._listed())
        self._of = {run: _of_run(self._connection, run) for run in "ab"}
        assert not any(isinstance(answer, str) for answer in self._whole)
        assert [self._checked(root / run) for run in "ab"] == [[], []]

    def chosen(self, number: int) -> tuple[Path, str, bytes, bytes]:
        """The file of a trial, the kind of its damage, and its bytes before and after."""
        chance = random.Random(f"{SEED} {number}")
        path = chance.choice(self._files)
        whole = path.read_bytes()
        kind, changed = damaged(whole, chance)
        return path, kind, whole, changed

    def make(self, number: int, *, page: bool, commands: bool = False) -> Outcome:
        """One trial, after which the log is as it was."""
        from collector import connect
        from collector.store import footers, runs

        path, kind, whole, changed = self.chosen(number)
        faults: list[str] = []
        differs = False
        as_before = os.stat(path)
        _put(path, changed, as_before)
        if path.name == "index.json":  # which a process asks but once
            footers._known.clear()
            runs._ended.clear()
        try:
            differs = self._ask(path, faults)
            if page:
                self._open_page(faults)
            if commands:
                self._run_commands(path, faults)
        except BaseException:
            faults.append(f"traceback: {traceback.format_exc()}")
        finally:
            _put(path, whole, as_before)
        if faults:  # an internal error may have ended the database
            self._connection = connect(self._root)
        return Outcome(number, str(path.relative_to(self._root)), kind, differs, tuple(faults))

    def _listed(self) -> Any:
        """The connection, whose views read the files that are good now.

        The views themselves stay: to make them takes five times as long as all the rest of a trial.
        """
        from collector.store import views
        from collector.store.runs import read_runs

        def run_new(connection: Any, name: str) -> None:
            if name in _OF_A_LISTING:
                connection.execute(f"DROP {_OF_A_LISTING[name]}")
                make(connection, name)

        make = views.run_statement
        self._connection.execute("DROP TABLE IF EXISTS log.variables")  # of the page before
        with patch.object(views, "run_statement", run_new):
            views.create_views(self._connection, read_runs([self._root]))
        # Sums of floats that are the same each time, and no page of a file that was.
        for setting in ("threads = 1", "parquet_metadata_cache = false", "enable_external_file_cache = false"):
            self._connection.execute(f"SET {setting}")
        return self._connection

    def _ask(self, path: Path, faults: list[str]) -> bool:
        run = path.relative_to(self._root).parts[0]
        other = "b" if run == "a" else "a"
        connection = self._listed()
        code, said = _list_runs(self._root, connection)
        if "Traceback" in said or code not in (0, 2) or (code and "lambc check" not in said):
            faults.append(f"lambc runs ended with {code}: {said[-2000:]}")
        if not _same(_of_run(connection, other), self._of[other]):
            faults.append(f"the answer about run {other} differs")
        others = [
            what
            for what, answer, whole in zip(_ANSWERS, _answers(connection), self._whole, strict=True)
            if not _same([answer], [whole])
        ]
        named = self._checked(self._root / run)
        if others and str(path) not in named:
            faults.append(f"{', '.join(others)}: answered otherwise, and check names {named or 'nothing'}")
        return bool(others)

    @staticmethod
    def _checked(folder: Path) -> list[str]:
        """What `check` names in a run; in this process, whose death is noticed as that of its own would be."""
        from collector.store.check import _inspect

        return [file for file, _ in _inspect(folder, [], lambda path: None)]

    def _open_page(self, faults: list[str]) -> None:
        import streamlit as st
        from streamlit.components.v2 import manifest_scanner
        from streamlit.testing.v1 import AppTest

        import app.log

        os.environ["LAMBC_RUNS"] = str(self._root)
        main = sys.modules["__main__"]
        script = Path(app.__file__).parent / "shell" / "dashboard.py"
        st.cache_data.clear()  # what it knows of the log is of the trial before
        st.cache_resource.clear()
        with (
            patch.object(app.log, "connect", lambda folders: self._listed()),
            patch.object(manifest_scanner, "scan_component_manifests", list),  # reads what every package is
            contextlib.redirect_stderr(io.StringIO()),  # a page that cannot be drawn tells the terminal more
        ):
            page = AppTest(str(script), default_timeout=_SILENT_SECONDS).run()
        sys.modules["__main__"] = main
        faults += [f"traceback on the page: {each.value} {each.stack_trace}" for each in page.exception]
        unsaid = [each.value for each in page.warning if "could not be drawn" in each.value]
        faults += [f"the page says: {said}" for said in unsaid if "lambc check" not in said]

    def _run_commands(self, path: Path, faults: list[str]) -> None:
        import subprocess

        for name in ("runs", "check"):
            command = [sys.executable, "-m", "lambc", name, "--runs", str(self._root)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SILENT_SECONDS)
            said = done.stdout + done.stderr
            if "Traceback" in said or done.returncode not in (0, 1, 2):
                faults.append(f"lambc {name} ended with {done.returncode}: {said[-2000:]}")


def _put(path: Path, contents: bytes, status: os.stat_result) -> None:
    """Give a file other bytes and the time that it had, by which alone no reader may know it."""
    path.write_bytes(contents)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _answers(connection: Any) -> list[Any]:
    """All that is asked of the log: a table each, or the error that there is instead."""
    import duckdb

    found: list[Any] = []
    for statement in _ANSWERS:
        try:
            found.append(connection.sql(statement).to_arrow_table())
        except (duckdb.Error, UnicodeDecodeError) as error:
            found.append(str(error))
    return found


def _of_run(connection: Any, run: str) -> list[Any]:
    """All of one run; what is raised is a fault."""
    return [connection.sql(f"FROM {view} WHERE run = '{run}' ORDER BY ALL").to_arrow_table() for view in _OF_ONE_RUN]


def _same(answers: list[Any], others: list[Any]) -> bool:
    return all(not isinstance(one, str) and one.equals(other) for one, other in zip(answers, others, strict=True))


class _Borrowed:
    """The connection of all trials, for `lambc runs`, which closes its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        """Stay open."""


def _list_runs(root: Path, connection: Any) -> tuple[int, str]:
    """The exit code of `lambc runs`, and all that it says."""
    from typer.testing import CliRunner

    from lambc.cli import app
    from lambc.commands import asking

    borrowed = _Borrowed(connection)
    own, asking.connect = asking.connect, lambda runs, **verify: own(runs, **verify) if verify else borrowed
    try:
        done = CliRunner().invoke(app, ["runs", "--runs", str(root)])
    finally:
        asking.connect = own
    if done.exception and not isinstance(done.exception, SystemExit):
        return done.exit_code, "".join(traceback.format_exception(done.exception))
    return done.exit_code, done.output


def work(pipe: Connection, folder: str, numbers: range, page_each: int, commands_each: int) -> None:
    """Make trials in a process of their own, and send the outcome of each."""
    faulthandler.enable()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.fsync = lambda descriptor: None  # no trial cuts the power
    with tempfile.TemporaryDirectory(dir=folder) as root:
        trials = Trials(Path(root))
        for number in numbers:
            page, commands = number % page_each == 0, number % commands_each == 0
            pipe.send(trials.make(number, page=page, commands=commands))
    pipe.close()


def outcomes(numbers: range, processes: int, page_each: int, commands_each: int) -> Iterator[Outcome]:
    """The outcomes of all trials, in no order."""
    context = multiprocessing.get_context("spawn")
    chunks = [numbers[first : first + _TRIALS_OF_A_PROCESS] for first in range(0, len(numbers), _TRIALS_OF_A_PROCESS)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        running: dict[Any, tuple[Any, range, float]] = {}
        while chunks or running:
            while chunks and len(running) < processes:
                ours, theirs = context.Pipe(duplex=False)
                left = chunks.pop(0)
                process = context.Process(
                    target=work, args=(theirs, folder, left, page_each, commands_each), daemon=True
                )
                process.start()
                theirs.close()
                running[ours] = process, left, time.monotonic()
            for pipe in wait(list(running), timeout=1.0) or ():
                process, left, _ = running.pop(pipe)
                try:
                    outcome = pipe.recv()
                except EOFError:
                    process.join()
                    if left:
                        yield Outcome(left[0], "", "", True, (f"the process ended with {process.exitcode}",))
                        chunks.insert(0, left[1:])
                    continue
                yield outcome
                running[pipe] = process, left[1:], time.monotonic()
            for pipe, (process, left, since) in list(running.items()):
                if time.monotonic() - since > _SILENT_SECONDS:
                    process.kill()
                    process.join()
                    del running[pipe]
                    yield Outcome(left[0], "", "", True, ("it hangs",))
                    chunks.insert(0, left[1:])


def main(
    trials: Annotated[int, typer.Option(help="How many.")] = 20_000,
    first: Annotated[int, typer.Option(help="The number of the first, which decides what it is.")] = 0,
    processes: Annotated[int, typer.Option(help="How many at once.")] = os.cpu_count() or 1,
    page_each: Annotated[int, typer.Option(min=1, help="In one of so many the page is drawn.")] = PAGE_EACH,
    commands_each: Annotated[int, typer.Option(min=1, help="In one of so many the commands are run.")] = COMMANDS_EACH,
    save: Annotated[bool, typer.Option(help="Write bench/results/fuzz.md.")] = False,
) -> None:
    """Make trials, say what was bad, and end with code 1 if anything was."""
    began = time.monotonic()
    found: list[Outcome] = []
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: that is all
        for outcome in outcomes(range(first, first + trials), processes, page_each, commands_each):
            found.append(outcome)
            for fault in outcome.faults:
                print(f"trial {outcome.number} ({outcome.damage} of {outcome.file}): {fault}", flush=True)
            if len(found) % 500 == 0:
                print(f"{len(found)} trials, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    page = _page(found, first, page_each, commands_each)
    print(page)
    if save:
        _RESULT.write_text(page)
    if any(outcome.faults for outcome in found):
        raise typer.Exit(1)


def _page(found: list[Outcome], first: int, page_each: int, commands_each: int) -> str:
    kinds: Counter[tuple[str, str]] = Counter()
    for outcome in found:
        parts = Path(outcome.file).parts
        kind = "?" if not parts else parts[1] if len(parts) > 2 else parts[-1]
        kinds[kind, "trials"] += 1
        kinds[kind, "differs"] += outcome.differs
        kinds[kind, "bad"] += bool(outcome.faults)
    rows = [
        f"| {kind} | {kinds[kind, 'trials']:,} | {kinds[kind, 'differs']:,} | {kinds[kind, 'bad']:,} |"
        for kind in sorted({kind for kind, _ in kinds})
    ]
    pages, commands = (sum(outcome.number % each == 0 for outcome in found) for each in (page_each, commands_each))
    damages = Counter(outcome.damage for outcome in found)
    return "\n".join(
        [
            "# Damaged logs",
            "",
            "Claim: no damage to a file of a log ends, hangs or confuses a reader, and `check` names the damaged file.",
            "",
            f"{len(found):,} trials from {first} on, seed {SEED}, {datetime.now(UTC):%Y-%m-%d}; Python "
            f"{platform.python_version()}; " + ", ".join(f"{damages[kind]:,} × {kind}" for kind in DAMAGES) + ".",
            f"Each was followed by `runs`, all of the other run, `check` and all answers; {pages:,} of them by the",
            f"dashboard's first page too, and {commands:,} by `runs` and `check` as processes of their own.",
            "",
            "`make fuzz`",
            "",
            "| file | trials | in which an answer differed | bad |",
            "|---|---:|---:|---:|",
            *rows,
            f"| all | {len(found):,} | {sum(each.differs for each in found):,} | "
            f"{sum(bool(each.faults) for each in found):,} |",
            "",
            "Bad is a process that died or hung, a traceback, another answer about the run that was not damaged, or an",
            "answer that differed while `check` did not name the file.",
            "",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
