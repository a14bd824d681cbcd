"""The direction of a step, read from the state of an optimizer whose rule may be Adam's, and the proof that it was so.

How far a layer moved is lr · ratio · ‖direction‖: of an optimizer that has a trust ratio the observer alone cannot tell
the two apart. Adam and its kin keep m and v, of which the direction is u = m̂ / (√v̂ + ε) + λw. Names prove nothing, as
options change a rule, and m and v are kept by many rules; so at every recorded step, in every layer, a sample of the
weights must have moved along u, and how far they went is the ratio that was used.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lambc.norms import flat, layer_norms
from lambc.sharded import local

SAMPLE = 512
"""At most so many elements of a layer are looked at, evenly spread: the first rows of an embedding may never move."""

_ADAPTS = {
    "torch.optim.adam.Adam.step": False,
    "timm.optim.adamw.AdamWLegacy.step": False,
    "timm.optim.lamb.Lamb.step": True,
    "apex.optimizers.fused_adam.FusedAdam.step": False,
    "apex.optimizers.fused_lamb.FusedLAMB.step": True,
}
"""The functions that may take Adam's step, and whether they have a trust ratio."""

# What float32 makes of a difference; then the rounding of the weights, which grows with their size against the step.
_ARITHMETIC, _ROUNDINGS = 3e-6, 1.5


class Used(NamedTuple):
    """What some layers' steps were, each of shape [layers].

    ratio: by how much the direction was scaled, beside lr; NaN where the layer did not move along it. tolerance: by how
    much, relative, the ratio may be off.
    """

    ratio: Tensor
    tolerance: Tensor


class Layer(NamedTuple):
    """A layer of an optimizer, and its weights before and after the step, in one dimension each."""

    group: Mapping[str, Any]
    state: Mapping[str, Any]
    param: Tensor
    before: Tensor
    after: Tensor


def adapts(optimizer: Any) -> bool | None:
    """Whether an optimizer that may take Adam's step has a trust ratio; None if its rule is another.

    Asked of the function that the class calls, not of the instance's, which schedulers replace.
    """
    step = inspect.unwrap(type(optimizer).step)
    return _ADAPTS.get(f"{getattr(step, '__module__', '')}.{getattr(step, '__qualname__', '')}")


def sample_sums(layers: Sequence[Layer]) -> Tensor:
    """What a proof is made of: sums over the samples of layers of one device, float64 of shape [5, layers].

    They are those of u · moved, u², moved², w before² and w after²; NaN where the state has no moments. Those of the
    parts of a layer add up to the layer's. No wait for the device.
    """
    known = _with_moments(layers)
    sums = torch.full((5, len(layers)), torch.nan, dtype=torch.float64, device=layers[0].before.device)
    if not known:
        return sums
    found = _sums([layers[index] for index in known], list(known.values()))
    if len(known) == len(layers):
        return found
    return sums.index_copy(1, torch.tensor([*known]).to(sums.device, non_blocking=True), found)


def used_ratios(sums: Tensor, rates: Sequence[float | Tensor], dtypes: Sequence[torch.dtype]) -> Used:
    """The ratios that the steps of layers used, by their `sample_sums`, lrs and dtypes. No wait for the device.

    A sample's step along u is fitted by least squares; it is proven if the residual is only rounding.
    """
    along, uu, squared, before, after = sums
    taken = along / uu
    aside = ((squared - along * taken).clamp(min=0) / squared).sqrt()
    rounding = _numbers([torch.finfo(dtype).eps / 2 for dtype in dtypes], sums.device)
    size = torch.maximum(before, after)
    limit = (4 * rounding).clamp(min=_ARITHMETIC) + _ROUNDINGS * rounding * (size / squared).sqrt()
    proven = (aside <= limit) & (taken > 0)
    return Used(torch.where(proven, taken, torch.nan) / _numbers(rates, sums.device), limit)


class _Moments(NamedTuple):
    m: Tensor
    v: Tensor
    step: Any


def _with_moments(layers: Sequence[Layer]) -> dict[int, _Moments]:
    """The layers whose m and v are there, by their place."""
    found = ((index, _moments(layer)) for index, layer in enumerate(layers))
    return {index: moments for index, moments in found if moments}


def _moments(layer: Layer) -> _Moments | None:
    """m, v and t of a layer, if its state has them in the layout of its weights."""
    second = "max_exp_avg_sq" if layer.group.get("amsgrad") else "exp_avg_sq"
    m, v = (local(layer.state.get(name)) for name in ("exp_avg", second))
    step = local(layer.state.get("step", layer.group.get("step")))
    fits = all(isinstance(each, Tensor) and each.stride() == layer.param.stride() for each in (m, v))
    if not fits or step is None or m.device != layer.param.device or layer.param.is_complex():
        return None
    return _Moments(m, v, step)


