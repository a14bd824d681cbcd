"""Logs of wide models, written in seconds without training: a transformer of 400 tensors, experts of 2,000 and of
10,000, with faults planted at known places.

The ratios are made up, to look like those of real runs: norms far above 1 and biases below it, a warm-up, a trend with
depth, noise in every layer and step. Format, parts and rollups are the collector's own.
"""

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from collector.log import index
from collector.log.parts import write_part
from collector.log.rollups import roll_up
from collector.log.run import Layer, Run
from collector.log.schema import METRICS, TRUST_RATIOS

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

ROWS_A_PART = 2**20
CLIP, LR, DECAY = 1.0, 0.01, 0.1
STEP_SECONDS = 0.3


def transformer(blocks: int = 33) -> Shapes:
    """12 tensors a block, and 4 beside them: 400 in all."""
    found: dict[str, tuple[int, ...]] = {"tok_emb.weight": (32_000, 768), "pos_emb.weight": (1024, 768)}
    for block in range(blocks):
        for name, out, into in (
            ("ln_1", 768, 0), ("attn.qkv", 2304, 768), ("attn.proj", 768, 768),
            ("ln_2", 768, 0), ("mlp.fc", 3072, 768), ("mlp.proj", 768, 3072),
        ):  # fmt: skip
            found[f"blocks.{block}.{name}.weight"] = (out, into) if into else (out,)
            found[f"blocks.{block}.{name}.bias"] = (out,)
    return found | {"ln_f.weight": (768,), "ln_f.bias": (768,)}


def mixture(blocks: int = 64, experts: int = 8, dense: int = 2) -> Shapes:
    """A transformer with experts in all blocks but the first, which are dense: 1,943 tensors."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (32_000, 1024)}
    for block in range(blocks):
        prefix = f"model.layers.{block}"
        for name in ("q", "k", "v", "o"):
            found[f"{prefix}.self_attn.{name}_proj.weight"] = (1024, 1024)
        if block < dense:
            for name in ("gate", "up", "down"):
                found[f"{prefix}.mlp.{name}_proj.weight"] = (1024, 4096) if name == "down" else (4096, 1024)
        for name in ("input", "post_attention"):
            found[f"{prefix}.{name}_layernorm.weight"] = (1024,)
        if block >= dense:
            found[f"{prefix}.block_sparse_moe.gate.weight"] = (experts, 1024)
            for expert in range(experts):
                for name in ("w1", "w2", "w3"):
                    shape = (1024, 4096) if name == "w2" else (4096, 1024)
                    found[f"{prefix}.block_sparse_moe.experts.{expert}.{name}.weight"] = shape
    return found | {"model.norm.weight": (1024,), "lm_head.weight": (32_000, 1024)}


@dataclass(frozen=True)
class Moment:
    """Some steps of a run: the norms are [layers, steps], the loss is [steps]. A fault changes `update` and `loss`."""

    layers: Sequence[str]
    steps: np.ndarray
    weight: np.ndarray
    update: np.ndarray
    loss: np.ndarray


Fault: TypeAlias = Callable[[Moment], None]


def breakdown(step: int, blocks_a_step: float = 1.0, factor: float = 20.0, lasting: float = 25.0) -> Fault:
    """From `step` on the updates blow up, in block 0 first and in a later block the later, and the loss rises.

    In blocks 0 and 1 the queries' are NaN for a while.
    """

    def plant(moment: Moment) -> None:
        blocks = np.array([_block(layer) for layer in moment.layers], dtype=float)[:, None]
        since = moment.steps[None, :] - step - blocks / blocks_a_step
        hit = (since >= 0) & (blocks >= 0)
        moment.update[:] *= np.where(hit, 1 + (factor - 1) * np.exp(-np.maximum(since, 0) / lasting), 1)
        moment.loss[:] += 0.8 * _pulse(moment.steps - step, rise=4, fall=3 * lasting)
        worst = np.array([0 <= _block(layer) <= 1 and layer.endswith("q_proj.weight") for layer in moment.layers])
        moment.update[np.ix_(worst, (moment.steps >= step + 8) & (moment.steps < step + 8 + lasting))] = np.nan

    return plant


def unused_experts(named: str, since: int = 1) -> Fault:
    """Layers that `named` means, a regular expression, get no gradient: only weight decay moves them."""
    meant = re.compile(named)

    def plant(moment: Moment) -> None:
        rows = np.array([bool(meant.search(layer)) for layer in moment.layers])
        where = np.ix_(rows, moment.steps >= since)
        moment.update[where] = DECAY * moment.weight[where]

    return plant


def jump(layer: str, step: int, steps: int = 2, factor: float = 36.0) -> Fault:
    """One layer's ratio falls to a `factor`-th, for so many steps; the loss rises for a while."""

    def plant(moment: Moment) -> None:
        past = moment.steps - step
        row = list(moment.layers).index(layer)
        moment.update[row, (past >= 0) & (past < steps)] *= factor
        moment.loss[:] += 1.5 * _pulse(past, rise=6, fall=40)

    return plant


