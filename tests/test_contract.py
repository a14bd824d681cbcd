"""What users type, link to and query: names that stay, wherever the code behind them lies."""

import json
import re
import subprocess
import sys

import pytest

from collector import connect
from tests import dashboard_log

VIEWS = {
    "runs": "run status started finished heartbeat steps config failure version last_step",
    "layers": "run layer position shape parameters group family block",
    "attempts": "run attempt started first_step",
    "problems": "run file problem",
    "trust_ratios": "run step epoch layer weight_norm update_norm trust_ratio clipped_ratio lower upper lr "
    "outcome relative_step grad_norm",
    "metrics": "run step epoch time name value",
    "clip_hits": "run layer steps adapted upper_hits lower_hits hit_rate not_finite",
}
MACROS = {
    "cell_start", "cell_width", "clipped_throughout", "compare_layers", "compare_rows", "constant_ratios",
    "epoch_steps", "events", "furthest_from_1", "gradient_clips", "heatmap", "heatmap_rows", "hit_rate",
    "hit_rate_by_layer", "hit_rate_curves", "hit_rate_over_time", "hit_rate_rows", "hit_share", "layers_at",
    "metric_cells", "metric_curve", "metric_epochs", "metric_roles", "not_finite", "outcome", "ratio_bin",
    "ratio_curve", "ratio_envelope", "ratio_histogram", "ratio_quantiles", "ratio_survival", "relative_step",
    "run_stride", "suggested_bounds", "usual_ratios",
}  # fmt: skip
COMMANDS = {"train", "demo", "reproduce", "runs", "sql", "dashboard", "check", "compact", "export", "rm"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return dashboard_log.build(tmp_path_factory.mktemp("log"))


def test_the_public_names_can_be_imported():
    from collector import Collector, connect
    from lambc import LAMB, LAMBC, LARS, TrustRatios, bounds, clip_groups, over, parameter_groups
    from lambc import Collector as SameCollector
    from lambc import connect as same_connect

    assert (SameCollector, same_connect) == (Collector, connect)
    assert issubclass(LAMB, LAMBC)
    assert callable(over)
    assert {LARS.__module__, TrustRatios.__module__, clip_groups.__module__, parameter_groups.__module__} <= {
        "lambc.lars",
        "lambc.trust_ratios",
        "lambc.groups",
    }
    assert {"Fixed", "LARC", "Scheduled", "DynamicBound", "Deviation", "Quantile", "Bound"} <= set(dir(bounds))


def test_the_views_and_macros_are_there_with_their_columns(log):
    con = connect(log)
    for view, columns in VIEWS.items():
        assert [name for name, *_ in con.sql(f"DESCRIBE {view}").fetchall()] == columns.split(), view
    found = con.sql("SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal").fetchall()
    assert {name for (name,) in found} >= MACROS


def test_a_run_on_the_disk_has_the_format_that_readers_know(log):
    run = log / "clipped"
    contents = json.loads((run / "run.json").read_text())
    assert contents["format"] == 1
    assert contents.keys() >= {
        "run", "config", "environment", "layers", "attempts", "status", "started", "finished", "failure", "every",
    }  # fmt: skip
    assert set(contents["layers"][0]) == {"layer", "position", "shape", "parameters", "group"}
    assert {path.name for path in run.iterdir()} >= {"run.json", "heartbeat", "trust_ratios", "metrics", "rollups"}


def test_the_commands_are_there():
    said = subprocess.run([sys.executable, "-m", "lambc", "--help"], capture_output=True, text=True, check=True)
    assert set(re.findall(r"^│ ([a-z]+) ", said.stdout, re.MULTILINE)) == COMMANDS
