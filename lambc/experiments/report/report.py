"""What the log of an experiment says, as report.md and as report.html, which needs nothing but itself.

Every table is the answer to one statement in `statements/`, and the statement is printed: whoever has the log can
ask it again with `lambc sql`.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from app.charts.hit_rates import hit_rates_by_layer
from app.charts.paper import Curve, accuracy_by_epoch
from app.charts.theme import lines
from collector import connect
from collector.log.listing import run_folders
from collector.log.run import read_run
from collector.store.documentation import description
from lambc.experiments.catalogue import EXPERIMENTS, Experiment
from lambc.experiments.report import rendering as pages
from lambc.experiments.report.rendering import Report, Section, code
from lambc.experiments.report.sentences import (
    as_in_the_paper,
    say_comparisons,
    say_differences,
    say_failures,
    say_gains,
    say_readings,
    say_touched,
)
from lambc.experiments.settings import Settings

if TYPE_CHECKING:
    import duckdb

CHOICES = (
    "The paper names no seeds and shows no spread: here each seed has its own initial weights and order of images.",
    "The paper names no augmentation: none, unless `augment` among the settings says otherwise; the authors' published "
    "code flips and crops, and has torch's first weights, as the arms of that name have at the full scale. It names no "
    "weight decay: 0. It names no schedule: lr stays as it is, but in arms called `lr to 0`.",
    "The paper does not say which first layer its ResNet-18 has: 3×3 with stride 1 for images of up to 64 pixels, "
    "unless `stem` among the settings says otherwise.",
    "The paper does not say of which epoch a table's accuracy is. Its figures are TensorBoard's, and Table 1 has the "
    "ends of their smoothed curves, within what can be read off: what is compared is the accuracy smoothed over the "
    "epochs, beside the last epoch's. The best epoch's is chosen on the test set itself.",
    "The printed Algorithm 1 divides by 1-β, not 1-β^t: this is read as bias correction, as in Adam and LAMB. The "
    "authors' published code leaves it out and makes a new optimizer every epoch, under which a bound of 1 is one of "
    "3.2 to 6.6 on the corrected scale; arms called `authors' code` do the same.",
    "Every parameter tensor is a layer, biases and normalisation too, but in arms called `1-D exempt`.",
)
"""What the paper leaves open, and what was chosen, in all experiments."""

CARDS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Peak dense bfloat16 operations a second, as NVIDIA states them (SXM)."""

CIFAR_OPERATIONS = 3 * 2 * 0.556e9
"""Of one 32×32 image in ResNet-18 with a 3×3 stem: 0.556 G multiply-adds forward, and twice as many backward."""


BRICKS = ("students_t", "arms", "measures", "compared", "layer_steps")
"""Statements that others ask as if they were views, in their order."""


