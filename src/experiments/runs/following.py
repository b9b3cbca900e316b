"""Coordinate the processes of a distributed run: rank 0 leads, the other ranks follow its orders.

The followers load the same model and rows as the leader, and take part in training and scoring.
Only the leader writes the folder, record, tracker and log, and only it makes decisions. If a
single follower fails, it writes its error to the record, because the leader may be blocked in a
collective operation at that moment and cannot report anything.
"""

import contextlib
import logging
import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import records
from experiments.config import RunConfig
from experiments.errors import ConfigError, OutOfBudget, RecordError, TrainingError
from experiments.records import Record
from experiments.runs import memory, summary
from experiments.runs.folders import Job
from experiments.runtime import distributed
from experiments.runtime.progress import say

if TYPE_CHECKING:
    from experiments.training import Fit, Task

# A process that fails closes its connections first and exits a moment later.
_SECONDS_TO_DIE = 0.5


@dataclass(frozen=True)
class Load:
    """An order: load the base model and the rows of this run."""

    run: RunConfig
    keep: bool
    """Whether to cache them for another run of these processes."""
    folder: Path


@dataclass(frozen=True)
class Adapt:
    """An order: attach the run's adapter to the base model."""


@dataclass(frozen=True)
class Train:
    """An order: take part in the training."""


def meet() -> None:
    """Initialise the process group at the start of a run.

    Raises:
        SystemExit: an earlier run failed in one process and left the others in the middle of a
            step; every further run of the sweep would fail in the same way.
    """
    if distributed.launched_alone():
        say(
            "accelerate launch --cpu starts one process, whatever --num_processes says: several "
            "on a CPU need --multi_gpu in place of --cpu"
        )
    if distributed.scattered():
        sys.exit(
            "error: a run of this sweep failed in one process while the others worked on it: "
            "start the same line again, it goes on with the rest."
        )
    distributed.join()


def bring(run: RunConfig, job: Job, folder: Path, identity: dict[str, Any]) -> None:
    """Make the followers load the same model and rows as the leader.

    Raises:
        ConfigError: a follower found another model or other rows, or there are not enough GPUs.
    """
    if distributed.here().count == 1:
        return
    _refuse_shared_gpus(identity["device_class"])
    with distributed.at_work():
        distributed.tell(Load(run, job.number is not None, folder))
        found = distributed.everyone(_seen(identity))
    if any(other != found[0] for other in found):
        raise ConfigError(
            f"the processes of this run see different models or rows ({found}): give every "
            "machine the same files."
        )


def _seen(identity: dict[str, Any]) -> tuple[str, str]:
    return identity["base_sha256"], identity["data_fingerprint"]


def _refuse_shared_gpus(device: str) -> None:
    import torch

    wanted = distributed.here().local_count
    if device == "cuda" and wanted > torch.cuda.device_count():
        raise ConfigError(
            f"{wanted} processes on {torch.cuda.device_count()} GPUs: launch one process a GPU, or "
            "set hardware=cpu."
        )


def together(task: "Task") -> "Fit":
    """Train with all processes; each computes its part of every step.

    Raises:
        TrainingError: the loss is no longer finite; all processes stop at that step.
        ConfigError: the rows or the model cannot be trained like this; no process starts.
    """
    from experiments import training

    with distributed.at_work(TrainingError, ConfigError, OutOfBudget):
        distributed.tell(Train())
        return training.fit(task)


def verdict(record: Record, status: str, error: Exception | None) -> tuple[str, Exception | None]:
    """Return the status and the error of a run: the leader's, unless a follower failed first.

    When one process ends, the launcher stops all others, which looks like Ctrl-C to them. A broken
    connection is likewise a consequence, not the cause.
    """
    if distributed.here().count == 1:
        return status, error
    if distributed.scattered():
        time.sleep(_SECONDS_TO_DIE)
    told = _told(record.path)
    if told is not None:
        said = told.error or {}
        who = f"process {said['process']} of this run failed"
        return told.status, TrainingError(f"{who}: {said['type']}: {said['message']}")
    if distributed.lost():
        return "failed", TrainingError(
            "another process of this run ended without a word (killed, or out of memory): look at "
            "the system's log, then start the same line again; it goes on from the last checkpoint."
        )
    return status, error


def _told(path: Path) -> Record | None:
    """Return the record if another process has written its error to it."""
    with contextlib.suppress(RecordError):
        record = records.read(path)
        if (record.error or {}).get("process"):
            return record
    return None


def follow() -> None:
    """Carry out the leader's orders until it sends the last one."""
    warnings.simplefilter("ignore")  # the leader prints all warnings
    logging.disable(logging.WARNING)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        distributed.join()
        # The leader handles Ctrl-C: it closes the record, and its exit ends the followers.
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, signal.SIG_IGN)
        follower = _Follower()
        while (order := _next_order()) is not None:
            with _Watched(follower):
                follower.do(order)
        distributed.leave()


def _next_order() -> Any:
    try:
        return distributed.hear()
    except RuntimeError:  # the leader has exited and printed the reason
        sys.exit(1)


class _Follower:
    """A follower process, with the model and rows of the current run."""

    folder: Path | None = None

    def do(self, order: Any) -> None:
        """Carry out one order."""
        from experiments.evaluation import shared

        match order:
            case Load():
                self._load(order)
            case Adapt():
                self._adapt()
            case Train():
                self._train()
            case shared.Measure():
                shared.measured(self.model, order)
            case shared.Answer():
                shared.answered(self.model, self.base, order)

    def _load(self, order: Load) -> None:
        from experiments import models
        from experiments.runs import model_cache

        self.run, self.folder = order.run, order.folder
        precision = models.choose_precision(self.run)
        self.base, self.data = model_cache.load(self.run, precision, keep=order.keep)
        self.model = self.base.model
        found = {"base_sha256": self.base.sha256, "data_fingerprint": self.data.fingerprint}
        distributed.everyone(_seen(found))

    def _adapt(self) -> None:
        from experiments.models import adapters

        if self.run.trainer.max_steps != 0:
            self.model = adapters.attach(self.run, self.model).model
        else:
            assert self.run.model.adapter is not None, "the leader loaded it"
            self.model = adapters.load(self.run.model.adapter, self.model)

    def _train(self) -> None:
        from experiments import training

        assert self.folder is not None, "loaded before it is trained"
        task = training.Task(
            self.run,
            self.model,
            self.base,
            self.data,
            self.folder,
            report=lambda step, value, rows: False,
            log=lambda scalars, step: None,
        )
        # Every process raises these errors at the same place; the leader writes them to the record.
        with contextlib.suppress(TrainingError, ConfigError, OutOfBudget):
            training.fit(task)


class _Watched:
    """Context manager that writes an error of this process to the run's record."""

    def __init__(self, follower: _Follower) -> None:
        self._follower = follower

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Write an error, if there is one, to the record."""
        if isinstance(error, Exception):
            _write_down(self._follower.folder, error)


def _write_down(folder: Path | None, error: Exception) -> None:
    if folder is None or not (folder / records.FILE_NAME).is_file():
        return
    record = records.read(folder / records.FILE_NAME)
    if record.status != "running" or distributed.lost():
        sys.exit(1)  # another process ended the run: it has written its error or was killed
    record.status = "oom" if memory.is_out_of_memory(error) else "failed"
    record.error = summary.of_error(error)
    records.write(record)
