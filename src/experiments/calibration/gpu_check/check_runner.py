"""Run the steps of a check, each within its time, and keep every result as it comes.

The steps run in a worker process, one after the other. If one fails or takes too long, the worker
ends with all memory that it held, the step is recorded with its error, and another worker goes on.
"""

import gc
import importlib
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.calibration.gpu_check import check_page, check_steps
from experiments.calibration.gpu_check.check_setting import CheckSetting
from experiments.calibration.gpu_check.check_steps import FACTS, STEPS, CheckStep, Results
from experiments.calibration.gpu_check.check_training import NotApplicable
from experiments.errors import ConfigError
from experiments.planning import device
from experiments.records import provenance
from experiments.runtime import placement
from experiments.runtime.progress import log

LIMIT_SECONDS = 480
"""A check stops here; the same command goes on with the steps that are left."""
STATE = "state.json"
LEFT = "the time of the check was over; the same command goes on"
SETTLED = ("done", "not applicable")
_ANSWER_SECONDS = 0.2


def check(
    setting: CheckSetting,
    reports: Path,
    *,
    limit_seconds: float = LIMIT_SECONDS,
    steps: Sequence[CheckStep] = STEPS,
) -> Path:
    """Run all steps that have no result yet, and write the report.

    Args:
        setting: sizes, and the folder of the state.
        reports: the folder of the report's two files.
        limit_seconds: after this time, the step that runs is stopped and no other is started.
        steps: the steps; the first one is `facts`.

    Returns:
        The report's page.

    Raises:
        ConfigError: there is no GPU, and the check is not a small one.
    """
    if not setting.small and not device.has_gpu():
        raise ConfigError(
            "gpu-check: this machine has no NVIDIA driver, or its GPUs are hidden; run it on a "
            "machine with a CUDA device, or use --small to run every step with a tiny base."
        )
    if device.has_gpu():  # one of several: the trainer would spread its rows over all of them
        os.environ[placement.GPUS] = os.environ.get(placement.GPUS, "0").split(",")[0]
    setting.folder.mkdir(parents=True, exist_ok=True)
    ends_at = time.monotonic() + limit_seconds
    state = _state_to_go_on(setting)
    _run(setting, state, [step for step in steps if not _settled(state, step.name)], ends_at)
    _keep(setting, state)
    return check_page.write(state, reports)


def _state_to_go_on(setting: CheckSetting) -> dict[str, Any]:
    """Return the stored state if card, code and libraries are the same, else a new one."""
    made_by = provenance.of_run("")
    identity = {
        "small": setting.small,
        "commit": made_by["git_commit"],
        "uncommitted_changes": made_by["git_dirty"],
        "libraries": provenance.libraries(),
        "code": provenance.code_identity(),
    }
    fresh: dict[str, Any] = {"identity": identity, "steps": {}}
    _run(setting, fresh, STEPS[:1], math.inf, store=False)
    if fresh["steps"][FACTS]["status"] == "failed":
        raise ConfigError(f"gpu-check: {fresh['steps'][FACTS]['error']}.")
    file = setting.folder / STATE
    if not file.is_file():
        return fresh
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    same = stored["identity"] == json.loads(json.dumps(identity)) and _card(stored) == _card(fresh)
    if not same:
        log("card, code or libraries differ from those of the stored check: it starts over")
    return stored if same else fresh


def _card(state: dict[str, Any]) -> Any:
    return state["steps"].get(FACTS, {}).get("result", {}).get("card")


def _settled(state: dict[str, Any], name: str) -> bool:
    return state["steps"].get(name, {}).get("status") in SETTLED


