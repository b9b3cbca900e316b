"""Print a run's summary before training: every derived value with its reason."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import training
from experiments.config import RunConfig
from experiments.data import TrainData, inspection, tally
from experiments.models import Base
from experiments.records import provenance
from experiments.runtime import distributed
from experiments.runtime.progress import log
from experiments.toolcalls.parser import forms


def print_header(run: RunConfig, run_id: str) -> None:
    """Print every derived value with its reason, before model and data are loaded."""
    log(f"run {run_id}: model={run.model.label} data={run.data.label} lora={run.lora.label}")
    trainer, lora = dataclasses.asdict(run.trainer), dataclasses.asdict(run.lora)
    for key, origin in run.resolved_from.items():
        if key in ("trainer.attention", "trainer.gradient_checkpointing"):
            continue  # printed later, when the device is known
        group, _, leaf = key.partition(".")
        value = (trainer if group == "trainer" else lora)[leaf]
        log(f"  {key} = {value}  ({origin})")
    log(f"  rows per step = {rows_per_step(run)}")
    if run.lora.method != "none":
        formula = "alpha/sqrt(r)" if run.lora.use_rslora else "alpha/r"
        alpha, ratio = run.lora.lora_alpha, run.lora.loraplus_lr_ratio
        log(f"  lora scale = {run.lora.scale:g}  ({formula} = {alpha:g}, {run.lora.r})")
        if ratio is not None:
            log(f"  learning rate of B = {ratio:g} x trainer.learning_rate  (LoRA+)")


def print_adapter(adapter: dict[str, Any], notes: Sequence[str]) -> None:
    """Print the number of trainable parameters, their shares of the base model, and the modules."""
    trainable, linear = adapter["trainable_parameters"], adapter["linear_share"]
    modules = ", ".join(f"{name} x {n}" for name, n in adapter["modules"].items())
    linear_text = "" if linear is None else f", {linear:.2%} of the linear layers'"
    log(
        f"  trainable = {trainable:,} parameters ({adapter['trainable_share']:.2%} of all"
        f"{linear_text}): {modules or 'no adapter'}"
    )
    for note in notes:
        log(f"  {note}")


def print_left_out(idle: Sequence[str], experts: Sequence[str]) -> None:
    """Print which layers got no adapter, and why."""
    if idle:
        reason = "the model uses their weights without calling the layers"
        log(f"  no adapter on {', '.join(idle)} ({reason})")
    if experts:
        log(f"  no adapter on {', '.join(experts)} (adapted only when named)")


def rows_per_step(run: RunConfig) -> str:
    """Return the batch size as text: micro-batch x processes x gradient accumulation steps."""
    batch, requested = run.trainer.batch_size, run.trainer.micro_batch_size
    assert batch and requested, "config.load resolves these"
    processes = distributed.world_size()
    micro = training.fitting(batch, requested, processes)
    if processes == 1:
        return f"{batch} = micro-batch {micro} x {batch // micro}"
    note = (
        ""
        if micro == requested
        else f"  (micro-batch {requested} made to fit {processes} processes)"
    )
    return (
        f"{batch} = micro-batch {micro} x {processes} processes x "
        f"{batch // micro // processes}{note}"
    )


def of_error(error: Exception) -> dict[str, Any]:
    """Return a record's entry for an error, with the rank of the process if several ran."""
    process = distributed.current()
    entry = {"type": type(error).__name__, "message": str(error)}
    rank_entry = {"process": process.rank} if process.world_size > 1 else {}
    return entry | {"step": getattr(error, "step", None)} | rank_entry


def print_how_to_resume(folder: Path) -> None:
    """Print the command that resumes the run, and the checkpoint it resumes from."""
    checkpoint = training.newest_checkpoint(folder)
    restart = "start training over, because there is no checkpoint yet"
    action = f"resume from {checkpoint.name}" if checkpoint else restart
    log(f"interrupted; rerun the same command to {action}:\n  {provenance.command()}")


def print_loaded(base: Base, data: TrainData) -> None:
    """Print the facts that are known once model and data are loaded."""
    _print_base(base)
    log(f"  thinking in answers = {data.mode}")
    _print_rows(data.counts)
    _print_sources(data.counts)


def _print_base(base: Base) -> None:
    log(
        f"  base = {base.source}, {base.parameters:,} parameters, {base.positions} positions, "
        f"sha256 {base.sha256}" + (f", commit {base.commit}" if base.commit else "")
    )
    if base.precision.memory_gib is not None:
        log(
            f"  device = {base.precision.device_name}, compute capability "
            f"{base.precision.compute_capability}, {base.precision.memory_gib} GiB"
        )
    log(
        f"  precision = {base.precision.name} on {base.precision.device_name}  "
        f"({base.precision.reason})"
    )
    for key, reason in base.precision.reasons.items():
        log(f"  {key.replace('_', ' ')} = {getattr(base.precision, key)}  ({reason})")
    for note in base.notes:
        log(f"  note: {note}")


def _print_rows(counts: dict[str, Any]) -> None:
    log(f"  {forms.describe(counts['call_form'])}")
    rows = ", ".join(f"{split} {n:,}" for split, n in counts["rows"].items())
    log(
        f"  rows = {rows}; trained tokens {counts['trained_tokens'].get('train', 0):,} of "
        f"{counts['tokens'].get('train', 0):,}"
    )
    for line in inspection.describe_left_out(counts):
        log(f"  {line}")
    for name, share in counts.get("mixture", {}).get("shares", {}).items():
        log(f"  mixture: {name} {share['share_drawn']:.1%}, {share['epochs']:.2f} epochs")


def _print_sources(counts: dict[str, Any]) -> None:
    for name, source in counts["sources"].items():
        for reason, n in source["rejected"].items():
            log(f"  rejected from {name}, {reason}: {n:,}")
            for example in source["examples"][reason]:
                log(f"    {example}")
        for line in tally.lines(name, source):
            log(f"  {line}")
    for name, benchmark in counts.get("benchmarks", {}).items():
        log(
            f"  benchmark {name}: {sum(benchmark['rows'].values()):,} rows, too long "
            f"{sum(benchmark['too_long'].values()):,}, rejected "
            f"{sum(benchmark['rejected'].values()):,}"
        )
        for line in tally.lines(name, benchmark):
            log(f"  {line}")
