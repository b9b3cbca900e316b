"""Select the arms that a claim names: a single one, or one for each value of a key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.analysis import arms
from experiments.analysis.arms import Arm, Reason, Tuned
from experiments.analysis.claims.case import counted
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


def problems(claim: Claim, least: int) -> Iterator[str]:
    """Yield what is wrong with `along`, `values` and `numbers`."""
    if not claim.along or len(claim.values) < least:
        yield f"along and values must name a config key and at least {least} of its values"
        return
    if claim.numbers and len(claim.numbers) != len(claim.values):
        yield (
            f"numbers has {len(claim.numbers)} entries but values has {len(claim.values)}: give "
            "one number per value"
        )
    elif not all(isinstance(n, int | float) and n > 0 for n in claim.numbers or claim.values):
        yield f"values={claim.values}: give numbers above 0, or list one per value under numbers"


def one(
    claim: Claim, name: str, wanted: Mapping[str, Any], read: Sequence[Arm]
) -> tuple[Arm | None, tuple[Reason, ...]]:
    """Return the only arm that has all wanted values, or the reason why there is none."""
    fitting = [arm for arm in read if _has(arm, wanted)]
    if len(fitting) == 1:
        return fitting[0], ()
    return None, (_not_one(claim, name, wanted, fitting),)


def along(
    claim: Claim, name: str, wanted: Mapping[str, Any], read: Sequence[Arm]
) -> tuple[dict[float, Arm], tuple[Reason, ...]]:
    """Return the arm with the wanted values for each value of the claim's key, by number."""
    found: dict[float, Arm] = {}
    reasons: list[Reason] = []
    absent: list[str] = []
    for number, value in zip(claim.numbers or claim.values, claim.values, strict=True):
        whole = {**wanted, str(claim.along): value}
        fitting = [arm for arm in read if _has(arm, whole)]
        if len(fitting) == 1:
            found[float(number)] = fitting[0]
        elif fitting:
            reasons.append(_not_one(claim, name, whole, fitting))
        else:
            absent.append(str(value))
    if absent:
        at = {**wanted, str(claim.along): "/".join(absent)}
        reasons.insert(0, _not_one(claim, name, at, []))
    return found, tuple(reasons)


def both(claim: Claim, found: Sequence[Record]) -> Sides:
    """Return both sides at all values, and the reasons against comparing them.

    At one value, arm and reference may differ only in what is compared; from value to value they
    may also differ in what the claim lists under `may_differ`.
    """
    read = arms.read(found)
    top, lacking = along(claim, "arm", claim.arm, read)
    bottom, more = along(claim, "reference", claim.reference, read)
    tuned = [{n: arms.tune(arm) for n, arm in side.items()} for side in (top, bottom)]
    sides = Sides(tuned[0], tuned[1], ())
    reasons = [*lacking, *more, *(r for one in sides.tuned for r in one.reasons)]
    for number in sorted(set(top) & set(bottom)):
        pair = [tuned[1][number], tuned[0][number]]
        here = [*arms.equal_tuning(pair), *arms.mixed(_records(pair))]
        reasons += [Reason(r.code, f"at {claim.along} {number:g}: {r.text}") for r in here]
    seeds = {one.seeds for one in sides.tuned}
    if len(seeds) > 1:
        text = f"the seeds differ between values of {claim.along}"
        reasons.append(Reason("unequal_seeds", text))
    reasons += counted(claim, list(arms.mixed(_records(sides.tuned))))
    return Sides(tuned[0], tuned[1], tuple(dict.fromkeys(reasons)))


def runs(tuned: Sequence[Tuned]) -> tuple[Record, ...]:
    """Return the records of the runs at the best learning rates."""
    return tuple(made.record for one in tuned for made in one.runs.values())


def seeds(tuned: Sequence[Tuned]) -> int:
    """Return the smallest number of seeds that an arm has at its best learning rate."""
    return min((len(one.runs) for one in tuned), default=0)


def _records(tuned: Sequence[Tuned]) -> list[Record]:
    return [made.record for one in tuned for made in one.arm.made]


def _has(arm: Arm, wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        node: Any = arm.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node != value:
            return False
    return True


def _not_one(claim: Claim, name: str, wanted: Mapping[str, Any], fitting: Sequence[Arm]) -> Reason:
    what = ", ".join(f"{key}={value}" for key, value in wanted.items())
    if not fitting:
        line = f"python train.py -m sweeps={claim.sweep}"
        return Reason("no_arm", f"no run of the {name} ({what}) has finished: run {line}")
    labels = "; ".join(one.label for one in fitting)
    text = f"{len(fitting)} arms match {what} ({labels}): add keys to {name} in the claim's file"
    return Reason("no_arm", text)
