"""Format tuned arms as table rows: learning rate, optimum, final score, difference, finding."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.arms.contrasts import TESTED_ON, Contrast, contrast, intended_differences
from experiments.analysis.arms.excess_loss import excess_loss
from experiments.analysis.arms.rate_choice import Tuned
from experiments.analysis.arms.rate_design import PER_DECADE
from experiments.analysis.arms.reasons import Reason, blocking
from experiments.analysis.statistics import EqualityRule, Interval, NoiseFloor, RangeRule, Spread
from experiments.evaluation import metrics

HEADER = ("arm", "LRs", "seeds", "best LR", "optimum", TESTED_ON, "difference, relative", "verdict")


def lines(
    tuned: Sequence[Tuned],
    score: str = TESTED_ON,
    margin: float | None = None,
    floor: NoiseFloor | None = None,
) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the header, one row per arm, and the sentences below the table.

    Args:
        tuned: the arms; the first one is the reference.
        score: score of the tuned model.
        margin: as in `contrast`; None = intervals only, without verdicts.
        floor: as in `contrast`.
    """
    header = [*HEADER[:5], score, *HEADER[6:]]
    if not tuned:
        return header, [], []
    reference, *others = tuned
    contrasts = [
        contrast(reference, arm, margin, score, intended_differences(reference, arm), floor)
        for arm in others
    ]
    rows = [[*_arm_cells(reference, score), "reference", "-"]]
    notes = [_note(reference.arm.label, reason) for reason in reference.reasons]
    for entry in contrasts:
        rows.append([*_arm_cells(entry.arm, score), difference_text(entry), verdict_text(entry)])
        known = set(reference.reasons)
        notes += [_note(entry.arm.arm.label, r) for r in entry.reasons if r not in known]
    if contrasts:
        notes = [_caption(contrasts), *_groups(tuned, contrasts[0]), *_power(contrasts), *notes]
    if floor is not None:
        notes.append(
            f"Noise floor of {score}: {floor.deviation:.2g} (standard deviation between repeated "
            f"runs of a cell; {floor.runs} runs of {floor.cells} cells)."
        )
    return header, rows, list(dict.fromkeys(notes))


def difference_text(entry: Contrast) -> str:
    """Return a difference with its interval and as a share of the reference's score."""
    if entry.difference is None:
        return "-"
    relative = "" if entry.relative is None else f", {entry.relative:+.1%}"
    return _interval(entry.difference, "+") + relative


def verdict_text(entry: Contrast) -> str:
    """Return the finding with the size of what is called a tie; `no margin` if none was given."""
    if entry.finding is None:
        return "no margin"
    if entry.finding != "tied" or entry.difference is None:
        return entry.finding
    relative = "" if entry.relative is None else f", {entry.relative:+.1%}"
    return f"tied within {entry.margin:.3g} ({entry.difference.estimate:+.4f}{relative})"


def _groups(tuned: Sequence[Tuned], first: Contrast) -> Iterator[str]:
    """Yield a sentence on which arms are tied, best first; nothing if no arms are tied."""
    score, margin = first.score, first.margin
    if margin is None:
        return
    scored = [tuned_arm for tuned_arm in tuned if tuned_arm.final(score)]
    best_first = -1 if metrics.direction(score) == "maximize" else 1
    scored.sort(
        key=lambda tuned_arm: (
            best_first * statistics.mean_interval(_final(tuned_arm, score)).estimate
        )
    )
    pairs = [
        contrast(a, b, margin, score, intended_differences(a, b))
        for a, b in itertools.combinations(scored, 2)
    ]
    ties = [one for one in pairs if one.finding == "tied"]
    if ties:
        names = [(one.reference.arm.label, one.arm.arm.label) for one in ties]
        groups = statistics.tied_groups([tuned_arm.arm.label for tuned_arm in scored], names)
        sizes = [abs(one.difference.estimate) for one in ties if one.difference is not None]
        words = statistics.tie_words(
            groups, f"{margin:.3g}, with differences of up to {max(sizes):.2g}"
        )
        yield f"All pairs of arms, best first: {words}"


