"""Tuned arms in, the lines of a table out: rate, optimum, final score, difference, finding."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from experiments import statistics
from experiments.arms.contrasts import TESTED_ON, contrast, family, gain_margin
from experiments.arms.planning import PER_DECADE
from experiments.arms.reasons import Reason
from experiments.arms.regret import regret
from experiments.arms.tuning import Tuned
from experiments.statistics import Interval, NoiseFloor

HEADER = ("arm", "rates", "seeds", "best rate", "optimum", TESTED_ON, "difference", "it is")


def lines(
    tuned: Sequence[Tuned],
    score: str = TESTED_ON,
    margin: float | None = None,
    floor: NoiseFloor | None = None,
) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the header, a row per arm, and the sentences below the table.

    Args:
        tuned: the arms; the first one is the reference.
        score: of the tuned model.
        margin: as in `contrast`; None = a twentieth of what the first arm gains over its base.
        floor: as in `contrast`.
    """
    header = [*HEADER[:5], score, *HEADER[6:]]
    if not tuned:
        return header, [], []
    reference, *others = tuned
    margin = gain_margin(reference, score) if margin is None else margin
    found = family([contrast(reference, arm, margin, score, floor=floor) for arm in others])
    rows = [[*_own(reference, score), "reference", "-"]]
    notes = [_note(reference.arm.label, reason) for reason in reference.reasons]
    for one in found:
        compared = one.comparison
        gap = "-" if compared is None else _interval(compared.difference, "+")
        rows.append([*_own(one.arm, score), gap, one.finding])
        known = set(reference.reasons)
        notes += [_note(one.arm.arm.label, r) for r in one.reasons if r not in known]
    if margin is not None and found:
        notes.insert(0, _explained(margin))
    if floor is not None:
        notes.append(
            f"Noise floor of {score}: {floor.deviation:.2g} (standard deviation of a run around "
            f"its cell; {floor.runs} runs of {floor.cells} cells)."
        )
    return header, rows, list(dict.fromkeys(notes))


def as_data(tuned: Tuned) -> dict[str, Any]:
    """Return a tuned arm as plain data for a file: rates in order, losses by seed."""
    found = tuned.optimum
    return {
        "arm": tuned.arm.label,
        "best_rate": tuned.best,
        "optimum": None if found is None else dataclasses.asdict(found),
        "seeds": list(tuned.seeds),
        "near": list(tuned.near),
        "curve": [
            {
                "rate": p.rate,
                "losses": {str(s): _number(v) for s, v in sorted(p.losses.items())},
                "regret": _regret(tuned, p.rate),
            }
            for p in tuned.curve
        ],
        "runs": {str(seed): made.record.run_id for seed, made in tuned.runs.items()},
        "reasons": [dataclasses.asdict(reason) for reason in tuned.reasons],
    }


def _regret(tuned: Tuned, rate: float) -> dict[str, Any]:
    """Return what a rate costs against the best one: a share of the loss, and nats by seed."""
    found = regret(tuned, rate)
    relative = None if found.relative is None else _number(found.relative)
    return {
        "relative": relative,
        "nats": None if found.nats is None else dataclasses.asdict(found.nats),
    }


def _number(value: float) -> float | None:
    """Return a loss, None where the run diverged: JSON has no infinity."""
    return value if math.isfinite(value) else None


def _explained(margin: float) -> str:
    return (
        f"Paired by seed, 95 % Student t intervals, p adjusted by Holm for the arms of the table; "
        f"better or worse: not 0 and beyond {margin:.3g}; tied: two one-sided tests reject both "
        f"ends of ±{margin:.3g}. Rates were chosen on validation, a factor "
        f"{10 ** (1 / PER_DECADE):.2f} apart."
    )


def _own(tuned: Tuned, score: str) -> list[str]:
    final = list(tuned.final(score).values())
    best = "-" if tuned.best is None else f"{tuned.best:.3g}"
    shown = _interval(statistics.mean_interval(final)) if final else "-"
    rates = f"{len(tuned.curve)} ({len(tuned.near)} near)"
    return [tuned.arm.label, rates, str(len(tuned.runs)), best, _optimum(tuned), shown]


def _optimum(tuned: Tuned) -> str:
    found = tuned.optimum
    if found is None:
        return "-"
    ends = ["?" if end is None else f"{end:.3g}" for end in (found.low, found.high)]
    return f"{found.estimate:.3g} [{', '.join(ends)}]"


def _interval(found: Interval, sign: str = "") -> str:
    text = f"{found.estimate:{sign}.4f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:.4f}, {found.high:.4f}]"


def _note(label: str, reason: Reason) -> str:
    return f"{label}: {reason.text}."
