"""A seed in, the folder of an embedded base out: text, tokenizer, pretraining, files.

The bases in `bases/` were produced by this recipe without external data, so that the demo runs
offline and anyone can rebuild the weights:

    python -m experiments.calibration.pretrain --out src/experiments/models/bases/tiny
    python -m experiments.calibration.pretrain --base tiny_256 --out FOLDER

The same seed and steps give the same bytes on one machine with the same number of threads.
"""

import argparse
import hashlib
import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from experiments.calibration import pretraining_text
from experiments.calibration.muon import Muon
from experiments.calibration.pretraining_tokenizer import (
    END_OF_TEXT,
    MAX_TOKENS,
    SPECIAL_TOKENS,
    train_tokenizer,
    write_tokenizer,
)

SEED = 0
WINDOW_TOKENS = 384
WINDOWS_PER_STEP = 8
PROMPT_WEIGHT = 0.1
LEARNING_RATE = 5e-3
WARMUP_STEPS = 50
HELD_OUT_DOCUMENTS = 64
THREADS = 2
"""`tiny` was produced with two threads, the other bases with one."""

HEAD_DIM = 32


@dataclass(frozen=True)
class BaseRecipe:
    """The shape of an embedded base and the length of its pretraining."""

    architecture: str
    """`qwen3` or `llama`."""
    width: int
    """Hidden size. The MLP is three times as wide; heads have size 32, and two share a key."""
    steps: int
    """Number of steps, each of 3,072 tokens."""


# tiny_64, tiny_128 and tiny_256 differ only in width, so that rules about width can be tested.
BASES = {
    "tiny": BaseRecipe("qwen3", 128, 8000),
    "tiny_llama": BaseRecipe("llama", 128, 1000),
    "tiny_64": BaseRecipe("qwen3", 64, 1000),
    "tiny_128": BaseRecipe("qwen3", 128, 1000),
    "tiny_256": BaseRecipe("qwen3", 256, 1000),
}
_CLASSES: dict[str, tuple[Any, Any]] = {
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


def windows(tokenizer: Tokenizer, seed: int) -> Iterator[tuple[list[int], list[float]]]:
    """Yield windows packed with complete documents: token ids and loss weights per token.

    A window is filled up with end-of-text tokens of weight zero.
    """
    documents = pretraining_text.documents(random.Random(f"text/{seed}"))
    end = SPECIAL_TOKENS.index(END_OF_TEXT)  # the trainer assigns ids in this order
    opening: list[int] = tokenizer.encode("<|im_start|>assistant\n").ids
    while True:
        encoded = tokenizer.encode_batch(list(itertools.islice(documents, 512)))
        lengths_first = sorted((encoding.ids for encoding in encoded), key=len, reverse=True)
        filled: list[tuple[list[int], list[float]]] = []
        for ids in lengths_first:  # first fit decreasing
            if len(ids) >= WINDOW_TOKENS:
                continue
            space = WINDOW_TOKENS - len(ids) - 1
            window = next((w for w in filled if len(w[0]) <= space), None)
            if window is None:
                filled.append(window := ([], []))
            window[0].extend([*ids, end])
            window[1].extend([*_loss_weights(ids, opening), 1.0])
        random.Random(len(filled)).shuffle(filled)
        for ids, weights in filled:
            padding = WINDOW_TOKENS - len(ids)
            yield ids + [end] * padding, weights + [0.0] * padding


def _loss_weights(ids: list[int], opening: list[int]) -> list[float]:
    """Return weight 1 for assistant turns of a chat and a small weight for its other tokens.

    The other tokens are mostly invented words that cannot be predicted, so their gradient is noise.
    """
    start, end = opening[0], opening[0] + 1  # the order of SPECIAL_TOKENS
    if start not in ids:
        return [1.0] * len(ids)
    weights, inside = [], False
    for index, token in enumerate(ids):
        weights.append(1.0 if inside else PROMPT_WEIGHT)
        if inside:
            inside = token != end
        else:
            inside = ids[max(0, index + 1 - len(opening)) : index + 1] == opening
    return weights


def new_model(tokenizer: Tokenizer, base: BaseRecipe = BASES["tiny"]) -> PreTrainedModel:
    """Return an untrained base model."""
    config_of, model_of = _CLASSES[base.architecture]
    config = config_of(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=base.width,
        intermediate_size=3 * base.width,
        num_hidden_layers=4,
        num_attention_heads=base.width // HEAD_DIM,
        num_key_value_heads=base.width // (2 * HEAD_DIM),
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        use_cache=False,
    )
    model: PreTrainedModel = model_of(config)
    return model


def _optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    adamw = torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices, lr=LEARNING_RATE), adamw]


