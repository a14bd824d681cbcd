"""Claim: what stands in the rule, the bounds, the norms, the parts and the macro of outcomes is held there by a test.

A mutant is a file with one small mistake in it: a comparison that is off or turned round, another operator, a constant
that is one more or one less, a condition negated, a statement dropped, None returned. Each is put into a copy of the
tree, where the tests that are named for the file run until one fails. A mutant that no test kills is listed, with its
line: it shows a gap in the tests, or makes no difference (SURVIVORS says why).

    python bench/mutants.py                                     # 25 mutants a file, drawn with a fixed seed
    python bench/mutants.py --each 0 --save lambc/norms.py      # all mutants of one file, into the table of results

The processes are forked from one that has imported torch, pyarrow and DuckDB, so that a mutant costs its tests alone.
A mutant that takes three times the processor time of the file itself is an endless loop, and counts as killed.
"""

import ast
import copy
import multiprocessing
import os
import platform
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

TESTS = {
    "lambc/rule.py": ["lambc/test_rule.py", "lambc/test_trust_ratios.py", "lambc/test_lars.py"],
    "lambc/bounds.py": ["lambc/test_bounds.py", "lambc/test_options.py"],
    "lambc/norms.py": ["lambc/test_norms.py", "lambc/test_gradient_norms.py"],
    "lambc/trust_ratios.py": ["lambc/test_trust_ratios.py", "lambc/test_groups.py", "lambc/test_gradient_norms.py"],
    "collector/log/supersede.py": ["collector/test_resume.py", "collector/test_overwrite.py"],
    "collector/log/parts.py": ["collector/test_parts.py", "collector/test_rollups.py", "collector/test_resume.py"],
    "collector/sql/outcome.sql": ["collector/test_queries.py", "test_log_is_the_truth.py"],
}
"""The files that are mutated, and the tests that are to notice, the quickest first."""

SURVIVORS: dict[tuple[str, str, str], str] = {
    ("lambc/rule.py", "ratio = numerator / torch.where(divisible, update_norm, 1.0)", "1.0 → 2.0"): (
        "any number above zero will do where the quotient is not used"
    ),
    ("lambc/norms.py", "ROW = 512", "512 → 511"): "rows of about that length are as exact",
    ("lambc/norms.py", "ROW = 512", "512 → 513"): "rows of about that length are as exact",
    ("lambc/norms.py", 'if tensors[0].device.type == "cpu":', "0 → -1"): "all lie on one device",
    ("lambc/norms.py", "while tensor.numel() > ROW:", "tensor.numel() > ROW → tensor.numel() >= ROW"): (
        "of one row of elements it takes the norm, whose norm is itself"
    ),
    (
        "lambc/trust_ratios.py",
        "breaks = [position for position, (a, b) in enumerate(pairwise(rows)) if b != a + 1]",
        "1 → 0",
    ): "each row is a run of its own: more copies, the same table",
    (
        "collector/log/supersede.py",
        'goes = pc.greater_equal(rows["step"], numbers([first_step], pa.int64())[0])',
        "0 → -1",
    ): "the first of one is its last",
    **{
        (
            "collector/log/supersede.py",
            'others = (path.with_name(f"{path.stem}-{number}.parquet") for number in count(2))',
            change,
        ): "only the name of a part that would else take another's"
        for change in ("2 → 1", "2 → 3")
    },
}
"""Why a mutant that no test kills may live, by its file, what stands in its line, and the change."""

COMPARISONS = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
WORDS = {
    " AND ": [" OR "], "NOT ": [""], ">": [">=", "<"], "<": ["<=", ">"], " = 1": [" = 0", " <> 1"],
    "weight_norm": ["update_norm"], "'fallback'": ["'free'"], "'exempt'": ["'free'"], "'upper'": ["'lower'"],
    "'lower'": ["'upper'"], "'free'": ["'fallback'"],
}  # fmt: skip
"""What a mutant of a statement in SQL has instead."""


