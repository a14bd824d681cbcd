"""What people type: one import, whatever else lies in the folder that they work in."""

import os
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import app
import collector
import lambc
from tests.collector.emitter import Emitter

ROOT = Path(lambc.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "160"}
WITHOUT = """
import sys

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in {others}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without)
"""
OWN = "raise SystemExit('a module of the user was run')\n"


def python(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True
    )


@pytest.fixture
def project(tmp_path):
    """A folder in which a user has modules under the names of our packages, and a training script."""
    for name in ("collector.py", "app.py"):
        (tmp_path / name).write_text(OWN)
    return tmp_path


def test_all_that_a_training_script_needs_comes_from_one_package():
    from lambc import LAMB, LAMBC, LARS, Collector, connect

    assert (Collector, connect) == (collector.Collector, collector.connect)
    assert issubclass(LAMB, LAMBC)
    assert LARS.__module__ == "lambc.lars"


def test_dir_lists_the_public_names():
    assert set(lambc.__all__) <= set(dir(lambc))
    assert {"Collector", "connect", "LAMBC"} <= set(lambc.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lambc' has no attribute 'Colector'"):
        _ = lambc.Colector


def test_the_collector_without_torch_names_the_extra_to_install(tmp_path):
    code = "import sys; sys.modules['torch'] = None; import lambc; lambc.connect; lambc.Collector"
    failed = python("-c", code, cwd=tmp_path)
    hint = "lambc.Collector needs torch: in the checkout of lambc, pip install '.[train]'"
    assert failed.stderr.splitlines()[-1] == f"ImportError: {hint}"


@pytest.mark.parametrize("name", ["Collector", "connect"])
def test_a_module_beside_the_script_that_hides_ours_is_named_and_not_run(name, project):
    (project / "train.py").write_text(f"from lambc import LAMBC\nfrom lambc import {name}\n")
    failed = python("train.py", cwd=project)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        f"ImportError: {project / 'collector.py'} hides the package 'collector' that comes with lambc: rename it"
    )


def test_a_folder_that_hides_ours_is_named(tmp_path):
    (tmp_path / "collector").mkdir()
    (tmp_path / "collector" / "__init__.py").write_text("")
    (tmp_path / "train.py").write_text("import collector\nimport lambc\nlambc.connect\n")
    failed = python("train.py", cwd=tmp_path)
    assert f"ImportError: {tmp_path / 'collector'} hides the package 'collector'" in failed.stderr.splitlines()[-1]


def test_a_folder_without_a_module_in_it_hides_nothing(tmp_path):
    (tmp_path / "collector").mkdir()
    (tmp_path / "train.py").write_text("from lambc import Collector, connect\n")
    assert python("train.py", cwd=tmp_path).stderr == ""


def test_the_command_runs_where_modules_of_those_names_lie(project):
    (project / "runs").mkdir()
    listed = python("-m", "lambc", "runs", cwd=project)
    assert listed.returncode == 2
    assert listed.stderr.startswith("there are no runs in runs yet"), listed.stderr


@pytest.mark.slow
def test_torchrun_runs_the_command_where_modules_of_those_names_lie(project):
    (project / "runs").mkdir()
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", 1, "--master-port", 0)
    listed = python(*launcher, "-m", "lambc", "sql", "SELECT 1", cwd=project)
    assert "there are no runs in runs yet" in listed.stderr
    assert "a module of the user was run" not in listed.stderr


@pytest.mark.parametrize(("command", "name"), [("runs", "collector"), ("dashboard", "app")])
def test_the_command_names_a_module_that_hides_ours_all_the_same(command, name, tmp_path):
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "runs").mkdir()
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    failed = python("-m", "lambc", command, cwd=tmp_path, PYTHONPATH=path)
    sentence = f"{tmp_path / name}.py hides the package '{name}' that comes with lambc: rename it\n"
    assert (failed.returncode, failed.stderr) == (2, sentence)


@pytest.mark.parametrize("package", [lambc, collector, app], ids=lambda package: package.__name__)
def test_the_types_of_a_package_are_for_its_users_too(package):
    assert (Path(package.__file__).parent / "py.typed").is_file()


def test_whatever_reads_and_keeps_a_log_in_order_needs_no_extra(tmp_path):
    emitter = Emitter(["a", "b"])
    with collector.Collector(emitter, tmp_path / "runs", name="one"):
        emitter.say(1)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {"lambc", *installed_with(project["dependencies"])}
    distributions = metadata.packages_distributions()
    others = [name for name, owners in distributions.items() if base.isdisjoint(map(normal, owners))]
    assert {"torch", "pandas", "streamlit"} <= set(others)
    code = WITHOUT.format(others=others) + "from lambc.cli import app\napp(sys.argv[1:])\n"
    for command in (
        ("runs", "--format", "csv"), ("sql", "FROM trust_ratios"), ("check",), ("compact",),
        ("export", "-o", "out", "--format", "csv"), ("export", "-o", "out.duckdb", "--format", "duckdb"),
        ("rm", "one", "--yes"),
    ):  # fmt: skip
        done = python("-c", code, *command, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert list((tmp_path / "runs").iterdir()) == []


def installed_with(requirements):
    """The names of some distributions, and of all that they require themselves."""
    names = set()
    for requirement in requirements:
        name = normal(re.match(r"[\w.-]+", requirement)[0])
        if "extra ==" not in requirement and name not in names:
            with suppress(PackageNotFoundError):  # of another platform
                names |= {name, *installed_with(metadata.requires(name) or ())}
    return names


def normal(name):
    """A distribution's name, which may be spelled in several ways."""
    return re.sub("[-_.]+", "-", name).lower()