class Questions:
    """Puts statements to a log, and keeps what it has asked. only: of these runs, whatever their seed."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", only: Collection[str] = ()) -> None:
        self._connection, self._only = connection, only
        self.asked: dict[str, str] = {}

    def ask(self, name: str) -> pa.Table:
        """The answer to `statements/<name>.sql`."""
        self.asked[name] = statement(name, self._only)
        return self._connection.sql(self.asked[name]).to_arrow_table()

    def section(
        self, title: str, name: str, text: Callable[[list[dict[str, Any]]], Sequence[str]] | None = None
    ) -> Section:
        """A section with the answer as its table. text: what to say of its rows."""
        table = self.ask(name)
        said = text(table.to_pylist()) if text and len(table) else []
        return Section(title, [*said, description(_read(name)).text], name, table)


def statement(name: str, only: Collection[str] = ()) -> str:
    """`statements/<name>.sql` as it is put to the log, with the bricks that it asks before it.

    only: names of runs without their seeds; where a log has others, too, those alone count.
    """
    question = _brick(name, only)
    needed: list[str] = []
    for brick in reversed(BRICKS):
        if brick != name and any(re.search(rf"\b{brick}\b", text) for text in (question, *needed)):
            needed.insert(0, f"{brick} AS (\n{_brick(brick, only)}\n)")
    return "WITH " + ",\n\n".join(needed) + f"\n\n{question}" if needed else question


def _brick(name: str, only: Collection[str]) -> str:
    text = "\n".join(line for line in _read(name).splitlines() if not line.startswith("--")).strip()
    if name != "arms" or not only:
        return text
    names = ",\n    ".join("'" + each.replace("'", "''") + "'" for each in sorted(only))
    return f"{text}\nWHERE regexp_replace(run, '-s[0-9]+$', '') IN (\n    {names}\n)"


def write(
    runs: Path,
    folder: Path,
    *,
    experiment: str,
    command: Sequence[str],
    failures: Mapping[str, str] = MappingProxyType({}),
    only: Collection[str] = (),
) -> Path:
    """Write the report on the log in `runs` into `folder`, and say where report.md is.

    failures: why runs failed, by their names; one that failed before its first step is in no log.
    only: names of runs without their seeds, where the log has those of other experiments, too; else it has none.

    Beside it are report.html, command.sh with the command line, and SHA256SUMS of the log's files.

    Raises OSError if it cannot be written.
    """
    made = make(runs, experiment, command, failures, only)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(pages.markdown(made), encoding="utf-8")
    (folder / "report.html").write_text(pages.html(made), encoding="utf-8")
    (folder / "command.sh").write_text(shlex.join(command) + "\n", encoding="utf-8")
    (folder / "SHA256SUMS").write_text(checksums(runs, folder, only), encoding="utf-8")
    return folder / "report.md"


def checksums(runs: Path, folder: Path, only: Collection[str] = ()) -> str:
    """A line for each Parquet file and run.json of the log, as `sha256sum -c` in `folder` reads them."""
    lines = []
    for run in _folders(runs, only):
        for file in sorted([*run.glob("run.json"), *run.glob("*/*.parquet")]):
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            lines.append(f"{digest}  {os.path.relpath(file, folder)}\n")
    return "".join(lines)


def make(
    runs: Path, experiment: str, command: Sequence[str], failures: Mapping[str, str], only: Collection[str] = ()
) -> Report:
    """The report on the log in `runs`, as `write` writes it."""
    described = EXPERIMENTS[experiment]
    run_files = _read_runs(runs, only)
    configs = [run["config"] for run in run_files]
    with connect(runs) as connection:
        questions = Questions(connection, only)
        sections = _sections(questions, run_files, failures)
    choices = [*described.choices, *CHOICES]
    sections.append(Section("What the paper leaves open, and what was chosen", [f"- {choice}" for choice in choices]))
    text = [described.question, f"Made by {code(shlex.join(command))}."]
    return Report(described.title, text, _notice(configs, described), sections, questions.asked)


def _folders(runs: Path, only: Collection[str]) -> list[Path]:
    return [folder for folder in run_folders(runs) if not only or folder.name.rpartition("-s")[0] in only]


def _read_runs(runs: Path, only: Collection[str]) -> list[dict[str, Any]]:
    """Each run.json that can be read; the log names the others among its problems."""
    read = []
    for folder in _folders(runs, only):
        with suppress(ValueError):
            read.append(read_run(folder))
    return read


def _sections(
    questions: Questions, run_files: Sequence[Mapping[str, Any]], failures: Mapping[str, str]
) -> list[Section]:
    accuracy = questions.section("Accuracy on the test set", "accuracy")
    differences = questions.section("The differences, seed by seed", "differences", say_differences)
    touched = questions.section("Which layers does the bound touch?", "touched", say_touched)
    answers = questions.section("Arm against arm", "comparisons", say_comparisons)
    gains = questions.section("Does the gain follow the number of steps?", "gains", say_gains)
    speaking = (answers, gains) if len(answers.text) > 1 else (differences, gains, touched)
    said = [f"- {line}" for section in speaking for line in section.text[:-1]]
    return [
        Section("What is seen", [*say_failures(questions, failures), *(said or ["- No comparison can be made yet."])]),
        as_in_the_paper(accuracy),
        accuracy,
        replace(differences, text=differences.text[-1:]),
        *_if_any(replace(answers, text=answers.text[-1:])),
        *_if_any(replace(gains, text=gains.text[-1:])),
        questions.section("Measures side by side", "by_measure"),
        *_if_any(questions.section("Which reading of the method is nearer to the paper?", "readings", say_readings)),
        _curves(questions),
        replace(touched, text=touched.text[-1:]),
        questions.section("Which kinds of layers", "kinds"),
        _layers(questions),
        questions.section("What the trust ratios are without a bound", "ratios"),
        questions.section("Ratios, updates and steps in time", "sizes"),
        *_if_any(questions.section("How the weights grow", "growth")),
        _speed(questions, run_files),
        questions.section("Settings", "settings"),
        questions.section("Runs", "runs"),
        *[Section("Runs that failed", [f"- {code(run)}: {code(why)}" for run, why in failures.items()])][
            : len(failures)
        ],
        *_if_any(questions.section("Files that were left out", "problems")),
        Section("Hardware and versions", [f"- {line}" for line in _environments(run_files)]),
    ]


def _if_any(section: Section) -> list[Section]:
    return [section] if section.table else []


def _curves(questions: Questions) -> Section:
    section = questions.section("Accuracy by epoch", "progress")
    rows = questions.ask("curves").to_pandas()
    if rows.empty:
        return section
    curves = [
        Curve(int(size), arm, training=False, seeds=int(some["n"].max()), rows=some.reset_index(drop=True))
        for (size, arm), some in rows.groupby(["batch_size", "arm"])
    ]
    bounds = sorted({curve.bound for curve in curves}, key=lambda arm: ("," in arm, arm))
    figure = accuracy_by_epoch(curves, bounds=bounds, unbounded="no clipping")
    return replace(section, figure=figure)


def _layers(questions: Questions) -> Section:
    section = questions.section("Which layers", "layers")
    rows = questions.ask("hits").to_pandas()
    if rows.empty:
        return section
    rates = {str(arm): some for arm, some in rows.groupby("arm", sort=False)}
    figure = hit_rates_by_layer(rates, layers=list(dict.fromkeys(rows["layer"])), lines=lines(list(rates)))
    return replace(section, figure=figure)


def _speed(questions: Questions, run_files: Sequence[Mapping[str, Any]]) -> Section:
    section = questions.section("Speed", "speed")
    return replace(section, text=[*section.text, *_limits(run_files)])


def _limits(run_files: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a card could do at its best, where the card and the work of an image are known."""
    known = [run for run in run_files if run["config"].get("data") == "cifar10" and run["config"].get("stem") == "auto"]
    names = " ".join({str(run["environment"].get("device_name")) for run in known})
    return [
        f"The arithmetic limit of an {card} is {operations / CIFAR_OPERATIONS:,.0f} images a second: in bfloat16 "
        f"{operations / 1e12:.0f} T operations a second, over {CIFAR_OPERATIONS / 1e9:.2f} G an image."
        for card, operations in CARDS.items()
        if card in names
    ]


