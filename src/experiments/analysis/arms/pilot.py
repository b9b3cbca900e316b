"""Read a pilot: how noisy a difference between arms is, which margins that affords, what runs cost.

A pilot is a few arms with a few seeds, run before the margins of a design are fixed. Only its
noise and its durations are used: the differences themselves are not shown, as margins chosen after
seeing them would fit the result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.analysis import statistics
from experiments.analysis.arms import grouping
from experiments.analysis.arms.contrasts import contrast, intended_differences
from experiments.analysis.arms.rate_choice import Tuned, tune
from experiments.analysis.arms.rate_design import Design, first_grid, run_count
from experiments.analysis.statistics import MeanEstimate, Spread
from experiments.errors import ConfigError
from experiments.records import Record

SEEDS = (3, 5, 8)
"""Numbers of seeds for which the margins are computed."""


@dataclass(frozen=True)
class PilotNoise:
    """The noise of the difference between an arm and the first one."""

    arm: str
    estimate: MeanEstimate
    """Of the difference; only its errors are meant to be shown."""

    def margins(self) -> list[float | None]:
        """Return, for each number of seeds, the smallest margin within which equality is found."""
        spread = Spread.of(self.estimate)
        return [statistics.affordable_margin(spread, n) for n in SEEDS]

    def deltas(self) -> list[float | None]:
        """Return, for each number of seeds, the smallest difference that is found or refuted."""
        spread = Spread.of(self.estimate)
        return [statistics.affordable_delta(spread, n) for n in SEEDS]


@dataclass(frozen=True)
class Pilot:
    """What a pilot says about a design."""

    score: str
    reference: str
    noises: tuple[PilotNoise, ...]
    hours: float | None
    """Hours per run, the mean over all finished runs; None if no run recorded its time."""


def read(records: Sequence[Record], score: str) -> Pilot:
    """Return what the finished runs of a pilot say about the noise and the cost of a design.

    Args:
        records: of all arms; the first arm is the reference.
        score: of the test split, by which the arms will be compared.

    Raises:
        ConfigError: there are fewer than two arms, or an arm shares fewer than two seeds with the
            first one.
    """
    tuned = [tune(arm) for arm in grouping.read(records)]
    tuned = [arm for arm in tuned if arm.best is not None]
    if len(tuned) < 2:
        names = ", ".join(arm.arm.label for arm in tuned) or "none"
        raise ConfigError(
            f"arms with finished runs: {names}; a pilot compares at least two, such as "
            "hydra.sweeper.arms=[[lora=none],[lora=all_linear,lora.r=64]]."
        )
    reference, *others = tuned
    noises = tuple(PilotNoise(arm.arm.label, _estimate(reference, arm, score)) for arm in others)
    times = [r.timing.get("total_seconds") for r in records if r.status == "finished"]
    seconds = [time for time in times if time is not None]
    hours = math.fsum(seconds) / len(seconds) / 3600 if seconds else None
    return Pilot(score, reference.arm.label, noises, hours)


def _estimate(reference: Tuned, arm: Tuned, score: str) -> MeanEstimate:
    estimate = contrast(reference, arm, None, score, intended_differences(reference, arm)).estimate
    seeds = 0 if estimate is None else estimate.seeds
    if estimate is None or seeds < 2:
        raise ConfigError(
            f"{arm.arm.label} and {reference.arm.label} share {seeds} seed{'s' * (seeds != 1)} "
            f"with {score} at their best learning rates; a pilot needs at least 2, better 3: "
            "hydra.sweeper.seeds=[0,43,100]."
        )
    return estimate


def lines(pilot: Pilot) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the header, one row per arm, and the sentences below the table."""
    counts = [str(n) for n in SEEDS]
    header = [
        f"arm - {pilot.reference}", "seeds", "SD over seeds", "SE of rows",
        *(f"margin, {n} seeds" for n in counts), *(f"delta, {n} seeds" for n in counts),
    ]  # fmt: skip
    rows = [
        [
            noise.arm,
            str(noise.estimate.seeds),
            f"{noise.estimate.deviation:.3g}",
            "-" if noise.estimate.rows is None else f"{noise.estimate.row_error:.3g}",
            *map(_number, [*noise.margins(), *noise.deltas()]),
        ]
        for noise in pilot.noises
    ]
    return header, rows, [*_notes(pilot), _cost(pilot)]


def _notes(pilot: Pilot) -> list[str]:
    notes = [
        f"Noise of {pilot.score}, paired by seed. Smallest sizes with a power of "
        f"{statistics.POWER:.2f} if the arms are equal: margin, within which they are found equal; "
        "delta, the difference whose absence is found. The uncertainty of the SD is included, so "
        "that more seeds in the pilot afford smaller margins.",
        "The runs of a pilot are used in no verdict: give the design other seeds. A margin below "
        "these is not affordable: take more seeds, more test rows, or leave the claim out.",
    ]
    without = [noise.arm for noise in pilot.noises if noise.estimate.rows is None]
    if without:
        notes.append(
            f"Without scores by test row for {', '.join(without)}: margins are too small by what "
            "other test rows would change."
        )
    return notes


def _cost(pilot: Pilot) -> str:
    if pilot.hours is None:
        return "Hours: unknown, as no run recorded its time."
    parts = []
    for n in SEEDS:
        count = run_count(Design(*first_grid(1.0), seeds=tuple(range(n))))
        expected, most = count.expected * pilot.hours, count.most * pilot.hours
        parts.append(f"{expected:.3g} with {n} seeds ({most:.3g} at most)")
    return f"Hours: {pilot.hours:.3g} per run; to tune an arm {', '.join(parts)}."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
