"""The size of a sweep, computed here only: `plan`, `claims`, the sweepers and their plan files."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from experiments.analysis.arms import Design, RunCount, first_grid, rate_design, run_count
from experiments.sweeps.hydra import grammar, grid
from experiments.sweeps.kind import SweepKind
from experiments.sweeps.study import space as spaces
from experiments.sweeps.study import specs

_N_TRIALS = 20


@dataclass(frozen=True)
class Size:
    """How many runs a sweep has."""

    kind: SweepKind
    parts: int
    """Number of cells of a grid, of trials of a search, or of arms of a tuned sweep."""
    runs_each: int = 1
    """Number of runs of each part: of a trial one per seed, of an arm the expected number."""
    arm: RunCount | None = None
    """Number of runs of each arm of a tuned sweep, expected and at most."""
    rule_runs: int = 0
    """Largest number of runs of a tuned sweep at the learning rates of its rules."""
    cells: int | None = None
    """Number of combinations in the space of a search; None if infinitely many, or no search."""

    @property
    def runs(self) -> int:
        """Number of runs of the sweep; for a tuned sweep, the expected number."""
        return self.parts * self.runs_each

    @property
    def most_runs(self) -> int:
        """Number of runs that the sweep has at most."""
        return self.runs if self.arm is None else self.parts * self.arm.most + self.rule_runs

    def arm_text(self) -> str:
        """Return the size of a tuned sweep in words.

        >>> Size(SweepKind.tuned, 3, 19, RunCount(19, 38)).arm_text()
        '3 arms, 19 runs expected, 38 at most each'
        """
        assert self.arm is not None, "a tuned sweep has arms"
        arms = f"{self.parts} arm{'s' if self.parts > 1 else ''}"
        rules = f"; {self.rule_runs} more at most for its rules" if self.rule_runs else ""
        return f"{arms}, {self.arm.expected} runs expected, {self.arm.most} at most each{rules}"

    def without(self, count: int) -> "Size":
        """Return the size without combinations that are invalid or repeat another one."""
        if self.kind is not SweepKind.search:
            return dataclasses.replace(self, parts=self.parts - count)
        if self.cells is None:
            return self
        remaining = self.cells - count
        return dataclasses.replace(self, parts=min(self.parts, remaining), cells=remaining)


def of(sweeper: Mapping[str, Any], overrides: Sequence[Override]) -> Size:
    """Return the size of a sweep.

    Args:
        sweeper: the keys of its sweeper, with the kind that it declares.
        overrides: the parsed overrides of the sweep.

    Raises:
        ConfigError: an override has no list of values, or a key of the sweeper is wrong.
    """
    kind = sweeper["kind"]
    if kind is SweepKind.grid:
        return Size(kind, len(grid.cells(overrides)))
    if kind is SweepKind.tuned:
        design = tuning_design(sweeper, 1.0)
        arm = run_count(design, int(sweeper["repeats"] or 0))
        rule_runs = 2 * len(design.seeds) * len(sweeper["rules"] or ())
        parts = len(grid.arms(overrides, sweeper["arms"]))
        return Size(kind, parts, arm.expected, arm, rule_runs)
    space, _ = grammar.split(overrides)
    cells = spaces.size(space)
    n_trials = sweeper["n_trials"]
    if n_trials is None:
        is_grid = specs.sampler(sweeper["sampler"] or {}).name == "grid"
        n_trials = cells if cells and is_grid else _N_TRIALS
    trials = min(int(n_trials), cells or int(n_trials))
    return Size(kind, trials, int(sweeper["seeds_per_trial"] or 1), cells=cells)


def tuning_design(sweeper: Mapping[str, Any], centre: float) -> Design:
    """Return how an arm is tuned whose own learning rate is `centre`."""
    seeds = tuple(int(seed) for seed in sweeper["seeds"] or rate_design.SEEDS)
    ends = sweeper["rates"]
    low, high = first_grid(centre) if ends is None else map(rate_design.grid_step, ends)
    return Design(low, high, seeds, int(sweeper["furthest"]))
