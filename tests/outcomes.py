"""Steps of every outcome, which all that count outcomes are held to (tests/test_outcome.py)."""

import math

import torch

# weight_norm, update_norm, trust_ratio, clipped_ratio, lower, upper, lr
OUTCOMES = {
    "free": (2.0, 4.0, 0.5, 0.5, 0.0, 1.0, 0.1),
    "free, unclipped": (8.0, 4.0, 2.0, 2.0, 0.0, math.inf, 0.1),
    "free at the bound": (4.0, 4.0, 1.0, 1.0, 0.0, 1.0, 0.1),
    "upper": (8.0, 4.0, 2.0, 1.0, 0.0, 1.0, 0.1),
    "lower": (1.0, 4.0, 0.25, 0.5, 0.5, 1.0, 0.1),
    "exempt": (8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 0.1),
    "exempt, of norm zero": (0.0, 4.0, 1.0, 1.0, 1.0, 1.0, 0.1),
    "fallback: no weight": (0.0, 4.0, 1.0, 1.0, 0.0, 1.0, 0.1),
    "fallback: no update": (4.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.1),
    "fallback: NaN": (4.0, math.nan, 1.0, 1.0, 0.0, 1.0, 0.1),
    "fallback: Inf": (math.inf, 4.0, 1.0, 1.0, 0.0, 1.0, 0.1),
    "fallback: the ratio overflows": (1e30, 1e-30, 1.0, 1.0, 0.0, 1.0, 0.1),
    "fallback, clipped to 0.5": (0.0, 4.0, 1.0, 0.5, 0.0, 0.5, 0.1),
}


def outcome(case: str) -> str:
    """The outcome that a case of `OUTCOMES` is named after."""
    return case.replace(",", ":").split(":")[0].removesuffix(" at the bound")


def say(*rows: tuple[float, ...]) -> torch.Tensor:
    """The table of a step in which the layers had these rows, [7, layers]."""
    return torch.tensor(rows, dtype=torch.float32).T.contiguous()
