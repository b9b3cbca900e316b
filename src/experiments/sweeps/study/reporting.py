"""Report a running trial's validation losses to its study, and find out whether to stop it.

A job may run in another process or on another host than the sweep, so a trial is identified by its
study, storage and number, not by a Python object.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.sweeps.study import specs, storage

# Number of validation rows for the signed rank test; each adds a database row per evaluation.
WILCOXON_ROWS = 64


@dataclass
class Trial:
    """The trial that a job belongs to, and the pruner that may stop it."""

    sweep_dir: Path
    number: int
    name: str
    """The study's name."""
    storage: str | None = None
    pruner: specs.Pruner | None = None
    _open: Any = field(default=None, init=False, repr=False)

    @property
    def pruner_name(self) -> str | None:
        """The name of the pruner that may stop this trial; None without one."""
        return None if self.pruner is None else self.pruner.name

    def report(self, step: int, value: float, rows: Sequence[float]) -> bool:
        """Store the validation loss of a step and return whether to stop the run.

        Args:
            step: optimiser steps done.
            value: validation loss, nats per trained token; smaller is better.
            rows: the same for each validation row, shape (n,).

        Raises:
            ConfigError: the storage cannot be reached.
        """
        if self.pruner is None:
            return False
        url = storage.url(self.storage, self.sweep_dir)
        with storage.reachable(url), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is normal that other trials lack a step
            return self._report(url, self.pruner, (step, value, rows))

    def close(self) -> None:
        """Close the storage's connections; `report` opens it again when needed."""
        if self._open is not None:
            storage.disconnect(self._open[1])
            self._open = None

    def _report(
        self, url: str, spec: specs.Pruner, evaluation: tuple[int, float, Sequence[float]]
    ) -> bool:
        import optuna

        from experiments.sweeps.study import sampling

        step, value, rows = evaluation
        if self._open is None:
            optuna_storage = storage.connect(url)
            study = optuna.load_study(
                study_name=self.name,
                storage=optuna_storage,
                sampler=optuna.samplers.RandomSampler(),
                pruner=sampling.pruner(spec, step),
            )
            self._open = (
                study,
                optuna_storage,
                storage.trial_id(optuna_storage, self.name, self.number),
            )
        study, optuna_storage, trial_id = self._open
        # Pruners compare values in the study's direction, but a lower loss is always better, so
        # the sign is flipped in a study that maximises.
        sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        if not isinstance(spec, specs.Wilcoxon):
            optuna_storage.set_trial_intermediate_value(trial_id, step, sign * value)
            return bool(study.pruner.prune(study, optuna_storage.get_trial(trial_id)))
        row_losses = {
            step * WILCOXON_ROWS + i: sign * x for i, x in enumerate(rows[:WILCOXON_ROWS])
        }
        for index, loss in row_losses.items():
            optuna_storage.set_trial_intermediate_value(trial_id, index, loss)
        trial = optuna_storage.get_trial(trial_id)
        trial.intermediate_values = row_losses  # compare only the rows of this evaluation
        return bool(study.pruner.prune(study, trial))
