"""What an earlier process left of a run, before a later one goes on with it."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from collector.log.atomic import clear_leftovers
from collector.log.run import read_run
from collector.log.schema import LOG_TABLES
from lambc.experiments.settings import Settings

LABEL = "experiment"
"""What a run was trained for is no setting: experiments share runs."""


def status(folder: Path, run: Settings, config: Mapping[str, Any]) -> str | None:
    """The status in the run.json of a run with the settings `config` of `run`; None if it has yet to begin.

    A setting that the run.json does not know was added to lambc later, and had its default until then.

    Raises FileExistsError for a run of other settings, and ValueError for one whose run.json is damaged.
    """
    if not folder.is_dir():
        return None
    if not (folder / "run.json").exists():
        _remove_stillborn(folder)
        return None
    try:
        contents = read_run(folder)
    except ValueError as error:
        raise ValueError(f"{folder / 'run.json'}: {error}; mend it, or begin a run of another name") from error
    there = _as_in_json({field.name: field.default for field in fields(run)}) | contents["config"]
    for setting, value in _as_in_json(config).items():
        if setting != LABEL and there.get(setting) != value:
            raise FileExistsError(
                f"run {folder.name!r} in {folder.parent} has {setting}={there.get(setting)!r} and not {value!r}: "
                "go on with its own settings, or give another name"
            )
    return contents["status"]


def _remove_stillborn(folder: Path) -> None:
    """Remove a folder that was made for a run, whose process was killed before there was a run in it."""
    clear_leftovers(folder)
    try:
        for table in LOG_TABLES:
            if (folder / table.folder).exists():
                (folder / table.folder).rmdir()
        folder.rmdir()
    except OSError as error:
        raise FileExistsError(
            f"{folder} has no run.json, but holds files: move them away, or begin a run of another name"
        ) from error


def _as_in_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json gives back: lists for tuples, and `'inf'` for a number that JSON does not have."""
    return json.loads(json.dumps(config), parse_constant=lambda name: str(float(name)))
