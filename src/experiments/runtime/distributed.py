"""The process group of a distributed run: ranks, collectives, and errors of several processes.

`accelerate launch` and `torchrun` start the same program several times and pass each process its
rank through the environment. Every process of a run executes the same code; rank 0, the main
process, also makes the decisions and writes the folder, record, tracker and log. With a world size
of 1, no function communicates.

The collectives use torch.distributed and not accelerate's `gather_object`, `broadcast_object_list`
and `split_between_processes`: those work on the default group, whose timeout would end processes
that wait while the main process loads, uploads or queries a study, and they split items into
contiguous parts, which are not balanced by length.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from experiments.errors import TrainingError
from experiments.runtime.progress import log

T = TypeVar("T")

_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Between two steps the main process may save to a slow disk or query a study. A process that dies
# is noticed at once, by its closed connection.
_STEP_TIMEOUT = timedelta(hours=2)
# The time between two runs is limited only by the length of a sweep.
_WAIT_TIMEOUT = timedelta(days=100)
# Attribute of an error that every process raises at the same place.
_RAISED_BY_ALL = "_raised_by_all_processes"


@dataclass(frozen=True)
class Process:
    """A process's rank, and the number of processes of its run."""

    rank: int = 0
    world_size: int = 1
    """The number of processes on all hosts."""
    local_rank: int = 0
    """Rank on its host, which is also the index of its GPU."""
    local_world_size: int = 1


@dataclass
class _Processes:
    group: Any = None
    """The gloo group that transports objects; None until `start`."""
    pids: Sequence[int] = ()
    """Process ids of the other processes on the main process's host."""
    out_of_sync: bool = False


_state = _Processes()


def current(environment: Mapping[str, str] = os.environ) -> Process:
    """Return this process's rank and world size from the launcher's environment variables.

    >>> current({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "", \
"MASTER_PORT": ""})
    Process(rank=1, world_size=2, local_rank=1, local_world_size=2)
    >>> current({})
    Process(rank=0, world_size=1, local_rank=0, local_world_size=1)
    """
    if not all(name in environment for name in _LAUNCHER_VARIABLES):
        return Process()
    rank, size, local = (int(environment[name]) for name in _LAUNCHER_VARIABLES[:3])
    return Process(rank, size, local, int(environment.get("LOCAL_WORLD_SIZE", size)))


def world_size() -> int:
    """Return the number of processes of this run."""
    return current().world_size


def is_main_process() -> bool:
    """Return whether this process has rank 0."""
    return current().rank == 0


