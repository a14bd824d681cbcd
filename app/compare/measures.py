"""By what settings are compared: accuracy where there is one, else the loss; how it is written, and which is better."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from app import words
from app.compare import seeds
from app.compare.seeds import Setting


@dataclass(frozen=True)
class Measure:
    """A column of the results, and the one that says of which data it is.

    noun, which: what it is, and which of a run's values. share: whether it is an accuracy, of which more is better.
    """

    column: str
    of: str
    noun: str
    which: str
    share: bool

    def text(self, each: seeds.Spread) -> str:
        """A mean, with its deviation where there is one."""
        if not self.share:
            mean = words.loss(each.mean if each.n else None)
            return mean if pd.isna(each.std) else f"{mean} ± {each.std:.2g}"
        mean = words.percent(each.mean, 2)
        return mean if pd.isna(each.std) else f"{mean.removesuffix('%')} ± {each.std * 100:.2f}%"

    def apart(self, one: float, other: float) -> str:
        """How far a mean is from another."""
        points = round((one - other) * 100, 2) + 0.0  # and not -0.00
        return f"{points:+.2f} points" if self.share else f"{one - other:+.3g}"

    def level(self, one: float, other: float) -> bool:
        """Whether two means differ by nothing that is written."""
        return round(100 * (one - other), 2) == 0 if self.share else words.loss(one) == words.loss(other)

    def rank(self, each: seeds.Spread) -> float:
        """Smaller where it is better, and largest where there is nothing."""
        if not each.n:
            return float("inf")
        return -each.mean if self.share else each.mean


MEASURES = (
    Measure("best_accuracy", "accuracy_of", "accuracy", "the best", True),
    Measure("last_loss", "loss_of", "loss", "the last", False),
)


def spread(results: pd.DataFrame, setting: Setting, column: str) -> seeds.Spread:
    """A result of the setting's runs."""
    return seeds.spread([results[column].get(run) for run in setting.runs])


def measured(results: pd.DataFrame, runs: Sequence[str], measure: Measure) -> bool:
    """Whether any of the runs has it."""
    return bool(results[measure.column].reindex(list(runs)).notna().any())


def of_what(results: pd.DataFrame, runs: Sequence[str], measure: Measure) -> str:
    """Of which data it is in the runs: 'test', 'validation' or 'train', or several of them."""
    return " or ".join(sorted(results[measure.of].reindex(list(runs)).dropna().unique()))
