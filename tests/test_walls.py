"""The walls between the packages: who may import whom."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_contracts_between_the_packages_hold():
    command = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([command, "--no-cache"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("package", ["lambc", "collector", "app"])
def test_importing_a_package_brings_no_heavy_library_with_it(package):
    code = f"import sys, {package}; print(*{{'torch', 'duckdb', 'streamlit'}} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_an_optimizer_without_torch_names_the_extra_to_install():
    code = "import sys; sys.modules['torch'] = None; import lambc; lambc.LAMBC"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "lambc.LAMBC needs torch: in the checkout of lambc, pip install '.[train]'" in failed.stderr.splitlines()[-1]