def _environments(run_files: Sequence[Mapping[str, Any]]) -> list[str]:
    """What run.json says of machines and versions, each once, and how many runs had it."""
    found = [json.dumps(run.get("environment", {}), sort_keys=True) for run in run_files]
    return [
        f"{found.count(one)} of {len(found)} runs: "
        + ", ".join(f"{key} {code(str(value))}" for key, value in json.loads(one).items() if key != "optimizers")
        for one in dict.fromkeys(found)
    ]


def _notice(configs: Sequence[Mapping[str, Any]], described: Experiment) -> str:
    """In what the runs are not the experiment at its full scale; empty if in nothing."""

    def values(setting: str) -> list[Any]:
        return sorted({config[setting] for config in configs if config.get(setting) is not None})

    def listed(setting: str) -> str:
        return ", ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in values(setting))

    said = []
    if values("data") != [described.data]:
        said.append(f"data {code(listed('data'))} for {code(described.data)}")
    if any(each != 1 for each in values("divided")):
        said.append(f"batch sizes divided by {listed('divided')}")
    if values("images"):
        tested = "" if values("test_images") else " and as many to test with"
        said.append(f"at most {listed('images')} images to train on{tested}")
    if values("pixels"):
        said.append(f"images of {listed('pixels')} pixels a side")
    if set(values("width")) - {Settings.width}:
        said.append(f"ResNet-18 of width {listed('width')} for {Settings.width}")
    if values("epochs") != [described.full.epochs]:
        said.append(f"epochs {listed('epochs')} for {described.full.epochs}")
    if "torchvision" in values("stem"):
        said.append("ResNet-18 with torchvision's 7×7 stem")
    return (
        f"Not the full experiment: {'; '.join(said)}. Do not hold its accuracies against the paper's." if said else ""
    )


def _read(name: str) -> str:
    return resources.files("lambc.experiments.report").joinpath("statements", f"{name}.sql").read_text(encoding="utf-8")
