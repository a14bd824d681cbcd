"""The usual parameter groups: biases and normalisation layers apart from the rest."""

from typing import Any

from torch import nn

# Those whose weights may have more than one dimension.
NORMALISATIONS = (nn.LayerNorm, nn.RMSNorm)


def parameter_groups(model: nn.Module, weight_decay: float = 0.0, *, adapt: bool = False) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights; and biases, normalisation layers and all else below two dimensions.

    The second has no decay, and with `adapt=False` no trust ratio either, as in Google's and NVIDIA's LAMB. The paper
    adapts every layer, and at bound 1 it is nearly only these that are clipped: `adapt=True` keeps them adapted.

        LAMBC(parameter_groups(model, weight_decay=0.01), lr=1e-2)

    Parameters that need no gradient are left out; the layers keep their names; there is no empty group.
    """
    normalising = {
        id(param) for module in model.modules() if isinstance(module, NORMALISATIONS) for param in module.parameters()
    }
    trained = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    others = [(name, param) for name, param in trained if param.dim() < 2 or id(param) in normalising]
    names = {name for name, _ in others}
    weights = [(name, param) for name, param in trained if name not in names]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0, "adapt": adapt},
    ]
    return [group for group in groups if group["params"]]
