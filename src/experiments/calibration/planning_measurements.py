"""Train small models of real shapes, measure their memory, and hold the predictions against it.

    python -m experiments.calibration.planning_measurements

On a CPU the models have 2 to 4 layers and every tensor is followed by `live_tensors`; the resident
memory of the process stands beside it. With a GPU the same command trains whole models of random
weights under a cap of 15 GiB and reads CUDA's own statistics. Training is the project's own: its
adapters, its trainer, its loss. The report is written to outputs/reports/memory.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import config
from experiments.calibration.memory_cases import CASES, GPU_CASES, Case
from experiments.config import GeometryConfig, RunConfig, folders
from experiments.config.geometry import Geometry
from experiments.planning import estimate, memory
from experiments.runtime.progress import log

REPORT = Path("outputs/reports/memory")
TOLERANCE = 0.10
"""Largest relative error allowed for a prediction."""
_STEPS = 2  # in the second step, the optimizer states exist
_GPU_CAP_GIB = 15
_GIB, _MB = 2**30, 10**6


@dataclass(frozen=True)
class Measured:
    """Measured memory of a training run."""

    case: Case
    measured_bytes: int
    """Peak of all tensors together."""
    resident_bytes: int
    """Model plus growth of resident memory; on a GPU, memory reserved by its allocator."""
    fullest_operation: str
    trainable_parameters: int


@dataclass(frozen=True)
class Compared:
    """A measured training run with its prediction, which is computed anew each time."""

    measured: Measured
    predicted_bytes: float
    predicted_resident_bytes: float
    moment: str
    trainable_parameters: int

    @property
    def error(self) -> float:
        """Relative error of the prediction; above 0 if it is too high."""
        return self.predicted_bytes / self.measured.measured_bytes - 1

    @property
    def resident_error(self) -> float:
        """The same for resident memory."""
        return self.predicted_resident_bytes / self.measured.resident_bytes - 1

    def __str__(self) -> str:
        """Return the comparison as one line."""
        measured = self.measured
        return (
            f"{measured.case.name}: predicted {self.predicted_bytes / _MB:,.0f} MB, measured "
            f"{measured.measured_bytes / _MB:,.0f} MB ({self.error:+.1%}), resident "
            f"{measured.resident_bytes / _MB:,.0f} MB ({self.resident_error:+.1%}), peak in "
            f"{measured.fullest_operation}"
        )


def compare(measured: Measured, device: str) -> Compared:
    """Compare a measured training run with its prediction."""
    run = run_of(measured.case, device)
    # A hub id that is not cached, so that the geometry with few layers is the only source.
    model = dataclasses.replace(run.model, hub_id="nobody/nothing", revision=None)
    plan = estimate.of(dataclasses.replace(run, model=model))
    context = 0 if device == "cpu" else memory.CUDA_CONTEXT_BYTES
    return Compared(
        measured,
        plan.memory.total - context,
        plan.memory.resident - context,
        plan.memory.moment,
        plan.counts.trainable,
    )


def run_of(case: Case, device: str) -> RunConfig:
    """Return the config of a case."""
    from hydra import compose, initialize_config_dir

    overrides = [
        f"model={case.model}",
        f"model.geometry.layers={case.layers}",
        f"model.geometry.vocabulary={case.vocabulary}",
        f"lora={case.lora}",
        "tracker=none",
        "hardware=auto",
        f"hardware.device={device}",
        f"trainer.precision={case.precision}",
        f"trainer.gradient_checkpointing={str(case.checkpointing).lower()}",
        f"trainer.batch_size={case.rows * case.accumulation}",
        f"trainer.micro_batch_size={case.rows}",
        f"trainer.max_length={case.length}",
        f"trainer.max_steps={_STEPS}",
        f"plan.rows={_STEPS * case.rows * case.accumulation}",
        f"plan.tokens_per_row={case.length}",
        f"plan.longest_row_tokens={case.length}",
        f"plan.trained_share={case.trained_share}",
        *([] if case.lora == "none" else [f"lora.r={case.r}"]),
    ]
    with initialize_config_dir(str(folders.conf()), version_base="1.3"):
        return config.load(compose("config", overrides))


def random_model(spec: GeometryConfig | Geometry, dtype: Any) -> Any:
    """Return a model of this shape with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_config = AutoConfig.for_model(
        spec.architecture,
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        vocab_size=spec.vocabulary,
        tie_word_embeddings=spec.tied_embeddings,
        max_position_embeddings=spec.positions,
    )
    return AutoModelForCausalLM.from_config(model_config, dtype=dtype, attn_implementation="sdpa")


def measure(case: Case, device: str = "cpu") -> Measured:
    """Train a case for two steps and return its measured memory."""
    import torch
    from transformers import set_seed

    from experiments.models import adapters
    from experiments.planning import few_steps

    run = run_of(case, device)
    set_seed(0)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = torch.float32 if run.lora.method == "none" else half.get(case.precision, torch.float32)
    model = random_model(run.model.geometry, dtype).to(device)
    base = _base(model, run)
    attached = adapters.attach(run, model)
    usage = few_steps.train(run, attached.model, base)
    return Measured(
        case=case,
        measured_bytes=usage.peak_bytes,
        resident_bytes=usage.resident_bytes,
        fullest_operation=usage.operation,
        trainable_parameters=attached.trainable_parameters,
    )


