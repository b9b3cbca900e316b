"""`best_of`: whether both arms score best at a low value of a key.

An arm is best at a low value if one of these is better than every value above the limit. Each
comparison is paired by seed and has its own interval; as every one of them must hold, a claim takes
the largest p-value, times the number of low values among which the best was found. It does not hold
if one arm does better at a high value than at every low one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims import sides, units
from experiments.analysis.claims.case import SEEDS_ONLY, Effect, Judged
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.sides import Sides
from experiments.analysis.statistics import Decision, MeanEstimate, RangeRule
from experiments.evaluation import metrics
from experiments.records import Record


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from sides.problems(claim, 2)
    numbers = [n for n in claim.numbers or claim.values if isinstance(n, int | float)]
    if claim.at_most is None or not any(n <= claim.at_most for n in numbers):
        yield f"at_most={claim.at_most}: give the largest value that may be the best one"
    elif all(n <= claim.at_most for n in numbers):
        yield f"at_most={claim.at_most}: no value is above it, so the claim cannot be refuted"
    if metrics.direction(claim.score) is None:
        yield f"score={claim.score}: no metric declares its direction"


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the low values of both arms with those above the limit."""
    selected = sides.both_sides(claim, records)
    partial = Judged(
        reasons=selected.reasons, runs=sides.runs(selected.tuned), seeds=sides.seeds(selected.tuned)
    )
    if arms.blocking(selected.reasons):
        return partial
    leads = _leads(claim, selected)
    if leads is None:
        text = f"not every seed has {claim.score} at every value of {claim.along}"
        return replace(partial, reasons=(*selected.reasons, Reason("no_score", text)))
    found = statistics.combine_all([_of_one_arm(by_pair) for by_pair in leads])
    smallest = min((_lead(by_pair) for by_pair in leads), key=lambda lead: lead.estimate)
    interval = smallest.interval()
    effect = Effect(
        f"lead in {claim.score} of the best {claim.along} <= {claim.at_most:g} over those above, "
        "the smaller of both arms",
        interval.estimate,
        interval.low,
        interval.high,
        "above 0",
        units.of_score(claim.score),
    )
    p = None if found.word == "unresolved" else found.p
    qualifiers = (*([found.qualifier] if found.qualifier else ()), SEEDS_ONLY)
    return replace(partial, effect=effect, word=found.word, p=p, qualifiers=qualifiers)


_Leads = Mapping[float, Mapping[float, MeanEstimate]]
"""By how much each low value is better than each value above the limit."""


def _leads(claim: Claim, selected: Sides) -> list[_Leads] | None:
    """Return the leads in both arms; None if a seed lacks the score somewhere."""
    sign = -1.0 if metrics.direction(claim.score) == "maximize" else 1.0
    limit = claim.at_most or 0.0
    found: list[_Leads] = []
    seeds = set(next(iter(selected.arm.values())).seeds)
    for side in (selected.arm, selected.reference):
        finals = {number: tuned.final(claim.score) for number, tuned in side.items()}
        if any(set(final) != seeds for final in finals.values()):
            return None
        low, high = ([n for n in sorted(finals) if (n <= limit) is low] for low in (True, False))
        found.append(
            {
                n: {
                    m: statistics.seed_estimate(
                        [sign * (finals[m][s] - finals[n][s]) for s in sorted(seeds)]
                    )
                    for m in high
                }
                for n in low
            }
        )
    return found


def _of_one_arm(leads: _Leads) -> Decision:
    above = RangeRule(0.0, None)
    return statistics.combine_any(
        [statistics.all_hold(list(over.values()), above) for over in leads.values()]
    )


def _lead(leads: _Leads) -> MeanEstimate:
    """Return the lead of the best low value over the best high one."""
    smallest = [min(over.values(), key=lambda one: one.estimate) for over in leads.values()]
    return max(smallest, key=lambda one: one.estimate)
