"""Logs of wide models that are made up: real files, and faults where they were planted."""

import pytest

from collector import connect
from collector.store.check import check_run
from lambc.experiments.wide_logs import DEMO_LOG, LOGS, WideLog, breakdown, jump, mixture, transformer, unused_experts


def ask(root, statement):
    return connect(root).sql(statement).fetchall()


def test_the_logs_are_as_wide_and_as_long_as_they_say():
    sizes = {name: (len(log.shapes), log.steps) for name, log in LOGS.items()}
    assert sizes == {
        "transformer-400": (400, 20_000),
        "experts-2k": (1_943, 1_200),
        "unused-experts-2k": (1_943, 1_200),
        "experts-10k": (10_180, 300),
    }
    assert (len(DEMO_LOG.shapes), DEMO_LOG.steps) == (1_943, 1_200)


def test_a_log_is_a_finished_run_that_every_check_finds_good(tmp_path):
    folder = WideLog(transformer(2), 100).write(tmp_path, "r")
    assert list(check_run(folder)) == []
    assert ask(tmp_path, "SELECT status, steps FROM runs") == [("finished", 100)]
    assert ask(tmp_path, "SELECT count(*), count(DISTINCT layer) FROM trust_ratios") == [(2_800, 28)]
    assert ask(tmp_path, "SELECT name, count(*) FROM metrics GROUP BY name") == [("train/loss", 100)]
    assert ask(tmp_path, "SELECT file FROM problems") == []


def test_a_log_that_is_there_is_not_written_over(tmp_path):
    log = WideLog(transformer(1), 10)
    log.write(tmp_path, "r")
    with pytest.raises(FileExistsError):
        log.write(tmp_path, "r")


def test_a_layer_jumps_for_two_steps(tmp_path):
    layer = "blocks.1.attn.qkv.weight"
    WideLog(transformer(3), 200, [jump(layer, 120)]).write(tmp_path, "r")
    found = ask(tmp_path, "SELECT layer, kind, step FROM events('r', 1, 200) ORDER BY step")
    assert found == [(layer, "jump", 120), (layer, "jump", 122)]


def test_a_breakdown_reaches_the_blocks_one_after_the_other(tmp_path):
    WideLog(transformer(9), 200, [breakdown(100, blocks_a_step=0.5)]).write(tmp_path, "r")
    first = ask(
        tmp_path,
        """SELECT block, min(step)
        FROM (
            SELECT layer, step, trust_ratio / lag(trust_ratio) OVER (PARTITION BY layer ORDER BY step) AS change
            FROM trust_ratios
        )
        JOIN layers USING (layer)
        WHERE change < 0.2
        GROUP BY block
        ORDER BY block""",
    )
    assert first == [(block, 100 + 2 * block) for block in range(9)]


def test_experts_that_get_no_gradient_are_moved_by_weight_decay_alone(tmp_path):
    WideLog(mixture(4, 3, 1), 100, [unused_experts(r"\.[23]\..*experts\.0\.", since=41)]).write(tmp_path, "r")
    found = ask(
        tmp_path,
        """SELECT DISTINCT layer, min(step) FROM trust_ratios
        WHERE layer LIKE '%experts%' AND abs(weight_norm / update_norm - 10) < 1e-3 GROUP BY layer ORDER BY layer""",
    )
    prefix = "model.layers.{}.block_sparse_moe.experts.0.w{}.weight"
    assert found == [(prefix.format(block, number), 41) for block in (2, 3) for number in (1, 2, 3)]
