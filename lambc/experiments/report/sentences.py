"""What the tables of a report say, in sentences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lambc.experiments.report.rendering import Section, code

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from lambc.experiments.report.report import Questions


def say_failures(questions: "Questions", failures: Mapping[str, str]) -> list[str]:
    """Returns what failed, and how many runs have not finished."""
    statuses = questions.ask("arms")["status"].to_pylist()
    unfinished = sum(status != "finished" for status in statuses)
    said = []
    if failures:
        said.append(f"- **{len(failures)} runs failed** when the command ran last: see the end.")
    if unfinished:
        said.append(
            f"- **{unfinished} of {len(statuses)} runs did not finish**; they count nowhere, and are listed below."
        )
    return said


def say_comparisons(rows: list[dict[str, Any]]) -> Sequence[str]:
    """The answers, where an experiment has arms for more than the paper's own question."""
    if len({row["question"] for row in rows}) == 1:
        return []
    said = [
        f"**{row['question']}** Batch size {row['batch size']:,}: {code(row['arm'])} against {code(row['against'])} "
        f"over {row['pairs']} seeds: smoothed {row['smoothed']}, {row['smoothed, what is seen']}"
        + (
            f"; averaged weights {row['averaged weights']}, {row['averaged, what is seen']}"
            * bool(row["averaged weights"])
        )
        + "."
        for row in rows
    ]
    return [
        *said,
        f"Of {len(rows)} comparisons at 95 %, {len(rows) / 20:.1f} seem to differ by chance where none does.",
    ]


def say_gains(rows: list[dict[str, Any]]) -> Sequence[str]:
    """Returns whether the gain follows the number of steps."""
    return [
        f"**Does the gain follow the number of steps?** Clipping gains {row['gain']:+.2f} points in {row['steps']:,} "
        f"steps and {row['gain at the smallest']:+.2f} in {row['its steps']:,}, that is {row['more']:+.2f} "
        f"[{row['from']:+.2f}, {row['to']:+.2f}] more over {row['seeds']} seeds: {row['what is seen']}."
        for row in rows
        if row["from"] is not None
    ]


def say_differences(rows: list[dict[str, Any]]) -> Sequence[str]:
    """Returns the differences in accuracy, with their intervals."""
    said = []
    for row in rows:
        if row["measure"] != "smoothed":
            continue
        interval = "" if row["from"] is None else f" [{row['from']:+.2f}, {row['to']:+.2f}]"
        paper = f"; in the paper {row['paper']:+.2f}" if row["paper"] is not None else ""
        said.append(
            f"Batch size {size(row)}: {code(row['arm'])} against {code(row['against'])} "
            f"{row['difference']:+.2f} points smoothed{interval}, {row['what is seen']}{paper}."
        )
    return said


def size(row: Mapping[str, Any]) -> str:
    """A batch size, and the paper's that it stands for."""
    size, stands_for = row["batch size"], row["stands for"]
    return f"{size:,}" if size == stands_for else f"{size:,} (for {stands_for:,})"


def say_touched(rows: list[dict[str, Any]]) -> Sequence[str]:
    """Returns which tensors a bound touches."""
    return [
        f"Batch size {size(row)}, {code(row['arm'])}: {row['hits that are 1-D %']} % of what is clipped is in tensors "
        f"of one dimension; these are clipped in {row['1-D clipped %']} % of their steps, all others in "
        f"{row['others clipped %']} %."
        for row in rows
        if row["hits"] and row["1-D clipped %"] is not None and row["others clipped %"] is not None
    ]


def say_readings(rows: list[dict[str, Any]]) -> Sequence[str]:
    """Returns how the readings of the paper differ."""
    return [
        f"Read as {row['reading']}, the method is {row['points from the paper']} points from Table 1 on average over "
        f"{row['cells']} of its 6 cells, and clipping at 1 is ahead at {row['clip 1 ahead']} of {row['batch sizes']} "
        "batch sizes; in the paper at 3 of 3."
        for row in rows
    ]


def as_in_the_paper(accuracy: Section) -> Section:
    """Batch sizes as columns, arms as rows, as Table 1 has it."""
    cells: dict[str, dict[str, str | None]] = {}
    rows = accuracy.table.to_pylist() if accuracy.table else []
    sizes = list(dict.fromkeys(map(size, rows)))
    for row in rows:
        std = "" if row["± std"] is None else f" ± {row['± std']:.2f}"
        paper = f" (paper {row['paper %']:.2f})" if row["paper %"] is not None else ""
        there = cells.setdefault(row["arm"], {"arm": row["arm"]} | dict.fromkeys(sizes))
        if row["smoothed %"] is not None:
            there[size(row)] = f"{row['smoothed %']:.2f}{std}{paper}"
    text = [
        "Test accuracy in percent, smoothed over the epochs, by batch size: mean ± sample standard deviation over the "
        "seeds."
    ]
    return Section(
        "As the paper has it", text, "accuracy", pa.Table.from_pylist(list(cells.values())) if cells else None
    )
