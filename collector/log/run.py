"""A run on the disk: its folder, run.json and the heartbeat."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Any

from collector.log import atomic
from collector.log.config import plain_config, plain_text
from collector.log.schema import FORMAT, LOG_TABLES
from collector.log.visible import all_visible

SILENT = timedelta(seconds=60)
"""Without a heartbeat for so long, a run that did not end is taken for dead ('stalled')."""

_MOST_BYTES = {"run.json": 2**26, "heartbeat": 2**16}
"""How large a file may be that is read: far above any that a run writes."""

_YEARS = range(1970, 2262)
"""What a clock may say; what lies outside of them, not every reader can hold."""

STATUSES = ("running", "finished", "failed", "interrupted")


@dataclass(frozen=True)
class Layer:
    """A row of the layer table: one parameter tensor.

    position: its place in depth order, from 0. parameters: how many elements it has. group: its parameter group.
    """

    layer: str
    position: int
    shape: tuple[int, ...]
    parameters: int
    group: int


class Run:
    """The run.json of a run that is being written; `save` brings it to the disk."""

    def __init__(self, folder: Path, contents: dict[str, Any]) -> None:
        self.folder = folder
        self.contents = contents
        self._lost_before = contents.get("lost_rows", 0)

    @classmethod
    def create(
        cls, folder: Path, config: Mapping | None, environment: Mapping[str, Any], *, numbered: bool = False
    ) -> "Run":
        """Make the folder of a new run, and leave none behind if that fails.

        numbered: where there is a run of that name, the new one gets the next number behind it (`name-2`).

        Raises FileExistsError if there is a run of that name.
        """
        folder = _claim_next(folder) if numbered else _claim(folder)
        try:
            return cls._begin(folder, config, environment)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def _begin(cls, folder: Path, config: Mapping | None, environment: Mapping[str, Any]) -> "Run":
        run = cls(
            folder,
            {
                "format": FORMAT,
                "run": folder.name,
                "config": dict(config or {}),
                "environment": plain_config(environment),
                "layers": [],
                "attempts": [],
                "status": "running",
                "started": _now(),
                "finished": None,
                "failure": None,
            },
        )
        run._begin_attempt()
        return run

    @classmethod
    def resume(cls, folder: Path, config: Mapping | None, environment: Mapping[str, Any]) -> "Run":
        """Go on with a run that is there. Raises ValueError if its run.json cannot be read, or is another run's."""
        try:
            run = cls(folder, read_run(folder))
        except ValueError as error:
            raise ValueError(f"{folder / 'run.json'}: {error}; mend it, or begin a run of another name") from error
        called = run.contents.get("run")
        if called != folder.name:  # rows of two names would be left out of the log, all of them
            raise ValueError(
                f"{folder} holds the run {called!r}: call the folder so again to go on, or begin a run of another name"
            )
        run.contents |= {"environment": plain_config(environment), "status": "running"}
        run.contents |= {"finished": None, "failure": None}
        if config is not None:
            run.contents["config"] = dict(config)
        for table in LOG_TABLES:
            if (folder / table.folder).is_dir():
                atomic.clear_leftovers(folder / table.folder)
        run._begin_attempt()
        return run

    def _begin_attempt(self) -> None:
        for table in LOG_TABLES:
            (self.folder / table.folder).mkdir(exist_ok=True)
        self.contents["attempts"].append({"started": _now(), "first_step": None})
        self.save()

    def save(self) -> None:
        """Rewrite run.json in one motion."""
        # A line for each key; json's own indent would take 20 ms, and the training loop's turn, for 62 layers.
        lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in self.contents.items())
        atomic.write_text(self.folder / "run.json", "{\n" + ",\n".join(lines) + "\n}\n")

    @property
    def layers(self) -> list[str]:
        """The names of all layers that the run ever had, in depth order."""
        return [layer["layer"] for layer in sorted(self.contents["layers"], key=lambda layer: layer["position"])]

    @property
    def attempt(self) -> int:
        """The number of this attempt; the first is 1."""
        return len(self.contents["attempts"])

    def set_layers(self, layers: Sequence[Layer]) -> None:
        """Take over the layer table; layers that are no more stay at its end, since their rows are still there."""
        now = [asdict(layer) for layer in layers]
        names = {layer["layer"] for layer in now}
        gone = [layer for layer in self.contents["layers"] if layer["layer"] not in names]
        for position, layer in enumerate(gone, start=len(now)):
            layer["position"] = position
        self.contents["layers"] = now + gone

    def begin_attempt_at(self, step: int) -> None:
        """Note the first step of this attempt, or of a further one if this one has its first step already."""
        if self.contents["attempts"][-1]["first_step"] is not None:
            self.contents["attempts"].append({"started": _now(), "first_step": None})
        self.contents["attempts"][-1]["first_step"] = step

    def lose(self, rows: int) -> bool:
        """Note that this attempt has lost so many rows; whether that is news."""
        lost = self._lost_before + rows
        news = lost != self.contents.get("lost_rows", 0)
        if news:
            self.contents["lost_rows"] = lost
        return news

    def end(self, status: str, failure: str | None) -> None:
        """Note how the run ended."""
        self.contents |= {"status": status, "finished": _now(), "failure": failure and plain_text(failure)}

    def beat(self, step: int) -> None:
        """Rewrite the heartbeat: the run was alive just now, and its last step was `step`."""
        atomic.write_text(self.folder / "heartbeat", json.dumps({"time": _now(), "step": step}))


