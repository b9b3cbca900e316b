"""Compare two tuned arms: the difference with its interval, and a finding where a margin is given.

A margin is the user's, in the unit of the score. Without one there is no tie and no finding, only
the interval: a share of what fine-tuning gains is no measure of what is negligible, as it may be
larger than the loss itself.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.analysis import statistics
from experiments.analysis.arms import row_values
from experiments.analysis.arms.grouping import mixed
from experiments.analysis.arms.rate_choice import Tuned
from experiments.analysis.arms.reasons import Reason, blocking
from experiments.analysis.arms.row_values import RowTable
from experiments.analysis.arms.same_rows import other_rows
from experiments.analysis.statistics import ALPHA, Direction, Interval, MeanEstimate, NoiseFloor
from experiments.evaluation import metrics

TESTED_ON = "loss/nll"
"""Score of the final comparison: loss on the test split, in nats per trained token."""
EXACT_CALLS = "calls/exact"
EXACT_MARGIN, EXACT_ROWS, EXACT_SEEDS = 0.05, 1000, 5
"""Exact calls are compared with a margin of 5 points, from so many test rows and seeds on."""

Finding = Literal["better", "worse", "tied", "unresolved"]


@dataclass(frozen=True)
class Contrast:
    """An arm compared with a reference, each at its own best learning rate."""

    reference: Tuned
    arm: Tuned
    score: str
    margin: float | None
    """The largest negligible difference, in the unit of the score; None = none was given."""
    estimate: MeanEstimate | None
    """Arm minus reference over seeds, crossed with the test rows where these are recorded; None if
    the arms share no seed."""
    reasons: tuple[Reason, ...]

    @property
    def difference(self) -> Interval | None:
        """Arm minus reference with its 95 % interval."""
        return None if self.estimate is None else self.estimate.interval(1 - ALPHA)

    @property
    def relative(self) -> float | None:
        """The difference as a share of the reference's mean score."""
        scores = list(self.reference.final(self.score).values())
        mean = math.fsum(scores) / len(scores) if scores else 0.0
        return self.estimate.estimate / mean if self.estimate is not None and mean else None

    @property
    def finding(self) -> Finding | None:
        """The conclusion; None without a margin, `unresolved` if a reason blocks every verdict."""
        if self.margin is None:
            return None
        found = self.difference
        if found is None or found.low is None or found.high is None or blocking(self.reasons):
            return "unresolved"
        if -self.margin < found.low and found.high < self.margin:
            return "tied"
        if found.low <= 0 <= found.high or abs(found.estimate) <= self.margin:
            return "unresolved"
        return "better" if (found.low > 0) == (_direction(self.score) == "maximize") else "worse"


def contrast(
    reference: Tuned,
    arm: Tuned,
    margin: float | None = None,
    score: str = TESTED_ON,
    may_differ: Collection[str] = (),
    floor: NoiseFloor | None = None,
) -> Contrast:
    """Compare an arm with a reference over the seeds that both have at their best learning rates.

    Args:
        reference: a tuned arm.
        arm: the arm to compare with it.
        margin: the largest negligible difference, in the unit of the score; None = only intervals,
            except for exact calls with enough rows and seeds.
        score: score of the tuned model; `loss/nll` is that of the test split.
        may_differ: reasons between the two arms to ignore, such as `mixed_data` if data sets are
            compared.
        floor: noise floor of the score, if measured; a difference within twice the floor gets a
            blocking reason.
    """
    a, b = reference.final(score), arm.final(score)
    seeds = sorted(set(a) & set(b))
    reasons = [*reference.reasons, *arm.reasons]
    reasons += [r for r in equal_tuning([reference, arm]) if r.code not in may_differ]
    records = [run.record for side in (reference, arm) for run in side.arm.runs]
    # Within one arm nothing may differ, regardless of what is compared.
    reasons += [reason for reason in mixed(records) if reason.code not in may_differ]
    deciding = [run.record for side in (reference, arm) for run in side.runs.values()]
    reasons += [mismatch for mismatch in [other_rows(deciding, score)] if mismatch is not None]
    margin, few = _margin_of(score, margin, [reference, arm], len(seeds))
    reasons += few
    if not seeds:
        text = f"no seed has {score} in both arms at their best learning rates"
        reasons.append(Reason("no_score", text))
        return Contrast(reference, arm, score, margin, None, tuple(reasons))
    gaps = [b[seed] - a[seed] for seed in seeds]
    rows = row_values.differences(arm.runs, reference.runs, seeds, score)
    estimate = difference_estimate(gaps, rows)
    reasons += [*_same_numbers(gaps), *_in_the_noise(estimate.interval(1 - ALPHA), floor)]
    return Contrast(reference, arm, score, margin, estimate, tuple(dict.fromkeys(reasons)))


