"""The steps of a check in their order, each with the seconds that it may take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.calibration.gpu_check import (
    check_answers,
    check_base,
    check_recovery,
    check_training,
)
from experiments.calibration.gpu_check.check_setting import CheckSetting

Results = dict[str, dict[str, Any]]
"""The results of finished steps by name."""


@dataclass(frozen=True)
class CheckStep:
    """One part of a check."""

    name: str
    seconds: int
    """Limit, with the start of a process and its libraries."""
    work: Callable[[CheckSetting, Results, Any], dict[str, Any]]
    """Gets the setting, the results so far and a multiprocessing context."""
    own_process: bool = False
    """Whether the worker does nothing before, because memory that it keeps would matter."""


def _simple(
    name: str,
    seconds: int,
    work: Callable[[CheckSetting], dict[str, Any]],
    *,
    own_process: bool = False,
) -> CheckStep:
    """Return a step that needs nothing but the setting."""
    return CheckStep(name, seconds, lambda setting, *_: work(setting), own_process)


def _training(name: str, *overrides: str) -> CheckStep:
    return _simple(name, 60, lambda setting: check_training.train(setting, *overrides))


def _alone(results: Results) -> float | None:
    """Return the speed of one process, in the precision that the device chooses."""
    found = results.get("train_auto", {}).get("tokens_per_second")
    return None if found is None else float(found)


FACTS = "facts"
STEPS = (
    _simple(FACTS, 60, check_base.facts),
    _simple("base", 60, check_base.random_base),
    _training("train_auto"),
    _simple("train_stock_trl", 60, check_training.stock_trl),
    _training("train_fp16", "trainer.precision=fp16"),
    _training("train_bf16", "trainer.precision=bf16"),
    _training("train_4bit", "model.quantization=nf4"),
    _training("train_full", "lora=none"),
    _training("train_recomputed", "trainer.gradient_checkpointing=true"),
    _simple("answers", 45, check_answers.ours),
    _simple("answers_generate", 60, check_answers.transformers_generate),
    _simple("answers_continuous", 60, check_answers.continuous_batching),
    _simple("out_of_memory", 60, check_recovery.out_of_memory, own_process=True),
    CheckStep(
        "kill_and_resume",
        120,
        lambda setting, _, start: check_recovery.kill_and_resume(setting, start),
    ),
    CheckStep(
        "two_at_once",
        90,
        lambda setting, results, start: check_training.two_at_once(setting, _alone(results), start),
    ),
)
