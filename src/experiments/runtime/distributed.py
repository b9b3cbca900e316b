"""The processes that make one run together: which one this is, and how they speak to each other.

`accelerate launch` and `torchrun` start the same program several times and tell each its number by
its environment. Process 0 leads: it alone composes the config, owns folder, record, tracker and
log. The others follow: they wait for its orders, and every one does its part of what takes time.
Nothing here needs more than one process; alone, each function answers at once.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Between two steps the leader may save to a slow disk or ask a study; a process that dies is
# noticed at once, by its closed connection.
_STEP_TIMEOUT = timedelta(hours=2)
# Between two orders it may do anything, for as long as a sweep lasts.
_ORDER_TIMEOUT = timedelta(days=100)


@dataclass(frozen=True)
class Place:
    """One process among those of a run."""

    rank: int = 0
    count: int = 1
    """How many processes there are, on all machines."""
    local_rank: int = 0
    """Its number on its machine, which is the number of its GPU."""
    local_count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process owns the run."""
        return self.rank == 0


@dataclass
class _State:
    group: Any = None
    """The gloo group that carries orders and results; None until `join`."""
    pids: Sequence[int] = ()
    """Of the processes on the leader's machine."""
    at_work: bool = False


_state = _State()


def here(environment: Mapping[str, str] = os.environ) -> Place:
    """Return this process's place, from what the launcher wrote into its environment.

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
    """Return what the launcher was asked for that a run would not do, as the key of a sentence."""
    for name, what in (
        ("ACCELERATE_USE_DEEPSPEED", "--use_deepspeed"),
        ("ACCELERATE_USE_FSDP", "--use_fsdp"),
        ("ACCELERATE_USE_MEGATRON_LM", "--use_megatron_lm"),
    ):
        if environment.get(name, "false").lower() in ("true", "1", "yes"):
            return (
                f"accelerate launch {what}: every process holds the whole model here and takes a "
                "part of each batch; launch with --multi_gpu instead"
            )
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", ""):
        return (
            f"accelerate launch --mixed_precision={precision}: the precision is part of a run; "
            f"launch with --mixed_precision=no and set trainer.precision={precision}"
        )
    return None


def launched_alone(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether several processes were wanted and one came.

    `accelerate launch --cpu --num_processes 2` starts one and sets the address for others.
    """
    return environment.get("ACCELERATE_USE_CPU", "").lower() == "true" and (
        "MASTER_PORT" in environment and "RANK" not in environment
    )


def join() -> None:
    """Meet the other processes of this run; does nothing where there are none, or again."""
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
    """Send an order to all others; called by the leader."""
    if here().count > 1:
        _broadcast(order)


def hear() -> Any:
    """Wait for the leader's next order; None = there will be no more."""
    return _broadcast(None)


def release() -> None:
    """Tell the others that nothing more comes; called by the leader at its end."""
    if here().count > 1:
        join()
        _broadcast(None)
        leave()


def leave() -> None:
    """Part from the others, who do the same."""
    import torch.distributed as dist

    dist.destroy_process_group()
    _state.group = None


def agreed(value: T) -> T:
    """Return the leader's value in every process."""
    found: T = _broadcast(value)
    return found


def everyone(value: T) -> list[T]:
    """Return the value of each process, in every process."""
    place = here()
    if place.count == 1:
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * place.count
    dist.all_gather_object(found, value, group=_state.group)
    return found


def divided(lengths: Sequence[int], work: Callable[[list[int]], Sequence[T]]) -> list[T]:
    """Let each process do its part of some items; return the results of all, in every process.

    Args:
        lengths: of each item; the parts are of like lengths.
        work: indices of the items of this process -> a result for each.
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
    """Return the items of one process, short ones first.

    >>> [part([5, 1, 9, 2, 7], Place(rank, 2)) for rank in (0, 1)]
    [[1, 0, 2], [3, 4]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return order[place.rank :: place.count]


@contextlib.contextmanager
def at_work(*harmless: type[Exception]) -> Iterator[None]:
    """Mark what all processes do together: an error in one of them leaves the others waiting.

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
    """Tell whether an error has left the others in the middle of their work."""
    return _state.at_work and here().count > 1


def lost() -> list[int]:
    """Return the numbers (pids) of the others on this machine that have ended."""
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