def direction_norms(layers: Sequence[Layer]) -> Tensor:
    """‖u‖ of layers of one device, whole: for weights whose rounding hides how far they went. NaN without moments."""
    known = _with_moments(layers)
    norms = [torch.full((), torch.nan, device=layers[0].before.device)] * len(layers)
    if known:
        chosen, moments = [layers[index] for index in known], list(known.values())
        corrections, (eps, decay) = _corrections(chosen, moments), _options(chosen, layers[0].before.device)
        for at, (index, layer, moment) in enumerate(zip(known, chosen, moments, strict=True)):
            w, _, m, v = (each.float() for each in _flats(layer, moment))
            root = (v / corrections[1, at]).sqrt_().add_(eps[at])
            norms[index] = layer_norms([m.div(corrections[0, at]).div_(root).add_(w * decay[at])])[0]
    return torch.stack(norms)


def _sums(layers: list[Layer], moments: list[_Moments]) -> Tensor:
    device = layers[0].before.device
    lengths = torch.tensor([-(-each.before.numel() // _stride(each.before)) for each in layers])
    lengths = lengths.to(device, non_blocking=True)
    w, after, m, v = (
        torch.cat([_sample(each) for each in tensors]).double()
        for tensors in zip(*(_flats(layer, moment) for layer, moment in zip(layers, moments, strict=True)), strict=True)
    )

    by_layer = torch.cat([_corrections(layers, moments), _options(layers, device)])
    correction1, correction2, eps, decay = by_layer.repeat_interleave(lengths, dim=1, output_size=len(w))
    u = (m / correction1) / ((v / correction2).sqrt() + eps) + decay * w
    moved = w - after
    products = torch.stack([u * moved, u * u, moved * moved, w * w, after * after], dim=1)
    return torch.segment_reduce(products, "sum", lengths=lengths, axis=0, unsafe=True).T


def _flats(layer: Layer, moments: _Moments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return layer.before, layer.after, flat(moments.m), flat(moments.v)


def _stride(flat: Tensor) -> int:
    return max(1, -(-flat.numel() // SAMPLE))


def _sample(flat: Tensor) -> Tensor:
    return flat[:: _stride(flat)]


def _corrections(layers: list[Layer], moments: list[_Moments]) -> Tensor:
    """1 - β1^t and 1 - β2^t of each layer, [2, layers]; 1 where the bias is left in."""
    device = layers[0].before.device
    steps = _numbers([each.step for each in moments], device)
    betas = torch.tensor([layer.group["betas"] for layer in layers], dtype=torch.float64)
    corrected = torch.tensor([bool(layer.group.get("bias_correction", True)) for layer in layers])
    betas, corrected = (each.to(device, non_blocking=True) for each in (betas, corrected))
    return torch.where(corrected, 1 - betas.T**steps, 1.0)


def _options(layers: list[Layer], device: torch.device) -> Tensor:
    """ε of each layer, and the λ that is part of its direction, [2, layers]."""
    decays = [each.group["weight_decay"] if _decay_in_direction(each.group) else 0.0 for each in layers]
    return torch.stack([_numbers(each, device) for each in ([layer.group["eps"] for layer in layers], decays)])


def _decay_in_direction(group: Mapping[str, Any]) -> bool:
    """Torch's Adam puts λw into the gradient, so that m has it; AdamW, and all LAMBs, put it beside m̂/√v̂."""
    return bool(group.get("decoupled_weight_decay", True)) and not group.get("decoupled_decay", False)


def _numbers(values: Sequence[Any], device: torch.device) -> Tensor:
    if all(isinstance(each, Tensor) and each.device == values[0].device for each in values):
        return torch.stack([each.view(()) for each in values]).to(device, torch.float64, non_blocking=True)
    if any(isinstance(each, Tensor) for each in values):
        return torch.stack([_numbers([each], device)[0] for each in values])
    return torch.tensor(values, dtype=torch.float64).to(device, non_blocking=True)


def not_proven(optimizer: str, layers: Sequence[str]) -> str:
    """What is to be known of a run in which these layers moved otherwise than the optimizer's state says."""
    return (
        f"has {len(layers)} layers, the first {layers[0]}, that {optimizer} in most steps did not move along the "
        "direction in its state: their update_norm is how far they moved, and the ratio that was used is not known"
    )
