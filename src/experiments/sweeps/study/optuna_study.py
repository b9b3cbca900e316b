"""A persistent hyperparameter search: ask for trials, report their results, resume later.

A study outlives the processes that work on it. A trial whose worker died is restarted under the
same number, so that its run resumes from its checkpoint. A failed trial is retried the next time
the sweep is started. `n_trials` is the total over all starts. This package does not depend on
Hydra.

`settings` (the settings of a study), `specs` (samplers and pruners as typed settings), `space` (the
search space), `storage` (the database), `sampling` (Optuna's samplers and pruners), `workers`
(which workers are alive), `reporting` (losses of running trials), `results` (the outcome).
"""

import contextlib
import math
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.errors import ConfigError
from experiments.runtime import budget
from experiments.runtime.progress import log
from experiments.sweeps.study import results, storage
from experiments.sweeps.study import space as spaces
from experiments.sweeps.study.space import Parameters
from experiments.sweeps.study.study_settings import Settings, StudyTrial, refuse_another_search
from experiments.sweeps.study.workers import Worker

_MUTEX = ".study.lock"
# Statuses that are never retried: invalid parameters, and parameters that another worker drew too.
_NEVER_RUN = ("illegal", "repeated")
_SECONDS_BETWEEN_LOOKS = 2.0


