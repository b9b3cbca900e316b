"""Select the arms that a claim names: a single one, or one for each value of a key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.analysis import arms
from experiments.analysis.arms import Arm, Reason, Tuned
from experiments.analysis.claims.case import applicable_reasons
from experiments.analysis.claims.claim import Claim
from experiments.records import Record


@dataclass(frozen=True)
class Sides:
    """The tuned arm and reference of a claim at each value of its key that has been run."""

    arm: Mapping[float, Tuned]
    reference: Mapping[float, Tuned]
    reasons: tuple[Reason, ...]

    @property
    def tuned(self) -> list[Tuned]:
        """All tuned arms, those of the reference first."""
        return [*self.reference.values(), *self.arm.values()]


def problems(claim: Claim, minimum: int) -> Iterator[str]:
    """Yield what is wrong with `along`, `values` and `numbers`."""
    if not claim.along or len(claim.values) < minimum:
        yield f"along and values must name a config key and at least {minimum} of its values"
        return
    if claim.numbers and len(claim.numbers) != len(claim.values):
        yield (
            f"numbers has {len(claim.numbers)} entries but values has {len(claim.values)}: give "
            "one number per value"
        )
    elif not all(isinstance(n, int | float) and n > 0 for n in claim.numbers or claim.values):
        yield f"values={claim.values}: give numbers above 0, or list one per value under numbers"


def single_arm(
    claim: Claim, name: str, selection: Mapping[str, Any], candidates: Sequence[Arm]
) -> tuple[Arm | None, tuple[Reason, ...]]:
    """Return the only arm that has all wanted values, or the reason why there is none."""
    matching = [arm for arm in candidates if _matches(arm, selection)]
    if len(matching) == 1:
        return matching[0], ()
    return None, (_no_single_arm(claim, name, selection, matching),)


def arms_along(
    claim: Claim, name: str, selection: Mapping[str, Any], candidates: Sequence[Arm]
) -> tuple[dict[float, Arm], tuple[Reason, ...]]:
    """Return the arm with the wanted values for each value of the claim's key, by number."""
    by_number: dict[float, Arm] = {}
    reasons: list[Reason] = []
    missing_values: list[str] = []
    for number, value in zip(claim.numbers or claim.values, claim.values, strict=True):
        full_selection = {**selection, str(claim.along): value}
        matching = [arm for arm in candidates if _matches(arm, full_selection)]
        if len(matching) == 1:
            by_number[float(number)] = matching[0]
        elif matching:
            reasons.append(_no_single_arm(claim, name, full_selection, matching))
        else:
            missing_values.append(str(value))
    if missing_values:
        missing_selection = {**selection, str(claim.along): "/".join(missing_values)}
        reasons.insert(0, _no_single_arm(claim, name, missing_selection, []))
    return by_number, tuple(reasons)


def both_sides(claim: Claim, records: Sequence[Record]) -> Sides:
    """Return both sides at all values, and the reasons against comparing them.

    At one value, arm and reference may differ only in what is compared; from value to value they
    may also differ in what the claim lists under `may_differ`.
    """
    candidates = arms.read(records)
    arm_by_number, missing = arms_along(claim, "arm", claim.arm, candidates)
    reference_by_number, more_missing = arms_along(claim, "reference", claim.reference, candidates)
    tuned = [
        {n: arms.tune(arm) for n, arm in side.items()}
        for side in (arm_by_number, reference_by_number)
    ]
    selected = Sides(tuned[0], tuned[1], ())
    reasons = [
        *missing,
        *more_missing,
        *(r for tuned_arm in selected.tuned for r in tuned_arm.reasons),
    ]
    for number in sorted(set(arm_by_number) & set(reference_by_number)):
        pair = [tuned[1][number], tuned[0][number]]
        ignored = {"unequal_seeds"} if claim.seeds_differ else set()
        tuning = [r for r in arms.equal_tuning(pair) if r.code not in ignored]
        pair_reasons = [*tuning, *arms.mixed(_records(pair))]
        reasons += [Reason(r.code, f"at {claim.along} {number:g}: {r.text}") for r in pair_reasons]
    seeds = {tuned_arm.seeds for tuned_arm in selected.tuned}
    if len(seeds) > 1 and not claim.seeds_differ:
        text = f"the seeds differ between values of {claim.along}"
        reasons.append(Reason("unequal_seeds", text))
    reasons += applicable_reasons(claim, list(arms.mixed(_records(selected.tuned))))
    return Sides(tuned[0], tuned[1], tuple(dict.fromkeys(reasons)))


def runs(tuned: Sequence[Tuned]) -> tuple[Record, ...]:
    """Return the records of the runs at the best learning rates."""
    return tuple(run.record for tuned_arm in tuned for run in tuned_arm.runs.values())


def seeds(tuned: Sequence[Tuned]) -> int:
    """Return the smallest number of seeds that an arm has at its best learning rate."""
    return min((len(tuned_arm.runs) for tuned_arm in tuned), default=0)


def _records(tuned: Sequence[Tuned]) -> list[Record]:
    return [run.record for tuned_arm in tuned for run in tuned_arm.arm.runs]


def _matches(arm: Arm, selection: Mapping[str, Any]) -> bool:
    for key, value in selection.items():
        node: Any = arm.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node != value:
            return False
    return True


def _no_single_arm(
    claim: Claim, name: str, selection: Mapping[str, Any], matching: Sequence[Arm]
) -> Reason:
    selected = ", ".join(f"{key}={value}" for key, value in selection.items())
    if not matching:
        command = f"python train.py -m sweeps={claim.sweep}"
        return Reason("no_arm", f"no run of the {name} ({selected}) has finished: run {command}")
    labels = "; ".join(arm.label for arm in matching)
    text = (
        f"{len(matching)} arms match {selected} ({labels}): add keys to {name} in the claim's file"
    )
    return Reason("no_arm", text)
