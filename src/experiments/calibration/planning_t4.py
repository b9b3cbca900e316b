"""Print docs/t4.md: memory and hours on one T4 by model, method, length and micro-batch.

python -m experiments.calibration.planning_t4 > docs/t4.md
"""

import dataclasses
from collections.abc import Iterator

from experiments import config
from experiments.config import LoraConfig, RunConfig, folders
from experiments.planning import cost, estimate, memory
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

_HEAD = """# What one T4 can do

**Predicted, not measured on a T4.**
`python -m experiments.calibration.planning_t4 > docs/t4.md` prints this page from the same \
formulas as `python -m experiments plan hardware=t4`; memory was verified on a CPU \
([predicted and measured](../outputs/reports/memory/README.md)), not on a GPU.

Peak GiB of a training step if every row of the micro-batch has the given length; a dash means \
more than the {memory:.1f} GiB of the card.
LoRA and QLoRA adapt all linear layers with rank 16; LoRA keeps the base in fp16, QLoRA in 4-bit \
NF4 with double quantisation; full fine-tuning keeps weights, gradients and AdamW's states in fp32.
Activations are recomputed in the backward pass (`trainer.gradient_checkpointing=true`), and \
{share:.0%} of the tokens are trained.
Hours are per million training tokens at {utilisation:.0%} of {tflops:.0f} TFLOPS, without \
evaluation; `plan.probe=true` on the card measures the actual speed.

Not verified: the {context:.2f} GiB counted for the CUDA context, fragmentation of the allocator, \
and attention kernels.
A micro-batch of one row has no mask, and grouped query heads without a mask may use a kernel on \
a T4 that stores all scores."""


def page() -> str:
    """Return the page."""
    rows = [line for model in MODELS for line in _lines(model)]
    plan = estimate.of(_run("qwen3_0_6b", "LoRA", 512))
    head = _HEAD.format(
        memory=(plan.device.memory_bytes or 0) / _GIB,
        share=plan.work.trained_share,
        utilisation=plan.device.utilisation,
        tflops=(plan.device.peak_flops or 0) / 1e12,
        context=memory.CUDA_CONTEXT_BYTES / _GIB,
    )
    batches = " | ".join(f"micro-batch {n}" for n in MICRO_BATCHES)
    table = [
        f"| model | method | tokens per row | {batches} | hours per million tokens |",
        "| :--- | :--- | ---: |" + " ---: |" * (len(MICRO_BATCHES) + 1),
    ]
    return head + "\n\n" + "\n".join([*table, *rows]) + "\n"


def _lines(model: str) -> Iterator[str]:
    for method in _METHODS:
        for length in LENGTHS:
            run = _run(model, method, length)
            plan = estimate.of(run)
            if length > plan.shape.positions:
                continue
            cells = [_cell(run, method, micro) for micro in MICRO_BATCHES]
            flops = cost.flops_per_token(
                plan.shape, plan.counts, plan.settings.work, plan.work.trained_share
            )
            speed = (plan.device.peak_flops or 1) * plan.device.utilisation
            hours = cost.cost(flops, _MILLION, speed).hours if set(cells) != {"-"} else None
            label = run.model.label
            cells_text = " | ".join(cells)
            yield f"| {label} | {method} | {length:,} | {cells_text} | {hours_text(hours)} |"


_COMPOSED: dict[str, RunConfig] = {}


def _run(model: str, method: str, length: int) -> RunConfig:
    """Return a run on a T4; the config of each model is composed only once."""
    if model not in _COMPOSED:
        _COMPOSED[model] = _compose(model)
    run = _COMPOSED[model]
    plan_config = dataclasses.replace(run.plan, longest_row_tokens=length, tokens_per_row=length)
    lora = run.lora if method != "full" else LoraConfig(label="none", method="none")
    return dataclasses.replace(run, plan=plan_config, lora=lora)


def _compose(model: str) -> RunConfig:
    from hydra import compose, initialize_config_dir

    overrides = [
        *(f"model={model}", "hardware=t4", "lora=all_linear", "lora.r=16"),
        *("trainer.gradient_checkpointing=true", "trainer.max_length=2048"),
        *("trainer.batch_size=16", "trainer.micro_batch_size=1", "plan.rows=1000"),
        "plan.trained_share=0.3",
    ]
    with initialize_config_dir(str(folders.conf()), version_base="1.3"):
        return config.load(compose("config", overrides))


def _cell(run: RunConfig, method: str, micro: int) -> str:
    """Return the memory of a micro-batch, or a dash if it exceeds that of the device."""
    trainer = dataclasses.replace(run.trainer, micro_batch_size=micro)
    plan = estimate.of(dataclasses.replace(run, trainer=trainer))
    settings = plan.settings
    if method == "QLoRA":
        settings = dataclasses.replace(settings, quantization="nf4")
    total = memory.estimate(plan.shape, plan.counts, settings).total
    fits = total <= (plan.device.memory_bytes or 0)
    return f"{total / _GIB:.1f}" if fits else "-"


if __name__ == "__main__":
    print(page(), end="")
