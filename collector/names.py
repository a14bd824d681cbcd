"""What layers are called."""

from collections.abc import Mapping, Sequence
from typing import Any


def layer_names(param_groups: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A name for each parameter, groups in order: that of `named_parameters()`, else group and index (`0.3`)."""
    names: list[str] = []
    for number, group in enumerate(param_groups):
        names += group.get("param_names") or (f"{number}.{index}" for index in range(len(group["params"])))
    return tuple(names)


def plain_name(name: str) -> str:
    """A layer's name without what torch.compile and DistributedDataParallel put into it, as UTF-8 can say it."""
    name = name.replace("_orig_mod.", "").encode(errors="replace").decode()
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name
