"""Format tuned arms as table rows: learning rate, optimum, final score, difference, finding."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.arms.contrasts import (
    TESTED_ON,
    Contrast,
    contrast,
    family,
    gain_margin,
    on_purpose,
)
from experiments.analysis.arms.excess_loss import excess_loss
from experiments.analysis.arms.rate_choice import Tuned
from experiments.analysis.arms.rate_design import PER_DECADE
from experiments.analysis.arms.reasons import Reason, blocking
from experiments.analysis.statistics import Interval, NoiseFloor
from experiments.evaluation import metrics

HEADER = ("arm", "LRs", "seeds", "best LR", "optimum", TESTED_ON, "difference", "verdict")


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
        margin: as in `contrast`; None = a twentieth of the first arm's gain over its base model.
        floor: as in `contrast`.
    """
    header = [*HEADER[:5], score, *HEADER[6:]]
    if not tuned:
        return header, [], []
    reference, *others = tuned
    margin = gain_margin(reference, score) if margin is None else margin
    contrasts = family(
        [
            contrast(reference, arm, margin, score, on_purpose(reference, arm), floor)
            for arm in others
        ]
    )
    rows = [[*_arm_cells(reference, score), "reference", "-"]]
    notes = [_note(reference.arm.label, reason) for reason in reference.reasons]
    for entry in contrasts:
        comparison = entry.comparison
        difference = "-" if comparison is None else _interval(comparison.difference, "+")
        rows.append([*_arm_cells(entry.arm, score), difference, entry.finding])
        known = set(reference.reasons)
        notes += [_note(entry.arm.arm.label, r) for r in entry.reasons if r not in known]
    if margin is not None and contrasts:
        notes = [_caption(margin), *_groups(tuned, score, margin), *_power(contrasts), *notes]
    if floor is not None:
        notes.append(
            f"Noise floor of {score}: {floor.deviation:.2g} (standard deviation between repeated "
            f"runs of a cell; {floor.runs} runs of {floor.cells} cells)."
        )
    return header, rows, list(dict.fromkeys(notes))


def _groups(tuned: Sequence[Tuned], score: str, margin: float) -> Iterator[str]:
    """Yield a sentence on which arms are tied, best first; nothing if no arms are tied."""
    scored = [tuned_arm for tuned_arm in tuned if tuned_arm.final(score)]
    best_first = -1 if metrics.direction(score) == "maximize" else 1
    scored.sort(
        key=lambda tuned_arm: (
            best_first * statistics.mean_interval(_final(tuned_arm, score)).estimate
        )
    )
    ties = [
        (a.arm.label, b.arm.label)
        for a, b in itertools.combinations(scored, 2)
        if contrast(a, b, margin, score, on_purpose(a, b)).finding == "tied"
    ]
    if ties:
        groups = statistics.tied_groups([tuned_arm.arm.label for tuned_arm in scored], ties)
        words = statistics.tie_words(groups, f"{margin:.3g}")
        yield f"All pairs of arms, best first: {words}"


def _power(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Yield what the seeds of each comparison can detect, and how many seeds would decide it."""
    for entry in contrasts:
        comparison = entry.comparison
        if comparison is None or comparison.difference.n < 2 or blocking(entry.reasons):
            continue
        n, deviation = comparison.difference.n, comparison.deviation
        smallest = statistics.detectable_effect(deviation, n)
        sentence = f"{entry.arm.arm.label}: {n} seeds have 80 % power to detect {smallest:.2g}"
        if entry.finding == "undecided":
            difference, margin = comparison.difference.estimate, comparison.margin
            needed = statistics.seeds_to_decide(difference, deviation, margin)
            most = f"more than {statistics.MOST_SEEDS}"
            about = most if needed is None else f"about {max(needed, n + 1)}"
            sentence += f"; a verdict would take {about} seeds in total"
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
                "regret": _excess_loss(tuned, p.rate),
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


def _caption(margin: float) -> str:
    return (
        "Differences are paired by seed, with 95 % Student t intervals and p values "
        "Holm-adjusted over the arms of the table. Better or worse: significantly different from 0 "
        f"and by more than {margin:.3g}; tied: equivalent within ±{margin:.3g} (two one-sided "
        "tests). Learning rates were chosen on validation from a grid with steps of a factor "
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
