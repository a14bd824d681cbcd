"""The step as one C++ function, for a CPU: 40 bytes of memory traffic a float32 parameter, where fused Adam has 28.

    python -m lambc.steps.compiled

builds it in a second with the C++ compiler of this machine, once, for this kind of processor, in ~/.cache/lambc. Where
it has been built, it takes the steps that torch's fused kernel takes elsewhere; nothing builds it by itself.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lambc.steps import CHUNK_ON_CPU, Layers, Move, foreach, fused_adam

SOURCE = Path(__file__).with_name("cpu.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")


def place() -> Path:
    """Where the library of this source, for this kind of processor, is or would be."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    made_of = f"{SOURCE.read_text(encoding='utf-8')}{FLAGS}{platform.machine()}{_processor()}"
    return home / "lambc" / f"step-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.so"


def _processor() -> str:
    """What tells whether code for one processor runs on another: a home directory may be that of many machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def build() -> Path:
    """Build the library, and have it take the steps of this process from now on; returns where it is.

    Raises RuntimeError, with what the compiler said, where there is none or it fails.
    """
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler was found: install g++ or clang++, or set CXX")
    target = place()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        done = subprocess.run([*compiler.split(), *FLAGS, SOURCE, "-o", made], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{compiler} cannot build {SOURCE.name}: {done.stderr.strip()}")
        made.replace(target)
    library.cache_clear()
    return target


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The library, if it has been built."""
    built = place()
    try:
        return ctypes.CDLL(str(built)) if built.exists() else None
    except OSError:
        return None


def step(
    layers: Layers,
    group: dict,
    lower: Tensor,
    upper: Tensor,
    found_inf: Tensor | None = None,
    *,
    scratch: fused_adam.Scratch,
) -> Tensor:
    """Algorithm 1, lines 7 to 17, for all layers; by another path, where they are of half precision or have gaps."""
    loaded, exp_avgs = library(), layers.state("exp_avg")
    dtype = exp_avgs[0].dtype
    fits = all(w.dtype == dtype and w.stride() == m.stride() for w, m in zip(layers.params, exp_avgs, strict=True))
    if loaded is None or found_inf is not None or not fits:
        if group["eps_inside_sqrt"] or not fused_adam.AVAILABLE:
            return foreach.step(layers, group, lower, upper)
        return fused_adam.step(layers, group, lower, upper, found_inf, scratch=scratch)
    # The function walks memory, not indices: all of a layer's tensors need the one layout.
    grads = [
        g if g.stride() == m.stride() and g.dtype == dtype else torch.empty_like(m).copy_(g)
        for g, m in zip(layers.grads, exp_avgs, strict=True)
    ]
    addresses = [
        (w.data_ptr(), g.data_ptr(), m.data_ptr(), v.data_ptr(), w.numel())
        for w, g, m, v in zip(layers.params, grads, exp_avgs, layers.state("exp_avg_sq"), strict=True)
    ]
    corrections = zip(*layers.bias_corrections(group), strict=True)
    limits = [(*pair, low, high) for pair, low, high in zip(corrections, lower.tolist(), upper.tolist(), strict=True)]
    factor = 1.0 if layers.grad_factor is None else layers.grad_factor.item()
    numbers = (*group["betas"], group["eps"], group["weight_decay"], -factor if group["maximize"] else factor)
    ratios = torch.empty(len(addresses), 4, dtype=torch.float64, device="cpu")
    function = loaded.step_float32 if dtype == torch.float32 else loaded.step_float64
    function(
        ctypes.c_int64(len(addresses)), _array(ctypes.c_int64, addresses), _array(ctypes.c_double, limits),
        (ctypes.c_double * 5)(*numbers), (ctypes.c_double * 2)(*group["phi"]) if group["phi"] else None,
        ctypes.c_double(float(group["lr"])), ctypes.c_int64(CHUNK_ON_CPU), group["eps_inside_sqrt"],
        group["decay_in_ratio"], torch.get_num_threads(), ctypes.c_void_p(ratios.data_ptr()),
    )  # fmt: skip
    return ratios.T.to(dtype)


def _array(kind: Any, rows: list[tuple]) -> Any:
    flat = [value for row in rows for value in row]
    return (kind * len(flat))(*flat)


def begin(layers: Layers, group: dict, found_inf: Tensor | None = None) -> tuple[Tensor, Move]:
    """Lines 7 to 12 of layers that are here in part, and line 17: by another path."""
    path = foreach if group["eps_inside_sqrt"] or not fused_adam.AVAILABLE else fused_adam
    return path.begin(layers, group, found_inf)


if __name__ == "__main__":
    try:
        print(build())
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
