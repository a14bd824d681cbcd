"""What the report says of a log, and that anybody gets the same from the log."""

import re
import subprocess
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from collector import Collector, connect
from lambc.experiments.catalogue import plan
from lambc.experiments.models import resnet18
from lambc.experiments.optimizers import make_optimizer
from lambc.experiments.report import report
from lambc.experiments.report.rendering import cell

COMMAND = ["lambc", "reproduce", "table1", "--data", "digits"]
FAILED = "the device has too little memory for batch_size=60: give fewer --jobs"


def smoothed(run):
    """As TensorBoard smooths at 0.9, without the bias to 0, a step after the other."""
    mean, weight = 0.0, 0.0
    for epoch in range(1, run.epochs + 1):
        mean, weight = 0.9 * mean + 0.1 * accuracy(run, epoch), 0.9 * weight + 0.1
    return mean / weight


def accuracy(run, epoch):
    """Something for each run and epoch, with differences that vary from seed to seed."""
    clipped = 0.02 if run.clip == 1.0 else 0.0
    return 0.3 + 0.1 * epoch + clipped * (1 + 0.5 * run.seed) + 0.01 * np.sin(7 * run.seed + run.batch_size)


MEASURES = {"smoothed": smoothed, "last epoch": lambda run: accuracy(run, run.epochs)}


def record(run, runs, *, failure=None, name=None, every=1):
    """A run as the collector records it, of a tiny network whose normalisation starts with the largest ratios."""
    torch.manual_seed(run.seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = make_optimizer(run, model.named_parameters(), steps=2 * run.epochs)
    ended = pytest.raises(RuntimeError, match=re.escape(failure)) if failure else nullcontext()
    collector = Collector(optimizer, runs, name=name or run.name, config=run.config("cpu"), model=model, every=every)
    with ended, collector:
        for epoch in range(1, run.epochs + 1):
            collector.epoch = epoch
            for _ in range(2):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(torch.randn(6, 4)), torch.tensor([0, 1] * 3)).backward()
                optimizer.step()
            collector.log({"test/accuracy": accuracy(run, epoch), "train/images_per_second": 100.0 + run.seed})
        if failure:
            raise RuntimeError(failure)


@pytest.fixture(scope="module")
def planned():
    return plan("table1", "small", data="digits", seeds=3, epochs=4, device="cpu")


@pytest.fixture(scope="module")
def runs(planned, tmp_path_factory):
    """The log of Table 1 in small; the last run has failed."""
    folder = tmp_path_factory.mktemp("log") / "runs"
    for run in planned[:-1]:
        record(run, folder)
    record(planned[-1], folder, failure=FAILED)
    return folder


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    """The folder of the report on it."""
    return report.write(runs, tmp_path_factory.mktemp("report"), experiment="table1", command=COMMAND).parent


@pytest.fixture(scope="module")
def markdown(written):
    return (written / "report.md").read_text(encoding="utf-8")


