"""The kinds of estimands that a claim may have: the check of its fields and its judge."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from experiments.analysis.claims import (
    best_of,
    departure,
    difference,
    measured,
    rates,
    reaches_full,
    spectra,
    starts,
    trend,
)
from experiments.analysis.claims.case import Judged
from experiments.analysis.claims.claim import Claim


@dataclass(frozen=True)
class Kind:
    """One estimator that turns records into a verdict."""

    problems: Callable[[Claim], Iterator[str]]
    judge: Callable[[Claim, Any], Judged]
    """Takes a claim, and the records of its sweep or its measurement."""
    needs_reference: bool = True
    needs_sweep: bool = True


KINDS = {
    "difference": Kind(difference.problems, difference.judge),
    "reaches_full": Kind(reaches_full.problems, reaches_full.judge),
    "rate_ratio": Kind(rates.ratio_problems, rates.judge_ratio),
    "rule_excess_loss": Kind(rates.excess_loss_problems, rates.judge_excess_loss),
    "trend": Kind(trend.problems, trend.judge),
    "best_of": Kind(best_of.problems, best_of.judge),
    "same_start": Kind(starts.problems, starts.judge, needs_reference=False),
    "departure": Kind(departure.problems, departure.judge),
    "spectra": Kind(spectra.problems, spectra.judge, needs_reference=False),
    "measured": Kind(measured.problems, measured.judge, needs_reference=False, needs_sweep=False),
}
RENAMED_KINDS = {"rule_regret": "rule_excess_loss"}
"""Former names of kinds, which are refused with the present one."""
