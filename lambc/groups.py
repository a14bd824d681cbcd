"""Parameter groups: biases and normalisation layers apart from the rest, or layers by the bound that they have."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

# Those whose weights may have more than one dimension.
NORMALISATIONS = (nn.LayerNorm, nn.RMSNorm)


def parameter_groups(model: nn.Module, weight_decay: float = 0.0, *, adapt: bool = False) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights; and biases, normalisation layers and all else below two dimensions.

    The second has no decay, and with `adapt=False` no trust ratio either, as in Google's and NVIDIA's LAMB. The paper
    adapts every layer, and at bound 1 it is nearly only these that are clipped: `adapt=True` keeps them adapted. A bias
    of more dimensions is known by the last part of its name: `bias`, `…_bias` or `bias_…`.

        LAMBC(parameter_groups(model, weight_decay=0.01), lr=1e-2)

    Parameters that need no gradient are left out; the layers keep their names; there is no empty group.
    """
    normalising = {
        id(param) for module in model.modules() if isinstance(module, NORMALISATIONS) for param in module.parameters()
    }
    trained = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    names = {name for name, param in trained if param.dim() < 2 or id(param) in normalising or _is_bias(name)}
    others = [(name, param) for name, param in trained if name in names]
    weights = [(name, param) for name, param in trained if name not in names]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0, "adapt": adapt},
    ]
    return [group for group in groups if group["params"]]


def _is_bias(name: str) -> bool:
    """By its name, since those of experts and attention's `bias_k` have more than one dimension."""
    last = name.rpartition(".")[2]
    return last == "bias" or last.startswith("bias_") or last.endswith("_bias")


def clip_groups(model: nn.Module, bounds: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Groups for an optimizer, one for each bound.

    bounds: what `clip` takes, by the layer's name or by a pattern in which each `*` stands for a number, as in the
    families of a log (`SELECT DISTINCT family FROM layers`). A layer that is named in full has the bound of its name.

        LAMBC(clip_groups(model, {"blocks.*.attn.weight": 2.5, "blocks.*.ln.weight": (0.1, 20), "head.weight": 1}))

    Parameters that need no gradient are left out; the layers keep their names. Raises ValueError for a layer that no
    pattern or that several with different bounds match, and for a pattern that matches no layer.
    """
    patterns = {name: re.compile(re.escape(name).replace(r"\*", "[0-9]+")) for name in bounds}
    groups: list[dict[str, Any]] = []
    matched: set[str] = set()
    for name, param in model.named_parameters():
        found = [name] if name in bounds else [each for each, form in patterns.items() if form.fullmatch(name)]
        matched.update(found)
        if not param.requires_grad:
            continue
        if not found:
            raise ValueError(f"no bound for the layer {name!r}: add its name, or a pattern that matches it")
        clip = bounds[found[0]]
        if any(bounds[other] != clip for other in found[1:]):
            raise ValueError(f"several bounds for the layer {name!r}, of {', '.join(found)}: name it in full")
        group = next((group for group in groups if group["clip"] == clip), None)
        if group is None:
            group = {"params": [], "clip": clip}
            groups.append(group)
        group["params"].append((name, param))
    if unmatched := [name for name in bounds if name not in matched]:
        raise ValueError(f"no layer of the model matches {unmatched[0]!r}: compare it with model.named_parameters()")
    return groups