def _base(model: Any, run: RunConfig) -> Any:
    from experiments import models

    spec = config.ModelConfig(label="tiny", embedded="tiny")
    vocabulary = models.load_vocabulary(spec)
    return models.Base(
        model=model,
        tokenizer=vocabulary.tokenizer,
        precision=models.choose_precision(run),
        sha256="",
        source="random weights",
        commit=None,
        parameters=sum(p.numel() for p in model.parameters()),
        positions=int(run.model.geometry.positions or 0),
        end_ids=vocabulary.end_ids,
        notes=[],
    )


def keep(measured: Measured, machine: str, device: str, folder: Path) -> Path:
    """Add a measured training run to the machine's record and rewrite the page."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "_" for c in machine.lower()).strip("_")
    file = folder / f"{name}.json"
    tree = json.loads(file.read_text("utf-8")) if file.is_file() else {"measured": []}
    entry = dataclasses.asdict(measured)
    others = [other for other in tree["measured"] if other["case"] != entry["case"]]
    order = [dataclasses.asdict(case) for case in (*CASES, *GPU_CASES)]
    entries = sorted([*others, entry], key=lambda other: order.index(other["case"]))
    tree = {"machine": machine, "device": device, "libraries": _libraries(), "measured": entries}
    file.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    path = folder / "README.md"
    path.write_text(page(folder), encoding="utf-8")
    return path


def page(folder: Path) -> str:
    """Return the page on all machines with a record in a folder."""
    trees = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    return "\n\n".join([_HEAD, *(_section(tree, comparisons(tree)) for tree in trees)]) + "\n"


def comparisons(tree: dict[str, Any]) -> list[Compared]:
    """Return every training run in a machine's record with its prediction."""
    return [
        compare(Measured(**entry | {"case": Case(**entry["case"])}), tree["device"])
        for entry in tree["measured"]
    ]


_HEAD = f"""# Predicted and measured memory

`python -m experiments.calibration.planning_measurements` writes this page: it trains \
models with real shapes and random weights for two steps with the project's own trainer, and \
compares the prediction of `python -m experiments plan` with the measured peak memory.
A prediction of tensors should be off by at most {TOLERANCE:.0%}.
On a CPU, measured memory is the sum of all live tensors, tracked operation by operation; resident \
memory is the weights plus the growth of the process's resident memory, which includes what \
kernels and the allocator use in addition to tensors.
Predicted resident memory adds to the tensors what was fitted to these same measurements \
(`_slack` in `planning/memory.py`), so its error on other machines may be larger.
Only the machines below have been measured; numbers for others are predictions."""


def _section(tree: dict[str, Any], comparisons: Sequence[Compared]) -> str:
    worst = max(comparisons, key=lambda comparison: abs(comparison.error))
    resident = max(comparisons, key=lambda comparison: abs(comparison.resident_error))
    lines = [
        f"## {tree['machine']}",
        f"{len(comparisons)} configurations; worst error of tensors {worst.error:+.1%} "
        f"({worst.measured.case.name}), of resident memory {resident.resident_error:+.1%} "
        f"({resident.measured.case.name}).",
        f"Libraries: {', '.join(f'{k} {v}' for k, v in tree['libraries'].items())}.",
    ]
    table = [
        "| configuration | predicted MB | measured MB | error | resident, predicted MB | measured "
        "MB | error | peak in |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | :--- |",
    ]
    for comparison in comparisons:
        measured = comparison.measured
        table.append(
            f"| {measured.case.name} | {comparison.predicted_bytes / _MB:,.0f} | "
            f"{measured.measured_bytes / _MB:,.0f} | {comparison.error:+.1%} | "
            f"{comparison.predicted_resident_bytes / _MB:,.0f} | "
            f"{measured.resident_bytes / _MB:,.0f} | {comparison.resident_error:+.1%} | "
            f"{comparison.moment} |"
        )
    return "\n\n".join(lines) + "\n\n" + "\n".join(table)


def _libraries() -> dict[str, str]:
    import importlib.metadata

    names = ("torch", "transformers", "trl", "peft")
    return {name: importlib.metadata.version(name) for name in names}


def _machine() -> tuple[str, str]:
    """Return the device class and a description of the machine without its host name."""
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, _GPU_CAP_GIB * _GIB / total))
        return "cuda", f"{torch.cuda.get_device_name()} capped at {_GPU_CAP_GIB} GiB"
    return "cpu", f"CPU {platform.machine()} {os.cpu_count()} cores"


def main(arguments: list[str] | None = None) -> int:
    """Measure every case, print the errors and write the report; return 1 if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPORT, help=f"default: {REPORT}")
    parser.add_argument(
        "--only", type=int, nargs="*", help="indices of the cases to measure, from 0"
    )
    options = parser.parse_args(arguments)
    device, machine = _machine()
    cases = CASES if device == "cpu" else GPU_CASES
    compared = []
    for case in [cases[i] for i in options.only] if options.only else cases:
        measured = measure(case, device)
        compared.append(compare(measured, device))
        log(str(compared[-1]))
        path = keep(measured, machine, device, options.out)
    worst = max(compared, key=lambda comparison: abs(comparison.error))
    log(
        f"{len(compared)} configurations, worst error {worst.error:+.1%}: "
        f"{worst.measured.case.name}"
    )
    log(f"wrote {path}")
    return int(abs(worst.error) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
