"""What comes before a run is written: where an earlier one stands, and whether the disk takes another."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.log.compact import finish_merge
from collector.log.parts import list_parts
from collector.log.remote import RemoteError
from collector.log.run import read_heartbeat, read_run
from collector.log.schema import LOG_TABLES, TRUST_RATIOS
from collector.log.supersede import last_step


def last_step_of(folder: Path) -> int:
    """Returns the last step that a run's optimizer took, as far as the log says; 0 if it has none.

    The metrics do not count: they may have an axis of their own. Where only each nth step is recorded, the heartbeat
    knows better than the rows. Raises OSError for a part that cannot be read.
    """
    last = 0
    for table in LOG_TABLES:
        if (folder / table.folder).is_dir():
            finish_merge(folder / table.folder)
            for part in list_parts(folder / table.folder):
                try:
                    step = last_step(part.path)
                except Exception as error:
                    raise OSError(f"{part.path} is damaged ({error}); move it out of the run to go on") from error
                last = max(last, step) if table is TRUST_RATIOS else last
    beat = read_heartbeat(folder)
    return max(last, int(beat["step"])) if beat and _stride(folder) > 1 else last


def last_seen_of(folder: Path, last: int) -> int:
    """Returns the last step of a run whose rows end at `last`: one that was closed knows of steps that have no rows.

    Of one that was killed the heartbeat may be ahead of rows that were lost.
    """
    beat = read_heartbeat(folder)
    return max(last, int(beat["step"])) if beat and _said(folder).get("status") != "running" else last


def _stride(folder: Path) -> int:
    try:
        return int(_said(folder).get("every", 1))
    except (ValueError, TypeError):
        return 1


def _said(folder: Path) -> dict[str, Any]:
    """What run.json says; nothing where it cannot be used, of which Run.resume says what is wrong with it."""
    try:
        return read_run(folder)
    except ValueError:
        return {}


def moments_before(folder: Path) -> Any:
    """What `StepCounts` has said of the run so far, as run.json has it; None where that says nothing."""
    return _said(folder).get("moments")


def begins_again(last: int, step: int) -> str:
    """What is wrong with a run that was resumed after step `last`, with an optimizer that was not."""
    return (
        f"was resumed, and its log reaches step {last}, but the optimizer begins again at step {step}, so the rows "
        "from there on move to superseded/: load the optimizer's state first, or give overwrite=True to begin anew"
    )


def leaves_a_hole(last: int, step: int, every: int) -> str:
    """What is wrong with a run that was resumed after step `last` at one so far on that a recorded one lies between."""
    if (step - 1) // every <= last // every:
        return ""
    return (
        f"was resumed at step {step}, but its log ends at step {last}, so steps {last + 1} to {step - 1} are not in "
        f"the log: load a checkpoint of step {last} or before to have them recorded"
    )


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Have an error of the disk say which run it was."""
    try:
        yield
    except (FileExistsError, RemoteError):
        raise
    except OSError as error:
        raise OSError(f"cannot write a run to {folder}: {error.strerror or error}; choose another root") from error
