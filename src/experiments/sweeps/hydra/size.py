"""The size of a sweep, computed here only: `plan`, `claims`, the sweepers and their plan files."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from experiments.analysis.arms import rate_design
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
    """Number of runs of each part: of a trial one per seed, of an arm the minimum."""
    cells: int | None = None
    """Number of combinations in the space of a search; None if infinitely many, or no search."""

    @property
    def runs(self) -> int:
        """Number of runs of the sweep; for a tuned sweep, the minimum."""
        return self.parts * self.runs_each

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
        seeds = len(sweeper["seeds"] or rate_design.SEEDS)
        min_runs = rate_design.least_runs(seeds, int(sweeper["repeats"] or 0))
        return Size(kind, len(grid.arms(overrides, sweeper["arms"])), min_runs)
    space, _ = grammar.split(overrides)
    cells = spaces.size(space)
    n_trials = sweeper["n_trials"]
    if n_trials is None:
        is_grid = specs.sampler(sweeper["sampler"] or {}).name == "grid"
        n_trials = cells if cells and is_grid else _N_TRIALS
    trials = min(int(n_trials), cells or int(n_trials))
    return Size(kind, trials, int(sweeper["seeds_per_trial"] or 1), cells)
