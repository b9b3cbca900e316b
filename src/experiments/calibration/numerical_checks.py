"""A mechanism's name in, `outputs/reports/measured/NAME.json` out: claims that need no sweep.

    python -m experiments.calibration.numerical_checks invariance
    python -m experiments.calibration.numerical_checks flops
    python -m experiments.calibration.numerical_checks capacity

`invariance` trains the embedded base with LoRA in float64 twice, the second time with alpha, the
initialisation of A and the learning rates of A and B changed together, and measures how much the
losses differ. `flops` counts the floating-point operations of every shape of linear layer, forward
and backward, and divides them by the formulas. Both take less than two minutes on one core.
`capacity` measures the bits of random facts that LoRA memorises per trained parameter, in about 20
minutes.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from experiments import models, records
from experiments.calibration import memorization
from experiments.records import provenance

BASE = "tiny"
ROWS, WINDOW_TOKENS = 2, 32
ALPHA = 32.0
LEARNING_RATE = 1e-3
FACTOR_A, FACTOR_B = 3.0, 7.0
"""p and q; not powers of 2, which would only shift exponents and cause no rounding error."""
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Setting:
    """Training settings of both runs in a comparison."""

    epsilon: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float | None = None


def largest_difference(setting: Setting, steps: int, rank: int = 8) -> float:
    """Return the largest relative difference of losses between the two parametrisations.

    Args:
        setting: settings of both runs.
        steps: number of steps, each on ROWS windows of WINDOW_TOKENS tokens.
        rank: LoRA rank on all linear layers.
    """
    plain = _losses(setting, steps, rank, 1.0, 1.0)
    changed = _losses(setting, steps, rank, FACTOR_A, FACTOR_B)
    return max(abs(b - a) / abs(a) for a, b in zip(plain, changed, strict=True))


def invariance(steps: int = 300, broken_steps: int = 100) -> dict[str, Any]:
    """Return how invariant training is, and how much each departure from Adam breaks it."""
    exact = {"largest_relative_difference": largest_difference(Setting(), steps)}
    departures = {
        "with_epsilon_1e-8": Setting(epsilon=1e-8),
        "with_weight_decay_0.01": Setting(weight_decay=0.01),
        "with_gradients_clipped_to_norm_0.1": Setting(max_grad_norm=0.1),
    }
    return {
        "values": exact | {n: largest_difference(s, broken_steps) for n, s in departures.items()},
        "scope": f"mechanism (tiny model), {BASE}, {steps} steps of {ROWS} rows, float64 on cpu",
        "setting": {
            "p": FACTOR_A,
            "q": FACTOR_B,
            "rate": LEARNING_RATE,
            "alpha": ALPHA,
            "broken_steps": broken_steps,
        },
    }


def flops(rank: int = 16, tokens: int = 64) -> dict[str, Any]:
    """Return the ratio of counted to predicted operations for each shape of linear layer.

    Every input requires a gradient, as in all layers of a model except the first.
    """
    base = _base(torch.float32)
    shapes = {tuple(m.weight.shape): m for n, m in _linear(base) if n != "lm_head"}
    full = {shape: _count_flops(module, tokens) for shape, module in shapes.items()}
    lora_model = _with_lora(base, rank, ALPHA)
    lora = {
        tuple(m.base_layer.weight.shape): _count_flops(m, tokens)
        for _, m in lora_model.named_modules()
        if hasattr(m, "base_layer")
    }
    ratios, shares = [], {}
    for shape in sorted(full):
        n, m = shape
        # A multiply-add counts as two operations; for n = m the formulas are 3N² and 2N² + 6NR.
        ratios.append(full[shape] / (2 * tokens * 3 * n * m))
        ratios.append(lora[shape] / (2 * tokens * (2 * n * m + 3 * (n + m) * rank)))
        shares[f"{n} x {m}"] = lora[shape] / full[shape]
    return {
        "values": {"counted_over_formula": ratios, "lora_over_full": list(shares.values())},
        "scope": f"mechanism (tiny model), {BASE}, rank {rank}, linear layers except the head",
        "setting": {"rank": rank, "tokens": tokens, "lora_over_full": shares},
    }


CHECKS: dict[str, Callable[[], dict[str, Any]]] = {
    "invariance": invariance,
    "flops": flops,
    "capacity": memorization.measure,
}


class Adam:
    """Adam (arXiv 1412.6980) with decoupled weight decay and a learning rate per parameter.

    Implemented here because with an epsilon of 0 the first step of A is 0/0: its gradient is 0
    while B is 0. This implementation sets the step to 0 then.
    """

    def __init__(self, rates: list[tuple[Any, float]], setting: Setting) -> None:
        """Take pairs of a parameter and its learning rate."""
        self.rates, self.setting, self.steps = rates, setting, 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p, _ in rates]

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its gradient and clear the gradient."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in BETAS)
        for (parameter, learning_rate), (m, v) in zip(self.rates, self.moments, strict=True):
            gradient = parameter.grad
            m.lerp_(gradient, 1 - BETAS[0])
            v.lerp_(gradient * gradient, 1 - BETAS[1])
            denominator = (v / second).sqrt() + self.setting.epsilon
            step = torch.where(denominator == 0, torch.zeros_like(m), (m / first) / denominator)
            parameter.mul_(1 - learning_rate * self.setting.weight_decay).sub_(
                step, alpha=learning_rate
            )
            parameter.grad = None


def _losses(setting: Setting, steps: int, rank: int, p: float, q: float) -> list[float]:
    """Train once and return the loss of each step; p = q = 1 is the plain parametrisation."""
    torch.manual_seed(0)  # the same A before scaling
    model = _with_lora(_in_float64(_base(torch.float64)), rank, ALPHA / (p * q))
    rates = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_a = "lora_A" in name
            parameter.data.mul_(p if is_a else 1.0)
            rates.append((parameter, LEARNING_RATE * (p if is_a else q)))
    optimizer, losses = Adam(rates, setting), []
    for ids in itertools.islice(_batches(), steps):
        logits_BLV = model(input_ids=ids).logits
        loss = functional.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        torch.autograd.backward(loss)
        if setting.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_([w for w, _ in rates], setting.max_grad_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def _base(dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(models.BASES / BASE, dtype=dtype)


def _in_float64(base: Any) -> Any:
    """Replace the model's norms, which always compute in fp32, by torch's.

    The loss is computed outside the model for the same reason: the model's would differ by 1e-7.
    """
    for _, parent in list(base.named_modules()):
        for name, norm in parent.named_children():
            if type(norm).__name__.endswith("RMSNorm"):
                replacement = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon)
                replacement.weight = norm.weight
                setattr(parent, name, replacement)
    return base


def _with_lora(base: Any, rank: int, alpha: float) -> Any:
    adapter = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return get_peft_model(base, adapter, autocast_adapter_dtype=False)


def _batches() -> Iterator[Any]:
    """Yield windows of the base's held-out text endlessly, shape (ROWS, WINDOW_TOKENS)."""
    folder = models.BASES / BASE
    lines = (folder / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [i for line in lines for i in tokenizer(json.loads(line)["text"])["input_ids"]]
    size = ROWS * WINDOW_TOKENS
    windows = [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]
    for window in itertools.cycle(windows):
        yield torch.tensor(window).reshape(ROWS, WINDOW_TOKENS)


def _linear(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            yield name, module


def _count_flops(module: Any, tokens: int) -> int:
    """Return the operations of one layer, forward and backward."""
    width = module.in_features
    inputs_TN = torch.randn(tokens, width, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        module(inputs_TN).sum().backward()
    return int(counter.get_total_flops())


def main(arguments: list[str] | None = None) -> None:
    """Measure one mechanism and write the result with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("name", choices=sorted(CHECKS))
    parser.add_argument("--out", type=Path, default=Path("outputs/reports/measured"))
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # the same sums in the same order on every CPU
    run_provenance = provenance.of_run("cpu")
    run_provenance["command"] = f"python -m experiments.calibration.numerical_checks {options.name}"
    start = time.monotonic()
    result = CHECKS[options.name]()
    run_provenance |= {
        "seconds": round(time.monotonic() - start, 1),
        "libraries": provenance.libraries(),
    }
    path = options.out / f"{options.name}.json"
    text = json.dumps(result | {"provenance": run_provenance}, indent=1) + "\n"
    records.write_atomically(path, text.encode(), advice="choose another --out")
    for key, value in result["values"].items():
        print(f"{key}: {value}")
    for reason in result.get("reasons", ()):
        print(f"no verdict: {reason}")
    print(f"wrote {path} after {run_provenance['seconds']} s")


if __name__ == "__main__":
    main()
