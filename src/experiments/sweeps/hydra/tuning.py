"""Tune every arm's learning rate: create jobs from arms until each has its best learning rate.

The choice of learning rates is in `experiments.analysis.arms`; this module connects it to Hydra.
"""

import dataclasses
import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from experiments import config, records, reports
from experiments.analysis import arms
from experiments.analysis.arms import Arm, ArmRun, Cell, Design, rate_design, table
from experiments.config import RunConfig
from experiments.errors import ExperimentError, TrainingError
from experiments.records import Record, provenance
from experiments.reports import comparison_rule, tables
from experiments.reports.comparison_rule import ComparisonRule
from experiments.runtime.progress import log
from experiments.sweeps import plan
from experiments.sweeps.hydra import grid, job_batch, size
from experiments.sweeps.hydra import tuning_validation as validation
from experiments.sweeps.hydra.grid import RATE, SEED
from experiments.sweeps.launching.sweep_job import SweepJob

RESULTS = "tuning.json"


@dataclasses.dataclass(frozen=True)
class PlannedArm:
    """An arm of the sweep."""

    number: int
    overrides: tuple[str, ...]
    """The arm's overrides, without learning rate and seed."""
    key: str
    design: Design

    def job(self, cell: Cell) -> list[str]:
        """Return the overrides of one of the arm's runs."""
        folder = f"{self.number}_rate{cell.rate:g}_seed{cell.seed}"
        own = [f"{RATE}={cell.rate:g}", f"{SEED}={cell.seed}", f"hydra.sweep.subdir={folder}"]
        return [*self.overrides, *own]


