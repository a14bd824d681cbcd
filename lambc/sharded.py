"""Layers of which each process holds a part, as DTensors: FSDP2's `fully_shard`, tensor parallel, or both.

The trust ratio stays that of the whole layer. Every process takes its parts' step up to their norms; the squares of all
norms, of weights and of updates, are summed over a mesh by one all-reduce, 16 bytes a layer; then the weights move.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor


def in_parts(param: Tensor) -> bool:
    """Whether it is a DTensor, of which this process may hold a part."""
    return hasattr(param, "placements")


def is_flattened(param: Tensor) -> bool:
    """Whether it is a flat parameter of FullyShardedDataParallel (FSDP1), or a piece that was cut out of one."""
    return getattr(param, "_is_flat_param", False) or getattr(param, "_fsdp_flattened", False)


def local(tensor: Any) -> Tensor:
    """Returns the local part of a DTensor, or an ordinary tensor itself."""
    return tensor.to_local() if in_parts(tensor) else tensor


def local_grad(param: Any) -> Tensor:
    """Returns the part of a parameter's gradient that matches the local part of the parameter.

    A replicated weight under sequence parallelism has a gradient that is still to be summed (Partial): it is, by a
    collective operation of its own, as in torch's optimizers.
    """
    grad = param.grad
    if in_parts(param) and grad.placements != param.placements:
        grad = grad.redistribute(param.device_mesh, param.placements)
    return local(grad)


class Meshes:
    """The process groups over which norms are summed, made when they are first needed."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Any, tuple[int, ...]], Any] = {}

    def complete(self, norms: list[Tensor], params: list[list[Any]]) -> None:
        """Turn norms of parts into those of whole layers, the same on every process, in place.

        norms: each of shape [any, layers], on the layers' device. params: the layers of each, DTensors or not.

        One float64 all-reduce a mesh, over those of its dimensions that shard any of these layers; of a layer that is
        replicated along one of them, one replica counts. All processes of a mesh must call it with the same layers.
        """
        for runs, totals in self._totals(norms, params, lambda part: part.double().square()):
            for run, total in zip(runs, totals, strict=True):
                run.table.copy_(total.sqrt_())

    def add(self, sums: list[Tensor], params: list[list[Any]]) -> None:
        """As `complete`, of sums over the elements of the parts."""
        for runs, totals in self._totals(sums, params, Tensor.double):
            for run, total in zip(runs, totals, strict=True):
                run.table.copy_(total)

    def _totals(
        self, tables: list[Tensor], params: list[list[Any]], summand: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[list["_Run"], list[Tensor]]]:
        """Yields, for each mesh, its runs of sharded columns and their totals over all processes."""
        for (mesh, _), runs in _runs_by_mesh(tables, params).items():
            dims = tuple(sorted(set[int]().union(*(run.sharded for run in runs))))
            coordinate = mesh.get_coordinate()
            if not dims or coordinate is None:
                continue
            parts = [
                summand(run.table)
                if all(coordinate[dim] == 0 for dim in dims if dim not in run.sharded)
                else torch.zeros_like(run.table, dtype=torch.float64)
                for run in runs
            ]
            packed = torch.cat([each.reshape(-1) for each in parts])
            torch.distributed.all_reduce(packed, group=self._group(mesh, dims))
            totals = packed.split([each.numel() for each in parts])
            yield runs, [total.view_as(part) for total, part in zip(totals, parts, strict=True)]

    def _group(self, mesh: Any, dims: tuple[int, ...]) -> Any:
        if (mesh, dims) not in self._groups:
            self._groups[mesh, dims] = _process_group(mesh, dims)
        return self._groups[mesh, dims]


class _Run(NamedTuple):
    """Columns of a table whose layers lie on one mesh and are sharded along the same of its dimensions."""

    table: Tensor
    sharded: frozenset[int]


def _runs_by_mesh(tables: list[Tensor], params: list[list[Any]]) -> dict[Any, list[_Run]]:
    """Runs of neighbouring layers, since to pick single columns costs an index on the device."""
    found: dict[Any, list[_Run]] = defaultdict(list)
    for table, layers in zip(tables, params, strict=True):
        for (mesh, sharded), columns in _neighbours(layers):
            if mesh is not None:
                found[mesh, table.device].append(_Run(table[:, columns], sharded))
    return found


def _neighbours(layers: list[Any]) -> Iterator[tuple[tuple[Any, frozenset[int]], slice]]:
    first = 0
    for kind, run in groupby(layers, key=_mesh_and_sharded_dims):
        last = first + len(list(run))
        yield kind, slice(first, last)
        first = last


def _mesh_and_sharded_dims(param: Any) -> tuple[Any, frozenset[int]]:
    if not in_parts(param):
        return None, frozenset()
    mesh = param.device_mesh
    return mesh, frozenset(
        dim for dim, placed in enumerate(param.placements) if not placed.is_replicate() and mesh.size(dim) > 1
    )


def _process_group(mesh: Any, dims: tuple[int, ...]) -> Any:
    """The processes that differ from this one in these dimensions alone."""
    if len(dims) == 1:
        return mesh.get_group(dims[0])
    place = tuple(slice(None) if dim in dims else at for dim, at in enumerate(mesh.get_coordinate()))
    ranks = mesh.mesh[place].flatten().tolist()
    if len(ranks) == torch.distributed.get_world_size():
        return torch.distributed.group.WORLD
    # Those of another stage of a pipeline need not come: they have meshes of their own.
    return torch.distributed.new_group(ranks, use_local_synchronization=True)
