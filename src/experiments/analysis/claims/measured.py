"""`measured`: computed numbers from a command's file, compared with a range.

Such a number is not a mean over seeds: it is computed, and all its values must be in the range.
If the command lists under `reasons` why a number is not the one the claim is about, for example a
training run that has not converged, there is no verdict.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.analysis.arms import Reason
from experiments.analysis.claims.case import Effect, Judged, allowed_range, range_verdict
from experiments.analysis.claims.claim import Claim

FOLDER = Path("reports") / "measured"


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    if not claim.measured or not claim.key:
        yield "measured and key must name a file in outputs/reports/measured and one of its values"
    if claim.low is None and claim.high is None:
        yield "low and high are missing: give at least one end of the allowed range"
    elif claim.low is not None and claim.high is not None and not claim.low <= claim.high:
        yield f"low={claim.low} and high={claim.high}: low must not be above high"


def read(name: str, outputs: Path) -> dict[str, Any]:
    """Return the measurement with this name; empty if its file is missing or invalid."""
    try:
        tree = json.loads((outputs / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def judge(claim: Claim, tree: dict[str, Any]) -> Judged:
    """Compare every value under the claim's key with the range."""
    values = _numbers((tree.get("values") or {}).get(claim.key))
    if not values:
        command = f"python -m experiments.calibration.numerical_checks {claim.measured}"
        text = f"{FOLDER / str(claim.measured)}.json has no number {claim.key}: run {command}"
        return Judged(reasons=(Reason("no_score", text),), seeds=None)
    reasons: tuple[Reason, ...] = ()
    provenance = tree.get("provenance") or {}
    if provenance.get("git_dirty", True) or not provenance.get("git_commit"):
        text = "it was measured with uncommitted code: commit it and repeat the measurement"
        reasons = (Reason("dirty_tree", text),)
    reasons += tuple(Reason("lower_bound", str(text)) for text in tree.get("reasons") or ())
    low, high = min(values), max(values)
    minimum, maximum = claim.low, claim.high
    worst = max(values, key=lambda v: _beyond(v, minimum, maximum))
    allowed = _allowed(minimum, maximum)
    name = str(claim.key)
    if low != high:  # a range, not an interval: it does not predict how other values would spread
        name += f", the most extreme of {len(values)} values from {low:.3g} to {high:.3g}"
    effect = Effect(name, worst, None, None, allowed)
    verdict = range_verdict(low, high, minimum, maximum)
    return Judged(effect, verdict, reasons, seeds=None, scope=str(tree.get("scope") or ""))


def _beyond(value: float, minimum: float | None, maximum: float | None) -> float:
    """Return the distance of a value from the range; negative inside it."""
    return max(-math.inf if minimum is None else minimum - value,
               -math.inf if maximum is None else value - maximum)  # fmt: skip


def _allowed(minimum: float | None, maximum: float | None) -> str:
    return (
        f"{minimum:.6g}"
        if minimum is not None and minimum == maximum
        else allowed_range(minimum, maximum)
    )


def _numbers(value: Any) -> list[float]:
    """Return the numbers, or none if one of them is not a finite number."""
    values = value if isinstance(value, list) else [value]
    valid = [isinstance(v, int | float) and math.isfinite(v) for v in values]
    return [float(v) for v in values] if all(valid) else []