def _run(
    setting: CheckSetting,
    state: dict[str, Any],
    steps: Sequence[CheckStep],
    ends_at: float,
    *,
    store: bool = True,
) -> None:
    """Run steps in a worker process, and in a new one after each that fails."""
    waiting = list(steps)
    while waiting:
        if time.monotonic() >= ends_at:
            for step in waiting:
                state["steps"][step.name] = {"status": "left", "error": LEFT}
            log(f"{len(waiting)} steps are left: {LEFT}")
            return
        others = [n for n, step in enumerate(waiting) if n and step.own_process]
        size = others[0] if others else len(waiting)
        left = _run_until_failure(setting, state, waiting[:size], ends_at, store)
        waiting = [*left, *waiting[size:]]


def _run_until_failure(
    setting: CheckSetting,
    state: dict[str, Any],
    steps: list[CheckStep],
    ends_at: float,
    store: bool,
) -> list[CheckStep]:
    """Run steps in one worker process, and return those that are left after a failure."""
    start = _context()
    here, there = start.Pipe()
    names = [step.name for step in steps]
    worker = start.Process(target=_work, args=(setting, names, _results(state), there))
    worker.start()
    there.close()
    try:
        for number, step in enumerate(steps):
            entry = _wait_for(step, here, worker, ends_at)
            state["steps"][step.name] = entry
            if store:
                _keep(setting, state)
            log(f"{step.name}: {check_page.sentence(entry)}")
            if entry["status"] in ("failed", "left"):
                return steps[number + 1 :]
        return []
    finally:
        _end(worker)


def _end(worker: Any) -> None:
    """End a worker and the processes that it started."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, or has not become the leader of its group yet
        worker.kill()
    worker.join()


def _wait_for(step: CheckStep, here: Any, worker: Any, ends_at: float) -> dict[str, Any]:
    """Return a step's entry in the record once it ends, or its time or the check's is over."""
    began = time.monotonic()
    until = min(began + step.seconds, ends_at)
    while not here.poll(max(0.0, min(_ANSWER_SECONDS, until - time.monotonic()))):
        if time.monotonic() > until:
            seconds = time.monotonic() - began
            if until == ends_at:
                return {"status": "left", "error": LEFT, "seconds": round(seconds, 1)}
            return {"status": "failed", "error": f"stopped after {seconds:.0f} s"}
    try:
        entry: dict[str, Any] = here.recv()
    except EOFError:
        worker.join()
        entry = {"status": "failed", "error": f"its process ended with code {worker.exitcode}"}
    return entry | {"seconds": round(time.monotonic() - began, 1)}


def _work(setting: CheckSetting, names: Sequence[str], results: Results, connection: Any) -> None:
    """Do steps in this process and send an entry for each; the first failure is the last."""
    from experiments.models import silence_libraries

    os.setpgrp()
    silence_libraries()
    by_name = {step.name: step for step in check_steps.STEPS}
    for name in names:
        try:
            result = by_name[name].work(setting, results, _context())
            entry = {"status": "done", "result": result}
            results = results | {name: result}
        except NotApplicable as reason:
            entry = {"status": "not applicable", "error": str(reason)}
        except Exception as error:  # recorded, not hidden; the process ends
            text = str(error).strip().splitlines()
            entry = {"status": "failed", "error": f"{type(error).__name__}: {(text or [''])[0]}"}
        connection.send(entry)
        if entry["status"] == "failed":
            return
        _free()


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _context() -> Any:
    """Return how processes are started: forked, which needs no second import, only without a GPU.

    CUDA cannot be used in a process that was forked from one that uses it.
    """
    if device.has_gpu() or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for library in ("torch", "trl", "peft", "experiments.runs.execute"):
        importlib.import_module(library)  # once, for all processes
    import torch

    torch.set_num_threads(1)  # a forked process does not have its parent's threads
    return multiprocessing.get_context("fork")


def _results(state: dict[str, Any]) -> Results:
    return {name: entry["result"] for name, entry in state["steps"].items() if "result" in entry}


def _keep(setting: CheckSetting, state: dict[str, Any]) -> None:
    file = setting.folder / STATE
    part = file.with_suffix(".part")
    part.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
