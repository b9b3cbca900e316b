"""Print docs/t4.md: memory and hours on one T4 by model, method, length and micro-batch.

python -m experiments.calibration.planning_t4 > docs/t4.md
"""

import dataclasses
from collections.abc import Iterator

from experiments import config
from experiments.config import LoraConfig, RunConfig, folders
from experiments.planning import cost, estimate, hours, memory
from experiments.planning.answers import Answers, Asked
from experiments.planning.estimate import Estimate
from experiments.planning.hours import Speed
from experiments.planning.plan_table import hours_text

MODELS = (
    *("qwen3_0_6b", "tinyllama_1_1b", "llama3_2_1b", "qwen2_5_1_5b"),
    *("qwen3_1_7b", "smollm2_1_7b", "llama3_1_8b"),
)
LENGTHS = (512, 1024, 2048)
MICRO_BATCHES = (1, 2, 4, 8, 16)
_METHODS = ("LoRA", "QLoRA", "full")
_MILLION = 10**6
_GIB = 2**30

_ANSWERS = Answers((Asked("BFCL", 1000, 350, 40, 40),), limit_tokens=512, base=False)

_HEAD = """# What one T4 can do

**Predicted, not measured on a T4.**
`python -m experiments.calibration.planning_t4 > docs/t4.md` prints this page from the same \
formulas as `python -m experiments plan hardware=t4`; memory was verified on a CPU \
([predicted and measured](../outputs/reports/memory/README.md)), not on a GPU.
`make gpu-check` measures a card in minutes ([how](gpu_check.md)); no record of a T4 is committed \
yet.

Peak GiB of a training step if every row of the micro-batch has the given length, with \
{slack:.0%} for what the allocator reserves in addition; a dash means more than the {memory:.1f} \
GiB of the card.
A `k` marks that activations are kept, which is faster: a plan and a run do so where they then \
need at most {roomy:.0%} of the memory, and else recompute them in the backward pass; \
`trainer.gradient_checkpointing` decides otherwise.
LoRA and QLoRA adapt all linear layers with rank 16; LoRA keeps the base in fp16, QLoRA in 4-bit \
NF4 with double quantisation; full fine-tuning keeps weights, gradients and AdamW's states in fp32.
{share:.0%} of the tokens are trained.
Hours of training are per million tokens at {utilisation:.0%} of {tflops:.0f} TFLOPS, with \
activations kept and recomputed; hours of answers are for 1,000 prompts of 350 tokens with answers \
of 40, at {bandwidth:.0%} of {gbs:.0f} GB/s and at least {layer_ms:.1f} ms per layer and token.
These speeds are assumed; `plan.probe=true` on the card measures that of training.

Not verified: the {context:.2f} GiB counted for the CUDA context, fragmentation of the allocator, \
and attention kernels.
A micro-batch of one row has no mask, and grouped query heads without a mask may use a kernel on \
a T4 that stores all scores.

A sweep runs on a T4 with one override, `hardware=t4 model=qwen3_0_6b` or \
`model=qwen3_1_7b`: `python -m experiments plan -m sweeps=NAME hardware=t4 model=qwen3_0_6b` \
prints its memory and hours."""


def page() -> str:
    """Return the page."""
    rows = [line for model in MODELS for line in _lines(model)]
    plan = estimate.of(_run("qwen3_0_6b", "LoRA", 512))
    head = _HEAD.format(
        memory=(plan.device.memory_bytes or 0) / _GIB,
        slack=memory.GPU_SLACK,
        roomy=estimate.ROOMY,
        share=plan.work.trained_share,
        utilisation=plan.device.utilisation,
        tflops=(plan.device.peak_flops or 0) / 1e12,
        bandwidth=hours.BANDWIDTH_SHARE,
        gbs=(plan.device.memory_rate or 0) / 1e9,
        layer_ms=1000 * hours.GPU_LAYER_SECONDS,
        context=memory.CUDA_CONTEXT_BYTES / _GIB,
    )
    batches = " | ".join(f"micro-batch {n}" for n in MICRO_BATCHES)
    table = [
        f"| model | method | tokens per row | {batches} | hours, kept | hours, recomputed "
        "| hours of answers |",
        "| :--- | :--- | ---: |" + " ---: |" * (len(MICRO_BATCHES) + 3),
    ]
    return head + "\n\n" + "\n".join([*table, *rows]) + "\n"


def _lines(model: str) -> Iterator[str]:
    for method in _METHODS:
        for length in LENGTHS:
            run = _run(model, method, length)
            plan = estimate.of(run)
            if length > plan.shape.positions:
                continue
            cells = [_cell(run, micro) for micro in MICRO_BATCHES]
            fits = set(cells) != {"-"}
            times = _times(plan) if fits else [None, None, None]
            texts = [*cells, *(hours_text(hours) for hours in times)]
            yield f"| {run.model.label} | {method} | {length:,} | {' | '.join(texts)} |"


def _times(plan: Estimate) -> list[float | None]:
    """Return the hours of a million tokens, kept and recomputed, and of a thousand answers."""
    speed = (plan.device.peak_flops or 1) * plan.device.utilisation
    found: list[float | None] = []
    for checkpointing in (False, True):
        work = dataclasses.replace(plan.settings.work, checkpointing=checkpointing)
        flops = cost.flops_per_token(plan.shape, plan.counts, work, plan.work.trained_share)
        found.append(cost.cost(flops, _MILLION, speed).hours)
    rates = Speed(speed, plan.device.memory_rate, hours.GPU_LAYER_SECONDS)
    return [*found, hours.answer_hours(_ANSWERS, estimate.decoding(plan), rates)]


_COMPOSED: dict[str, RunConfig] = {}


def _run(model: str, method: str, length: int) -> RunConfig:
    """Return a run on a T4; the config of each model is composed only once."""
    if model not in _COMPOSED:
        _COMPOSED[model] = _compose(model)
    run = _COMPOSED[model]
    quantization = "nf4" if method == "QLoRA" else None
    return dataclasses.replace(
        run,
        plan=dataclasses.replace(run.plan, longest_row_tokens=length, tokens_per_row=length),
        lora=run.lora if method != "full" else LoraConfig(label="none", method="none"),
        model=dataclasses.replace(run.model, quantization=quantization),
    )


def _compose(model: str) -> RunConfig:
    from hydra import compose, initialize_config_dir

    overrides = [
        *(f"model={model}", "hardware=t4", "lora=all_linear", "lora.r=16"),
        *("trainer.max_length=2048", "trainer.batch_size=16", "trainer.micro_batch_size=1"),
        *("plan.rows=1000", "plan.trained_share=0.3"),
    ]
    with initialize_config_dir(str(folders.conf()), version_base="1.3"):
        return config.load(compose("config", overrides))


def _cell(run: RunConfig, micro: int) -> str:
    """Return the memory of a micro-batch, or a dash if it exceeds that of the device."""
    trainer = dataclasses.replace(run.trainer, micro_batch_size=micro)
    plan = estimate.of(dataclasses.replace(run, trainer=trainer))
    if not plan.fits:
        return "-"
    kept = "" if plan.settings.work.checkpointing else " k"
    return f"{plan.memory.resident / _GIB:.1f}{kept}"


if __name__ == "__main__":
    print(page(), end="")
