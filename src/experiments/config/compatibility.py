"""Check for values that are legal individually but not in combination.

The check runs after resolution, because either value may come from a recipe or from the hardware.
"""

from collections.abc import Iterator

from experiments.config import stated_steps
from experiments.config.hardware_and_tracker import NATIVE_BF16
from experiments.config.schema import RunConfig

# Initialisations of LoRA that change the base's weights, or create the adapter in their dtype.
_NEEDS_UNQUANTIZED_WEIGHTS = {
    "pissa": "it moves the principal directions of the weights into the adapter",
    "olora": "it moves the principal directions of the weights into the adapter",
    "orthogonal": "it creates the adapter in the dtype of the weights, which are packed bytes",
}


def problems(run: RunConfig) -> Iterator[str]:
    """Yield a sentence for each pair of incompatible values."""
    yield from _precision(run)
    yield from _attention(run)
    yield from _trained_layers(run)
    yield from _stated_steps(run)
    if run.eval.thinking == "off" and run.data.thinking == "keep":
        yield (
            "eval.thinking=off with data.thinking=keep: the model would be trained to think but "
            "evaluated without thinking; use eval.thinking=on or as_data, or data.thinking=drop"
        )
    if run.eval.thinking_tokens is not None and run.eval.max_new_tokens is not None:
        yield (
            f"eval.thinking_tokens={run.eval.thinking_tokens} with eval.max_new_tokens="
            f"{run.eval.max_new_tokens}: max_new_tokens already limits the whole answer, thinking "
            "included; set only one of them"
        )
    if run.model.quantization is not None:
        yield from _quantization(run)


def _precision(run: RunConfig) -> Iterator[str]:
    hardware, precision = run.hardware, run.trainer.precision
    capability = hardware.compute_capability
    by_hardware = run.resolved_from["trainer.precision"].startswith("hardware=")
    key = f"{'hardware' if by_hardware else 'trainer'}.precision={precision}"
    if precision == "bf16" and capability is not None and capability < NATIVE_BF16:
        yield (
            f"{key} with hardware={hardware.label}: bfloat16 needs compute capability "
            f"{NATIVE_BF16} or newer, and this device has {capability} (older GPUs emulate it "
            "slowly); use fp16 or remove the setting"
        )
    if precision == "fp16" and hardware.device == "cpu":
        yield f"{key} on a CPU: fp16 needs a GPU's gradient scaler; use fp32 or bf16"


def _attention(run: RunConfig) -> Iterator[str]:
    hardware, attention = run.hardware, run.trainer.attention
    capability = hardware.compute_capability
    if attention != "flash_attention_2":
        return
    if hardware.device == "cpu" or run.trainer.precision == "fp32":
        yield (
            f"trainer.attention={attention} with hardware={hardware.label} in "
            f"{run.trainer.precision}: its kernels need a GPU and bf16 or fp16; use sdpa"
        )
    elif capability is not None and capability < NATIVE_BF16:
        yield (
            f"trainer.attention={attention} with hardware={hardware.label}: its kernels need "
            f"compute capability {NATIVE_BF16} or newer, and this device has {capability}; use sdpa"
        )


def _trained_layers(run: RunConfig) -> Iterator[str]:
    lora, extra = run.lora, run.trainer.extra
    if run.trainer.freeze_embeddings and lora.method != "none":
        yield (
            f"trainer.freeze_embeddings=true with lora={lora.label}: an adapter leaves the "
            "embedding as it is; remove the key, or use it with lora=none"
        )
    if not lora.output_head:
        return
    if extra.get("loss_type", "nll") != "nll" or extra.get("label_smoothing_factor"):
        yield (
            "lora.output_head=true with trainer.extra.loss_type or label_smoothing_factor: these "
            "losses of TRL read the head's weight without its adapter; remove one of them"
        )
    if lora.extra.get("ensure_weight_tying"):
        yield (
            "lora.output_head=true with lora.extra.ensure_weight_tying=true: the head's adapter "
            "would also change the input embedding; remove one of them"
        )


def _stated_steps(run: RunConfig) -> Iterator[str]:
    stated = {
        "eval.validation_steps": run.eval.validation_steps,
        "eval.test_steps": run.eval.test_steps,
    }
    last = _known_steps(run)
    for key, values in stated.items():
        if values is None:
            continue
        if last == 0:
            yield f"{key} with trainer.max_steps=0: nothing is trained; remove one of them"
        elif last is not None:
            yield from stated_steps.beyond(key, values, last)
    if run.eval.validation_steps is not None and run.trainer.select == "best_validation":
        yield (
            "eval.validation_steps with trainer.select=best_validation: weights are selected among "
            "checkpoints, which are saved every trainer.eval_steps; remove one of them"
        )


def _known_steps(run: RunConfig) -> int | None:
    """Return the steps of a run, at most if rows are dropped; None if the rows are not known."""
    trainer, data = run.trainer, run.data
    if trainer.max_steps is not None or data.source != "toolworld" or data.train_rows is None:
        return trainer.max_steps
    assert trainer.num_train_epochs is not None and trainer.batch_size, "resolved"
    rows = data.train_rows if data.fraction is None else round(data.train_rows * data.fraction)
    return max(1, -(-round(trainer.num_train_epochs * rows) // trainer.batch_size))


def _quantization(run: RunConfig) -> Iterator[str]:
    key = f"model.quantization={run.model.quantization}"
    if run.lora.method == "none" and run.trainer.max_steps != 0:
        yield (
            f"{key} with lora=none: 4-bit weights cannot be trained; use an adapter such as "
            "lora=all_linear, or model.quantization=null"
        )
    init = run.lora.init_lora_weights
    reason = _NEEDS_UNQUANTIZED_WEIGHTS.get(init)
    if reason is not None:
        yield (
            f"lora.init_lora_weights={init} with {key}: {reason}; use "
            "lora.init_lora_weights=default or gaussian, or model.quantization=null"
        )
