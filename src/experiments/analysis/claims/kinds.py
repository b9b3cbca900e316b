"""The kinds of estimand that a claim may have: what is wrong with its fields, and its judge."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from experiments.analysis.claims import (
    best_of,
    departure,
    difference,
    measured,
    rates,
    spectra,
    starts,
    trend,
)
from experiments.analysis.claims.case import Judged
from experiments.analysis.claims.claim import Claim


@dataclass(frozen=True)
class Kind:
    """One way to turn records into a word."""

    problems: Callable[[Claim], Iterator[str]]
    judge: Callable[[Claim, Any], Judged]
    """Of a claim and the records of its sweep, or what was measured."""
    needs_reference: bool = True
    needs_sweep: bool = True


KINDS = {
    "difference": Kind(difference.problems, difference.judge),
    "rate_ratio": Kind(rates.ratio_problems, rates.judge_ratio),
    "rule_regret": Kind(rates.regret_problems, rates.judge_regret),
    "trend": Kind(trend.problems, trend.judge),
    "best_of": Kind(best_of.problems, best_of.judge),
    "same_start": Kind(starts.problems, starts.judge, needs_reference=False),
    "departure": Kind(departure.problems, departure.judge),
    "spectra": Kind(spectra.problems, spectra.judge, needs_reference=False),
    "measured": Kind(measured.problems, measured.judge, needs_reference=False, needs_sweep=False),
}