def difference_estimate(gaps: Sequence[float], rows: RowTable | None) -> MeanEstimate:
    """Return the mean difference over seeds, crossed with the test rows where these are known.

    Args:
        gaps: differences of the scores, one per seed.
        rows: differences by test row and seed, or None.
    """
    if rows is None or len(rows) < 2 or len(gaps) < 2:
        return statistics.seed_estimate(gaps)
    return statistics.crossed_estimate(list(zip(*rows.values(), strict=True)))


def _margin_of(
    score: str, margin: float | None, sides: Sequence[Tuned], seeds: int
) -> tuple[float | None, list[Reason]]:
    """Return the margin of a score, and why a margin on exact calls cannot be afforded."""
    if score != EXACT_CALLS:
        return margin, []
    counts = [
        run.record.counts.get("tuned", {}).get(score, 0)
        for side in sides
        for run in side.runs.values()
    ]
    rows = min(counts, default=0)
    if rows >= EXACT_ROWS and seeds >= EXACT_SEEDS:
        return (EXACT_MARGIN if margin is None else margin), []
    if margin is None:
        return None, []
    text = (
        f"a margin on {score} needs {EXACT_ROWS} test rows and {EXACT_SEEDS} seeds: there are "
        f"{rows} and {seeds}, so only the interval counts"
    )
    return margin, [Reason("few_rows", text)]


def intended_differences(reference: Tuned, arm: Tuned) -> set[str]:
    """Return the reason codes that follow from what the two configs set differently.

    An arm with other data has other rows, and one with another base model has other weights. These
    differences are the subject of the comparison, whereas a change of files or code behind the same
    config would be a mistake.
    """
    reference_config, arm_config = reference.arm.config, arm.arm.config
    codes: set[str] = set()
    if reference_config.get("data") != arm_config.get("data"):
        codes.add("mixed_data")
    if reference_config.get("model") != arm_config.get("model"):
        codes |= {"mixed_base", "mixed_data"}  # another tokenizer makes other rows
        quantized = [
            (tree.get("model") or {}).get("quantization") for tree in (reference_config, arm_config)
        ]
        codes |= {"mixed_environment"} if quantized[0] != quantized[1] else set()
    return codes


def equal_tuning(tuned: Sequence[Tuned]) -> list[Reason]:
    """Return the reasons why the arms of a table were not tuned alike; empty if they were.

    Arms are tuned alike if they have the same number of learning rates within two grid steps of
    their optimum, and the same seeds at the deciding learning rates. Whether a grid had to be
    extended does not matter.
    """
    reasons = []
    chosen = [tuned_arm for tuned_arm in tuned if tuned_arm.best is not None]
    if len({len(tuned_arm.near) for tuned_arm in chosen}) > 1:
        text = ", ".join(f"{len(tuned_arm.near)} for {tuned_arm.arm.label}" for tuned_arm in chosen)
        reasons.append(
            Reason(
                "unequal_tuning",
                "the arms have different numbers of learning rates within two grid steps of the "
                f"best one ({text})",
            )
        )
    if len({tuned_arm.seeds for tuned_arm in chosen}) > 1:
        text = "; ".join(
            f"{tuned_arm.arm.label}: {', '.join(map(str, tuned_arm.seeds))}" for tuned_arm in chosen
        )
        reasons.append(Reason("unequal_seeds", f"the arms have different seeds ({text})"))
    return reasons


def _in_the_noise(difference: Interval, floor: NoiseFloor | None) -> Iterator[Reason]:
    gap, low, high = difference.estimate, difference.low, difference.high
    apart = low is not None and high is not None and not low <= 0 <= high
    if floor is not None and apart and floor.covers(gap):
        yield Reason(
            "noise_floor",
            f"the difference {gap:.3g} is within twice the noise floor {floor.deviation:.3g}, "
            f"estimated from {floor.cells} cells with repeated runs",
        )


def _same_numbers(gaps: Sequence[float]) -> Iterator[Reason]:
    if len(gaps) > 1 and max(gaps) - min(gaps) < statistics.ROUNDING:
        text = "all seeds have the same difference, so there is no variance to test against"
        yield Reason("same_numbers", text)


def _direction(score: str) -> Direction:
    return "maximize" if metrics.direction(score) == "maximize" else "minimize"