@dataclass(frozen=True)
class Mutant:
    """A file with a mistake: `text` is the whole of it."""

    file: str
    line: int
    change: str
    text: str


def mutants_of_python(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module; docstrings, messages and annotations stay as they are."""
    tree = ast.parse(source)
    for place, node in enumerate(ast.walk(tree)):
        for index in range(len(_changes(node))):
            other = copy.deepcopy(tree)
            there = next(each for at, each in enumerate(ast.walk(other)) if at == place)
            before = ast.unparse(there)
            _changes(there)[index]()
            after = ast.unparse(there)
            change = f"{before.splitlines()[0][:60]} → {after.splitlines()[0][:60]}"
            yield Mutant(file, node.lineno, change, ast.unparse(ast.fix_missing_locations(other)))


def _changes(node: ast.AST) -> list:
    """What can be done to a node, each a function that does it in place."""
    if isinstance(node, ast.Compare):
        return [
            lambda at=at, kind=kind: node.ops.__setitem__(at, kind())
            for at, operator in enumerate(node.ops)
            for kind in COMPARISONS[type(operator)]
        ]
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _names_types(node):
        return [lambda: setattr(node, "op", OPERATORS[type(node.op)]())]
    if isinstance(node, ast.BoolOp):
        return [lambda: setattr(node, "op", ast.And() if isinstance(node.op, ast.Or) else ast.Or())]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [lambda: setattr(node, "value", not node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [lambda by=by: setattr(node, "value", node.value + by) for by in (1, -1)]
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return [lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))]
    if isinstance(node, ast.Return) and node.value is not None:
        return [lambda: setattr(node, "value", ast.Constant(None))]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [lambda: setattr(node, "value", ast.Constant(...))]
    return []


def _names_types(node: ast.BinOp) -> bool:
    """Whether `A | B` is a union of types."""
    return isinstance(node.op, ast.BitOr) and ast.unparse(node.right) in ("None", "Tensor", "int", "float")


def mutants_of_sql(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a statement: a word replaced, or a line that begins with WHEN left out."""
    lines = source.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith(("--", "CREATE")):
            continue
        others = [
            (f"{word.strip()} → {other.strip() or 'nothing'}", line[: at.start()] + other + line[at.end() :])
            for word, replacements in WORDS.items()
            for at in re.finditer(re.escape(word), line)
            for other in replacements
        ]
        if line.strip().startswith("WHEN"):
            others.append((f"{line.strip()[:60]} → nothing", ""))
        for change, other in others:
            yield Mutant(file, number + 1, change, "".join([*lines[:number], other, *lines[number + 1 :]]))


def mutants(file: str, each: int) -> tuple[list[Mutant], int]:
    """A sample of a file's mutants, the same at every call, and how many there are."""
    source = (ROOT / file).read_text()
    found = list((mutants_of_sql if file.endswith(".sql") else mutants_of_python)(file, source))
    count = min(each or len(found), len(found))
    return random.Random(f"{file} 1").sample(found, count), len(found)


def _run_tests(tree: str, files: list[str], limit: int) -> None:
    """Leave this process with pytest's exit code; what it prints goes to a file, and the processor time to another.

    limit: seconds of processor time, which other work on the machine does not use up.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 10))
    os.chdir(tree)
    sys.path.insert(0, tree)
    os.environ |= {"PYTHONPATH": tree, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    with open("pytest.txt", "w") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    code = pytest.main([*options, *(f"tests/{file}" for file in files)])
    Path(tree, "seconds.txt").write_text(str(time.process_time()))
    os._exit(code)


def fate(tree: Path, mutant: Mutant | None, files: list[str], limit: int) -> str:
    """What becomes of a mutant: 'killed', 'survived', or 'too slow', which an endless loop is."""
    path = original = None
    if mutant:
        path = tree / mutant.file
        original = path.read_text()
        path.write_text(mutant.text)
    context = multiprocessing.get_context("forkserver")
    tests = context.Process(target=_run_tests, args=(str(tree), files, limit))
    tests.start()
    tests.join(3600)
    if tests.exitcode is None:  # it waits for what never comes
        tests.kill()
        tests.join()
    end = {0: "survived", -signal.SIGXCPU: "too slow", -signal.SIGKILL: "too slow"}.get(tests.exitcode, "killed")
    if path:
        path.write_text(original)
    return end


def main(
    files: Annotated[list[str] | None, typer.Argument(help="Which of the files; all if none is named.")] = None,
    each: Annotated[int, typer.Option(help="Mutants a file; 0 for all.")] = 25,
    save: Annotated[bool, typer.Option(help="Enter the files in bench/results/mutants.md.")] = False,
) -> None:
    """Make the mutants, run the tests, and print who lived."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["torch._dynamo", "torchvision", "sklearn.datasets", "pyarrow.parquet", "pyarrow.dataset", "duckdb", "pandas"]
    )
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "runs", "docs", "__pycache__"))
        for file in files or TESTS:
            began = time.monotonic()
            if fate(tree, None, TESTS[file], 3600) != "survived":
                sys.exit(f"{file}: its tests fail as it is:\n{(tree / 'pytest.txt').read_text()[-2000:]}")
            limit = 10 + int(3 * float((tree / "seconds.txt").read_text()))
            chosen, total = mutants(file, each)
            alive = []
            for mutant in chosen:
                end = fate(tree, mutant, TESTS[file], limit)
                if end == "survived":
                    alive.append(mutant)
                if end != "killed":
                    print(f"  {end}: {mutant.file}:{mutant.line}: {mutant.change}", flush=True)
            gone = len(chosen) - len(alive)
            row = f"| `{file}` | {total} | {len(chosen)} | {gone} | {gone / len(chosen):.0%} |"
            print(f"{row} {time.monotonic() - began:.0f} s", flush=True)
            if save:
                _enter(file, f"{row} {datetime.now(UTC):%Y-%m-%d} |", alive)