def sections(markdown):
    """The text of each section by its title."""
    parts = re.split(r"^## (.+)$", markdown, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(markdown):
    """The rows of each table, and the name of the statement below it."""
    for table, name in re.findall(r"((?:^\|.*\n)+)\nSQL: \[`(\w+)`\]", markdown, flags=re.M):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        yield name, [[each.strip().replace("\\", "") for each in line] for line in (lines[0], *lines[2:])]


def statements(markdown):
    return dict(re.findall(r"### sql-(\w+)\n\n```sql\n(.*?)\n```", markdown, flags=re.S))


@pytest.fixture(scope="module")
def log(runs):
    """What `lambc sql` asks."""
    with connect(runs, untrusted=True) as log:
        yield log


def questioned(log, markdown, name):
    """The answer that somebody gets who copies a statement out of the report."""
    return log.execute(statements(markdown)[name]).to_pylist()


def test_every_printed_statement_gives_the_numbers_that_are_printed(log, markdown):
    printed = [(name, rows) for name, rows in tables(markdown)]
    assert {name for name, _ in printed} >= {"accuracy", "differences", "touched", "kinds", "ratios", "speed", "runs"}
    for name, rows in printed:
        answer = questioned(log, markdown, name)
        values = {cell(value) for row in answer for value in row.values()}
        if rows[0] == list(answer[0]):
            assert [[cell(value) for value in row.values()] for row in answer] == rows[1:]
        else:  # the table in the paper's form: each number is one of the answer's
            numbers = set(re.findall(r"\d+\.\d+", " ".join(" ".join(line[1:]) for line in rows[1:])))
            assert numbers
            assert numbers <= values


def test_the_statements_of_the_figures_are_printed_too(log, markdown):
    assert questioned(log, markdown, "curves")
    assert questioned(log, markdown, "hits")


def test_a_difference_has_the_interval_of_a_paired_t_test(planned, log, markdown):
    rows = questioned(log, markdown, "differences")
    seen = {(row["batch size"], row["arm"], row["measure"]): row for row in rows}
    for size, (measure, ends_at) in product((20, 40), MEASURES.items()):
        ends = {
            clip: np.array(
                [
                    ends_at(run)
                    for run in planned
                    if (run.batch_size, run.clip, run.exempt_1d, run.bias_correction) == (size, clip, False, True)
                ]
            )
            for clip in (1.0, None)
        }
        expected = stats.ttest_rel(100 * ends[1.0], 100 * ends[None])
        low, high = expected.confidence_interval(0.95)
        row = seen[size, "clip 1", measure]
        assert row["pairs"] == 3
        assert float(row["difference"]) == pytest.approx(float(np.mean(100 * (ends[1.0] - ends[None]))), abs=0.006)
        assert (float(row["from"]), float(row["to"])) == pytest.approx((low, high), abs=0.02)
        assert row["what is seen"] == ("better" if low > 0 else "no difference seen")


def test_the_summary_says_each_difference_once(log, markdown):
    differences = [row for row in questioned(log, markdown, "differences") if row["measure"] == "smoothed"]
    assert differences
    for row in differences:
        said = (
            f"Batch size {row['batch size']} (for {row['stands for']:,}): `{row['arm']}` against `{row['against']}` "
            f"{row['difference']:+.2f} points smoothed [{row['from']:+.2f}, {row['to']:+.2f}], {row['what is seen']}"
        )
        assert markdown.count(said) == 1


def test_the_quantiles_of_t_in_the_statement_are_right():
    (listed,) = re.findall(r"\[\s*([\d., \n]+)\] AS quantiles", report.statement("differences"))
    quantiles = [float(text) for text in listed.split(",")]
    assert quantiles == pytest.approx(stats.t.ppf(0.975, np.arange(1, 31)).tolist(), abs=0.0006)


def test_mean_and_deviation_are_over_the_seeds(planned, log, markdown):
    chosen = [
        run
        for run in planned
        if (run.batch_size, run.clip, run.exempt_1d, run.bias_correction) == (20, 1.0, False, True)
    ]
    rows = {(row["batch size"], row["arm"]): row for row in questioned(log, markdown, "accuracy")}
    row = rows[20, "clip 1"]
    assert row["seeds"] == 3
    for measure, mean, std in (("smoothed", "smoothed %", "± std"), ("last epoch", "last epoch %", "last ± std")):
        values = [100 * MEASURES[measure](run) for run in chosen]
        assert float(row[mean]) == pytest.approx(np.mean(values), abs=0.006)
        assert float(row[std]) == pytest.approx(np.std(values, ddof=1), abs=0.006)
    assert row["paper %"] == Decimal("87.71")


@pytest.mark.parametrize("size", [20, 40, 60])
def test_what_the_bound_touches_is_counted_from_the_rows_of_a_batch_size(size, runs, log, markdown):
    """Some arms are there at one batch size alone, so rows of several sizes must not be added up."""
    hits, steps = Counter(), Counter()
    for file in runs.glob(f"*b{size}-clip1-e4-stem*/trust_ratios/*.parquet"):
        for row in pq.read_table(file, partitioning=None).to_pylist():
            adapted = row["weight_norm"] > 0 and row["update_norm"] > 0
            steps[row["layer"]] += adapted
            hits[row["layer"]] += adapted and row["trust_ratio"] > row["upper"]
    (row,) = [
        row for row in questioned(log, markdown, "touched") if (row["batch size"], row["arm"]) == (size, "clip 1")
    ]
    one_d = ["0.bias", "1.weight", "1.bias", "2.bias"]
    assert hits["1.weight"] > 0
    assert row["hits"] == hits.total()
    assert float(row["1-D clipped %"]) == pytest.approx(
        100 * sum(hits[layer] for layer in one_d) / sum(steps[layer] for layer in one_d), abs=0.006
    )
    kinds = {
        (row["batch size"], row["arm"], row["kind"]): (row["layers"], float(row["clipped %"] or "nan"))
        for row in questioned(log, markdown, "kinds")
    }
    expected = 100 * hits["1.weight"] / steps["1.weight"]
    assert kinds[size, "clip 1", "1-D weight (normalisation)"] == (1, pytest.approx(expected, abs=0.006))
    assert kinds[size, "clip 1", "matrix"][0] == 2
    assert kinds[size, "clip 1", "1-D bias"][0] == 3


def test_an_arm_that_exempts_one_dimension_has_no_such_hits(log, markdown):
    (row,) = [row for row in questioned(log, markdown, "touched") if row["arm"] == "clip 1, 1-D exempt"]
    assert (row["batch size"], row["1-D clipped %"]) == (20, None)


def test_readings_are_held_against_each_other_where_both_were_trained(log, markdown):
    """At the smallest batch size, which is nearest to the paper by taking more steps."""
    ends = {(row["batch size"], row["arm"]): row["smoothed %"] for row in questioned(log, markdown, "accuracy")}
    seen = {row["reading"]: row for row in questioned(log, markdown, "readings")}
    for reading, arms in (
        ("printed, with bias correction", ("clip 1", "no clipping")),
        ("the authors' code", ("clip 1, authors' code", "no clipping, authors' code")),
    ):
        distance = (
            sum(abs(ends[20, arm] - Decimal(paper)) for arm, paper in zip(arms, ("87.71", "85.68"), strict=True)) / 2
        )
        assert (seen[reading]["cells"], seen[reading]["batch sizes"]) == (2, 1)
        assert seen[reading]["points from the paper"] == pytest.approx(distance, abs=Decimal("0.011"))


def test_a_run_that_failed_counts_nowhere_and_is_listed(planned, log, markdown):
    assert "**1 of 30 runs did not finish**" in sections(markdown)["What is seen"]
    (line,) = [line for line in sections(markdown)["Runs"].splitlines() if planned[-1].name in line.replace("\\", "")]
    assert "failed" in line
    assert FAILED.replace("_", "\\_") in line
    rows = {(row["batch size"], row["arm"]): row["seeds"] for row in questioned(log, markdown, "accuracy")}
    assert rows[60, "clip 1"] == 3
    assert rows[60, "no clipping"] == 2


def test_what_was_made_smaller_stands_in_every_section(markdown):
    parts = sections(markdown)
    del parts["The statements"]
    assert len(parts) > 3
    for text in parts.values():
        assert "batch sizes divided by 50" in text
        assert "epochs 4 for 80" in text
        assert "`digits` for `cifar10`" in text


def test_the_experiment_at_its_full_scale_needs_no_such_notice(planned, tmp_path):
    described = report.EXPERIMENTS["table1"]
    configs = [run.config("cuda:0") for run in plan("table1", "full")]
    assert report._notice(configs, described) == ""


def test_the_medium_scale_says_what_was_made_smaller():
    configs = [run.config("cpu") for run in plan("mechanism", "medium")]
    assert report._notice(configs, report.EXPERIMENTS["mechanism"]) == (
        "Not the full experiment: batch sizes divided by 10; at most 5,000 images to train on; images of 16 pixels a "
        "side; ResNet-18 of width 8 for 64. Do not hold its accuracies against the paper's."
    )


def test_a_run_has_as_many_steps_as_it_took_recorded_or_not(planned, tmp_path):
    record(planned[0], tmp_path / "runs", every=3)
    text = report.write(tmp_path / "runs", tmp_path / "report", experiment="table1", command=["lambc"]).read_text()
    with connect(tmp_path / "runs", untrusted=True) as log:
        assert [row["steps"] for row in questioned(log, text, "runs")] == [8]


MECHANISM = ["lambc", "reproduce", "mechanism"]


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    """The log of `mechanism` and of another experiment in one folder, and the report on the first."""
    folder = tmp_path_factory.mktemp("medium")
    mechanism, bounds = (
        [replace(run, images=None, pixels=None) for run in plan(name, "medium", data="digits", seeds=3, epochs=4)]
        for name in ("mechanism", "bounds")
    )
    for run in {run.name: run for run in [*mechanism, *bounds]}.values():
        record(run, folder / "runs")
    only = {run.name.rpartition("-s")[0] for run in mechanism}
    made = report.write(folder / "runs", folder / "report", experiment="mechanism", command=MECHANISM, only=only)
    return folder / "runs", made.read_text(encoding="utf-8"), mechanism


def test_a_report_on_a_shared_folder_is_of_its_own_runs(medium):
    runs, text, mechanism = medium
    with connect(runs, untrusted=True) as log:
        listed = {row["run"] for row in questioned(log, text, "runs")}
    assert listed == {run.name for run in mechanism} < {path.name for path in runs.iterdir()}
    assert "scheduled" not in text
    sums = (runs.parent / "report" / "SHA256SUMS").read_text()
    assert {line.split("/")[-2] for line in sums.splitlines() if line.endswith("run.json")} == listed


def test_mechanism_answers_each_of_its_questions_first(medium):
    runs, text, _ = medium
    seen = sections(text)["What is seen"]
    for question in (
        "Does clipping help?",
        "Is it the bound, or a smaller rate?",
        "Which layers carry it?",
        "Does the gain follow the number of steps?",
    ):
        assert f"**{question}**" in seen
    with connect(runs, untrusted=True) as log:
        rows = questioned(log, text, "comparisons")
        gains = questioned(log, text, "gains")
    assert len(rows) == 21
    assert [(row["batch size"], row["seeds"]) for row in gains] == [(200, 3), (300, 3)]
    assert all(row["more"] == 0 for row in gains)  # the gain that is recorded is the same at all batch sizes


def test_every_measure_of_an_arm_is_compared_in_pairs(medium):
    runs, text, mechanism = medium
    with connect(runs, untrusted=True) as log:
        (row,) = [
            row
            for row in questioned(log, text, "comparisons")
            if (row["arm"], row["against"], row["batch size"]) == ("clip 1", "no clipping", 100)
        ]
    arms = {clip: [run for run in mechanism[:6] if run.clip == clip] for clip in (1.0, None)}
    assert row["spread"] is None  # of the one epoch that is the last quarter
    for measure, value in MEASURES.items():
        one, other = (np.array([100 * value(run) for run in arms[clip]]) for clip in (1.0, None))
        low, high = stats.ttest_rel(one, other).confidence_interval(0.95)
        said = [float(number) for number in re.findall(r"[+-][\d.]+", row[measure])]
        assert said == pytest.approx([np.mean(one - other), low, high], abs=0.02)


def test_layers_are_those_of_the_smallest_batch_size_that_a_bound_has_finished(planned, tmp_path):
    """Without a bound a smaller one may have: that says nothing of what a bound touches."""
    unclipped = next(run for run in planned if run.batch_size == 20 and run.clip is None)
    clipped = next(run for run in planned if run.batch_size == 40 and run.clip == 1.0)
    for run in (unclipped, clipped):
        record(run, tmp_path / "runs")
    text = report.write(tmp_path / "runs", tmp_path / "report", experiment="table1", command=COMMAND).read_text()
    with connect(tmp_path / "runs", untrusted=True) as log:
        assert "1.weight" in [row["layer"] for row in questioned(log, text, "layers")]
        assert len(questioned(log, text, "hits")) == 6


def test_one_seed_has_no_interval(planned, tmp_path):
    for run in planned[:2]:
        record(run, tmp_path / "runs")
    made = report.write(tmp_path / "runs", tmp_path / "report", experiment="table1", command=COMMAND)
    text = made.read_text(encoding="utf-8")
    assert "one seed: no interval" in sections(text)["What is seen"]
    with connect(tmp_path / "runs", untrusted=True) as log:
        rows = questioned(log, text, "differences")
    assert [(row["measure"], row["pairs"], row["from"], row["to"]) for row in rows] == [
        ("smoothed", 1, None, None), ("last epoch", 1, None, None),
    ]  # fmt: skip


def test_a_log_in_which_nothing_has_finished_says_so(planned, tmp_path):
    record(planned[0], tmp_path / "runs", failure="no")
    made = report.write(tmp_path / "runs", tmp_path / "report", experiment="table1", command=COMMAND)
    assert "**1 of 1 runs did not finish**" in made.read_text(encoding="utf-8")


def test_a_damaged_run_is_named_and_the_others_are_reported(planned, tmp_path):
    record(planned[0], tmp_path / "runs")
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "run.json").write_text("{")
    made = report.write(tmp_path / "runs", tmp_path / "report", experiment="table1", command=COMMAND)
    text = made.read_text(encoding="utf-8")
    assert "damaged" in sections(text)["Files that were left out"]
    assert "clip 1" in sections(text)["Accuracy on the test set"]


