"""What the collector's tests train with, and how they look at a log: as if they had never heard of this project."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import torch

from lambc import LAMBC
from tests.collector.emitter import Emitter


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


@pytest.fixture(autouse=True, scope="session")
def no_fsync() -> Iterator[None]:
    """No test cuts the power, and a hundred small files take a minute to sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


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
