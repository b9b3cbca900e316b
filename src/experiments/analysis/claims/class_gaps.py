"""The difference of a loss by token class, so that one class, such as a template, decides nothing.

A class of fewer than half of the tokens carries a verdict if the word changes without its tokens.
Such a verdict is about that class, not about the loss.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.analysis import statistics
from experiments.analysis.arms import Reason, Tuned
from experiments.analysis.arms.grouping import ArmRun
from experiments.analysis.claims.case import Judged
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import MeanEstimate, Rule
from experiments.toolcalls.token_classes import CLASSES

_MOST = 0.5
"""Share of the tokens from which a class is the bulk of the loss rather than a part of it."""


@dataclass(frozen=True)
class ClassGap:
    """Arm minus reference in the loss of one token class."""

    name: str
    share: float
    """Share of the trained test tokens."""
    reference: float
    """Mean loss of the reference on the class, in nats per token."""
    gap: MeanEstimate
    without: MeanEstimate
    """The same in the loss of all other tokens."""


@dataclass(frozen=True)
class Weighted:
    """An arm and its reference, and the weight of their difference: 1, or that of a slope."""

    weight: float
    reference: Tuned
    arm: Tuned


def gaps(pairs: Sequence[Weighted], score: str) -> list[ClassGap]:
    """Return the classes whose losses and token counts are recorded for every deciding run."""
    sides = [side for pair in pairs for side in (pair.reference.runs, pair.arm.runs)]
    seeds = sorted(set.intersection(*map(set, sides))) if sides else []
    found = []
    for name in CLASSES:
        cells = [
            [_losses(side[seed], score, name) for side in sides] for seed in seeds
        ]  # by seed: reference and arm of each pair
        known = [[one for one in cell if one is not None] for cell in cells]
        if not seeds or any(len(cell) < len(sides) for cell in known):
            continue
        references = [one.loss for cell in known for one in cell[::2]]
        found.append(
            ClassGap(
                name,
                known[0][0].share,
                math.fsum(references) / len(references),
                _estimate(pairs, [[one.loss for one in cell] for cell in known]),
                _estimate(pairs, [[one.without for one in cell] for cell in known]),
            )
        )
    return found


def _estimate(pairs: Sequence[Weighted], cells: Sequence[Sequence[float]]) -> MeanEstimate:
    """Return the weighted difference, from losses by seed: reference and arm of each pair."""
    return statistics.seed_estimate(
        [
            math.fsum(
                pair.weight * (cell[2 * at + 1] - cell[2 * at]) for at, pair in enumerate(pairs)
            )
            for cell in cells
        ]
    )


def added(
    claim: Claim,
    judged: Judged,
    pairs: Sequence[Weighted],
    rule: Rule | None,
    sign: float = 1.0,
    alpha: float = statistics.ALPHA,
) -> Judged:
    """Add the classes to a result, and a reason if one class alone carries its word.

    Args:
        claim: the claim, whose score must be a loss per token.
        judged: its result so far.
        pairs: the arms behind its estimate.
        rule: what the estimate must satisfy; None = there is no verdict.
        sign: of the effect that the claim asserts.
        alpha: level at which its word was given, at a look that of the look.
    """
    if not claim.score.endswith("loss/nll"):
        return judged
    found = gaps(pairs, claim.score)
    sentences = tuple(sentence(one) for one in found)
    reasons = []
    if rule is not None and judged.word in ("holds here", "does not hold here"):
        reasons = list(_carried(found, judged.word, rule, sign, alpha))
    return replace(judged, classes=sentences, reasons=(*judged.reasons, *reasons))


def _carried(
    found: list[ClassGap], word: str, rule: Rule, sign: float, alpha: float
) -> Iterator[Reason]:
    for one in found:
        rest = replace(one.without, estimate=sign * one.without.estimate)
        if one.share < _MOST and statistics.decide(rest, rule, alpha).word != word:
            text = (
                f"the verdict rests on one token class: without {one.name}, {one.share:.1%} of the "
                f"tokens, the difference is {_text(one.without, alpha)}"
            )
            yield Reason("one_class", text)


def sentence(one: ClassGap) -> str:
    """Return the difference of one class in words."""
    relative = f", {one.gap.estimate / one.reference:+.1%}" if one.reference else ""
    name = one.name.replace("_", " ")
    return (
        f"{name} ({one.share:.1%} of the tokens, reference {one.reference:.3g}): "
        f"{_text(one.gap)}{relative}"
    )


def _text(estimate: MeanEstimate, alpha: float = statistics.ALPHA) -> str:
    interval = estimate.interval(1 - alpha)
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:+.3g}"
    return f"{interval.estimate:+.3g} [{interval.low:.3g}, {interval.high:.3g}]"


@dataclass(frozen=True)
class _Losses:
    loss: float
    without: float
    share: float


def _losses(run: ArmRun, score: str, name: str) -> _Losses | None:
    """Return the loss of a class and of all other tokens; None without both and their counts."""
    counts: Mapping[str, float] = run.record.counts.get("tuned", {})
    key = f"{score}_{name}"
    whole, part = run.scores.get(score), run.scores.get(key)
    tokens, own = counts.get(score), counts.get(key)
    if whole is None or part is None or not tokens or not own or own >= tokens:
        return None
    return _Losses(part, (whole * tokens - part * own) / (tokens - own), own / tokens)