def _pulse(since: np.ndarray, rise: float, fall: float) -> np.ndarray:
    """Up and down again, from 0 on."""
    past = np.maximum(since, 0)
    return np.exp(-past / fall) * (1 - np.exp(-past / rise))


@dataclass(frozen=True)
class WideLog:
    """A run to write: its layers and steps, and what goes wrong in it."""

    shapes: Shapes
    steps: int
    faults: Sequence[Fault] = ()
    model: str = "transformer"
    clip: float | None = CLIP
    seed: int = 0

    def write(self, root: Path, name: str) -> Path:
        """Write the run `name` under `root`, finished, and return its folder. Raises FileExistsError if it is there."""
        config = {"model": self.model, "optimizer": "LAMBC", "clip": self.clip, "lr": LR, "made_up": True}
        run = Run.create(root / name, config, {"device": "none: the numbers are made up"})
        run.contents["every"] = 1
        run.set_layers([
            Layer(layer, place, tuple(shape), math.prod(shape), 0)
            for place, (layer, shape) in enumerate(self.shapes.items())
        ])  # fmt: skip
        run.begin_attempt_at(1)
        stride = max(1, ROWS_A_PART // len(self.shapes))
        losses = []
        for part, first in enumerate(range(1, self.steps + 1, stride), start=1):
            moment = self._moment(np.arange(first, min(first + stride, self.steps + 1)))
            losses.append(moment.loss)
            write_part(self._rows(name, moment), TRUST_RATIOS, run.folder / TRUST_RATIOS.folder, part)
        write_part(_metrics(name, np.concatenate(losses)), METRICS, run.folder / METRICS.folder, 1)
        roll_up(run.folder / TRUST_RATIOS.folder)
        index.save(run.folder)
        run.beat(self.steps)
        run.end("finished", None)
        run.save()
        return run.folder

    def _moment(self, steps: np.ndarray) -> Moment:
        random = np.random.default_rng((self.seed, int(steps[0])))
        layers = list(self.shapes)
        level, warm, own = self._of_layers()
        calm = 1 - np.exp(-steps / (self.steps / 16))
        ratio = level + warm * (1 - calm) + 0.1 * own * np.log1p(steps / self.steps)
        ratio = 10 ** (ratio + 0.025 * random.standard_normal((len(layers), len(steps)), dtype=np.float32))
        size = np.sqrt([math.prod(shape) for shape in self.shapes.values()])[:, None]
        weight = (0.02 * size * (1 + 0.5 * calm)).astype(np.float32)
        loss = 2.8 + 9 * np.exp(-6 * steps / self.steps) + 0.05 * random.standard_normal(len(steps))
        moment = Moment(
            layers, steps, np.broadcast_to(weight, ratio.shape).copy(), (weight / ratio).astype(np.float32), loss
        )
        for fault in self.faults:
            fault(moment)
        return moment

    def _of_layers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each layer, as a column: the logarithm of its calm ratio, how far above it begins, how it drifts."""
        blocks = 1 + max((_block(layer) for layer in self.shapes), default=0)
        rows = []
        for layer, shape in self.shapes.items():
            kind = np.random.default_rng(zlib.crc32(re.sub(r"\d+", "#", layer).encode()))
            own = np.random.default_rng((self.seed, zlib.crc32(layer.encode())))
            depth = max(_block(layer), 0) / blocks - 0.5
            base = -0.45 if layer.endswith("bias") else 0.95 if len(shape) == 1 else kind.normal(0.1, 0.12)
            base += kind.normal(0, 0.3) * depth + own.normal(0, 0.05)
            rows.append((base, kind.uniform(0.2, 0.5), own.normal()))
        level, warm, drift = np.array(rows, dtype=np.float32).T[:, :, None]
        return level, warm, drift

    def _rows(self, name: str, moment: Moment) -> pa.Table:
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isfinite(moment.update), moment.weight / moment.update, 1).astype(np.float32)
        upper = np.full_like(ratio, np.inf if self.clip is None else self.clip)
        warmed = np.minimum(1, moment.steps / (0.05 * self.steps)) * (
            0.55 + 0.45 * np.cos(np.pi * moment.steps / self.steps)
        )
        lr = np.broadcast_to(LR * warmed, ratio.shape)
        measured = [moment.weight, moment.update, ratio, np.minimum(ratio, upper), np.zeros_like(ratio), upper, lr]
        layers = pa.DictionaryArray.from_arrays(
            np.repeat(np.arange(len(moment.layers), dtype=np.int32), len(moment.steps)), pa.array(moment.layers)
        )
        columns = {
            "run": pa.repeat(name, ratio.size),
            "step": np.tile(moment.steps, len(moment.layers)),
            "epoch": pa.repeat(pa.scalar(0, pa.int32()), ratio.size),
            "layer": layers.cast(pa.string()),
            **{
                column: each.astype(np.float32).ravel()
                for column, each in zip(TRUST_RATIOS.measured, measured, strict=True)
            },
        }
        return pa.table(columns, schema=TRUST_RATIOS.schema)


def _block(layer: str) -> int:
    """The first number of a name; -1 if it has none."""
    found = re.search(r"(?<=\.)\d+(?=\.)", layer)
    return int(found[0]) if found else -1


def _metrics(name: str, loss: np.ndarray) -> pa.Table:
    began = int(datetime.now(UTC).timestamp() * 1e6)
    steps = np.arange(1, len(loss) + 1)
    columns = {
        "run": pa.repeat(name, len(steps)),
        "step": steps,
        "epoch": pa.repeat(pa.scalar(0, pa.int32()), len(steps)),
        "time": pa.array(began + (steps * STEP_SECONDS * 1e6).astype(np.int64), METRICS.schema.field("time").type),
        "name": pa.repeat("train/loss", len(steps)),
        "value": loss,
    }
    return pa.table(columns, schema=METRICS.schema)


JUMPED = "blocks.17.attn.qkv.weight"
UNUSED = r"\.3[0-7]\.block_sparse_moe\.experts\.5\."
_EXPERTS = "mixture of experts"

LOGS = {
    "transformer-400": WideLog(transformer(), 20_000, [jump(JUMPED, 13_368)]),
    "experts-2k": WideLog(mixture(), 1_200, [breakdown(820)], _EXPERTS),
    "unused-experts-2k": WideLog(mixture(), 1_200, [unused_experts(UNUSED)], _EXPERTS),
    "experts-10k": WideLog(mixture(61, 56, 3), 300, [breakdown(200)], _EXPERTS),
}
"""By the name of the run, each with one fault: a layer that jumps for two steps, a breakdown that spreads from the
first blocks, eight experts that are never updated."""

DEMO = "wide-experts"
DEMO_LOG = WideLog(
    mixture(),
    1_200,
    [breakdown(820), unused_experts(UNUSED, since=500), jump("model.layers.47.self_attn.o_proj.weight", 400)],
    _EXPERTS,
)
"""What `lambc demo --wide` shows: all three, in one run."""
