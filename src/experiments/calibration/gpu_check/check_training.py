"""Steps of a check that train: predicted and measured memory, tokens per second, stock TRL."""

import dataclasses
import tempfile
import time
from typing import Any

from experiments.calibration.gpu_check.check_setting import CheckSetting, batch_tokens
from experiments.config import RunConfig
from experiments.models import Base
from experiments.planning import estimate, memory
from experiments.planning.estimate import Estimate


class NotApplicable(Exception):
    """A step that this device cannot do; the message says why."""


@dataclasses.dataclass(frozen=True)
class ReadyRun:
    """A run with its base, ready to train."""

    run: RunConfig
    base: Base
    plan: Estimate
    model: Any


def load(setting: CheckSetting, *overrides: str) -> ReadyRun:
    """Load the base of a run, attach its adapter, and plan it."""
    from experiments import models
    from experiments.models import adapters
    from experiments.runs import planned_memory

    run = setting.run(*overrides)
    refuse_precision(run)
    precision = models.choose_precision(run)
    base = models.load(run, precision)
    plan = estimate.of(
        dataclasses.replace(run, trainer=dataclasses.replace(run.trainer, precision=precision.name))
    )
    base = planned_memory.with_checkpointing(base, plan)
    return ReadyRun(run, base, plan, adapters.attach(run, base.model).model)


def refuse_precision(run: RunConfig) -> None:
    """Raise if the device has no hardware for the run's precision.

    Raises:
        NotApplicable: names the precision.
    """
    import torch

    from experiments.config.hardware_and_tracker import NATIVE_BF16

    precision, on_cuda = str(run.trainer.precision), torch.cuda.is_available()
    if precision == "fp16" and not on_cuda:
        raise NotApplicable("fp16 needs a GPU")
    if precision == "bf16" and on_cuda:
        major, minor = torch.cuda.get_device_capability()
        if major + minor / 10 < NATIVE_BF16:
            raise NotApplicable(f"compute capability {major}.{minor} has no bf16")


def train(setting: CheckSetting, *overrides: str) -> dict[str, Any]:
    """Train four steps and return predicted and measured memory, and the speed."""
    from experiments.planning import few_steps

    loaded = load(setting, *overrides)
    timed = few_steps.train(loaded.run, loaded.model, loaded.base, follow=False)
    on_cpu = loaded.base.precision.device == "cpu"
    followed = few_steps.train(loaded.run, loaded.model, loaded.base) if on_cpu else timed
    plan = loaded.plan
    context = 0 if on_cpu else memory.CUDA_CONTEXT_BYTES
    tokens_per_second = batch_tokens(loaded.run) / timed.seconds_per_step
    return {
        "precision": loaded.base.precision.name,
        "rows": loaded.run.trainer.micro_batch_size,
        "length": loaded.run.plan.longest_row_tokens,
        "out_of_memory_events": len(timed.oom_events),
        "gradient_checkpointing": loaded.base.precision.gradient_checkpointing,
        "predicted_bytes": round(plan.memory.total - context),
        "measured_bytes": followed.peak_bytes,
        "predicted_resident_bytes": round(plan.memory.resident - context),
        "resident_bytes": timed.resident_bytes,
        "context_bytes": None if on_cpu else _context_bytes(),
        "tokens_per_second": tokens_per_second,
        "tflops": plan.cost.flops_per_token * tokens_per_second / 1e12,
    }


def _context_bytes() -> int:
    """Return the memory of the card that is in use but not reserved by torch's allocator.

    It includes that of other processes.
    """
    import torch

    free, total = torch.cuda.mem_get_info()
    return int(total - free - torch.cuda.memory_reserved())


def stock_trl(setting: CheckSetting) -> dict[str, Any]:
    """Train the same rows with stock TRL and its own loss, and return its speed and memory."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from experiments.planning import few_steps

    loaded = load(setting)
    run, precision = loaded.run, loaded.base.precision
    model = loaded.model.unload()  # the base without an adapter: TRL attaches its own
    rows = list(few_steps.rows(run))
    data = Dataset.from_dict(
        {"input_ids": [list(row.ids) for row in rows], "labels": [row.labels for row in rows]}
    )
    on_cuda = precision.device == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=run.trainer.micro_batch_size or 1,
            gradient_accumulation_steps=(run.trainer.batch_size or 1)
            // (run.trainer.micro_batch_size or 1),
            max_steps=run.trainer.max_steps or 1,
            bf16=precision.name == "bf16",
            fp16=precision.name == "fp16",
            use_cpu=not on_cuda,
            dataloader_pin_memory=on_cuda,
            activation_checkpointing=precision.gradient_checkpointing,
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=data,
            processing_class=loaded.base.tokenizer,
            peft_config=_peft_config(run),
        )
        times = few_steps.step_times(trainer)
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    seconds = (times[-1] - times[0]) / (len(times) - 1)
    return {
        "precision": precision.name,
        "tokens_per_second": batch_tokens(run) / seconds,
        "measured_bytes": int(torch.cuda.max_memory_allocated()) if on_cuda else None,
        "loss_type": arguments.loss_type,
    }


def _peft_config(run: RunConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=run.lora.r or 16,
        lora_alpha=int(run.lora.lora_alpha or 32),
        target_modules="all-linear",
        lora_dropout=run.lora.lora_dropout,
        task_type="CAUSAL_LM",
    )


def two_at_once(setting: CheckSetting, alone: float | None, start: Any) -> dict[str, Any]:
    """Train the same run in two processes at once, and return their joint speed.

    Args:
        setting: the check.
        alone: tokens per second of one process by itself, if known.
        start: a multiprocessing context.
    """
    barrier, answers = start.Barrier(2), start.Queue()
    workers = [
        start.Process(target=_one_of_two, args=(setting, barrier, answers)) for _ in range(2)
    ]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := [worker.exitcode for worker in workers if worker.exitcode != 0]:
        raise RuntimeError(f"a process of two ended with exit code {failed[0]}")
    found = [answers.get(timeout=10) for _ in workers]
    together = sum(one["tokens_per_second"] for one in found)
    return {
        "tokens_per_second": together,
        "of_one_alone": None if alone is None else together / alone,
        "measured_bytes": [one["measured_bytes"] for one in found],
        "seconds_with_start": time.monotonic() - began,
    }


def _one_of_two(setting: CheckSetting, barrier: Any, answers: Any) -> None:
    from experiments.planning import few_steps

    loaded = load(setting)
    barrier.wait(timeout=120)
    found = few_steps.train(loaded.run, loaded.model, loaded.base, follow=False)
    tokens_per_second = batch_tokens(loaded.run) / found.seconds_per_step
    answers.put({"tokens_per_second": tokens_per_second, "measured_bytes": found.peak_bytes})