def unsupported(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return a message about an unsupported launcher option; None if all are supported."""
    for name, option in (
        ("ACCELERATE_USE_DEEPSPEED", "--use_deepspeed"),
        ("ACCELERATE_USE_FSDP", "--use_fsdp"),
        ("ACCELERATE_USE_MEGATRON_LM", "--use_megatron_lm"),
    ):
        if environment.get(name, "false").lower() in ("true", "1", "yes"):
            return (
                f"accelerate launch {option}: sharded models are not supported, because every "
                "process holds the whole model; launch with --multi_gpu instead"
            )
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", ""):
        return (
            f"accelerate launch --mixed_precision={precision}: the precision belongs to the run's "
            f"config; launch with --mixed_precision=no and set trainer.precision={precision}"
        )
    return None


def launched_alone(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether several processes were requested but only one was started.

    `accelerate launch --cpu --num_processes 2` starts one process and sets the master's address.
    """
    return environment.get("ACCELERATE_USE_CPU", "").lower() == "true" and (
        "MASTER_PORT" in environment and "RANK" not in environment
    )


def start() -> None:
    """Initialise the process group (idempotent; does nothing with a world size of 1).

    Raises:
        SystemExit: an earlier run failed in one process and left the others in the middle of a
            step; every further run of the sweep would fail in the same way.
    """
    if launched_alone():
        log(
            "accelerate launch --cpu starts a single process, whatever --num_processes says: "
            "for several processes on a CPU, use --multi_gpu instead of --cpu"
        )
    if out_of_sync():
        sys.exit(
            "error: a run of this sweep failed in one process while the others were working on "
            "it: rerun the same command to continue with the remaining runs."
        )
    if world_size() > 1 and _state.group is None:
        _initialise()


def _initialise() -> None:
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(current().local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=_STEP_TIMEOUT)
    _state.group = dist.new_group(backend="gloo", timeout=_WAIT_TIMEOUT)
    processes = all_gather((os.getpid(), os.environ.get("GROUP_RANK", "0")))
    _state.pids = [pid for pid, host in processes if host == processes[0][1] and pid != os.getpid()]


def end() -> None:
    """Destroy the process group; every process must call it."""
    import torch.distributed as dist

    dist.destroy_process_group()
    _state.group = None


def broadcast(value: T) -> T:
    """Return the main process's value in every process."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0, group=_state.group)
    return values[0]


def all_gather(value: T) -> list[T]:
    """Return the values of all processes in every process, in rank order."""
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_state.group)
    return values


def split_between_processes(
    lengths: Sequence[int], work: Callable[[list[int]], Sequence[T]]
) -> list[T]:
    """Split items between the processes, and return all results in every process.

    Args:
        lengths: the length of each item, used to balance the parts.
        work: takes the indices of this process's items and returns one result per index.

    Returns:
        One result per item, in the order of `lengths`.
    """
    process = current()
    if process.world_size == 1:
        return list(work(list(range(len(lengths)))))
    own_indices = part(lengths, process)
    results: dict[int, T] = {}
    for indices, values in all_gather((own_indices, list(work(own_indices)))):
        results.update(zip(indices, values, strict=True))
    return [results[i] for i in range(len(lengths))]


def part(lengths: Sequence[int], process: Process) -> list[int]:
    """Return the indices of one process's items, shortest first.

    >>> [part([5, 1, 9, 2, 7], Process(rank, 2)) for rank in (0, 1)]
    [[1, 0, 2], [3, 4]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return order[process.rank :: process.world_size]


@dataclass(frozen=True)
class _Failure:
    """An error as it is sent to the other processes; the error itself may not be picklable."""

    rank: int
    message: str

    @classmethod
    def of(cls, error: Exception | None) -> "_Failure | None":
        if error is None:
            return None
        description = str(error) or (
            "out of memory" if isinstance(error, MemoryError) else "no message"
        )
        rank = current().rank
        return cls(
            rank, f"process {rank} of this run failed: {type(error).__name__}: {description}"
        )


def on_main_process(work: Callable[[], T]) -> T:
    """Execute `work` in the main process only, and return its result in every process.

    Raises:
        Exception: what `work` raised; in the other processes, a TrainingError that names it.
    """
    if world_size() == 1:
        return work()
    value, error = _attempted(work) if is_main_process() else (None, None)
    value, failure = broadcast((value, _Failure.of(error)))
    _raise_in_all(error, failure)
    return value  # type: ignore[return-value]


def on_all_processes(work: Callable[[], T]) -> T:
    """Execute `work`, which contains no collective, in every process; fail in all if one fails.

    The main process is first, so that the others find the files that it downloaded or cached.

    Raises:
        Exception: what `work` raised in this process; else a TrainingError that names the error of
            the process that failed.
    """
    if world_size() == 1:
        return work()
    value, error = _attempted(work) if is_main_process() else (None, None)
    first = broadcast(_Failure.of(error))
    if first is None and not is_main_process():
        value, error = _attempted(work)
    failures = all_gather(first or _Failure.of(error))
    _raise_in_all(error, next((failure for failure in failures if failure is not None), None))
    return value  # type: ignore[return-value]


def _attempted(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Return the result of `work` or its error, which is raised once every process knows of it."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def _raise_in_all(error: Exception | None, failure: _Failure | None) -> None:
    if failure is None:
        return
    raised = TrainingError(failure.message) if error is None else error
    setattr(raised, _RAISED_BY_ALL, True)
    raise raised


@contextlib.contextmanager
def synchronised(*raised_by_all: type[Exception]) -> Iterator[None]:
    """Mark a block in which all processes execute the same collectives in the same order.

    An error that not every process raises leaves the others waiting in a collective operation, so
    that no further run is possible (`out_of_sync`).

    Args:
        raised_by_all: errors that every process raises at the same place of this block, besides
            those of `on_main_process` and `on_all_processes`.
    """
    try:
        yield
    except raised_by_all as error:
        setattr(error, _RAISED_BY_ALL, True)
        raise
    except BaseException as error:
        _state.out_of_sync = not getattr(error, _RAISED_BY_ALL, False)
        raise


def out_of_sync() -> bool:
    """Return whether an error has left the other processes waiting in a collective operation."""
    return _state.out_of_sync and world_size() > 1


def ended() -> list[int]:
    """Return the process ids of the other processes on this host that have ended."""
    import psutil

    def alive(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return [pid for pid in _state.pids if not alive(pid)]


def release() -> None:
    """End the other processes, which are waiting for the next run; called by the main process."""
    if world_size() > 1 and not out_of_sync():
        start()
        broadcast(None)
        end()
