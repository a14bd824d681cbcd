"""A run on the disk: its folder, run.json and the heartbeat."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from collector.log import atomic
from collector.log.config import plain_config, plain_text
from collector.log.run_folder import claim, claim_next
from collector.log.schema import FORMAT, LOG_TABLES
from collector.log.small_files import CHECKSUM, UnusableFileError, read_small, sealed, what_is_wrong

SILENT = timedelta(seconds=60)
"""Without a heartbeat for so long, a run that did not end is taken for dead ('stalled')."""

_MOST_BYTES = {"run.json": 2**26, "heartbeat": 2**16}
"""How large a file may be that is read: far above any that a run writes."""

_YEARS = range(1970, 2262)
"""What a clock may say; what lies outside of them, not every reader can hold."""

_KEYS = {
    *("format", "run", "config", "environment", "layers", "attempts", "status", "started", "finished", "failure"),
    *("every", "recorded", "moments", "own_axis", "lost_rows", "time", "step"),
}
"""All keys but the checksum's. With another key and no checksum, a flipped bit may have changed that key."""

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
        folder = claim_next(folder) if numbered else claim(folder)
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
        atomic.clear_leftovers(folder)
        run._begin_attempt()
        return run

    def _begin_attempt(self) -> None:
        for table in LOG_TABLES:
            (self.folder / table.folder).mkdir(exist_ok=True)
        self.contents["attempts"].append({"started": _now(), "first_step": None})
        self.save()

    def save(self) -> None:
        """Rewrite run.json atomically."""
        atomic.write_text(self.folder / "run.json", sealed(self.contents))

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

    def begin_attempt_at(self, step: int, at: datetime | None = None) -> None:
        """Note the first step of this attempt; if it has one already, of a further one, which began at that time."""
        if self.contents["attempts"][-1]["first_step"] is not None:
            started = at.isoformat(timespec="microseconds") if at else _now()
            self.contents["attempts"].append({"started": started, "first_step": None})
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
        atomic.write_text(self.folder / "heartbeat", sealed({"time": _now(), "step": step}))


def read_run(folder: Path) -> dict[str, Any]:
    """The contents of a run.json. Raises ValueError, which says what is wrong with it, if it cannot be used."""
    try:
        text = _text(folder / "run.json")
        contents = json.loads(text, parse_constant=str, parse_float=_finite)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    except UnusableFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    try:
        _check(contents)
        if "\\ud" in text.lower():  # a lone surrogate is valid JSON, but no text
            json.dumps(contents, ensure_ascii=False).encode()
    except (ValueError, TypeError) as error:
        raise ValueError(f"it is not a run.json of format {FORMAT}: {error}") from error
    return contents


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """The heartbeat, {"time": ISO 8601, "step": int}; None if there is none that can be used."""
    try:
        return _heartbeat(folder)
    except (OSError, ValueError):
        return None


def heartbeat_problem(folder: Path) -> str:
    """What is wrong with a heartbeat that cannot be used, or ''."""
    return what_is_wrong(_heartbeat, folder)


def _heartbeat(folder: Path) -> dict[str, Any]:
    """The heartbeat. Raises ValueError, which says what is wrong with it, if it cannot be used, and OSError."""
    text = _text(folder / "heartbeat")
    try:
        beat = json.loads(text)
        _check_time(beat["time"])
        if not 0 <= int(beat["step"]) < 2**63:
            raise ValueError(f"the step {beat['step']}")
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"it does not say a time and a step ({error})") from error
    return beat


def is_as_written(contents: Mapping[str, Any]) -> bool:
    """Whether the checksum of a run.json or a heartbeat, if it has one, is that of its contents."""
    if CHECKSUM not in contents:
        return contents.keys() <= _KEYS
    return bool(json.loads(sealed(contents))[CHECKSUM] == contents[CHECKSUM])


def _text(path: Path) -> str:
    return read_small(path, _MOST_BYTES[path.name])


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
