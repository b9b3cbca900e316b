"""Steps of a check that break a training: it is killed, or its memory runs out."""

import contextlib
import io
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments import records
from experiments.calibration.gpu_check import check_training
from experiments.calibration.gpu_check.check_setting import CheckSetting, without
from experiments.config import RunConfig
from experiments.planning import estimate, memory

_SAVED, _KILLED, _LAST = 2, 3, 4
"""Steps: a checkpoint is written, the process is killed after it, the run ends."""
_TOLERANCE = 1e-3
"""Largest relative difference of a loss that is computed twice, before and after a kill."""


def kill_and_resume(setting: CheckSetting, start: Any) -> dict[str, Any]:
    """Kill a run after a checkpoint, start it again, and compare the loss of the repeated step.

    Raises:
        RuntimeError: the run ended before it was killed, does not resume, or the loss differs.
    """
    folder = without(setting, "killed").folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first, second = folder / "first.log", folder / "second.log"
    began = time.monotonic()
    process = start.Process(target=_run, args=(setting, folder, first, True))
    process.start()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise RuntimeError(f"the run ended before it was killed: {_last_line(first)}")
    again = start.Process(target=_run, args=(setting, folder, second, False))
    again.start()
    again.join()
    if again.exitcode != 0:
        raise RuntimeError(f"the run did not resume: {_last_line(second)}")
    record = records.read(folder / "run" / records.FILE_NAME)
    before, after = _loss(first), _loss(second)
    if f"continuing from checkpoint-{_SAVED}" not in _text(second) or after is None:
        raise RuntimeError("the run started over instead of from its checkpoint")
    if before is None or abs(before - after) > _TOLERANCE * abs(before):
        raise RuntimeError(f"step {_KILLED} had loss {before} before and {after} after the kill")
    return {
        "status": record.status,
        "killed_after_step": _KILLED,
        "resumed_from_step": _SAVED,
        "loss_before": before,
        "loss_after": after,
        "seconds_of_both": time.monotonic() - began,
    }


class _KillingStream(io.TextIOWrapper):
    """Ends this process with SIGKILL as soon as a line about a step is written to it."""

    def write(self, text: str) -> int:
        """Write the text, and end the process if it is that line."""
        count = super().write(text)
        if f"step {_KILLED:>4}/{_LAST}" in text:
            self.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return count


def _run(setting: CheckSetting, folder: Path, log_file: Path, killed: bool) -> None:
    """Train a run of the built-in rows in its folder, with its output in a file."""
    from experiments import runs
    from experiments.runs import Job

    binary = log_file.open("wb")
    sys.stdout = (_KillingStream if killed else io.TextIOWrapper)(binary, encoding="utf-8")
    sys.stderr = sys.stdout
    try:
        runs.run_one(_killed_run(setting), Job(folder / "run", find_siblings=False))
    finally:
        sys.stdout.flush()


def _killed_run(setting: CheckSetting) -> RunConfig:
    return setting.run(
        *("data=mixed", "data.train_rows=9", "data.validation_rows=0", "data.test_rows=9"),
        *("data.unseen_values_rows=0", "data.unseen_tools_rows=0", "data.cache=null"),
        *("eval.splits=[test]", "eval.limit=1", "eval.base=false", "eval.max_new_tokens=1"),
        *("eval.metrics=[]", "trainer.batch_size=2", "trainer.micro_batch_size=2"),
        *(f"trainer.max_steps={_LAST}", f"trainer.save_steps={_SAVED}", "trainer.max_length=512"),
        *("trainer.logging_steps=1", "trainer.keep=all", "lora.lora_dropout=0"),
    )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _last_line(file: Path) -> str:
    lines = [line for line in _text(file).splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"


def _loss(file: Path) -> float | None:
    """Return the loss that a log prints for the step after which the run was killed."""
    found = re.search(rf"step +{_KILLED}/{_LAST}  loss ([0-9.]+)", _text(file))
    return float(found[1]) if found else None


def out_of_memory(setting: CheckSetting) -> dict[str, Any]:
    """Train with too many rows per pass for a capped memory, and return how it went on.

    Raises:
        RuntimeError: memory did not run out.
        NotApplicable: this system cannot cap the memory of a process.
    """
    import torch

    from experiments.planning import few_steps

    if not torch.cuda.is_available() and sys.platform != "linux":
        raise check_training.NotApplicable("only Linux caps the memory of a process")
    rows, length = 4 * setting.micro_batch, max(512, setting.length)
    sizes = [
        *(f"trainer.batch_size={rows}", f"trainer.max_length={length}"),
        *(f"plan.longest_row_tokens={length}", f"plan.tokens_per_row={length}"),
        "trainer.gradient_checkpointing=false",
    ]
    loaded = check_training.load(setting, *sizes, f"trainer.micro_batch_size={rows}")
    half = setting.run(*sizes, f"trainer.micro_batch_size={rows // 2}")
    enough = estimate.of(half).memory
    # Loads what the first step of a process loads, which the cap is not about.
    few_steps.train(setting.run("trainer.max_steps=1"), loaded.model, loaded.base, follow=False)
    with _capped(enough, loaded.base.precision.device == "cuda"):
        found = few_steps.train(loaded.run, loaded.model, loaded.base, follow=False)
    if not found.oom_events:
        raise RuntimeError(f"{rows} rows per pass fitted into the capped memory")
    return {
        "rows_per_pass": rows,
        "rows_afterwards": found.oom_events[-1]["micro_batch_size"],
        "out_of_memory_events": len(found.oom_events),
        "steps": loaded.run.trainer.max_steps,
    }


@contextlib.contextmanager
def _capped(enough: memory.Memory, on_cuda: bool) -> Iterator[None]:
    """Cap the memory of this process at what a plan needs, and a tenth more."""
    import torch

    if on_cuda:
        needed = 1.1 * (enough.resident - memory.CUDA_CONTEXT_BYTES)
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, needed / total))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    import resource

    import psutil

    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (now + round(1.5 * enough.total), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