def _schedule(step: int, steps: int) -> float:
    warmup = min(1.0, (step + 1) / min(WARMUP_STEPS, steps))
    return LEARNING_RATE * warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def pretrain(
    tokenizer: Tokenizer,
    *,
    seed: int = SEED,
    steps: int | None = None,
    base: BaseRecipe = BASES["tiny"],
) -> PreTrainedModel:
    """Train a new model for some steps on the pretraining text and print the progress."""
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)  # denormal numbers are many times slower
    try:
        model = new_model(tokenizer, base).train()
        return _pretrain(model, tokenizer, seed, base.steps if steps is None else steps)
    finally:
        torch.set_flush_denormal(False)  # the setting is process-wide


def _pretrain(
    model: PreTrainedModel, tokenizer: Tokenizer, seed: int, steps: int
) -> PreTrainedModel:
    optimizers = _optimizers(model)
    stream = windows(tokenizer, seed)
    start = time.monotonic()
    for step in range(steps):
        ids, weights = zip(*itertools.islice(stream, WINDOWS_PER_STEP), strict=True)
        batch = torch.tensor(ids), torch.tensor(weights)
        loss = _train_step(model, optimizers, batch, _schedule(step, steps))
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - start
            speed = (step + 1) * WINDOWS_PER_STEP * WINDOW_TOKENS / seconds
            seconds_left = seconds / (step + 1) * (steps - step - 1)
            progress = f"{speed:,.0f} tokens/s  {seconds_left:.0f} s left"
            print(f"step {step + 1}/{steps}  loss {loss:.3f}  {progress}", flush=True)
    model.eval()
    return model


def _train_step(
    model: PreTrainedModel,
    optimizers: list[torch.optim.Optimizer],
    batch: tuple[torch.Tensor, torch.Tensor],
    learning_rate: float,
) -> float:
    """Take one step on B windows of L token ids and loss weights; return the weighted loss."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = learning_rate
    ids_BL, weights_BL = batch
    logits_BLV = model(input_ids=ids_BL).logits[:, :-1]
    losses = functional.cross_entropy(
        logits_BLV.flatten(0, 1), ids_BL[:, 1:].flatten(), reduction="none"
    )
    weights = weights_BL[:, 1:].flatten()
    loss = (losses * weights).sum() / weights.sum()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def write(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the base in the layout of a hub repository, weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(tokenizer, folder)
    model.config.use_cache = True
    model.generation_config.use_cache = True
    model.generation_config.eos_token_id = model.config.eos_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id
    model.half().save_pretrained(folder)


def write_held_out(folder: Path, seed: int = SEED) -> None:
    """Write documents of the same distribution that are in no window, to measure forgetting.

    They come from a separate random stream; a short drill may occur in both by chance.
    """
    documents = pretraining_text.documents(random.Random(f"held out/{seed}"))
    lines = [json.dumps({"text": text}) for text in itertools.islice(documents, HELD_OUT_DOCUMENTS)]
    (folder / "held_out.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the base to")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--base", choices=BASES, default="tiny", help="base to train")
    parser.add_argument(
        "--steps", type=int, help="number of steps of 3,072 tokens (default: the base's own)"
    )
    parser.add_argument("--threads", type=int, default=THREADS, help="CPU threads")
    parser.add_argument(
        "--held-out-only",
        action="store_true",
        help="write only the held-out text that measures forgetting",
    )
    options = parser.parse_args(arguments)
    if options.held_out_only:
        write_held_out(options.out, options.seed)
        return
    torch.set_num_threads(options.threads)
    tokenizer = train_tokenizer(options.seed)
    base = BASES[options.base]
    steps = base.steps if options.steps is None else options.steps
    model = pretrain(tokenizer, seed=options.seed, steps=steps, base=base)
    write(model, tokenizer, options.out)
    write_held_out(options.out, options.seed)
    weights = (options.out / "model.safetensors").read_bytes()
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": steps * WINDOWS_PER_STEP * WINDOW_TOKENS,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