class Study:
    """One worker's access to a study; a context manager, because it locks a file while open."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = storage.url(settings.storage, settings.sweep_dir)
        self._local = storage.is_file(self.url)
        self._worker = Worker(settings.sweep_dir, self._local)
        self._failed_here = 0
        self._in_flight: dict[int, int] = {}
        self._stop = threading.Event()
        self._heartbeat_thread: threading.Thread | None = None
        self._storage: Any = None

    def __enter__(self) -> "Study":
        """Open or create the study, and enqueue its failed trials again.

        Raises:
            ConfigError: the storage cannot be used, or contains another search with this name.
        """
        from filelock import FileLock

        self._worker.begin()
        self._mutex = FileLock(self.settings.sweep_dir / _MUTEX)
        try:
            with self._mutex:
                self._open()
                self._enqueue_failed()
        except BaseException:
            self._close()
            raise
        if not self._local:
            self._heartbeat_thread = threading.Thread(target=self._send_heartbeats, daemon=True)
            self._heartbeat_thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the study; the next start resumes the trials that are still running."""
        self._close()

    def _close(self) -> None:
        self._stop.set()
        if self._heartbeat_thread is not None:
            self._heartbeat_thread.join()
        if self._storage is not None:
            storage.disconnect(self._storage)
        self._worker.end()

    def _open(self) -> None:
        import optuna

        from experiments.sweeps.study import sampling

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        settings = self.settings
        self._storage = storage.connect(self.url)
        with storage.reachable(self.url):
            self._study = optuna.create_study(
                study_name=settings.name,
                storage=self._storage,
                directions=list(settings.objectives.values()) if self._is_new() else None,
                load_if_exists=True,
            )
            refuse_another_search(settings, self._study, storage.shown(self.url))
            seed = settings.seed if settings.sampler.seed is None else settings.sampler.seed
            # The number of trials is added to the seed, because a resumed study would otherwise
            # draw its first trials again.
            self._study.sampler = sampling.sampler(
                settings.sampler, settings.space, seed + len(self._trials()), self._trials
            )
            self._distributions = sampling.distributions(settings.space)

    def _is_new(self) -> bool:
        import optuna

        return self.settings.name not in optuna.get_all_study_names(self._storage)

    def _trials(self) -> Sequence[Any]:
        return storage.trials(self._storage, self.settings.name)

    def _enqueue_failed(self, failed: Sequence[Any] | None = None) -> None:
        """Enqueue failed parameters once per start; out-of-memory ones only with `retry_oom`."""
        from optuna.trial import TrialState

        trials = self._trials()
        tried_keys = {spaces.key(t.params) for t in trials if t.state != TrialState.FAIL}
        tried_keys |= {
            spaces.key(t.system_attrs.get("fixed_params"))
            for t in trials
            if t.state == TrialState.WAITING
        }
        for trial in trials if failed is None else failed:
            key = spaces.key(trial.params)
            if (
                trial.state != TrialState.FAIL
                or key in tried_keys
                or not self._matches_space(trial)
            ):
                continue
            status = trial.user_attrs.get("status")
            if status in _NEVER_RUN or (status == "oom" and not self.settings.retry_oom):
                continue
            tried_keys.add(key)
            self._study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})

    def _matches_space(self, trial: Any) -> bool:
        """Return whether a trial has all its parameters, and they belong to this space."""
        return bool(trial.distributions == self._distributions)

    def ask(self, wait: bool = True) -> StudyTrial | None:
        """Return the next trial to run; None if there is none, or the deadline has passed.

        Args:
            wait: wait for trials of other workers, and restart a trial if its worker dies.

        Raises:
            ConfigError: the storage has failed.
        """
        logged = False
        while True:
            with self._mutex, storage.reachable(self.url), _quiet():
                study_trial = self._resume_abandoned() or self._ask_new()
                running_elsewhere = self._running_elsewhere()
            if study_trial is not None or not running_elsewhere or not wait or self._in_flight:
                return study_trial
            if budget.is_spent():
                return None
            if not logged:
                log(f"waiting for {len(running_elsewhere)} trials of other workers")
                logged = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _resume_abandoned(self) -> StudyTrial | None:
        """Return a trial whose worker died; mark trials with missing parameters as failed."""
        import optuna

        if not self._local:
            self._fail_stale_trials()
        for trial in self._running_elsewhere(alive=False):
            if self._matches_space(trial):
                self._claim(trial)
                return StudyTrial(trial.number, self._ordered(trial.params), resumed=True)
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return None

    def _fail_stale_trials(self) -> None:
        """Fail and enqueue again the trials of remote workers whose heartbeats have stopped."""
        import optuna
        from optuna.trial import TrialState

        running = {t.number for t in self._trials() if t.state == TrialState.RUNNING}
        optuna.storages.fail_stale_trials(self._study)
        failed = [t for t in self._trials() if t.state == TrialState.FAIL and t.number in running]
        if failed:
            self._enqueue_failed(failed)

    def _ask_new(self) -> StudyTrial | None:
        from optuna.trial import TrialState

        trials = self._trials()
        states = Counter(trial.state for trial in trials)
        counted = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
        counted += states[TrialState.RUNNING] + self._failed_here
        tried_keys = {spaces.key(t.params) for t in trials}
        exhausted = len(tried_keys) >= (spaces.size(self.settings.space) or math.inf)
        if counted >= self.settings.n_trials or (exhausted and not states[TrialState.WAITING]):
            return None
        trial = self._study.ask(fixed_distributions=self._distributions)
        study_trial = StudyTrial(trial.number, self._ordered(trial.params))
        self._claim(trial)
        if self._repeats(study_trial):  # a worker without a shared folder drew it at the same time
            self.fail(study_trial.number, "repeated", "another worker drew the same parameters")
            return self._ask_new()
        return study_trial

    def _repeats(self, study_trial: StudyTrial) -> bool:
        from optuna.trial import TrialState

        return not self._local and any(
            other.number != study_trial.number
            and other.state != TrialState.FAIL
            and spaces.key(other.params) == spaces.key(study_trial.parameters)
            for other in self._trials()
        )

    def _claim(self, trial: Any) -> None:
        trial_id = storage.trial_id(self._storage, self.settings.name, trial.number)
        self._storage.set_trial_user_attr(trial_id, "worker", self._worker.token)
        self._in_flight[trial.number] = trial_id
        if not self._local:
            self._storage.record_heartbeat(trial_id)

    def _ordered(self, parameters: Mapping[str, Any]) -> Parameters:
        return {name: parameters[name] for name in self.settings.space}

    def _running_elsewhere(self, alive: bool = True) -> list[Any]:
        from optuna.trial import TrialState

        return [
            trial
            for trial in self._trials()
            if trial.state == TrialState.RUNNING
            and trial.number not in self._in_flight
            and self._worker.is_alive(trial) == alive
        ]

    def _send_heartbeats(self) -> None:
        while not self._stop.wait(storage.HEARTBEAT_SECONDS):
            for trial_id in list(self._in_flight.values()):
                # A single lost heartbeat does no harm: the grace period covers four of them.
                with contextlib.suppress(ConfigError), storage.reachable(self.url):
                    self._storage.record_heartbeat(trial_id)
        self._storage.remove_session()  # each thread has its own session

    def tell(
        self, number: int, values: Sequence[float], attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Store the objectives of a finished trial.

        Args:
            number: the trial.
            values: one finite value per objective; otherwise the trial is stored as failed.
            attributes: attributes to store with the trial.
        """
        if len(values) != len(self.settings.objectives) or not all(map(math.isfinite, values)):
            objectives = ", ".join(self.settings.objectives)
            self.fail(number, "failed", f"its values {list(values)} are no finite {objectives}")
            return
        self._store_outcome(number, attributes or {}, values=list(values))

    def prune(self, number: int) -> None:
        """Store that a trial was stopped early; its value is the last loss that it reported."""
        from optuna.trial import TrialState

        self._store_outcome(number, {"status": "pruned"}, state=TrialState.PRUNED)

    def fail(self, number: int, status: str, message: str) -> None:
        """Store that a trial failed, and why.

        Args:
            number: the trial.
            status: `failed` (the next start retries its parameters), `oom` (retried only with
                `retry_oom`), `illegal` or `repeated` (never retried, and not counted).
            message: the error.
        """
        from optuna.trial import TrialState

        self._failed_here += status not in _NEVER_RUN
        self._store_outcome(number, {"status": status, "error": message}, state=TrialState.FAIL)

    def _store_outcome(self, number: int, attributes: Mapping[str, Any], **outcome: Any) -> None:
        trial_id = self._in_flight.pop(number)
        with self._mutex, storage.reachable(self.url), _quiet():
            if self._storage.get_trial(trial_id).state.is_finished():
                log(f"trial {number} was given up by another worker; its record is kept")
                return
            for key, value in attributes.items():
                self._storage.set_trial_user_attr(trial_id, key, value)
            self._study.tell(number, **outcome)

    def counts(self) -> dict[str, int]:
        """Return the number of `finished`, `pruned`, `failed`, `running` and `illegal` trials."""
        return results.counts([t for t in self._trials() if self._matches_space(t)])

    def results(self) -> dict[str, Any]:
        """Return the study's results: the best trial, or the Pareto front of the objectives."""
        settings = self.settings
        storage_name = storage.shown(self.url) if settings.storage else storage.FILE_NAME
        summary: dict[str, Any] = {
            "name": "optuna",
            "study_name": settings.name,
            "storage": storage_name,
        }
        summary |= {"objectives": dict(settings.objectives), "trials": self.counts()}
        return summary | results.best(self._study, list(settings.space))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's warnings about using ask and heartbeats outside its own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