def read_run(folder: Path) -> dict[str, Any]:
    """The contents of a run.json. Raises ValueError, which says what is wrong with it, if it cannot be used."""
    try:
        contents = json.loads(_read_small(folder / "run.json"), parse_constant=str, parse_float=_finite)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    except _NoSmallFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    try:
        _check(contents)
    except (ValueError, TypeError) as error:
        raise ValueError(f"it is not a run.json of format {FORMAT}: {error}") from error
    return contents


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """The heartbeat, {"time": ISO 8601, "step": int}; None if there is none that can be read."""
    try:
        beat = json.loads(_read_small(folder / "heartbeat"))
        _check_time(beat["time"])
        if not 0 <= int(beat["step"]) < 2**63:
            return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return beat


class _NoSmallFileError(ValueError):
    """It is no file, or larger than any that a run writes."""


def _read_small(path: Path) -> str:
    """The text of a small file. Raises _NoSmallFileError, also for a pipe, which is not waited for."""
    # The one that is opened is the one that is looked at, whatever takes its place meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise _NoSmallFileError("it is no file")
        if status.st_size > _MOST_BYTES[path.name]:
            raise _NoSmallFileError(f"it has {status.st_size:,} bytes, which no run writes")
        return file.read()


def _finite(number: str) -> float | str:
    """A number of JSON; one that no float holds (1e400) as the text that it is."""
    value = float(number)
    return value if math.isfinite(value) else number


def _check_time(text: str) -> None:
    """Raise ValueError for a time without a zone, or that no clock says."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    if time.year not in _YEARS:
        raise ValueError(f"the time {text!r} is not between {_YEARS[0]} and {_YEARS[-1]}")


def name_of_now(*, unique: bool = False) -> str:
    """What a run is called that was given no name: the time in UTC.

    unique: with six random digits behind it, for where no folder can be claimed (an object store).
    """
    now = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
    return f"{now}-{secrets.token_hex(3)}" if unique else now


def check_name(name: str) -> None:
    """Raise ValueError, saying why, for a run name that cannot be a folder of its own."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: a run needs a name of at least one character")
    if name.startswith(".") or ".." in name or any(sign in name for sign in "/\\\0"):
        raise ValueError(
            f"name={name!r}: a run's name is a folder's: no '/', '\\', '..' or NUL, and no '.' at its start"
        )
    if not all_visible(name):
        raise ValueError(f"name={name!a} has control characters, which a terminal obeys; take another name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"name={name!r} is not valid Unicode; take another name") from error
    if size > 200:
        raise ValueError(f"name={name[:20]!r}… takes {size} bytes, and 200 are the most; take a shorter one")


def _claim(folder: Path) -> Path:
    """Make `folder`, which of several processes one alone can. Raises FileExistsError in the others."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        if not folder.parent.is_dir():
            raise NotADirectoryError("a link in this path leads nowhere") from error
        raise FileExistsError(
            f"run {folder.name!r} is there already in {folder.parent}; take another name, or resume=True to go on"
        ) from error
    return folder


def _claim_next(folder: Path) -> Path:
    """Make the first of `name`, `name-2`, `name-3` … that is not there: jobs that begin together get one each."""
    number = 1
    while True:
        try:
            return _claim(folder if number == 1 else folder.with_name(f"{folder.name}-{number}"))
        except FileExistsError:
            number += 1


def _check(contents: Any) -> None:
    """Raise ValueError or TypeError, saying what it is, for what a reader of the log would stumble over."""
    if not isinstance(contents, dict):
        raise TypeError("it is no JSON object")
    if contents.get("format") != FORMAT:
        raise ValueError(f"its format is {contents.get('format')!r}")
    text = str | None
    kinds: dict[str, Any] = {"config": dict, "layers": list, "attempts": list}
    kinds |= {"started": text, "finished": text, "failure": text}
    for key, kind in kinds.items():
        if key not in contents:
            raise ValueError(f"it has no {key!r}")
        if not isinstance(contents[key], kind):
            raise TypeError(f"{key!r} is {contents[key]!r}")
    if contents.get("status") not in STATUSES:
        raise ValueError(f"its status is {contents.get('status')!r}")
    for time in (contents["started"], contents["finished"]):
        if time is not None:
            _check_time(time)
    if not isinstance(contents.get("lost_rows", 0), int):
        raise TypeError(f"'lost_rows' is {contents['lost_rows']!r}")
    for layer in contents["layers"]:
        try:
            whole = (*layer["shape"], layer["position"], layer["parameters"], layer["group"])
            good = isinstance(layer["layer"], str) and all(isinstance(n, int) and 0 <= n < 2**63 for n in whole)
        except (KeyError, TypeError):
            good = False
        if not good:
            raise ValueError(f"its layer table has {layer!r}")
    json.dumps(contents, ensure_ascii=False).encode()  # a lone surrogate is valid JSON, but no text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
