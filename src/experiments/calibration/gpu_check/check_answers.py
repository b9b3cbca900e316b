"""Steps of a check that write answers: this project's way, and two of transformers'.

All write the same number of tokens for the same prompts; no token ends an answer.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

from experiments.calibration.gpu_check.check_setting import CheckSetting
from experiments.models import Base

_BATCHES = (8, 16, 32)


def ours(setting: CheckSetting) -> dict[str, Any]:
    """Answer with this project's pool of rows."""
    from experiments.evaluation.batched_generation import Limits, generate

    base = _base(setting)
    counts: dict[int, int] = {}

    def write(prompts: list[list[int]]) -> None:
        generate(
            base.model,
            base,
            prompts,
            Limits(setting.new_tokens),
            lambda i, answer: counts.__setitem__(i, answer.new_tokens),
        )

    found = _timed(setting, write)
    if set(counts.values()) != {setting.new_tokens}:
        raise RuntimeError(f"answers of {sorted(set(counts.values()))} tokens were written")
    return found


def transformers_generate(setting: CheckSetting) -> dict[str, Any]:
    """Answer with `generate` in batches of similar lengths, at the fastest of a few sizes."""
    base = _base(setting)
    sizes = [size for size in _BATCHES if size <= max(len(setting.prompts), min(_BATCHES))]
    found = {
        size: _timed(setting, functools.partial(_in_batches, setting, base, size=size))
        for size in sizes
    }
    best = max(found, key=lambda size: found[size]["answers_per_second"])
    return found[best] | {"batch_size": best}


def continuous_batching(setting: CheckSetting) -> dict[str, Any]:
    """Answer with transformers' continuous batching."""
    from transformers import ContinuousBatchingConfig

    base = _base(setting)
    # By default its cache takes the free memory, which on a CPU is that of the whole machine.
    few = ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=256) if setting.small else None
    return _timed(
        setting,
        lambda prompts: base.model.generate_batch(
            inputs=prompts,
            generation_config=_generation(setting),
            continuous_batching_config=few,
        ),
    )


def _base(setting: CheckSetting) -> Base:
    from experiments import models

    run = setting.run()
    base = models.load(run, models.choose_precision(run))
    return dataclasses.replace(base, end_ids=[])


def _generation(setting: CheckSetting) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=setting.new_tokens,
        do_sample=False,
        eos_token_id=-1,  # none, so that all answers are equally long
        pad_token_id=0,
    )


def _in_batches(setting: CheckSetting, base: Base, prompts: list[list[int]], *, size: int) -> None:
    import torch

    ordered = sorted(prompts, key=len)
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        width = max(map(len, batch))
        ids_BL = torch.tensor([[0] * (width - len(one)) + one for one in batch])
        mask_BL = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in batch])
        with torch.inference_mode():
            base.model.generate(
                input_ids=ids_BL.to(base.model.device),
                attention_mask=mask_BL.to(base.model.device),
                generation_config=_generation(setting),
            )


def _timed(setting: CheckSetting, write: Callable[[list[list[int]]], object]) -> dict[str, Any]:
    """Return the speed of answering all prompts, after one that warms up."""
    import torch

    prompts = setting.prompts
    write(prompts[:1])
    began = time.perf_counter()
    write(prompts)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {
        "answers_per_second": len(prompts) / seconds,
        "prompt_tokens": sum(map(len, prompts)),
        "new_tokens": len(prompts) * setting.new_tokens,
        "seconds": seconds,
    }
