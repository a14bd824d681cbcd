"""Writes docs/sql.md: every view and macro of the store, with its example and what that answers.

    python docs/sql.py

The texts and the examples are the comments of collector/sql/*.sql, so that each is written down once; the answers come
from a small log that is the same each time.
"""

import re
import tempfile
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from collector import Collector, connect
from collector.store.documentation import describe
from collector.store.views import STATEMENTS
from lambc.commands.terminal import cell

PAGE = Path(__file__).with_name("sql.md")
LAYERS = {"conv.weight": (8, 1, 3, 3), "bn.weight": (8,), "fc.weight": (10, 8), "fc.bias": (10,)}
STEPS, STEPS_AN_EPOCH = 1000, 100
ROWS_SHOWN = 8

HEAD = """# Views and macros

`lambc sql "…"`, and `connect("runs")` in Python, give a DuckDB connection with the views and macros below. A view is
queried by its name; a macro is a view or an expression with parameters, as in `FROM heatmap('demo', 1, 1000, 200)`. Its
parameters stand below its title. One with a default (`:=`) may be left out, or be given by its name, as in
`least_width := 64`. Pass the run to a macro as a constant or as a parameter (`$run`), so that no other run's files are
opened.

The dashboard's SQL page and `connect("runs", untrusted=True)` answer one query that reads: SELECT, FROM, WITH, VALUES,
DESCRIBE, SHOW, SUMMARIZE, or PIVOT with an IN list. Of DuckDB's table functions they have `generate_series`,
`json_each`, `json_tree`, `range`, `repeat` and `unnest`; no other file is read, and none is written.

Overviews (`heatmap`, `ratio_envelope`, `hit_rate_by_layer`, `hit_rate_over_time`, `clip_hits`, `compare_layers`) are
answered from rollups, cells of 64 steps and more that are kept beside the rows; what these do not cover, such as the
newest steps, comes from the rows. The answers are the same.

The examples below were run on a log of three runs of 1000 steps. `python docs/sql.py` writes this page anew.
"""


class Speaker:
    """An optimizer's groups and hook, which says what it is told to."""

    def __init__(self) -> None:
        self.layers = tuple(LAYERS)
        self.param_groups = [{"params": [torch.zeros(shape) for shape in LAYERS.values()], "param_names": [*LAYERS]}]
        self._hooks: list[Any] = []

    def register_trust_ratio_hook(self, hook: Any) -> Any:
        self._hooks.append(hook)
        return SimpleNamespace(remove=lambda: self._hooks.remove(hook))

    def say(self, step: int, table: torch.Tensor) -> None:
        for hook in self._hooks:
            hook(SimpleNamespace(step=step, layers=self.layers, table=table))


def table(step: int, upper: float) -> torch.Tensor:
    """Ratios that grow as weights settle, a spike at step 417, and a norm that is not finite at step 900."""
    weight = torch.tensor([2.0, 3.0, 1.5, 0.2]) * (1 + step / STEPS)
    wave = torch.tensor([0.1, 0.3, 0.2, 0.5]) * ((step * torch.tensor([7, 11, 13, 17])) % 97 - 48) / 48
    update = torch.tensor([2.5, 0.6, 2.0, 0.5]) * (1 + wave) / (20.0 if step == 417 else 1.0)
    if step == 900:
        update[2] = torch.inf
    ratio = weight / update
    ratio[2] = 1.0 if step == 900 else ratio[2]
    bound, one = torch.full((4,), upper), torch.ones(4)
    return torch.stack([weight, update, ratio, ratio.minimum(bound), 0 * one, bound, 0.01 * one])


def make_log(root: Path) -> None:
    for name, upper in {"demo": torch.inf, "demo-clip1": 1.0, "demo-clip10": 10.0}.items():
        speaker = Speaker()
        config = {"data": "digits", "optimizer": "LAMBC", "clip": None if upper == torch.inf else upper}
        with Collector(speaker, root, name=name, config=config) as collector:
            for step in range(1, STEPS + 1):
                collector.epoch = (step - 1) // STEPS_AN_EPOCH
                speaker.say(step, table(step, upper))
                collector.log({"train/loss": 2.0 / step**0.5})
                if name == "demo-clip10":
                    collector.log({"grad_norm": 20.0 / step**0.5, "grad_clip": min(1.0, step**0.5 / 20)})
                if step % STEPS_AN_EPOCH == 0:
                    collector.log({"test/accuracy": 1 - 0.5 / step**0.25})


def signature(name: str) -> str | None:
    """A macro's name and parameters with their defaults; None for a view."""
    statement = resources.files("collector").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    found = re.search(r"^CREATE MACRO (.+?\)) AS\b", statement, re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<=\() | (?=\)$)", "", " ".join(found[1].split())) if found else None


def entry(name: str, con: Any) -> str:
    """A statement's parameters, text, example and answer."""
    text, query = describe(name)
    parameters = signature(name)
    answer = con.sql(query)
    rows = answer.to_arrow_table()
    shown = [
        [cell(value).replace("|", "\\|") for value in row.values()] for row in rows.slice(0, ROWS_SHOWN).to_pylist()
    ]
    lines = [f"## {name}", "", *([f"`{parameters}`", ""] if parameters else []), text, "", "```sql", query, "```", ""]
    lines += [f"| {' | '.join(answer.columns)} |", f"|{'---|' * len(answer.columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in shown] or [f"|{' |' * len(answer.columns)}"]
    if len(rows) > ROWS_SHOWN:
        lines += ["", f"… {len(rows) - ROWS_SHOWN:,} more rows"]
    return "\n".join(lines) + "\n"


def page() -> str:
    with tempfile.TemporaryDirectory() as root:
        make_log(Path(root))
        con = connect(root)
        return "\n".join([HEAD, *(entry(name, con) for name in STATEMENTS if not name.startswith("log_"))])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
