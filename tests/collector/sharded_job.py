"""A job that trains a sharded model, as a user writes one: `python -m tests.collector.sharded_job ROOT UNTIL DIE_AT`.

It goes on from its last checkpoint. At step DIE_AT rank 1 is killed, unless torchrun has started the job anew.
"""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard

from collector import Collector
from lambc import LAMBC


def main(root: Path, until: int, die_at: int) -> None:
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=600))
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    optimizer = LAMBC(model.named_parameters())

    done = max((int(each.parent.name) for each in root.glob("checkpoints/*/.metadata")), default=0)
    if done:
        state, optimizer_state = get_state_dict(model, optimizer)
        dcp.load({"model": state, "optimizer": optimizer_state}, checkpoint_id=root / "checkpoints" / str(done))
        set_state_dict(model, optimizer, model_state_dict=state, optim_state_dict=optimizer_state)
    with Collector(optimizer, root / "runs", name="r", resume=True) as collector:
        for step in range(done + 1, until + 1):
            optimizer.zero_grad()
            model(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().mean().backward()
            optimizer.step()
            if step % 5 == 0:
                collector.flush()
                state, optimizer_state = get_state_dict(model, optimizer)
                checkpoint = root / "checkpoints" / str(step)
                dcp.save({"model": state, "optimizer": optimizer_state}, checkpoint_id=checkpoint)
            if step == die_at and rank == 1 and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    finally:
        torch.distributed.destroy_process_group()
    # Not by Python's own end, in which a thread of gloo at times still runs, which C++ answers with an abort.
    os._exit(0)
