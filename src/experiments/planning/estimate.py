"""Plan one run: parameters, memory compared with the device, tokens, operations and hours.

No model is loaded; every number follows from the config and the model's shape.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from experiments.config import RunConfig
from experiments.config.counting import layer_linears
from experiments.config.geometry import FAMILIES, Geometry
from experiments.planning import (
    answers,
    cost,
    device,
    hours,
    memory,
    model_geometry,
    parameters,
    workload,
)
from experiments.planning.activations import Pass
from experiments.planning.answers import Answers
from experiments.planning.cost import Cost
from experiments.planning.device import Device
from experiments.planning.hours import Hours, Speed
from experiments.planning.memory import Memory, StepSettings
from experiments.planning.parameters import Counts
from experiments.planning.workload import Workload

TIGHT = 0.9
"""Share of the device's memory above which a run that fits is called tight."""

ROOMY = 0.8
"""Share of the device's memory up to which activations are kept rather than recomputed."""


@dataclass(frozen=True)
class Estimate:
    """The plan of one run."""

    run: RunConfig
    shape: Geometry
    counts: Counts
    settings: StepSettings
    memory: Memory
    work: Workload
    device: Device
    steps: int
    tokens: float
    answers: Answers
    """What each model of the run answers."""
    cost: Cost
    hours: Hours | None = None
    """Hours by part; None if the speed of the device is unknown."""
    rough: tuple[str, ...] = ()
    """Reasons why the estimate is rough, if it is."""
    measured_flops: float | None = None
    """Operations per second measured by a probe; None without a probe."""

    @property
    def share(self) -> float | None:
        """Share of the device's memory that the run needs; None if that memory is unknown."""
        available = self.device.memory_bytes
        return None if available is None else self.memory.resident / available

    @property
    def fits(self) -> bool | None:
        """Whether the run fits; None if the device's memory is unknown."""
        return None if self.share is None else self.share <= 1


def of(run: RunConfig) -> Estimate:
    """Plan one run.

    Activations are kept if the run then needs at most `ROOMY` of the memory, because that is
    faster, and else recomputed; unless a setting of the run decides.

    Raises:
        ConfigError: the shape of the model is unknown.
        AdapterError: a target matches no linear layer.
    """
    target = device.of(run)
    if target.checkpointing_is_fixed or target.memory_bytes is None:
        return _of(run, target)
    kept = _of(run, dataclasses.replace(target, checkpointing=False))
    if kept.rough:  # the memory of unknown layers is no reason to depart from the default
        return _of(run, target)
    if kept.share is not None and kept.share <= ROOMY:
        return kept
    return _of(run, dataclasses.replace(target, checkpointing=True))


def _of(run: RunConfig, target: Device) -> Estimate:
    """Plan a run on a device with activations kept or recomputed as the device says."""
    shape = model_geometry.of(run.model)
    counts = parameters.count(
        shape, run.lora, freeze_embeddings=bool(run.trainer.freeze_embeddings)
    )
    work = workload.of(run, vocabulary=shape.vocabulary, positions=shape.positions)
    settings = _settings(run, target, work)
    tokens = work.tokens(run)
    mean = dataclasses.replace(settings.work, length=round(work.tokens_per_row))
    per_token = cost.flops_per_token(shape, counts, mean, work.trained_share)
    plan = Estimate(
        run=run,
        shape=shape,
        counts=counts,
        settings=settings,
        memory=memory.estimate(shape, counts, settings),
        work=work,
        device=target,
        steps=work.steps(run),
        tokens=tokens,
        answers=answers.of(run, work),
        cost=cost.cost(per_token, tokens, None),
        rough=tuple(_rough(run, shape, counts)),
    )
    peak = target.peak_flops
    return plan if peak is None else with_speed(plan, peak * target.utilisation)


def with_speed(plan: Estimate, flops: float) -> Estimate:
    """Return a plan with its hours at a speed of training in operations per second."""
    per_layer = hours.CPU_LAYER_SECONDS if plan.device.is_cpu else hours.GPU_LAYER_SECONDS
    speed = Speed(flops, plan.device.memory_rate, per_layer)
    priced = cost.cost(plan.cost.flops_per_token, plan.tokens, flops)
    return dataclasses.replace(plan, cost=priced, hours=_hours(plan, speed))