def _enter(file: str, row: str, alive: list[Mutant]) -> None:
    """Write the page of results anew, with what was found of `file`, and what stands there of the others."""
    page = RESULTS / "mutants.md"
    known = page.read_text().splitlines() if page.exists() else []
    shares = [row, *(line for line in known if re.match(r"\| `[^:`]+` \|", line) and f"`{file}`" not in line)]
    lived = [line for line in known if re.match(r"\| `[^:`]+:\d+` \|", line) and f"`{file}:" not in line]
    lived += [f"| `{m.file}:{m.line}` | `{m.change.replace('|', chr(92) + '|')}` | {_excuse(m)} |" for m in alive]
    order = list(TESTS)
    page.write_text(
        "\n".join(
            [
                "# Mutants",
                "",
                *textwrap.wrap(str(__doc__).partition("\n\n")[0], 120),
                "",
                f"Drawn with a fixed seed where not all were tried; Python {platform.python_version()}.",
                "",
                "`make mutants`, or `python bench/mutants.py --each 0 --save FILE` for all of a file",
                "",
                "| file | mutants | tried | killed | share | date |",
                "|---|---:|---:|---:|---:|---|",
                *sorted(shares, key=lambda line: order.index(line.split("`")[1])),
                "",
                "| survived | change | why it may |",
                "|---|---|---|",
                *sorted(lived, key=lambda line: order.index(line.split("`")[1].partition(":")[0])),
                "",
            ]
        )
    )


def _excuse(mutant: Mutant) -> str:
    line = (ROOT / mutant.file).read_text().splitlines()[mutant.line - 1].strip()
    return SURVIVORS.get((mutant.file, line, mutant.change), "")


if __name__ == "__main__":
    typer.run(main)
