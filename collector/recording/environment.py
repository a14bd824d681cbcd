"""Where a run takes place, as its run.json says it."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def environment(optimizers: Sequence[Any]) -> dict[str, Any]:
    """Versions, the device of the parameters, and what trains on it."""
    params = (param for each in optimizers for group in each.param_groups for param in group["params"])
    device = next((param.device for param in params if param.device.type != "cpu"), torch.device("cpu"))
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device.type,
        "device_name": device_name(device),
        "platform": platform.platform(),
        "world_size": torch.distributed.get_world_size() if distributed else 1,
        "optimizers": [type(each).__name__ for each in optimizers],
    }


def device_name(device: torch.device | str) -> str:
    """The card, or the processor and how many threads torch uses on it."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    try:  # of Linux, where Python itself knows the architecture alone
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or platform.machine())}, {torch.get_num_threads()} threads"
