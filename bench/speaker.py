"""An optimizer, as far as a collector sees one, that says what it is told to."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch


class Speaker:
    """The groups and the hook of an optimizer with layers of these names and shapes."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.layers = tuple(shapes)
        with torch.device("meta"):
            self.param_groups = [{"params": list(map(torch.empty, shapes.values())), "param_names": list(shapes)}]
        self._hooks: list[Callable] = []

    def register_trust_ratio_hook(self, hook: Callable) -> Any:
        self._hooks.append(hook)
        return SimpleNamespace(remove=lambda: self._hooks.remove(hook))

    def say(self, step: int, table: torch.Tensor) -> None:
        record = SimpleNamespace(step=step, layers=self.layers, table=table)
        for hook in self._hooks:
            hook(record)
