"""Claim: the Triton kernels read and write whole blocks in 128-bit accesses, without float64, in at most 64 registers.

Compiled for cards that need not be there: Triton compiles for any, and the `cuobjdump` in its wheel says what a kernel
takes. What a kernel does at its speed only a card can say.

    python bench/kernels.py
"""

import re
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
import typer
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lambc.steps import triton as kernels

RESULTS = Path(__file__).parent / "results"
CARDS = {80: "A100", 90: "H100, H200", 100: "B200"}
FLOOR = 40
"""Bytes a float32 parameter: g, m, v, w read and m, v written; then m, v, w read and w written."""

_SHARED = {
    "table": "*i64",
    "blocks": "*i64",
    "firsts": "*i64",
    "hyper": "*fp32",
    "corrections": "*fp32",
    "layers": "i32",
}
_OPTIONS = {"EPS_INSIDE_SQRT": False, "DTYPE": tl.float32, "W_DTYPE": tl.float32, "BLOCK": kernels.BLOCK}
KERNELS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "_moments": (
        {"squares": "*fp32", "block_count": "i32", "factor": "*fp32", "skip": "*fp32"},
        {"DECAY_IN_RATIO": True, "G_DTYPE": tl.float32},
    ),
    "_apply": ({"distances": "*fp32", "skip": "*fp32"}, {}),
}
"""Each kernel's own arguments and constants."""


class Seen(NamedTuple):
    """What a compiled kernel takes, a thread.

    wide: accesses of 128 bits. narrow: those of 32 bits or less in a whole block; the addresses of tensors, which are
    looked up in between, have 64. float64: instructions. bytes: what a program moves of a whole block, an element.
    """

    registers: int
    spills: int
    wide: int
    narrow: int
    float64: int
    bytes: float


def look(name: str, card: int) -> Seen:
    """Compile a kernel for the compute capability `card`, as 90."""
    arguments, constants = KERNELS[name]
    constants = _OPTIONS | constants
    signature = _SHARED | arguments | dict.fromkeys(constants, "constexpr")
    source = ASTSource(getattr(kernels, name), signature, constants)
    made = triton.compile(source, target=GPUTarget("cuda", card, 32), options={"num_warps": kernels.WARPS})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    usage = {key: int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said)}
    accesses = re.findall(r"\b(?:ld|st)\.global\S*", _whole_block(made.asm["ptx"]))
    wide = sum(".v4" in access for access in accesses)
    return Seen(
        registers=usage["REG"],
        spills=usage["STACK"] + usage["LOCAL"],
        wide=wide,
        narrow=sum(not access.endswith((".v4.b32", ".b64")) for access in accesses),
        float64=len(re.findall(r"\.f64", made.asm["ptx"])),
        bytes=wide * 16 * kernels.WARPS * 32 / kernels.BLOCK,
    )


def _whole_block(ptx: str) -> str:
    """What is executed for a block that is whole and aligned: from the first access of 128 bits to the last."""
    places = [found.span() for found in re.finditer(r"\b(?:ld|st)\.global\S*\.v4\S*", ptx)]
    return ptx[places[0][0] : places[-1][1]]


def main() -> None:
    """Look, print and save."""
    seen = {(name, card): look(name, card) for name in KERNELS for card in CARDS}
    lines = [
        "# The Triton kernels, as they are compiled\n",
        (__doc__ or "").split("\n\n")[0] + "\n",
        f"triton {triton.__version__}, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}; float32, blocks of "
        f"{kernels.BLOCK}, {kernels.WARPS} warps; nothing was run.\n",
        "| kernel | card | registers | spilled bytes | 128-bit accesses | 32-bit beside them | float64 | bytes |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | sm_{card} ({CARDS[card]}) | {each.registers} | {each.spills} | {each.wide} | {each.narrow} | "
            f"{each.float64} | {each.bytes:g} |"
            for (name, card), each in seen.items()
        ),
        f"\nTogether {sum(seen[name, 90].bytes for name in KERNELS):g} bytes a parameter, and the floor is {FLOOR}.",
    ]
    (RESULTS / "kernels.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
