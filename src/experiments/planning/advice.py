"""Find the smallest change that makes a run fit into memory.

Changes that do not affect the result are tried first: recomputed activations, then a smaller
micro-batch with the same batch size. Next come 4-bit weights, then shorter rows, which change what
is trained, and finally an adapter instead of full fine-tuning.
"""

import dataclasses
import itertools
from collections.abc import Iterator

from experiments import config
from experiments.config import RunConfig
from experiments.planning import estimate
from experiments.planning.estimate import Estimate

_LENGTHS = (1024, 512, 256)
# Rank of the adapter proposed if full fine-tuning does not fit; it hardly affects memory.
_RANK = 16
Change = tuple[str, RunConfig]
"""Overrides, and the run that results from them."""


def suggest_overrides(plan: Estimate) -> str | None:
    """Return the overrides that make a run fit, or None if no known change is enough.

    The text can be used on the command line, such as `trainer.micro_batch_size=2`.
    """
    for overrides, run in _changes(plan.run, plan.settings.work.checkpointing):
        if estimate.of(run).fits:
            return overrides
    return None


def _changes(run: RunConfig, checkpointing: bool) -> Iterator[Change]:
    """Yield changed runs, from the smallest change to the largest."""
    checkpointing_options = [] if checkpointing else [True]
    batch_sizes = _smaller_batches(run)
    for keep, micro in [
        *((keep, None) for keep in checkpointing_options),
        *((None, micro) for micro in batch_sizes),
        *itertools.product(checkpointing_options, batch_sizes),
    ]:
        yield _changed(run, keep, micro)
    smallest = _changed(run, True if checkpointing_options else None, 1 if batch_sizes else None)
    quantised = _quantised(run)
    if quantised is not None:
        yield quantised
        yield _with_overrides(_quantised(smallest[1]), smallest[0])
    for length in _LENGTHS:
        if length < (run.trainer.max_length or length + 1):
            yield _with_overrides(_shorter(smallest[1], length), smallest[0])
    if quantised is not None:
        for length in _LENGTHS:
            quantised_least = _quantised(smallest[1])
            assert quantised_least is not None
            yield _with_overrides(
                _shorter(quantised_least[1], length), f"{quantised_least[0]} {smallest[0]}".strip()
            )
    if run.lora.method == "none":
        lora = config.LoraConfig(r=_RANK, lora_alpha=float(_RANK))
        adapted = dataclasses.replace(run, lora=lora)
        yield f"lora=all_linear lora.r={_RANK}", adapted
        for overrides, other in _changes(adapted, checkpointing):
            yield f"lora=all_linear lora.r={_RANK} {overrides}", other


def _smaller_batches(run: RunConfig) -> list[int]:
    batch, micro = run.trainer.batch_size or 1, run.trainer.micro_batch_size or 1
    return [size for size in range(micro - 1, 0, -1) if batch % size == 0]


def _changed(run: RunConfig, checkpointing: bool | None, micro: int | None) -> Change:
    overrides, trainer, origins = [], run.trainer, dict(run.resolved_from)
    if checkpointing is not None:
        overrides.append("trainer.gradient_checkpointing=true")
        trainer = dataclasses.replace(trainer, gradient_checkpointing=True)
        origins["trainer.gradient_checkpointing"] = "set by you"
    if micro is not None:
        overrides.append(f"trainer.micro_batch_size={micro}")
        trainer = dataclasses.replace(trainer, micro_batch_size=micro)
    return " ".join(overrides), dataclasses.replace(run, trainer=trainer, resolved_from=origins)


def _quantised(run: RunConfig) -> Change | None:
    """Return the run with 4-bit weights, or None if they cannot be trained that way."""
    if run.lora.method == "none" or run.model.quantization is not None:
        return None
    model = dataclasses.replace(run.model, quantization="nf4")
    return "model.quantization=nf4", dataclasses.replace(run, model=model)


def _shorter(run: RunConfig, length: int) -> Change:
    trainer = dataclasses.replace(run.trainer, max_length=length)
    return f"trainer.max_length={length}", dataclasses.replace(run, trainer=trainer)


def _with_overrides(change: Change | None, overrides: str) -> Change:
    assert change is not None
    return f"{change[0]} {overrides}".strip(), change[1]
