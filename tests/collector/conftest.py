"""What the collector's tests train with, and how they look at a log: as somebody who has never heard of this project."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import torch

from lambc import LAMBC

FIELDS = ("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "lower", "upper", "lr")


class Training:
    """A small model, and an optimizer whose records are kept as they were said."""

    def __init__(self, clip: float | None = 1.0) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        self.optimizer = LAMBC(self.model.named_parameters(), lr=1e-2, clip=clip)
        self.said: list[tuple[int, str, tuple[float, ...]]] = []
        self.optimizer.register_trust_ratio_hook(self._keep)

    def _keep(self, record: Any) -> None:
        for layer, values in zip(record.layers, record.table.T.tolist(), strict=True):
            self.said.append((record.step, layer, tuple(values)))

    def steps(self, count: int = 1) -> None:
        for _ in range(count):
            self.optimizer.zero_grad()
            self.model(torch.randn(5, 3)).square().mean().backward()
            self.optimizer.step()


class Emitter:
    """An optimizer that says whatever it is told to: only the hook and the groups, as the collector knows one."""

    def __init__(self, names: list[str]) -> None:
        self.param_groups = [{"params": [torch.zeros(2, 3) for _ in names], "param_names": names}]
        self.layers = tuple(names)
        self._hooks: list[Callable] = []

    def register_trust_ratio_hook(self, hook: Callable) -> Any:
        self._hooks.append(hook)
        return SimpleNamespace(remove=lambda: self._hooks.remove(hook))

    def say(self, step: int, table: torch.Tensor | None = None) -> None:
        if table is None:
            table = torch.full((7, len(self.layers)), float(step))
        for hook in list(self._hooks):
            hook(SimpleNamespace(step=step, layers=self.layers, table=table))


@pytest.fixture
def training() -> Training:
    return Training()


@pytest.fixture
def emitter() -> Emitter:
    return Emitter(["a", "b"])


@pytest.fixture
def new_training() -> type[Training]:
    return Training


@pytest.fixture
def new_emitter() -> type[Emitter]:
    return Emitter


@pytest.fixture
def stored() -> Callable[[Path], pa.Table]:
    """All rows of `<run>/trust_ratios` or `<run>/metrics`, read with DuckDB alone."""

    def read(folder: Path) -> pa.Table:
        return duckdb.sql("FROM read_parquet($1)", params=[f"{folder}/*.parquet"]).to_arrow_table()

    return read


@pytest.fixture
def steps_of() -> Callable[[Path, str], list[int]]:
    """The steps that are stored of a layer, in order, each as often as it is there."""

    def read(run: Path, layer: str = "a") -> list[int]:
        query = "SELECT step FROM read_parquet($1) WHERE layer = $2 ORDER BY step"
        return [step for (step,) in duckdb.execute(query, [f"{run}/trust_ratios/*.parquet", layer]).fetchall()]

    return read
