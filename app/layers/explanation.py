"""Why a layer was clipped at a step, or was not: its norms, its ratio, its bound, and how its family fared."""

import math

import pandas as pd

from app import words
from app.charts.text import ratio_text


def explain(at_step: pd.DataFrame, layer: str, step: int, usual: float | None) -> str:
    """In a few sentences, as Markdown; nothing where the layer has no row at that step.

    at_step: a row a layer, as of layers_at. usual: the ratio that the layer has most of the time.
    """
    rows = at_step[at_step["layer"] == layer]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    said = [f"**At step {step:,}:** {_ratio(row)}{_outcome(row)}."]
    if usual and row["outcome"] != "fallback" and not math.isclose(row["trust_ratio"], usual, rel_tol=0.25):
        said.append(f"Usually the ratio is {ratio_text(usual)}.")
    said += [_moved(row), _family(at_step, row)]
    return " ".join(filter(None, said))


def _ratio(row: pd.Series) -> str:
    weight, update, ratio = float(row["weight_norm"]), float(row["update_norm"]), float(row["trust_ratio"])
    norms = f"‖w‖ {_number(weight)} / ‖update‖ {_number(update)}"
    if row["outcome"] == "fallback":
        return f"{norms}, from which no ratio can be taken, so it was set to 1"
    if update > 0 and math.isclose(weight / update, ratio, rel_tol=0.01):
        return f"{norms} = **{ratio_text(ratio)}**"
    return f"the ratio is **{ratio_text(ratio)}**, of {norms}"


def _outcome(row: pd.Series) -> str:
    ratio, used = float(row["trust_ratio"]), float(row["clipped_ratio"])
    match row["outcome"]:
        case "upper":
            changed = _changed(ratio / used, 1 - used / ratio)
            return f", above the upper bound {ratio_text(row['upper'])}: the step was shortened {changed}"
        case "lower":
            changed = _changed(used / ratio, used / ratio - 1)
            return f", below the lower bound {ratio_text(row['lower'])}: the step was lengthened {changed}"
        case "exempt":
            return "; the layer is not adapted, its step used 1"
        case "free":
            return ", within the bounds" if 0 < row["upper"] < math.inf or row["lower"] > 0 else "; there is no bound"
    return ""


def _moved(row: pd.Series) -> str:
    """How the norms moved since the step that was recorded before."""
    said = []
    for name, column in (("the update", "update_norm"), ("the weights", "weight_norm")):
        now, before = float(row[column]), float(row[f"{column}_before"])
        if not (now > 0 and before > 0 and math.isfinite(now) and math.isfinite(before)):
            continue
        if max(now, before) / min(now, before) >= 1.5:
            said.append(f"{name} {'grew' if now > before else 'fell'} {_times(max(now, before) / min(now, before))}")
        else:
            said.append(f"{name} {100 * (now / before - 1):+.1f} %".replace("-", "−"))
    return f"Since step {int(row['step_before']):,}: {', '.join(said)}." if said else ""


def _family(at_step: pd.DataFrame, row: pd.Series) -> str:
    family = at_step[at_step["family"] == row["family"]]
    if len(family) < 2:
        return ""
    clipped = int(family["outcome"].isin(["upper", "lower"]).sum())
    return f"Of its family, {words.plain(row['family'])}, {clipped} of {len(family)} were clipped in that step."


def _changed(factor: float, share: float) -> str:
    """How much a step was shortened or lengthened, where 1× would say not at all: by a share of what it was."""
    if factor >= 1.1:
        return _times(factor)
    return "by less than 1 %" if share < 0.01 else f"by {100 * share:.0f} %"


def _times(factor: float) -> str:
    return f"{ratio_text(factor)}×"


def _number(norm: float) -> str:
    return ratio_text(norm) if math.isfinite(norm) else str(norm).replace("nan", "NaN").replace("inf", "Inf")