def _power(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Yield what each comparison can detect, and how many seeds would decide it."""
    for entry in contrasts:
        estimate = entry.estimate
        if estimate is None or estimate.seeds < 2 or blocking(entry.reasons):
            continue
        spread, n = Spread.of(estimate), estimate.seeds
        found = statistics.detectable_truth(RangeRule(0.0, None), statistics.HOLDS, spread, n)
        if found is None:
            continue
        rows = "" if estimate.rows is None else f" x {estimate.rows} test rows"
        sentence = f"{entry.arm.arm.label}: {n} seeds{rows} have 80 % power to detect {found:.2g}"
        if entry.finding == "unresolved" and entry.margin is not None:
            needed = statistics.seeds_needed(EqualityRule(entry.margin), estimate)
            sentence += f"; if the arms were equal, a verdict would take {needed}"
        yield sentence + "."


def _final(tuned: Tuned, score: str) -> list[float]:
    return list(tuned.final(score).values())


def as_data(tuned: Tuned) -> dict[str, Any]:
    """Return a tuned arm as plain data for a file: learning rates in order, losses by seed."""
    fitted = tuned.optimum
    return {
        "arm": tuned.arm.label,
        "best_rate": tuned.best,
        "optimum": None if fitted is None else dataclasses.asdict(fitted),
        "seeds": list(tuned.seeds),
        "near": list(tuned.near),
        "curve": [
            {
                "rate": p.rate,
                "losses": {str(s): _number(v) for s, v in sorted(p.losses.items())},
                "excess_loss": _excess_loss(tuned, p.rate),
            }
            for p in tuned.curve
        ],
        "runs": {str(seed): run.record.run_id for seed, run in tuned.runs.items()},
        "reasons": [dataclasses.asdict(reason) for reason in tuned.reasons],
    }


def _excess_loss(tuned: Tuned, rate: float) -> dict[str, Any]:
    """Return the excess loss at a learning rate: relative to the best loss, and in nats."""
    excess = excess_loss(tuned, rate)
    relative = None if excess.relative is None else _number(excess.relative)
    return {
        "relative": relative,
        "nats": None if excess.nats is None else dataclasses.asdict(excess.nats),
    }


def _number(value: float) -> float | None:
    """Return a loss, or None if the run diverged, as JSON has no infinity."""
    return value if math.isfinite(value) else None


def _caption(contrasts: Sequence[Contrast]) -> str:
    """Return what the differences are over, what the words mean, and how many may be false."""
    rows = {one.estimate.rows for one in contrasts if one.estimate is not None}
    over = "over seeds only, as the scores by test row are not recorded for all runs"
    if rows and None not in rows:
        over = f"over seeds crossed with {'/'.join(map(str, sorted(filter(None, rows))))} test rows"
    margin = contrasts[0].margin
    meaning = (
        "No margin was given, so there are no verdicts (hydra.sweeper.margin, in the unit of the "
        "score)"
        if margin is None
        else f"Better or worse: the interval excludes 0 and the difference is beyond {margin:.3g}; "
        f"tied: the interval is within ±{margin:.3g}"
    )
    expected = statistics.expected_false_verdicts(len(contrasts))
    return (
        f"Differences are paired by seed, with 95 % intervals {over}; the percentage is relative "
        f"to the reference's score. {meaning}. Exploratory: the intervals are not adjusted for the "
        f"number of arms, so up to {expected:.2g} of {len(contrasts)} are expected to miss the "
        "truth. Learning rates were chosen on validation from a grid with steps of a factor "
        f"{10 ** (1 / PER_DECADE):.2f}."
    )


def _arm_cells(tuned: Tuned, score: str) -> list[str]:
    final = _final(tuned, score)
    best = "-" if tuned.best is None else f"{tuned.best:.3g}"
    score_text = _interval(statistics.mean_interval(final)) if final else "-"
    rates = f"{len(tuned.curve)} ({len(tuned.near)} near)"
    return [tuned.arm.label, rates, str(len(tuned.runs)), best, _optimum(tuned), score_text]


def _optimum(tuned: Tuned) -> str:
    fitted = tuned.optimum
    if fitted is None:
        return "-"
    ends = ["?" if end is None else f"{end:.3g}" for end in (fitted.low, fitted.high)]
    return f"{fitted.estimate:.3g} [{', '.join(ends)}]"


def _interval(interval: Interval, sign: str = "") -> str:
    text = f"{interval.estimate:{sign}.4f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:.4f}, {interval.high:.4f}]"


def _note(label: str, reason: Reason) -> str:
    return f"{label}: {reason.text}."
