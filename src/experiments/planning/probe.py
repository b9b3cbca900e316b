"""Run a few real steps of a planned run on this machine and compare them with the plan."""

import dataclasses
from dataclasses import dataclass

from experiments.config import RunConfig
from experiments.errors import ConfigError
from experiments.planning import cost, estimate, memory
from experiments.planning.estimate import Estimate

STEPS = 3
_GIB = 2**30


@dataclass(frozen=True)
class Probe:
    """Measured memory and time of a few steps, with the predicted values."""

    predicted_bytes: float
    measured_bytes: int
    predicted_resident_bytes: float
    resident_bytes: int
    predicted_seconds: float | None
    """For a step with rows of maximal length; None if the speed of the device is unknown."""
    measured_seconds: float
    flops_per_second: float

    def sentence(self) -> str:
        """Return the comparison as a sentence."""
        error = self.predicted_bytes / self.measured_bytes - 1
        resident_error = self.predicted_resident_bytes / self.resident_bytes - 1
        seconds = f"{self.measured_seconds:.2f} s per step of rows of maximal length"
        if self.predicted_seconds is not None:
            seconds += f" (predicted {self.predicted_seconds:.2f})"
        return (
            f"probe: {STEPS} steps here took {self.measured_bytes / _GIB:.2f} GiB of tensors "
            f"(predicted {self.predicted_bytes / _GIB:.2f}, {error:+.1%}), "
            f"{self.resident_bytes / _GIB:.2f} GiB resident (predicted "
            f"{self.predicted_resident_bytes / _GIB:.2f}, {resident_error:+.1%}), and {seconds}, "
            f"{self.flops_per_second / 1e12:.3f} "
            "TFLOPS; hours are computed from this speed"
        )


def run_here(plan: Estimate) -> Probe:
    """Load the model, train three steps, and compare with the plan.

    Raises:
        ConfigError: the planned device is not in this machine, or the plan trains nothing.
    """
    _refuse_absent_device(plan)
    from experiments import models
    from experiments.models import adapters
    from experiments.planning import few_steps

    run = _with_few_steps(plan)
    precision = models.choose_precision(run)
    base = models.load(run, precision)
    attached = adapters.attach(run, base.model)
    on_cpu = precision.device == "cpu"
    # Tracking tensors slows a step down, so time is measured in a separate run without it.
    timed = few_steps.train(run, attached.model, base, follow=False)
    followed = few_steps.train(run, attached.model, base) if on_cpu else timed
    flops = _step_flops(plan)
    peak = plan.device.peak_flops
    rate = None if peak is None else peak * plan.device.utilisation
    context = 0 if on_cpu else memory.CUDA_CONTEXT_BYTES
    return Probe(
        predicted_bytes=plan.memory.total - context,
        measured_bytes=followed.peak_bytes,
        predicted_resident_bytes=plan.memory.resident - context,
        resident_bytes=timed.resident_bytes,
        predicted_seconds=None if rate is None else flops / rate,
        measured_seconds=timed.seconds_per_step,
        flops_per_second=flops / timed.seconds_per_step,
    )


def calibrated(plan: Estimate, probe: Probe) -> Estimate:
    """Return a plan with its hours computed from the measured speed."""
    priced = estimate.with_speed(plan, probe.flops_per_second)
    return dataclasses.replace(priced, measured_flops=probe.flops_per_second)


def _refuse_absent_device(plan: Estimate) -> None:
    if plan.run.trainer.max_steps == 0:
        raise ConfigError("plan.probe=true with trainer.max_steps=0: there is no step to measure.")
    if plan.device.is_cpu:
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            f"plan.probe=true measures this machine, but hardware={plan.run.hardware.label} "
            "describes a GPU and this machine has none: run it there, or leave plan.probe out."
        )


def _with_few_steps(plan: Estimate) -> RunConfig:
    """Return the run with a few steps of rows of maximal length."""
    run, work = plan.run, plan.work
    return dataclasses.replace(
        run,
        trainer=dataclasses.replace(run.trainer, max_steps=STEPS, num_train_epochs=None),
        plan=dataclasses.replace(
            run.plan,
            longest_row_tokens=work.longest_row_tokens,
            trained_share=work.trained_share,
        ),
    )


def _step_flops(plan: Estimate) -> float:
    """Return the operations of a step in which all rows have the maximal length."""
    settings = plan.settings
    per_token = cost.flops_per_token(
        plan.shape, plan.counts, settings.work, plan.work.trained_share
    )
    return per_token * settings.work.tokens * settings.accumulation