class Tuning:
    """One execution of a sweep that tunes every arm's learning rate."""

    def __init__(
        self, given: Mapping[str, Any], loader: ConfigLoader, master: DictConfig, sweep_dir: Path
    ) -> None:
        self._given = given
        self._master, self._sweep_dir = master, sweep_dir
        self._jobs = job_batch.Jobs(loader, master, sweep_dir)
        self._attempted: set[tuple[int, Cell, int]] = set()
        self._arm_of: dict[str, int] = {}  # the number of the arm of each known run id
        self._complete: set[int] = set()
        self._number = 0
        self._opened = False
        self.total = 0
        """Number of runs as far as they are known, of an incomplete arm at least the minimum."""

    def open(self, overrides: Sequence[Override]) -> None:
        """Check all arms before the first run starts.

        Raises:
            ConfigError: a key is not allowed in a tuned sweep, or an arm is invalid.
        """
        validation.refuse(self._given, overrides)
        validation.refuse_chosen_rate(self._master, overrides)
        self.seeds = tuple(int(seed) for seed in self._given["seeds"] or rate_design.SEEDS)
        batch = grid.arms(overrides, self._given["arms"])
        self._arms = self._checked(batch)
        repeated = len(batch) - len(self._arms)
        self.size = size.of(self._given, overrides).without(repeated)
        found = records.read_all(self._sweep_dir)
        validation.refuse_rules(self._given["rules"], len(self._arms))
        self._number = 1 + max((r.job or 0 for r in found), default=-1)
        first = rate_design.REACH * 2 + 1
        log(
            f"{self.size.parts} arms, at least {self.size.runs} runs: for each arm {first} "
            f"learning rates with seed {self.seeds[0]}, then {len(self.seeds)} seeds at its best "
            "learning rate and the two beside it"
        )

    def _checked(self, batch: Sequence[Sequence[str]]) -> list[PlannedArm]:
        found: dict[str, PlannedArm] = {}
        problems = []
        for overrides in batch:
            try:
                _, run = self._jobs.check(overrides)
                validation.refuse_without_validation(run)
                arm = self._planned(len(found), overrides, run)
                found.setdefault(arm.key, arm)
            except ExperimentError as error:
                problems.append(f"arm {' '.join(overrides)}: {error}")
        job_batch.refuse(
            problems, f"{len(problems)} of {len(batch)} arms are illegal, none was started"
        )
        return list(found.values())

    def _planned(self, number: int, overrides: Sequence[str], run: RunConfig) -> PlannedArm:
        ends = self._given["rates"]
        if ends is not None:
            low, high = rate_design.grid_step(float(ends[0])), rate_design.grid_step(float(ends[1]))
        else:
            assert run.trainer.learning_rate is not None, "config.load resolves this"
            low, high = arms.first_grid(run.trainer.learning_rate)
        design = Design(low, high, self.seeds, int(self._given["furthest"]))
        own = tuple(text for text in overrides if not text.startswith(grid.OF_RATES))
        return PlannedArm(number, own, arm_key(run), design)

    def ask(self) -> list[SweepJob]:
        """Return the next runs that the arms need; empty if every arm is done.

        The first call includes the newest finished run of each arm. It is reused unless data, code
        or weights have changed, in which case all runs of the arm must be repeated.

        Raises:
            ExperimentError: a run is invalid at one of its learning rates or seeds.
        """
        made = {arm.key: arm for arm in arms.read(self._current())}
        ready: list[SweepJob] = []
        for planned in self._arms:
            arm = made.get(planned.key)
            asked = arms.next_cells(arm, planned.design)
            cells = list(asked.cells)
            if not self._opened and (known := _newest(arm)) is not None:
                cells.insert(0, Cell(known.rate, known.seed))
            for cell in [
                *cells,
                *(self._rule_cells(made, planned) if asked.phase == "done" else ()),
            ]:
                self._add(ready, planned, cell)
            if asked.phase == "done" and arm is not None:
                self._add_repeat(ready, planned, arm)
            if asked.phase in ("done", "edge"):
                self._complete.add(planned.number)
            self._say_phase(planned, asked)
        self._opened = True
        self._write_plan(made)
        return ready

    def _add(self, ready: list[SweepJob], planned: PlannedArm, cell: Cell, repeat: int = 0) -> None:
        """Prepare a run, unless this execution of the sweep has already launched it."""
        if (planned.number, cell, repeat) in self._attempted:
            return
        self._attempted.add((planned.number, cell, repeat))
        again = ["rerun=true"] if repeat else []
        job = self._jobs.prepare(self._number, [*planned.job(cell), *again])
        self._arm_of.setdefault(job.run_id, planned.number)
        ready.append(job)
        self._number += 1

    def _add_repeat(self, ready: list[SweepJob], planned: PlannedArm, arm: Arm) -> None:
        """Add the next repeat of the arm's best run, which measures the noise floor."""
        tuned = arms.tune(arm, self.seeds)
        made = tuned.runs.get(self.seeds[0])
        if made is None or not int(self._given["repeats"]):
            return
        own = [r for r in self._current() if r.run_id == made.record.run_id]
        count = sum(r.status == "finished" for r in own)
        if count <= int(self._given["repeats"]):
            self._add(ready, planned, Cell(made.rate, made.seed), repeat=count)

    def _rule_cells(self, made: Mapping[str, Arm], planned: PlannedArm) -> Iterator[Cell]:
        """Yield the cells that a tuned arm needs at the learning rates set by its rules."""
        first = made.get(self._arms[0].key)
        done = first is not None and arms.next_cells(first, self._arms[0].design).phase == "done"
        for rule in self._given["rules"] or ():
            if int(rule["arm"]) != planned.number:
                continue
            if rule["rate"] != validation.TEN_TIMES:
                rate: float | None = float(rule["rate"])
            else:
                rate = arms.ten_times_of(arms.tune(first, self.seeds)) if done and first else None
            if rate is not None:
                yield from arms.rule_cells(made[planned.key], planned.design, rate)

    def _say_phase(self, planned: PlannedArm, asked: rate_design.Next) -> None:
        shown = [t for t in planned.overrides if not t.startswith(("sweeps=", "tracker="))]
        words = " ".join(shown) or "defaults"
        if asked.phase == "edge":
            log(
                f"arm {planned.number} ({words}): the best learning rate is at the edge of the "
                f"grid, {planned.design.furthest} steps out; to go further, raise "
                "hydra.sweeper.furthest"
            )
        elif asked.cells:
            rates = sorted({cell.rate for cell in asked.cells})
            what = f"{len(asked.cells)} runs at {', '.join(f'{rate:g}' for rate in rates)}"
            log(f"arm {planned.number} ({words}), {asked.phase}: {what}")

    def _current(self) -> list[Record]:
        """Return the arms' records with the same identity as the newest record of their arm."""
        groups: dict[str, list[Record]] = {planned.key: [] for planned in self._arms}
        for record in records.read_all(self._sweep_dir):
            if record.config and (group := groups.get(arms.arm_key(record.config))) is not None:
                group.append(record)
        kept = []
        for group in groups.values():
            over = [r for r in group if r.identity and r.status in ("finished", "failed")]
            if over:
                identity = max(over, key=lambda r: r.started_at).identity
                kept += [r for r in over if not provenance.differences(r.identity, identity)]
        return kept

    def _write_plan(self, made: Mapping[str, Arm]) -> None:
        for planned in self._arms:
            for one in made[planned.key].runs if planned.key in made else ():
                self._arm_of.setdefault(one.record.run_id, planned.number)
        known = Counter(self._arm_of.values())
        for arm in self._arms:
            if arm.number not in self._complete:
                known[arm.number] = max(known[arm.number], self.size.runs_each)
        self.total = known.total()
        plan.write(self._sweep_dir, plan.SweepPlan("tuned", self.total, list(self._arm_of)))
        compared = ComparisonRule(str(self._given["score"]), self._given["margin"])
        plan.write_shared(
            self._sweep_dir, comparison_rule.FILE_NAME, comparison_rule.text(compared)
        )

    def run(
        self, launcher: Any, ready: Sequence[SweepJob]
    ) -> Iterator[tuple[job_batch.Ended, Any, int]]:
        """Launch jobs and yield how each ended; a diverged run counts as finished, not failed."""
        for results in job_batch.launch(launcher, ready):
            for job, returned in results:
                state, value = job_batch.ended(returned)
                diverged = isinstance(value, TrainingError) and value.step is not None
                yield ("finished" if diverged else state), value, job.number

    def tuned(self) -> list[arms.Tuned]:
        """Return the current state of the sweep's arms, each with its tuned learning rate."""
        made = {arm.key: arm for arm in arms.read(self._current())}
        own = [made[planned.key] for planned in self._arms if planned.key in made]
        return [arms.tune(arm, self.seeds) for arm in own]

    def summary(self) -> str:
        """Return the table of the tuned arms as text."""
        margin = self._given["margin"]
        score = str(self._given["score"])
        floor = arms.repeats(self._current(), score)
        header, rows, notes = table.lines(self.tuned(), score, margin, floor)
        width = reports.line_width()
        below = [textwrap.fill(note, width, subsequent_indent="  ") for note in notes]
        grid = tables.aligned(tables.Grid(header, rows), width)
        return "\n\n".join([grid, "\n".join(below)]) + "\n"

    def write_results(self) -> None:
        """Write the tuned arms to the sweep's folder.

        Raises:
            RecordError: the folder cannot be written.
        """
        text = json.dumps([table.as_data(one) for one in self.tuned()], indent=1) + "\n"
        plan.write_shared(self._sweep_dir, RESULTS, text)


def _newest(arm: Arm | None) -> ArmRun | None:
    """Return the arm's newest finished run; None if there is none."""
    made = arm.runs if arm is not None else ()
    finished = [one for one in made if one.record.status == "finished"]
    return max(finished, key=lambda one: one.record.started_at, default=None)


def arm_key(run: RunConfig) -> str:
    """Return the key of the arm that a run belongs to, as it is computed from a record."""
    stored = json.loads(json.dumps(config.canonical(run), default=str))
    return arms.arm_key(stored)
