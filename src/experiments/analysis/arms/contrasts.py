"""Compare two tuned arms and return the finding with the reasons that limit it."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from experiments.analysis import statistics
from experiments.analysis.arms.grouping import mixed
from experiments.analysis.arms.rate_choice import Tuned
from experiments.analysis.arms.reasons import Reason, blocking
from experiments.analysis.arms.same_rows import other_rows
from experiments.analysis.statistics import Comparison, Direction, Finding, NoiseFloor
from experiments.evaluation import metrics

TESTED_ON = "loss/nll"
"""Score of the final comparison: loss on the test split, in nats per trained token."""
GAIN_SHARE = 0.05
"""Margin as a share of the gain of full fine-tuning; smaller differences are negligible."""


@dataclass(frozen=True)
class Contrast:
    """An arm compared with a reference, each at its own best learning rate."""

    reference: Tuned
    arm: Tuned
    score: str
    comparison: Comparison | None
    """None if the two arms share no seed, or no margin is known."""
    reasons: tuple[Reason, ...]

    @property
    def finding(self) -> Finding:
        """The conclusion; `undecided` if a reason blocks every verdict."""
        if self.comparison is None or blocking(self.reasons):
            return "undecided"
        return self.comparison.finding


def gain_margin(full: Tuned, score: str = TESTED_ON, share: float = GAIN_SHARE) -> float | None:
    """Return the margin, a share of the reference's gain over the untuned base model.

    A share of the loss itself would call all arms equal if training changes the loss only a little.

    Returns:
        The margin in the unit of the score, or None if the base model was not scored or nothing
        was gained.
    """
    base, final = full.arm.base.get(score), full.final(score)
    if base is None or not final or not math.isfinite(base):
        return None
    mean = math.fsum(final.values()) / len(final)
    gain = base - mean if _direction(score) == "minimize" else mean - base
    return share * gain if gain > 0 else None


def contrast(
    reference: Tuned,
    arm: Tuned,
    margin: float | None,
    score: str = TESTED_ON,
    may_differ: Collection[str] = (),
    floor: NoiseFloor | None = None,
) -> Contrast:
    """Compare an arm with a reference over the seeds that both have at their best learning rates.

    Args:
        reference: a tuned arm.
        arm: the arm to compare with it.
        margin: the largest negligible difference, in the unit of the score.
        score: score of the tuned model; `loss/nll` is that of the test split.
        may_differ: reasons between the two arms to ignore, such as `mixed_data` if data sets are
            compared.
        floor: noise floor of the score, if measured; a difference within twice the floor gets a
            blocking reason.
    """
    a, b = reference.final(score), arm.final(score)
    seeds = sorted(set(a) & set(b))
    reasons = [*reference.reasons, *arm.reasons, *equal_tuning([reference, arm])]
    records = [run.record for side in (reference, arm) for run in side.arm.runs]
    # Within one arm nothing may differ, regardless of what is compared.
    reasons += [reason for reason in mixed(records) if reason.code not in may_differ]
    deciding = [run.record for side in (reference, arm) for run in side.runs.values()]
    reasons += [mismatch for mismatch in [other_rows(deciding, score)] if mismatch is not None]
    comparison = None
    if not seeds:
        text = f"no seed has {score} in both arms at their best learning rates"
        reasons.append(Reason("no_score", text))
    elif margin is None:
        text = f"no margin for {score}: the untuned base was not scored, or training gained nothing"
        reasons.append(Reason("no_score", text))
    else:
        values = [a[s] for s in seeds], [b[s] for s in seeds]
        comparison = statistics.compare(*values, margin, _direction(score))
        reasons += [*_same_numbers(*values), *_in_the_noise(comparison, floor)]
    return Contrast(reference, arm, score, comparison, tuple(dict.fromkeys(reasons)))


def on_purpose(reference: Tuned, arm: Tuned) -> set[str]:
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


def family(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Return the contrasts of one table with their p-values adjusted by Holm."""
    comparisons = [entry.comparison for entry in contrasts if entry.comparison is not None]
    adjusted = iter(statistics.in_family(comparisons))
    return [
        entry if entry.comparison is None else dataclasses.replace(entry, comparison=next(adjusted))
        for entry in contrasts
    ]


def equal_tuning(tuned: Sequence[Tuned]) -> list[Reason]:
    """Return the reasons why the arms of a table were not tuned alike; empty if they were.

    Arms are tuned alike if they have the same number of learning rates within three grid steps of
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
                "the arms have different numbers of learning rates within three grid steps of the "
                f"best one ({text})",
            )
        )
    if len({tuned_arm.seeds for tuned_arm in chosen}) > 1:
        text = "; ".join(
            f"{tuned_arm.arm.label}: {', '.join(map(str, tuned_arm.seeds))}" for tuned_arm in chosen
        )
        reasons.append(Reason("unequal_seeds", f"the arms have different seeds ({text})"))
    return reasons


def _in_the_noise(comparison: Comparison, floor: NoiseFloor | None) -> Iterator[Reason]:
    gap = comparison.difference.estimate
    if floor is not None and comparison.finding in ("better", "worse") and floor.covers(gap):
        yield Reason(
            "noise_floor",
            f"the difference {gap:.3g} is within twice the noise floor {floor.deviation:.3g}, "
            f"estimated from {floor.cells} cells with repeated runs",
        )


def _same_numbers(a: Sequence[float], b: Sequence[float]) -> Iterator[Reason]:
    differences = [y - x for x, y in zip(a, b, strict=True)]
    if len(differences) > 1 and max(differences) - min(differences) < statistics.ROUNDING:
        text = "all seeds have the same difference, so there is no variance to test against"
        yield Reason("same_numbers", text)


def _direction(score: str) -> Direction:
    return "maximize" if metrics.direction(score) == "maximize" else "minimize"