class Tags(HTMLParser):
    """The tags of a page that could fetch or run something, and their sources."""

    def __init__(self):
        super().__init__()
        self.tags, self.images = [], 0

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_a_cards_limit_is_its_peak_over_the_work_of_an_image():
    with FlopCounterMode(display=False) as counter:
        resnet18(10, 3, 32)(torch.zeros(1, 3, 32, 32))
    forward_and_backward = 3 * counter.get_total_flops()
    assert pytest.approx(forward_and_backward, rel=0.01) == report.CIFAR_OPERATIONS
    on_card = {"config": {"data": "cifar10", "stem": "auto"}, "environment": {"device_name": "NVIDIA H100 80GB HBM3"}}
    (said,) = report._limits([on_card])
    assert f"{989e12 / report.CIFAR_OPERATIONS:,.0f} images a second" in said
    assert report._limits([on_card | {"environment": {"device_name": "cpu"}}]) == []


def test_names_from_a_log_are_text_on_both_pages(planned, tmp_path):
    name = "x|<img src=x onerror=alert(1)>`"
    record(planned[0], tmp_path / "runs", name=name)
    folder = report.write(
        tmp_path / "runs", tmp_path / "report", experiment="table1", command=[*COMMAND, "`<script>alert(2)</script>"]
    ).parent
    page = Tags()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "link", "object")]
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "x\\|&lt;img src=x onerror=alert(1)&gt;\\`" in text
    (row,) = [line for line in sections(text)["Runs"].splitlines() if "onerror" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 8  # seven columns


def test_the_page_fetches_nothing_and_has_plotly_once(written):
    page = Tags()
    page.feed((written / "report.html").read_text(encoding="utf-8"))
    assert not [attributes for _, attributes in page.tags if "src" in attributes or tag_fetches(attributes)]
    (policy,) = [each["content"] for tag, each in page.tags if tag == "meta" and "http-equiv" in each]
    assert policy.startswith("default-src 'none'")
    assert 4e6 < (written / "report.html").stat().st_size < 8e6


def tag_fetches(attributes):
    return "://" in (attributes.get("href") or "")


def test_the_sums_are_those_of_the_log_and_the_command_can_be_run_again(runs, written):
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=written, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    lines = (written / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(list(runs.glob("*/*/*.parquet"))) + len(list(runs.glob("*/run.json")))
    assert (written / "command.sh").read_text() == "lambc reproduce table1 --data digits\n"
