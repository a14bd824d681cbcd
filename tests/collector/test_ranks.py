"""A job of several processes writes one log: rank 0's, of whole layers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from collector import Collector, connect
from lambc import LAMBC
from tests.collector.disks import unwritable

STEPS = 6
GLOO_LOST_A_PROCESS = "closed by peer|remote worker"


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def take_steps(model, optimizer, collector, first=1, last=STEPS):
    for step in range(first, last + 1):
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        loss = model(torch.randn(4, 3, generator=generator)).square().mean()
        loss.backward()
        optimizer.step()
        collector.log({"train/loss": loss}, epoch=step // 4)


@cache
def mesh():
    return init_device_mesh("cpu", (4,))


def record_sharded(root):
    model = fully_shard(small_model(), mesh=mesh())
    optimizer = LAMBC(model.named_parameters())
    with Collector(optimizer, root, name="r") as collector:
        take_steps(model, optimizer, collector)
        collector.flush()
        threads = sum(thread.name.startswith("collector") for thread in threading.enumerate())
        return (
            collector.run,
            collector.folder,
            collector.step,
            collector.epoch,
            threads,
            len(optimizer._hooks._hooks),
        )


def rows(root, columns="step, layer, epoch, outcome, lower, upper, lr"):
    return connect(root).sql(f"SELECT {columns} FROM trust_ratios ORDER BY step, layer").fetchall()


def test_the_log_of_a_sharded_job_is_that_of_one_process(four, tmp_path):
    model = small_model()
    optimizer = LAMBC(model.named_parameters())
    with Collector(optimizer, tmp_path / "one", name="r") as collector:
        take_steps(model, optimizer, collector)
    answers = four.run(record_sharded, tmp_path / "four")
    assert len(rows(tmp_path / "four")) == STEPS * 4
    assert rows(tmp_path / "four") == rows(tmp_path / "one")
    ours, expected = (
        torch.tensor(rows(tmp_path / job, "weight_norm, update_norm, trust_ratio, clipped_ratio"))
        for job in ("four", "one")
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)
    layers = connect(tmp_path / "four").sql("SELECT layer, shape FROM layers ORDER BY position").fetchall()
    assert layers == [("0.weight", [5, 3]), ("0.bias", [5]), ("2.weight", [2, 5]), ("2.bias", [2])]
    # All ranks answer alike; only rank 0 has a thread and a hook.
    assert {answer[:4] for answer in answers} == {("r", tmp_path / "four" / "r", STEPS, 1)}
    assert [answer[4:] for answer in answers] == [(1, 1), (0, 0), (0, 0), (0, 0)]


def collect_on_another_rank(root):
    if torch.distributed.get_rank() == 0:
        return
    optimizer = LAMBC([("w", nn.Parameter(torch.ones(2)))])
    collector = Collector(optimizer, root)
    collector.log({"loss": 1.0}, epoch=3)
    collector.record()
    collector.flush()
    collector.close()
    assert (collector.epoch, collector.step) == (3, 0)
    with pytest.raises(RuntimeError, match=r"rank \d does not know where rank 0 writes"):
        _ = collector.folder
    with pytest.raises(ValueError, match="flush_seconds=0"):
        Collector(optimizer, root, flush_seconds=0)


def test_the_other_ranks_touch_no_file(four, tmp_path):
    four.run(collect_on_another_rank, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def record_stages(root):
    """Two stages of two processes each."""
    groups = [torch.distributed.new_group([0, 1]), torch.distributed.new_group([2, 3])]
    stage = torch.distributed.get_rank() // 2
    model = small_model()
    optimizer = LAMBC(model[2 * stage].named_parameters())
    with Collector(optimizer, root, name=f"stage{stage}", process_group=groups[stage]) as collector:
        take_steps(model, optimizer, collector, last=2)


def test_each_stage_of_a_pipeline_has_its_own_run_which_its_first_process_writes(four, tmp_path):
    four.run(record_stages, tmp_path)
    counts = connect(tmp_path).sql("SELECT run, count(*) FROM trust_ratios GROUP BY run ORDER BY run").fetchall()
    assert counts == [("stage0", 4), ("stage1", 4)]


def record_while_the_disk_fails(root):
    model = fully_shard(small_model(), mesh=mesh())
    optimizer = LAMBC(model.named_parameters())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Collector(optimizer, root, name="r", flush_seconds=0.01) as collector:
            broken = nullcontext() if torch.distributed.get_rank() else unwritable(collector)
            with broken:
                take_steps(model, optimizer, collector)
                time.sleep(0.1)
                take_steps(model, optimizer, collector, first=STEPS + 1, last=STEPS + 2)
    return [str(each.message).partition(",")[0] for each in said if "run 'r'" in str(each.message)]


def test_a_disk_that_fails_under_rank_0_stops_no_rank(four, tmp_path):
    said = four.run(record_while_the_disk_fails, tmp_path)
    assert said == [["run 'r' cannot be written"], [], [], []]
    assert len(rows(tmp_path)) == (STEPS + 2) * 4


def start_job(root: Path, rank: int, port: int) -> subprocess.Popen:
    place = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | {name: str(value) for name, value in place.items()}
    command = [sys.executable, "-m", "tests.collector.sharded_job", root, "20", "8"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def refuse_fsdp1(root, use_orig_params):
    model = FullyShardedDataParallel(small_model(), device_id=torch.device("cpu"), use_orig_params=use_orig_params)
    with pytest.raises(TypeError, match=r"AdamW steps parameters of .*FSDP1.*fully_shard \(FSDP2\)"):
        Collector(torch.optim.AdamW(model.parameters()), root, name="r")


@pytest.mark.parametrize("use_orig_params", [False, True])
def test_flat_parameters_of_fsdp1_are_refused_since_they_have_no_layers(four, tmp_path, use_orig_params):
    four.run(refuse_fsdp1, tmp_path / "runs", use_orig_params)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_job_of_which_a_process_is_killed_ends_and_goes_on_when_it_is_started_anew(tmp_path):
    port = free_port()
    jobs = [start_job(tmp_path, rank, port) for rank in range(2)]
    errors = [job.communicate(timeout=600)[1] for job in jobs]
    assert jobs[1].returncode == -signal.SIGKILL
    assert jobs[0].returncode == 1
    assert re.search(GLOO_LOST_A_PROCESS, errors[0])
    contents = json.loads((tmp_path / "runs" / "r" / "run.json").read_text())
    assert contents["status"] == "failed"
    assert re.search(GLOO_LOST_A_PROCESS, contents["failure"])
    steps = connect(tmp_path / "runs").sql("SELECT DISTINCT step FROM trust_ratios ORDER BY step").fetchall()
    assert steps in ([(step,) for step in range(1, 9)], [(step,) for step in range(1, 8)])

    # torchrun starts the job anew by itself, when a process is killed for the second time.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    command += ["-m", "tests.collector.sharded_job", tmp_path, "20", "13"]
    # torch 2.14 would hand the new processes the addresses of the dead ones.
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    con = connect(tmp_path / "runs")
    expected = [(step, 4) for step in range(1, 21)]
    assert con.sql("SELECT step, count(*) FROM trust_ratios GROUP BY step ORDER BY step").fetchall() == expected
    contents = json.loads((tmp_path / "runs" / "r" / "run.json").read_text())
    assert contents["status"] == "finished"
    assert [attempt["first_step"] for attempt in contents["attempts"]] == [1, 6, 11]
