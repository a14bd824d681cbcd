"""What the documentation shows is what the code answers."""

import inspect
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, replace
from io import StringIO
from itertools import pairwise
from math import ceil, prod
from pathlib import Path
from textwrap import dedent
from types import ModuleType, SimpleNamespace

import pytest
import torch
import typer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import collector
import lambc
from lambc import bounds, cli
from lambc.experiments import demo
from lambc.experiments.data import sources as data
from tests.frameworks.test_torchtitan import OptimizersContainer

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
"""A block of Python, and what it prints if the page says so."""

RULE = re.compile(r"^ *─+$", re.MULTILINE)
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)


class Network(nn.Sequential):
    """A network that gives its loss where it gets labels, as the Trainer wants it."""

    def forward(self, images, labels=None):
        logits = super().forward(images)
        return logits if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}


def given():
    """The names that a page takes as there: a model, four images in two batches, a loss, an accuracy."""
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    model = Network(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    return {
        "__name__": "__main__",
        "model": model,
        "images": images,
        "labels": labels,
        "dataset": [{"images": image, "labels": label} for image, label in zip(images, labels, strict=True)],
        "loader": DataLoader(TensorDataset(images, labels), batch_size=2),
        "loss_function": nn.functional.cross_entropy,
        "accuracy": lambda model: (model(images).argmax(1) == labels).float().mean(),
    }


def run_blocks(page, names):
    """Run the blocks of a page, one after the other, and hold what they print against what the page says."""
    blocks = BLOCK.findall(TEXTS[page])
    assert len(blocks) == len(re.findall(r"^```python$", TEXTS[page], re.MULTILINE)) > 0
    for code, printed in blocks:
        said = StringIO()
        with redirect_stdout(said):
            exec(compile(code, page, "exec"), names)
        if printed:
            assert said.getvalue() == printed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/collector.md", "docs/optimizers.md"])
@pytest.mark.filterwarnings("ignore:the state_dict is another optimizer's")  # which the page speaks of
def test_the_python_of_a_page_runs_and_prints_what_the_page_says(page, folder):
    run_blocks(page, given())


def test_the_first_step_of_an_epoch_lies_in_its_rows(folder):
    run_blocks("README.md", given())
    query = "SELECT epoch, list(DISTINCT step ORDER BY step) FROM trust_ratios GROUP BY epoch"
    found = collector.connect("runs").sql(query)
    assert dict(found.fetchall()) == {epoch: [2 * epoch + 1, 2 * epoch + 2] for epoch in range(80)}


def test_the_python_that_reads_a_log_gets_what_the_page_says(folder):
    run_blocks("README.md", given())
    run_blocks("docs/reading.md", {})


@pytest.fixture
def frameworks():
    """What frameworks keep once a process, and the registry of timm, undone after the test."""
    from accelerate.state import AcceleratorState, GradientState
    from timm.optim._optim_factory import default_registry

    optimizers = dict(default_registry._optimizers)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    default_registry._optimizers = optimizers


FRAMEWORKS = {"lightning": 2, "transformers": 2, "accelerate": 1, "fabric": 2, "timm": 2}
"""The blocks of docs/frameworks.md but torchtitan's, and how many steps each takes in an epoch of two batches."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator is found")
@pytest.mark.parametrize("number", range(len(FRAMEWORKS)), ids=[*FRAMEWORKS])
def test_the_code_for_a_framework_records_each_step_in_its_epoch(number, folder, frameworks):
    names = given()
    names["module"] = lightning_module(names["model"])
    blocks = BLOCK.findall(TEXTS["docs/frameworks.md"])
    assert len(blocks) == len(FRAMEWORKS) + 1
    assert all(len(code.splitlines()) <= 30 for code, _ in blocks)
    code, _ = blocks[number]
    exec(compile(code, "docs/frameworks.md", "exec"), names)
    steps, con = [*FRAMEWORKS.values()][number], collector.connect("runs")
    found = con.sql("SELECT status, steps, layers FROM runs, (SELECT count(*) AS layers FROM layers)")
    assert found.fetchall() == [("finished", 2 * steps, 4)]
    found = con.sql("SELECT epoch, list(DISTINCT step ORDER BY step) FROM trust_ratios GROUP BY epoch")
    assert dict(found.fetchall()) == {0: [*range(1, steps + 1)], 1: [*range(steps + 1, 2 * steps + 1)]}
    logs = any(word in code for word in ("accelerator.log", "logging_steps", "module"))
    assert (con.sql("SELECT count(*) FROM metrics").fetchall() > [(0,)]) == logs


def lightning_module(model):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters())

        def training_step(self, batch, index):
            loss = self.model(*batch)["loss"]
            self.log("train_loss", loss)
            return loss

    return Module()


class TitanTrainer:
    """torchtitan's Trainer, as far as it is used here: its container of optimizers and the order of its calls."""

    @dataclass(kw_only=True, slots=True)
    class Config:
        steps: int = 2

        def to_dict(self):
            return {"training": {"steps": self.steps}}

    def __init__(self, config, model, loader, saved=None):
        self.config, self.saved, self.loader = config, saved, loader
        self.model_parts = [model]
        self.optimizers = OptimizersContainer([model], lambc.LAMBC, lr=1e-2)
        self.step = 0

    def train(self):
        if self.saved:
            self.step, state = self.saved
            self.optimizers.optimizers[0].load_state_dict(state)
        batches = iter(self.loader)
        try:
            while self.step < self.config.steps:
                self.step += 1
                self.train_step(batches)
        except Exception:
            self.close()
            raise
        self.close()

    def train_step(self, data_iterator):
        self.optimizers.zero_grad()
        self.model_parts[0](*next(data_iterator))["loss"].backward()
        self.optimizers.step()

    def close(self):
        pass


@pytest.fixture
def recording_trainer(monkeypatch):
    """The class of the page, which is made by a framework of torchtitan's shape."""
    monkeypatch.setitem(sys.modules, "torchtitan", ModuleType("torchtitan"))
    monkeypatch.setitem(sys.modules, "torchtitan.trainer", SimpleNamespace(Trainer=TitanTrainer))
    names = {"__name__": "__main__"}
    code, _ = BLOCK.findall(TEXTS["docs/frameworks.md"])[-1]
    exec(compile(code, "docs/frameworks.md", "exec"), names)
    return names["RecordingTrainer"]


def titan_log():
    con = collector.connect("runs")
    steps = "SELECT list(DISTINCT step ORDER BY step) FROM trust_ratios"
    return *con.sql(steps).fetchall(), *con.sql("SELECT status, failure, config FROM runs").fetchall()


def test_torchtitans_trainer_goes_on_from_its_checkpoint(recording_trainer, folder):
    names = given()
    first = recording_trainer(recording_trainer.Config(), names["model"], names["loader"])
    first.train()
    saved = first.step, deepcopy(first.optimizers.optimizers[0].state_dict())
    second = recording_trainer(recording_trainer.Config(steps=4), names["model"], names["loader"], saved)
    second.train()
    assert titan_log() == (([1, 2, 3, 4],), ("finished", None, '{"training":{"steps":4}}'))


def test_torchtitans_trainer_says_why_it_failed(recording_trainer, folder):
    names = given()
    trainer = recording_trainer(recording_trainer.Config(steps=3), names["model"], names["loader"])
    with pytest.raises(StopIteration):
        trainer.train()
    assert titan_log()[:1] == (([1, 2],),)
    assert titan_log()[1][:2] == ("failed", "StopIteration: ")


def test_the_page_on_sql_has_every_view_and_macro_and_its_real_answer():
    made = runpy.run_path("docs/sql.py")["page"]()
    assert made == Path("docs/sql.md").read_text(encoding="utf-8"), "python docs/sql.py writes it anew"


def lambc_says(*arguments):
    done = CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(cli.app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def shown_tables():
    """The tables of the README, each with what stands before it: a command, or the sentence on the demo."""
    blocks = INDENTED.findall(TEXTS["README.md"])
    return [(before, table) for before, table in pairwise(["", *blocks]) if RULE.search(table)]


@pytest.mark.slow
def test_the_readmes_tables_are_those_of_the_demo(digits, few_digits, folder, monkeypatch):
    """Their columns, runs and counts, that is: accuracies and ratios depend on the processor, by rounding."""
    of_demo, *of_queries = shown_tables()
    steps = {run.epochs * ceil(len(digits.train_images) / run.batch_size) for run in demo.RUNS.values()}
    assert {int(row.split()[-1]) for row in of_demo[1].splitlines()[2:]} == steps
    monkeypatch.setattr(data, "digits", lambda: few_digits)
    monkeypatch.setattr(demo, "RUNS", {name: replace(run, epochs=1) for name, run in demo.RUNS.items()})
    said = lambc_says("demo")
    assert columns_and_names(table_in(said)) == columns_and_names(of_demo[1])
    layers = len(collector.connect("runs").sql("SELECT DISTINCT layer FROM layers").fetchall())
    assert f"{prod(steps) * layers * len(demo.RUNS):,} trust ratios" in TEXTS["README.md"]
    assert len(of_queries) == 2
    for command, shown in of_queries:
        answer = table_in(lambc_says(*shlex.split(dedent(command))[1:]))
        assert answer.splitlines()[0].split() == shown.splitlines()[0].split()
        assert len(answer.splitlines()) == len(shown.splitlines())


def table_in(said):
    """The rows of the table in what a command said, with its head."""
    lines = said.splitlines()
    ruled = next(number for number, line in enumerate(lines) if set(line.strip()) == {"─"})
    end = next((number for number in range(ruled, len(lines)) if not lines[number].strip()), len(lines))
    return "\n".join(lines[ruled - 1 : end])


def columns_and_names(table):
    head, _, *rows = table.splitlines()
    return head.split(), [row.split()[0] for row in rows]


def test_every_command_that_is_shown_can_be_typed():
    commands = typer.main.get_command(cli.app).commands
    shown = [
        (command, line)
        for text in TEXTS.values()
        for block in INDENTED.findall(text)
        for line in block.splitlines()
        for command in re.findall(r"^ +(?:\S+ .*-m )?lambc ([a-z]+)", line)
    ]
    assert len(shown) > 15
    for command, line in shown:
        assert command in commands, line
        options = {option for parameter in commands[command].params for option in parameter.opts}
        after = line.split(f"lambc {command}")[1].split("#")[0]
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", re.sub(r'".*', "", after))) <= options | {"--help"}, line


def test_every_public_name_is_in_the_documentation():
    text = "\n".join(TEXTS.values())
    options = [
        name
        for kind in (collector.Collector, lambc.LAMBC, lambc.LARS)
        for name in list(inspect.signature(kind).parameters)
        if name != "params"
    ]
    kinds = [kind.__name__ for kind in bounds._KINDS.values()]
    for name in {*lambc.__all__, *collector.__all__, *options, *kinds}:
        assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", text), name
    for command in cli.COMMANDS:
        assert re.search(rf"\blambc {command}\b", text), command


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[page]) if "://" not in link]
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link
    packages = r"(?:lambc|collector|app|tests|docs|bench|\.ci)/[\w./*-]*"
    for path in re.findall(rf"`({packages})`", TEXTS[page]):
        assert list(ROOT.glob(path.rstrip("/"))), path


def test_the_map_of_the_rooms_has_every_room():
    for package in ("lambc", "collector", "app"):
        rooms = {file.parent.relative_to(ROOT) for file in (ROOT / package).glob("*/**/*.py")}
        assert [room for room in rooms if f"`{room}/`" not in TEXTS["CONTRIBUTING.md"]] == []
