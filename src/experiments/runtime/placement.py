"""Assign threads and GPUs to worker processes, before torch is imported."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from experiments.errors import ConfigError
from experiments.runtime import distributed
from experiments.runtime.progress import log

GPUS = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_each(workers: int, *, wanted: int | None, given: str | None, cores: int) -> int:
    """Return the threads per worker: the setting, else the environment's, else an equal share.

    >>> threads_each(3, wanted=None, given=None, cores=8)
    2
    >>> threads_each(3, wanted=None, given="1", cores=8)
    1
    """
    if wanted is not None:
        return wanted
    if given is not None and given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, cores // workers)


def use_threads(count: int) -> None:
    """Set the number of threads for OpenMP, MKL, OpenBLAS and, if imported, torch."""
    for name in (THREADS, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the GPUs that this process may use, named as in CUDA_VISIBLE_DEVICES.

    torch is not used for this: once imported, it could ignore a later change of the variable.
    """
    visible = environment.get(GPUS)
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    return completed.stdout.split() if completed.returncode == 0 else []


def see_one_gpu() -> None:
    """Restrict a single-process run to one of several visible GPUs, and print which one.

    A trainer that sees several GPUs would split its batches over all of them, which TRL refuses.
    Does nothing if torch is already imported, or if the run has several processes, each of which
    uses its own GPU.
    """
    if "torch" in sys.modules or distributed.world_size() > 1:
        return
    gpus = visible_gpus()
    if len(gpus) > 1:
        os.environ[GPUS] = gpus[0]
        log(
            f"using GPU {gpus[0]} of {', '.join(gpus)}: set {GPUS} to choose another, use "
            "`accelerate launch train.py` to run on all of them, or hydra/launcher=joblib to give "
            "each run of a sweep its own"
        )


def assign(gpus: Sequence[str], n_jobs: int | None, runs_per_gpu: int, cores: int) -> list[str]:
    """Return the GPU of each worker, or "" for each worker without GPUs.

    By default there is one worker per GPU or, without GPUs, one per core.

    >>> assign(["0", "1"], None, 1, cores=8)
    ['0', '1']
    >>> assign(["4", "7"], 3, 2, cores=8)
    ['4', '7', '4']
    >>> assign([], None, 1, cores=2)
    ['', '']

    Raises:
        ConfigError: there are more workers than `runs_per_gpu` allows on the GPUs.
    """
    if not gpus:
        return [""] * (n_jobs or cores)
    slots = [gpu for _ in range(runs_per_gpu) for gpu in gpus]
    if n_jobs is not None and n_jobs > len(slots):
        needed = -(-n_jobs // len(gpus))
        raise ConfigError(
            f"hydra.launcher.n_jobs={n_jobs} on {len(gpus)} visible GPUs ({', '.join(gpus)}): the "
            f"default is one process per GPU; set hydra.launcher.runs_per_gpu={needed} or "
            f"n_jobs={len(slots)}."
        )
    return slots[: n_jobs or len(slots)]
