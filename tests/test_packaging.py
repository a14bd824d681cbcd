"""What is built and installed is whole: the sdist, the wheel, and the commands in an environment without extras."""

import os
import subprocess
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from collector import Collector
from tests.collector.emitter import Emitter
from tests.distribution import ROOT, build_sdist, build_wheel, install

PACKAGES = ("lambc", "collector", "app")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
    "TERM": "dumb",
    "COLUMNS": "160",
}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build_sdist(tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    return build_wheel(sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    """Runs a program of an environment that has the wheel without extras."""
    programs = install(wheel, tmp_path_factory.mktemp("environments") / "base")

    def run(program, *arguments, cwd):
        command = [programs / program, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)

    return run


@pytest.fixture
def folder(tmp_path):
    """Where somebody looks at a log of one run, and has modules of their own under the names of ours."""
    emitter = Emitter(["a", "b"])
    with Collector(emitter, tmp_path / "runs", name="one") as collector:
        emitter.say(1)
        collector.log({"train/loss": 1.0})
    for name in ("collector.py", "app.py"):
        (tmp_path / name).write_text("raise SystemExit('a module of the user was run')\n")
    return tmp_path


def files_here(*under):
    """The files of this tree that git knows or would add, as paths from its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *under]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this tree is no checkout of git, so that nothing says what belongs to it")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_sdist_holds_every_file_but_the_logs_of_the_results(sdist):
    with tarfile.open(sdist) as archive:
        packed = {name.split("/", 1)[1] for name in archive.getnames()}
    logs = {name for name in files_here("docs/results") if "runs" in Path(name).parts}
    assert logs
    assert packed == files_here() - logs | {"PKG-INFO"}


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert packed == files_here(*PACKAGES)
    kinds = {".py", ".cpp", ".sql", ".typed", ".toml", ".js", ".css", ".html", ".svg"}
    assert {Path(name).suffix for name in packed} >= kinds


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [about] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        said = message_from_bytes(archive.read(about))
        assert about.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in said.get_all("Classifier")
    assert {"train", "app", "all"} <= set(said.get_all("Provides-Extra"))


def test_an_environment_without_extras_has_what_was_installed_and_no_torch(base, folder):
    code = "import importlib.util as u, lambc; print(lambc.__file__); print([*map(u.find_spec, ('torch', 'pandas'))])"
    file, others = base("python", "-c", code, cwd=folder).stdout.splitlines()
    assert "site-packages" in file
    assert str(ROOT) not in file
    assert others == "[None, None]"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("--version", "lambc 0."),
        ("runs --format csv", "one,finished"),
        ("sql --format csv|SELECT count(*) AS rows FROM trust_ratios", "rows\n2\n"),
        ("check", "nothing is damaged in 1 run"),
        ("compact", "one: "),
        ("export -o out --format csv", ""),
        ("export -o out.duckdb --format duckdb", ""),
        ("rm one --yes", "one is removed"),
    ],
    ids=["version", "runs", "sql", "check", "compact", "export-csv", "export-duckdb", "rm"],
)
def test_a_command_runs_without_extras(base, folder, arguments, answer):
    words, *query = arguments.split("|")
    done = base("lambc", *words.split(), *query, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert answer in done.stdout


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ("demo", "torch"),
        ("train", "torch"),
        ("dashboard", "streamlit"),
        ("export -o out --format tensorboard", "torch"),
    ],
)
def test_a_command_of_an_extra_names_what_to_install(base, folder, command, needs):
    refused = base("lambc", *command.split(), cwd=folder)
    assert refused.returncode == 2
    assert needs in refused.stderr
    assert "pip install" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_in_an_empty_folder_the_commands_say_how_to_begin(base, tmp_path):
    for command in ("runs", "sql 1", "check", "compact", "export -o out --format csv"):
        refused = base("lambc", *command.split(), cwd=tmp_path)
        assert refused.returncode == 2, command
        assert "runs" in refused.stderr, command
        assert refused.stderr.count("\n") == 1, command


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {project['version']}" in citation
    assert f"license: {project['license']}" in citation
