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
from experiments.records import Record
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
        cell_overrides = [
            f"{RATE}={cell.rate:g}",
            f"{SEED}={cell.seed}",
            f"hydra.sweep.subdir={folder}",
        ]
        return [*self.overrides, *cell_overrides]


class Tuning:
    """One execution of a sweep that tunes every arm's learning rate."""

    def __init__(
        self, sweeper: Mapping[str, Any], loader: ConfigLoader, master: DictConfig, sweep_dir: Path
    ) -> None:
        self._sweeper = sweeper
        self._master, self._sweep_dir = master, sweep_dir
        self._jobs = job_batch.Jobs(loader, master, sweep_dir)
        self._attempted: set[tuple[int, Cell, int]] = set()
        self._arm_of: dict[str, int] = {}  # the number of the arm of each known run id
        self._complete: set[int] = set()
        self._number = 0
        self._opened = False
        self.total = 0
        """Number of runs as far as they are known, of an incomplete arm at least those expected."""

    def open(self, overrides: Sequence[Override]) -> None:
        """Check all arms before the first run starts.

        Raises:
            ConfigError: a key is not allowed in a tuned sweep, or an arm is invalid.
        """
        validation.refuse(self._sweeper, overrides)
        validation.refuse_chosen_rate(self._master, overrides)
        self.seeds = tuple(int(seed) for seed in self._sweeper["seeds"] or rate_design.SEEDS)
        batch = grid.arms(overrides, self._sweeper["arms"])
        self._arms = self._checked(batch)
        repeated = len(batch) - len(self._arms)
        self.size = size.of(self._sweeper, overrides).without(repeated)
        existing = records.read_all(self._sweep_dir)
        validation.refuse_rules(self._sweeper["rules"], len(self._arms))
        self._number = 1 + max((r.job or 0 for r in existing), default=-1)
        log(
            f"{self.size.arm_text()}: learning rates half a decade apart with seed "
            f"{self.seeds[0]}, then five within a decade around the best, the central three with "
            f"{len(self.seeds)} seeds"
        )

    def _checked(self, batch: Sequence[Sequence[str]]) -> list[PlannedArm]:
        arms_by_key: dict[str, PlannedArm] = {}
        problems = []
        for overrides in batch:
            try:
                _, run = self._jobs.check(overrides)
                validation.refuse_without_validation(run)
                arm = self._planned(len(arms_by_key), overrides, run)
                arms_by_key.setdefault(arm.key, arm)
            except ExperimentError as error:
                problems.append(f"arm {' '.join(overrides)}: {error}")
        job_batch.refuse(
            problems, f"{len(problems)} of {len(batch)} arms are illegal, none was started"
        )
        return list(arms_by_key.values())

    def _planned(self, number: int, overrides: Sequence[str], run: RunConfig) -> PlannedArm:
        assert run.trainer.learning_rate is not None, "config.load resolves this"
        design = size.tuning_design(self._sweeper, run.trainer.learning_rate)
        arm_overrides = tuple(
            override for override in overrides if not override.startswith(grid.RATE_PREFIXES)
        )
        return PlannedArm(number, arm_overrides, arm_key(run), design)

    def ask(self) -> list[SweepJob]:
        """Return the next runs that the arms need; empty if every arm is done.

        The first call includes the newest finished run of each arm, and of each seed with training
        rows of its own. It is reused unless data, code or weights have changed, in which case all
        runs of the arm must be repeated.

        Raises:
            ExperimentError: a run is invalid at one of its learning rates or seeds.
        """
        arms_by_key = {arm.key: arm for arm in arms.read(self._current())}
        jobs: list[SweepJob] = []
        for planned in self._arms:
            arm = arms_by_key.get(planned.key)
            step = arms.next_cells(arm, planned.design)
            cells = list(step.cells)
            if not self._opened:
                cells = [*(Cell(run.rate, run.seed) for run in _newest(arm)), *cells]
            for cell in [
                *cells,
                *(self._rule_cells(arms_by_key, planned) if step.phase == "done" else ()),
            ]:
                self._add(jobs, planned, cell)
            if step.phase == "done" and arm is not None:
                self._add_repeat(jobs, planned, arm)
            if step.phase in rate_design.ENDED:
                self._complete.add(planned.number)
            self._log_phase(planned, step)
        self._opened = True
        self._write_plan(arms_by_key)
        return jobs

    def _add(self, jobs: list[SweepJob], planned: PlannedArm, cell: Cell, repeat: int = 0) -> None:
        """Prepare a run, unless this execution of the sweep has already launched it."""
        if (planned.number, cell, repeat) in self._attempted:
            return
        self._attempted.add((planned.number, cell, repeat))
        rerun = ["rerun=true"] if repeat else []
        job = self._jobs.prepare(self._number, [*planned.job(cell), *rerun])
        self._arm_of.setdefault(job.run_id, planned.number)
        jobs.append(job)
        self._number += 1

    def _add_repeat(self, jobs: list[SweepJob], planned: PlannedArm, arm: Arm) -> None:
        """Add the next repeat of the arm's best run, which measures the noise floor."""
        tuned = arms.tune(arm, self.seeds)
        best_run = tuned.runs.get(self.seeds[0])
        if best_run is None or not int(self._sweeper["repeats"]):
            return
        repeats = [r for r in self._current() if r.run_id == best_run.record.run_id]
        count = sum(r.status == "finished" for r in repeats)
        if count <= int(self._sweeper["repeats"]):
            self._add(jobs, planned, Cell(best_run.rate, best_run.seed), repeat=count)

    def _rule_cells(self, arms_by_key: Mapping[str, Arm], planned: PlannedArm) -> Iterator[Cell]:
        """Yield the cells that a tuned arm needs at the learning rates set by its rules."""
        first_arm = arms_by_key.get(self._arms[0].key)
        first_is_tuned = (
            first_arm is not None
            and arms.next_cells(first_arm, self._arms[0].design).phase == "done"
        )
        for rule in self._sweeper["rules"] or ():
            if int(rule["arm"]) != planned.number:
                continue
            if rule["rate"] != validation.TEN_TIMES:
                learning_rate: float | None = float(rule["rate"])
            else:
                learning_rate = (
                    arms.ten_times_of(arms.tune(first_arm, self.seeds))
                    if first_is_tuned and first_arm
                    else None
                )
            if learning_rate is not None:
                yield from arms.rule_cells(arms_by_key[planned.key], planned.design, learning_rate)

    def _log_phase(self, planned: PlannedArm, step: rate_design.Next) -> None:
        overrides = [
            override
            for override in planned.overrides
            if not override.startswith(("sweeps=", "tracker="))
        ]
        text = " ".join(overrides) or "defaults"
        if step.phase == "edge":
            log(
                f"arm {planned.number} ({text}): the best learning rate is at the edge of the "
                f"grid, {planned.design.furthest} steps out; to go further, raise "
                "hydra.sweeper.furthest"
            )
        elif step.phase == "most runs":
            most = arms.run_count(planned.design).most
            log(
                f"arm {planned.number} ({text}): {most} runs were not enough to settle its best "
                "learning rate: the validation losses are noisy or hydra.sweeper.rates is far from "
                "the best; give it more validation rows or rates closer to the lowest loss"
            )
        elif step.cells:
            rates = sorted({cell.rate for cell in step.cells})
            runs = f"{len(step.cells)} runs at {', '.join(f'{rate:g}' for rate in rates)}"
            log(f"arm {planned.number} ({text}), {step.phase}: {runs}")

    def _current(self) -> list[Record]:
        """Return the arms' records with the same identity as the newest record of their arm."""
        groups: dict[str, list[Record]] = {planned.key: [] for planned in self._arms}
        for record in records.read_all(self._sweep_dir):
            if record.config and (group := groups.get(arms.arm_key(record.config))) is not None:
                group.append(record)
        current = []
        for group in groups.values():
            current += arms.unchanged(
                [r for r in group if r.identity and r.status in ("finished", "failed")]
            )
        return current

    def _write_plan(self, arms_by_key: Mapping[str, Arm]) -> None:
        for planned in self._arms:
            for run in arms_by_key[planned.key].runs if planned.key in arms_by_key else ():
                self._arm_of.setdefault(run.record.run_id, planned.number)
        run_counts = Counter(self._arm_of.values())
        for arm in self._arms:
            if arm.number not in self._complete:
                run_counts[arm.number] = max(run_counts[arm.number], self.size.runs_each)
        self.total = run_counts.total()
        plan.write(self._sweep_dir, plan.SweepPlan("tuned", self.total, list(self._arm_of)))
        rule = ComparisonRule(str(self._sweeper["score"]), self._sweeper["margin"])
        plan.write_shared(self._sweep_dir, comparison_rule.FILE_NAME, comparison_rule.text(rule))

    def run(
        self, launcher: Any, jobs: Sequence[SweepJob]
    ) -> Iterator[tuple[job_batch.Ended, Any, int]]:
        """Launch jobs and yield how each ended; a diverged run counts as finished, not failed."""
        for results in job_batch.launch(launcher, jobs):
            for job, job_return in results:
                state, value = job_batch.ended(job_return)
                diverged = isinstance(value, TrainingError) and value.step is not None
                yield ("finished" if diverged else state), value, job.number

    def tuned(self) -> list[arms.Tuned]:
        """Return the current state of the sweep's arms, each with its tuned learning rate."""
        arms_by_key = {arm.key: arm for arm in arms.read(self._current())}
        known_arms = [
            arms_by_key[planned.key] for planned in self._arms if planned.key in arms_by_key
        ]
        return [arms.tune(arm, self.seeds) for arm in known_arms]

    def summary(self) -> str:
        """Return the table of the tuned arms as text."""
        margin = self._sweeper["margin"]
        score = str(self._sweeper["score"])
        noise_floor = arms.repeats(self._current(), score)
        header, rows, notes = table.lines(self.tuned(), score, margin, noise_floor)
        width = reports.line_width()
        footnotes = [textwrap.fill(note, width, subsequent_indent="  ") for note in notes]
        grid = tables.aligned(tables.Grid(header, rows), width)
        return "\n\n".join([grid, "\n".join(footnotes)]) + "\n"

    def write_results(self) -> None:
        """Write the tuned arms to the sweep's folder.

        Raises:
            RecordError: the folder cannot be written.
        """
        text = json.dumps([table.as_data(arm) for arm in self.tuned()], indent=1) + "\n"
        plan.write_shared(self._sweep_dir, RESULTS, text)


def _newest(arm: Arm | None) -> list[ArmRun]:
    """Return the arm's newest finished run, or that of each seed that draws its training rows."""
    runs = arm.runs if arm is not None else ()
    finished = [run for run in runs if run.record.status == "finished"]
    in_time = sorted(finished, key=lambda run: run.record.started_at)
    return list({arms.draw(run.record): run for run in in_time}.values())


def arm_key(run: RunConfig) -> str:
    """Return the key of the arm that a run belongs to, as it is computed from a record."""
    stored = json.loads(json.dumps(config.canonical(run), default=str))
    return arms.arm_key(stored)
