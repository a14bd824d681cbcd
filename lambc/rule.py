"""The rule: Algorithm 1, Eq. 2 and Eq. 3 of the paper as small pure functions.

Fong, Chen & Chen, "Improving Layer-wise Adaptive Rate Methods using Trust Ratio Clipping" (arXiv 2011.13584). A reader
who holds the paper in the other hand starts and ends here; the paths in `lambc.steps` do the same in fewer passes over
memory, and the tests hold them to it.
"""

import math

import torch
from torch import Tensor


def update_direction(
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    correction1: float | Tensor,
    correction2: float | Tensor,
    *,
    eps: float,
    eps_inside_sqrt: bool,
) -> Tensor:
    """Algorithm 1, lines 9 to 12: r = m̂ / (√v̂ + ε), or m̂ / √(v̂ + ε) as the paper prints it (`eps_inside_sqrt`).

    `exp_avg` and `exp_avg_sq` are m and v of one layer, of any shape, and stay uncorrected; `correction1` and
    `correction2` are 1 - β1^t and 1 - β2^t, or 1 where the bias is left in.
    """
    corrected_sq = exp_avg_sq / correction2
    root = (corrected_sq + eps).sqrt() if eps_inside_sqrt else corrected_sq.sqrt() + eps
    return exp_avg / correction1 / root


def trust_ratio(
    weight_norm: Tensor,
    update_norm: Tensor,
    phi: tuple[float, float] | None = None,
    coefficient: float | Tensor = 1.0,
) -> Tensor:
    """Algorithm 1, line 13 (the factor of Eq. 2): γ = φ(‖w‖) / ‖update‖, one value a layer.

    Both norms have shape [layers]. φ is the identity, or clamps ‖w‖ to `phi`; `coefficient` is LARS's η. Where a norm
    is zero, Inf or NaN, or the ratio is not finite, γ is 1, as in Adam: so a layer that starts at zero moves, and a bad
    element spoils no other.
    """
    divisible = usable(weight_norm, update_norm)
    numerator = coefficient * (weight_norm if phi is None else weight_norm.clamp(*phi))
    # The denominator is made safe before it divides: a `where` after the division has a NaN gradient.
    ratio = numerator / torch.where(divisible, update_norm, 1.0)
    return torch.where(divisible & ratio.isfinite(), ratio, 1.0)


def trust_ratio_of_numbers(
    weight_norm: float, update_norm: float, phi: tuple[float, float] | None, largest: float
) -> float:
    """`trust_ratio` of one layer in plain numbers, for a step on a CPU; above `largest` a ratio is Inf in its dtype."""
    if not (0 < weight_norm < math.inf and 0 < update_norm < math.inf):
        return 1.0
    ratio = (weight_norm if phi is None else min(max(weight_norm, phi[0]), phi[1])) / update_norm
    return ratio if ratio <= largest else 1.0


def usable(weight_norm: Tensor, update_norm: Tensor) -> Tensor:
    """Where both norms are above zero and finite; elsewhere the trust ratio falls back to 1."""
    return (weight_norm > 0) & (weight_norm < torch.inf) & (update_norm > 0) & (update_norm < torch.inf)


def clip(ratio: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Algorithm 1, line 15 (Eq. 3): γ limited to [lower, upper] (the paper's τ and μ), each of shape [layers]."""
    return ratio.clamp(lower, upper)
