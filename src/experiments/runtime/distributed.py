"""The process group of a distributed run: ranks and communication between processes.

`accelerate launch` and `torchrun` start the same program several times and pass each process its
rank through the environment. Rank 0 is the leader: only it composes the config and writes the
folder, record, tracker and log. The other ranks are followers: they wait for the leader's orders,
and all processes share training and scoring. With a world size of 1, no function communicates.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Between two steps the leader may save to a slow disk or query a study. A process that dies is
# noticed at once, by its closed connection.
_STEP_TIMEOUT = timedelta(hours=2)
# The time between two orders is limited only by the length of a sweep.
_ORDER_TIMEOUT = timedelta(days=100)


@dataclass(frozen=True)
class Place:
    """The rank of a process and the world size of its run."""

    rank: int = 0
    count: int = 1
    """World size: the number of processes on all hosts."""
    local_rank: int = 0
    """Rank on its host, which is also the index of its GPU."""
    local_count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the leader (rank 0)."""
        return self.rank == 0


@dataclass
class _State:
    group: Any = None
    """The gloo group that transports orders and results; None until `join`."""
    pids: Sequence[int] = ()
    """Process ids of the other processes on the leader's host."""
    at_work: bool = False


_state = _State()


def here(environment: Mapping[str, str] = os.environ) -> Place:
    """Return this process's rank and world size from the launcher's environment variables.

    >>> here({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "", \
"MASTER_PORT": ""})
    Place(rank=1, count=2, local_rank=1, local_count=2)
    >>> here({})
    Place(rank=0, count=1, local_rank=0, local_count=1)
    """
    if not all(name in environment for name in _GIVEN):
        return Place()
    rank, count, local = (int(environment[name]) for name in _GIVEN[:3])
    return Place(rank, count, local, int(environment.get("LOCAL_WORLD_SIZE", count)))


def unsupported(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return a message about an unsupported launcher option; None if all are supported."""
    for name, what in (
        ("ACCELERATE_USE_DEEPSPEED", "--use_deepspeed"),
        ("ACCELERATE_USE_FSDP", "--use_fsdp"),
        ("ACCELERATE_USE_MEGATRON_LM", "--use_megatron_lm"),
    ):
        if environment.get(name, "false").lower() in ("true", "1", "yes"):
            return (
                f"accelerate launch {what}: sharded models are not supported, because every "
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


def join() -> None:
    """Initialise the process group (idempotent; does nothing with a world size of 1)."""
    place = here()
    if place.count == 1 or _state.group is not None:
        return
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=_STEP_TIMEOUT)
    _state.group = dist.new_group(backend="gloo", timeout=_ORDER_TIMEOUT)
    found = everyone((os.getpid(), os.environ.get("GROUP_RANK", "0")))
    _state.pids = [pid for pid, machine in found if machine == found[0][1] and pid != os.getpid()]


def tell(order: Any) -> None:
    """Broadcast an order to all followers; called by the leader."""
    if here().count > 1:
        _broadcast(order)


def hear() -> Any:
    """Wait for the leader's next order and return it; None = it was the last one."""
    return _broadcast(None)


def release() -> None:
    """Release the followers from waiting for orders; called by the leader at its end."""
    if here().count > 1:
        join()
        _broadcast(None)
        leave()


def leave() -> None:
    """Destroy the process group; every process must call it."""
    import torch.distributed as dist

    dist.destroy_process_group()
    _state.group = None


def agreed(value: T) -> T:
    """Broadcast the leader's value and return it in every process."""
    found: T = _broadcast(value)
    return found


def everyone(value: T) -> list[T]:
    """Gather the values of all processes and return them in every process, in rank order."""
    place = here()
    if place.count == 1:
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * place.count
    dist.all_gather_object(found, value, group=_state.group)
    return found


def divided(lengths: Sequence[int], work: Callable[[list[int]], Sequence[T]]) -> list[T]:
    """Split items between the processes, and return all results in every process.

    Args:
        lengths: the length of each item, used to balance the parts.
        work: takes the indices of this process's items and returns one result per index.

    Returns:
        One result per item, in the order of `lengths`.
    """
    place = here()
    if place.count == 1:
        return list(work(list(range(len(lengths)))))
    mine = part(lengths, place)
    results: dict[int, T] = {}
    for indices, values in everyone((mine, list(work(mine)))):
        results.update(zip(indices, values, strict=True))
    return [results[i] for i in range(len(lengths))]


def part(lengths: Sequence[int], place: Place) -> list[int]:
    """Return the indices of one process's items, shortest first.

    >>> [part([5, 1, 9, 2, 7], Place(rank, 2)) for rank in (0, 1)]
    [[1, 0, 2], [3, 4]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return order[place.rank :: place.count]


@contextlib.contextmanager
def at_work(*harmless: type[Exception]) -> Iterator[None]:
    """Mark a block with collective operations, in which an error leaves other processes waiting.

    Args:
        harmless: errors that every process raises at the same place.
    """
    _state.at_work = True
    try:
        yield
    except harmless:
        _state.at_work = False
        raise
    _state.at_work = False


def scattered() -> bool:
    """Return whether an error has left the other processes waiting in a collective operation."""
    return _state.at_work and here().count > 1


def lost() -> list[int]:
    """Return the process ids of the other processes on this host that have ended."""
    import psutil

    def alive(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return [pid for pid in _state.pids if not alive(pid)]


def _broadcast(value: Any) -> Any:
    if here().count == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, group=_state.group)
    return box[0]
