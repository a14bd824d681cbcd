"""Parameters that are stepped together: those of one group, device and dtype that have a gradient."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lambc.bounds import Bound
from lambc.sharded import in_parts, local_grad
from lambc.steps import Layers


@dataclass(frozen=True, slots=True)
class Batch:
    """Parameters of one group, device and dtype that have a gradient.

    rows: their indices in the group. first_row: the index in the record of the group's first parameter. in_parts:
    whether any is a DTensor. grads: the local parts of their gradients.
    """

    group: dict[str, Any]
    rows: list[int]
    first_row: int
    params: list[Tensor]
    in_parts: bool
    grads: list[Tensor]

    @property
    def device(self) -> torch.device:
        """The device that they lie on."""
        return self.params[0].device


@dataclass(frozen=True, slots=True)
class BatchStep:
    """The step of one batch, and what is left to do when a path has taken it.

    layers: what of them lies on this process. rounded: the parameters, where `layers` has their masters in their place.
    """

    batch: Batch
    group: dict[str, Any]
    layers: Layers
    bound: Bound
    bound_state: dict[str, Tensor]
    lower: Tensor
    upper: Tensor
    found_inf: Tensor | None
    rounded: list[Tensor]


def batch_of(group: dict[str, Any], rows: list[int], first_row: int) -> Batch:
    """Returns the parameters of a group in these rows, and what of their gradients lies on this process."""
    params = [group["params"][row] for row in rows]
    some_in_parts = any(map(in_parts, params))  # once per step: a failing hasattr on a tensor is slow
    grads = [local_grad(param) for param in params] if some_in_parts else [param.grad for param in params]
    return Batch(group, rows, first_row, params, some_in_parts, grads)