def _hours(plan: Estimate, speed: Speed) -> Hours:
    """Return the hours of training, of losses and of answers, for the tuned model and its base."""
    scored = plan.work.scored_tokens(plan.run, plan.answers.loss_tokens)
    tuned = decoding(plan)
    plain = dataclasses.replace(tuned, counts=dataclasses.replace(plan.counts, adapters=()))
    asked = plan.answers
    losses = _loss_hours(plan, scored, speed)
    base = asked.base * (losses + hours.answer_hours(asked, plain, speed))
    at_limit = asked.base * (losses + hours.answer_hours(asked.at_limit(), plain, speed))
    return Hours(
        training=plan.cost.flops_per_token * plan.tokens / speed.flops / 3600,
        losses=losses + _loss_hours(plan, plan.work.evaluation_tokens(plan.run), speed),
        answers=hours.answer_hours(asked, tuned, speed),
        base=base,
        base_at_limit=at_limit,
        others=plan.run.plan.evaluation_hours,
    )


def _loss_hours(plan: Estimate, tokens: float, speed: Speed) -> float:
    mean = dataclasses.replace(plan.settings.work, length=round(plan.work.tokens_per_row))
    per_token = cost.loss_flops_per_token(plan.shape, plan.counts, mean, plan.work.trained_share)
    return tokens * per_token / speed.flops / 3600


def decoding(plan: Estimate) -> hours.Decoding:
    """Return what determines the speed of a run's answers."""
    available = plan.device.memory_bytes
    free = None if available is None else available - plan.memory.weights
    return hours.Decoding(
        plan.shape, plan.counts, plan.settings.work, plan.settings.quantization, free
    )


def _settings(run: RunConfig, target: Device, work: Workload) -> StepSettings:
    trainer, full = run.trainer, run.lora.method == "none"
    micro, batch = trainer.micro_batch_size or 1, trainer.batch_size or 1
    return StepSettings(
        work=Pass(
            rows=micro,
            length=work.longest_row_tokens,
            precision=target.precision,
            adapted=frozenset(_adapted(run)),
            full=full,
            r=0 if full else run.lora.r or 0,
            dropout=run.lora.lora_dropout > 0,
            dora=run.lora.use_dora,
            checkpointing=target.checkpointing,
            padded=micro > 1,
            attention=trainer.attention or "sdpa",
            on_cpu=target.is_cpu,
        ),
        optimizer=str(trainer.optimizer),
        trained_share=work.trained_share,
        accumulation=batch // micro,
        quantization=run.model.quantization,
    )


def _adapted(run: RunConfig) -> list[str]:
    """Return the leaf names of the adapted layers, as far as they affect memory."""
    targets = run.lora.target_modules
    if run.lora.method == "none":
        return []
    if targets == "all-linear":
        return [layer.leaf for layer in layer_linears(_ANY_SHAPE)]
    return [str(name).rpartition(".")[2] for name in targets]


_ANY_SHAPE = Geometry("llama", 1, 1, 1, 1, 1, 1, 1, True, False, False, 1)


def _rough(run: RunConfig, shape: Geometry, counts: Counts) -> list[str]:
    reasons = []
    if not shape.is_known:
        known = ", ".join(FAMILIES)
        reasons.append(
            f"architecture {shape.architecture} is unknown (known: {known}); its layers are "
            "counted as llama's"
        )
    reasons += [f"lora.extra.{key} is not counted" for key in counts.uncounted]
    if run.trainer.max_steps == 0:
        reasons.append("trainer.max_steps=0 trains nothing; the memory is that of a training step")
    return reasons


def as_record(plan: Estimate) -> dict[str, Any]:
    """Return an estimate as plain data, for programs and for a run's record."""
    return {
        "model": plan.run.model.label,
        "lora": plan.run.lora.label,
        "r": plan.run.lora.r,
        "device": plan.device.name,
        "parameters": plan.counts.total,
        "trainable_parameters": plan.counts.trainable,
        "precision": plan.device.precision,
        "micro_batch_size": plan.settings.work.rows,
        "longest_row_tokens": plan.settings.work.length,
        "gradient_checkpointing": plan.settings.work.checkpointing,
        "memory_bytes": {name: round(part) for name, part in plan.memory.parts().items()},
        "peak_bytes": round(plan.memory.total),
        "resident_bytes": round(plan.memory.resident),
        "fullest_moment": plan.memory.moment,
        "device_bytes": None
        if plan.device.memory_bytes is None
        else round(plan.device.memory_bytes),
        "fits": plan.fits,
        "rows": plan.work.rows,
        "steps": plan.steps,
        "tokens": round(plan.tokens),
        "flops": plan.cost.flops,
        "hours": None if plan.hours is None else plan.hours.run + plan.hours.base,
        "hours_by_part": None if plan.hours is None else dataclasses.asdict(plan.hours),
        "answers": [dataclasses.asdict(asked) for asked in plan.answers.sets],
        "rough": list(plan.rough),
    }
