"""On what a benchmark ran."""

import platform
from pathlib import Path

import torch


def machine(device: str) -> str:
    """The name of the card, or of the processor and how many threads torch used."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    return f"{cpu}, {torch.get_num_threads()} threads"
