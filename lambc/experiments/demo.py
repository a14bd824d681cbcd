"""What `lambc demo` trains: the paper's comparison in small, LAMB beside LAMBC with a wide and a tight bound (§4.2).

Three epochs of 23 steps take about half a minute on two CPU cores and leave all three runs above 90 %; the learning
rate is half the paper's, since so short a run at 1e-2 is too noisy at its end to compare anything.
"""

from functools import partial
from itertools import count
from pathlib import Path

from collector.log.run import read_run
from lambc.experiments.settings import Settings

_setting = partial(Settings, data="digits", batch_size=64, epochs=3, lr=5e-3)

RUNS = {
    "demo-lamb": _setting(clip=None),
    "demo-clip10": _setting(clip=10.0),
    "demo-clip1": _setting(clip=1.0),
}
"""The runs by name."""


def finished_or_free(runs: Path, name: str) -> tuple[str, bool]:
    """A name for a run of the demo, and whether it is there already, finished.

    Nothing is overwritten: where a run of this name did not finish, the next is called `name-2`, and so on.
    """
    for number in count(1):
        numbered = name if number == 1 else f"{name}-{number}"
        if not (runs / numbered).exists():
            return numbered, False
        if _finished(runs / numbered):
            return numbered, True
    raise AssertionError


def _finished(folder: Path) -> bool:
    try:
        return read_run(folder)["status"] == "finished"
    except ValueError:  # a damaged run.json, which is left as it is
        return False
