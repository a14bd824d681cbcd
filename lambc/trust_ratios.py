"""The record of a step's trust ratios, and the hook through which it is handed out."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

FIELDS = ("weight_norm", "update_norm", "trust_ratio", "clipped_ratio", "lower", "upper", "lr")

Gradients = bool | Callable[[int], bool]
"""Whether a hook asks for the norms of the gradients, or of which steps it does."""


@dataclass(frozen=True, slots=True)
class TrustRatios:
    """What one step did to every layer.

    step: the first is 1; it goes on counting from a loaded state_dict.
    layers: the layers' names, one for each parameter tensor, groups in order; the same tuple until a name changes.
    table: float32 of shape [7, layers], on the first accelerator that holds a parameter, else on the CPU. Its rows, in
        the order of `FIELDS`, are the properties below, each of shape [layers]. An eighth row, the gradient norms, is
        added in steps for which a hook asks for it, or with `max_grad_norm`.

    Each step overwrites the table: a hook must copy what it keeps. A layer that had no gradient in this step has
    NaN in every field.
    """

    step: int
    layers: tuple[str, ...]
    table: Tensor

    @property
    def weight_norm(self) -> Tensor:
        """‖w‖ before the step, before φ."""
        return self.table[0]

    @property
    def update_norm(self) -> Tensor:
        """‖update‖, the ratio's denominator: ‖r + λw‖ for LAMB, before the learning rate."""
        return self.table[1]

    @property
    def trust_ratio(self) -> Tensor:
        """The ratio before clipping (Algorithm 1, line 13); 1 where a norm was zero or not finite."""
        return self.table[2]

    @property
    def clipped_ratio(self) -> Tensor:
        """The ratio that the step used (Algorithm 1, line 15)."""
        return self.table[3]

    @property
    def lower(self) -> Tensor:
        """The lower bound; 0 where there is none, 1 where the layer is not adapted."""
        return self.table[4]

    @property
    def upper(self) -> Tensor:
        """The upper bound; Inf where there is none, 1 where the layer is not adapted."""
        return self.table[5]

    @property
    def lr(self) -> Tensor:
        """The learning rate of the layer's group; NaN where the layer had no step."""
        return self.table[6]

    @property
    def grad_norm(self) -> Tensor | None:
        """The norm of the gradient that the step was given, before `max_grad_norm`; None where it was not taken.

        GradScaler's scale is taken out.
        """
        return self.table[7] if len(self.table) > 7 else None


TrustRatioHook = Callable[[TrustRatios], None]


class TrustRatioHooks:
    """The hooks of one optimizer and the table that they are shown."""

    def __init__(self) -> None:
        self._hooks: OrderedDict[int, TrustRatioHook] = OrderedDict()
        self._gradients: OrderedDict[int, Gradients] = OrderedDict()  # of the hooks that ask for them
        self._layers: tuple[str, ...] = ()
        self._table = torch.empty(0, device="cpu")

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, hook: TrustRatioHook, *, gradients: Gradients = False) -> RemovableHandle:
        """Have `hook` called after each step, until the handle that is returned removes it.

        gradients: whether its records include `grad_norm`, which costs a pass over the gradients, or a function that
            returns this for a step's number. A compiled or captured step always includes it.
        """
        handle = RemovableHandle(self._hooks, extra_dict=self._gradients)
        self._hooks[handle.id] = hook
        if gradients:
            self._gradients[handle.id] = gradients
        return handle

    def ask_gradients(self, step: int) -> bool:
        """Whether a hook asks for the norms of the gradients of this step."""
        if torch.compiler.is_compiling() or (self._gradients and _is_captured()):
            return bool(self._gradients)
        return any(asked is True or asked(step) for asked in self._gradients.values())  # type: ignore[operator]

    def begin(self, param_groups: list[dict], *, gradients: bool = False) -> None:
        """Clear the table for a step of these groups. gradients: whether their norms are taken."""
        params = [param for group in param_groups for param in group["params"]]
        device = next((param.device for param in params if param.device.type != "cpu"), torch.device("cpu"))
        layers = layer_names(param_groups)
        shape = len(FIELDS) + gradients, len(layers)
        if layers != self._layers:  # else the very same tuple as before, by which a hook knows them
            self._layers = layers
        if device != self._table.device or shape != self._table.shape:
            self._table = torch.empty(shape, dtype=torch.float32, device=device)
        self._table.fill_(math.nan)

    def write(
        self,
        rows: list[int],
        ratios: Tensor,
        lower: Tensor,
        upper: Tensor,
        lr: float | Tensor,
        grad_norm: Tensor | None = None,
    ) -> None:
        """Enter what a step did to the layers `rows`: `ratios` is [4, rows], what else is of each layer is [rows]."""
        for first, last in _runs(rows):
            here, there = slice(rows[first], rows[last] + 1), slice(first, last + 1)
            self._table[:4, here].copy_(ratios[:, there], non_blocking=True)
            self._table[4, here].copy_(lower[there], non_blocking=True)
            self._table[5, here].copy_(upper[there], non_blocking=True)
            self._table[6, here].fill_(lr)
            if grad_norm is not None:
                self._table[7, here].copy_(grad_norm[there], non_blocking=True)

    def call(self, step: int) -> None:
        """Show the step to every hook."""
        record = TrustRatios(step, self._layers, self._table)
        for hook in tuple(self._hooks.values()):
            hook(record)


def _is_captured() -> bool:
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def layer_names(param_groups: list[dict]) -> tuple[str, ...]:
    """A name for each parameter: the one it was given by `named_parameters()`, else its group and index (`0.3`).

    A parameter that was appended to a group's list has no name; where the list became shorter, no name can be trusted.
    """
    names: list[str] = []
    for index, group in enumerate(param_groups):
        given = group.get("param_names") or []
        count = len(group["params"])
        known = given if len(given) <= count else []
        names += [*known, *(f"{index}.{position}" for position in range(len(known), count))]
    return tuple(names)


def _runs(rows: list[int]) -> list[tuple[int, int]]:
    """First and last position of each run of consecutive rows: a slice writes without an index on the device."""
    breaks = [position for position, (a, b) in enumerate(pairwise(rows)) if b != a + 1]
    # A list: torch.compile cannot trace a generator that yields from a zip.
    return list(zip([0, *(position + 1 for position in breaks)], [*breaks, len(rows) - 1], strict=True))
