"""The schema of a run: one dataclass per config group, each with its own range checks.

YAML holds values; the string under a field is its only documentation.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.config import benchmarks
from experiments.config.checks import at_least, one_of, share
from experiments.config.data import DataConfig
from experiments.errors import ConfigError

LORA_METHODS = ("lora", "none")
ALPHA_RULES = ("const", "r", "2r")
LR_SCHEDULES = ("constant", "linear", "cosine")
OPTIMIZERS = ("adamw", "adamw_8bit", "sgd")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda")
SELECTIONS = ("last", "best_validation")
RETENTIONS = ("none", "adapter", "last", "all")
SPLITS = ("test", "unseen_values", "unseen_tools")
TRACKERS = ("none", "trackio")
DIRECTIONS = ("minimize", "maximize")
INITIALISATIONS = ("default", "gaussian", "olora", "orthogonal", "pissa")
DEFAULT_ALPHA = 32


@dataclass
class RecipeConfig:
    """A model's own defaults for fields of `trainer` and `lora` that nobody set."""

    learning_rate: float | None = None
    """Rate for LoRA."""
    full_learning_rate: float | None = None
    """Rate for full fine-tuning (`lora=none`)."""
    lr_schedule: str | None = None
    warmup_share: float | None = None
    epochs: float | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    micro_batch_size: int | None = None
    max_length_tokens: int | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    r: int | None = None
    """LoRA rank."""


@dataclass
class ModelConfig:
    """Which base model: exactly one of `embedded`, `path` and `hub_id`."""

    label: str = "model"
    """Name in tables."""
    embedded: str | None = None
    """A base shipped with the package: `tiny`."""
    path: str | None = None
    """A local folder in the hub's layout (config.json, safetensors, tokenizer)."""
    hub_id: str | None = None
    """`owner/name` on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; resolved to a commit before training."""
    adapter: str | None = None
    """Folder of a trained adapter to start from, or with `trainer.max_steps=0` to score."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off unless you trust its author."""
    chat_template: str | None = None
    """A jinja file instead of the model's own template."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        given = {k: getattr(self, k) for k in ("embedded", "path", "hub_id")}
        named = [f"model.{k}={v}" for k, v in given.items() if v is not None]
        if len(named) != 1:
            yield (
                f"model names {' and '.join(named) or 'no base model'}: set exactly one of "
                "model.embedded, model.path, model.hub_id (a folder: model=local model.path=DIR)"
            )
        if self.revision is not None and self.hub_id is None:
            yield "model.revision is given without model.hub_id: only a hub model has revisions"


@dataclass
class LoraConfig:
    """Where LoRA is attached and how large it is."""

    label: str = "lora"
    """Name in tables."""
    method: str = "lora"
    """`lora`, or `none` for full fine-tuning."""
    target_modules: Any = "all-linear"
    """`all-linear` (every linear layer but the head) or a list of module names."""
    r: int | None = None
    """Rank; null = the model's recipe, else 16."""
    alpha: float | None = None
    """LoRA alpha; null = by `alpha_rule`. The update is scaled by alpha/r, rsLoRA alpha/sqrt(r)."""
    alpha_rule: str = "const"
    """`const` (32 at every rank), `r` or `2r`."""
    dropout: float = 0.0
    """Dropout on the adapter's input, 0-1."""
    use_dora: bool = False
    use_rslora: bool = False
    init: str = "default"
    """`default` (B = 0), `gaussian`, `olora`, `orthogonal` or `pissa`."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other field of peft.LoraConfig; a name that PEFT does not know is refused."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("lora.method", self.method, LORA_METHODS)
        yield from one_of("lora.alpha_rule", self.alpha_rule, ALPHA_RULES)
        yield from one_of("lora.init", self.init, INITIALISATIONS)
        yield from at_least("lora.r", self.r, 1)
        if not 0 <= self.dropout < 1:
            yield f"lora.dropout={self.dropout}: must be at least 0 and below 1"
        if self.alpha is not None and not self.alpha > 0:
            yield f"lora.alpha={self.alpha}: must be above 0"
        by_rule = {"r": self.r, "2r": self.r and 2 * self.r}.get(self.alpha_rule, self.alpha)
        if self.alpha is not None and self.alpha != by_rule:
            yield f"lora.alpha={self.alpha} and lora.alpha_rule={self.alpha_rule}: set one of them"
        names = self.target_modules
        if not (names == "all-linear" or (isinstance(names, list) and names)):
            yield (
                f"lora.target_modules={names}: must be 'all-linear' or a list of module names "
                "such as [q_proj,v_proj]"
            )
        if self.method == "none":
            given = [k for k in ("r", "alpha") if getattr(self, k) is not None]
            given += [k for k in ("use_dora", "use_rslora", "dropout", "extra") if getattr(self, k)]
            for key in given:
                yield f"lora.{key} is set with lora=none: full fine-tuning has no adapter for it"

    @property
    def scale(self) -> float:
        """Factor on B·A: alpha/r (LoRA, arXiv 2106.09685 section 4.1) or alpha/sqrt(r) (rsLoRA)."""
        assert self.r is not None and self.alpha is not None, "config.load resolves both"
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


@dataclass
class TrainerConfig:
    """How long, how fast and in what batches; null = the model's recipe, then the hardware."""

    learning_rate: float | None = None
    """Peak learning rate."""
    lr_schedule: str | None = None
    """`constant`, `linear` or `cosine`, after the warm-up."""
    warmup_share: float | None = None
    """Share of the steps with a linearly rising rate, 0-1."""
    epochs: float | None = None
    """Passes over the training rows; not together with max_steps."""
    max_steps: int | None = None
    """Optimiser steps; 0 scores the model (or `model.adapter`) without training."""
    batch_size: int | None = None
    """Rows per optimiser step (the effective batch)."""
    micro_batch_size: int | None = None
    """Rows per forward pass; must divide batch_size, the quotient is accumulated."""
    max_length_tokens: int | None = None
    """Longer rows are dropped and counted; null = as many positions as the model has."""
    optimizer: str | None = None
    """`adamw`, `adamw_8bit` (bitsandbytes) or `sgd`."""
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    """Gradient clipping threshold (L2 norm)."""
    precision: str | None = None
    """`auto` (fp32 on CPU; bf16 from compute capability 8.0, else fp16), `fp32`, `bf16`, `fp16`."""
    gradient_checkpointing: bool | None = None
    """Recompute activations: less memory, about a third more time."""
    eval_every_steps: int | None = None
    """Steps between validation losses; null = a fifth of the run."""
    save_every_steps: int | None = None
    """Steps between checkpoints; null = as eval_every_steps."""
    log_every_steps: int = 10
    select: str = "last"
    """Which weights are scored and kept: `last` or `best_validation`."""
    keep: str = "adapter"
    """What stays on disk after the record: `none`, `adapter`, `last` checkpoint or `all`."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other field of trl.SFTConfig; a name that TRL does not know is refused."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            yield f"trainer.learning_rate={self.learning_rate}: must be above 0, for example 2e-4"
        for key, allowed in (
            ("lr_schedule", LR_SCHEDULES),
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("select", SELECTIONS),
            ("keep", RETENTIONS),
        ):
            if getattr(self, key) is not None:
                yield from one_of(f"trainer.{key}", getattr(self, key), allowed)
        for key in ("batch_size", "micro_batch_size", "eval_every_steps", "save_every_steps"):
            yield from at_least(f"trainer.{key}", getattr(self, key), 1)
        yield from at_least("trainer.log_every_steps", self.log_every_steps, 1)
        yield from at_least("trainer.max_length_tokens", self.max_length_tokens, 8)
        yield from at_least("trainer.max_steps", self.max_steps, 0)
        yield from at_least("trainer.weight_decay", self.weight_decay, 0)
        yield from share("trainer.warmup_share", self.warmup_share)
        for key in ("epochs", "max_grad_norm"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                yield f"trainer.{key}={value}: must be above 0"
        if self.epochs is not None and self.max_steps is not None:
            yield f"trainer.epochs={self.epochs} and trainer.max_steps={self.max_steps}: set one"
        batch, micro = self.batch_size, self.micro_batch_size
        if batch and micro and batch > 0 and micro > 0 and batch % micro:
            yield (
                f"trainer.batch_size={batch} is not a multiple of "
                f"trainer.micro_batch_size={micro}: make it one, the quotient is the number of "
                "accumulation steps"
            )


@dataclass
class EvalConfig:
    """What is scored after training."""

    splits: list[str] = field(default_factory=lambda: list(SPLITS))
    """Test splits to answer; those that the data do not have are skipped."""
    benchmarks: list[str] = field(default_factory=list)
    """Published test sets answered beside the splits: `toolworld`, `bfcl_<category>` (such as
    `bfcl_live_simple`), `nestful`, `nestful_executable`, `nestful_glaive`, `nestful_sgd`,
    `when2call_test`, `seal_tools_test_in_domain`, `seal_tools_test_out_domain`. Their rows are
    shown as published; of `data` only `thinking` and `tools_form` apply to them."""
    path: str | None = None
    """Folder (or file) with the benchmarks' files, looked through with its subfolders; null = they
    are fetched from the hub."""
    metrics: list[str] = field(
        default_factory=lambda: ["calls", "plan_graph", "restraint", "json_output", "bfcl_ast"]
    )
    """Files of `experiments/metrics/` applied to the answers; `loss` is always there."""
    base: bool = True
    """Score the untuned base too, so that its row stands in the table."""
    batch_size: int | None = None
    """Answers that are written at a time; null = as memory allows, at most 128 on a CPU and 256 on
    a GPU. The answers do not depend on it."""
    max_new_tokens: int | None = None
    """Longest answer; null = 1.25 x the longest gold answer of the test splits."""
    limit: int | None = None
    """Answer at most this many rows of each split; null = all."""
    held_out_text: str | None = None
    """A text file (or JSON lines with a column text) whose loss shows what was forgotten;
    null = the embedded base's own, none for other models."""
    objective: str | None = None
    """The score a sweeper sees, for example `calls/exact`; null = `validation/loss/nll`."""
    direction: str | None = None
    """`minimize` or `maximize`; null = as the metric declares."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        for split in self.splits:
            yield from one_of("eval.splits", split, SPLITS)
        yield from benchmarks.problems(self.benchmarks, self.path)
        for key in ("batch_size", "max_new_tokens", "limit"):
            yield from at_least(f"eval.{key}", getattr(self, key), 1)
        if self.direction is not None:
            yield from one_of("eval.direction", self.direction, DIRECTIONS)


@dataclass
class TrackerConfig:
    """Where curves and scores are shown while and after a run."""

    kind: str = "trackio"
    """`trackio` (local, offline) or `none`."""
    project: str = "lora-experiments"
    """trackio project; runs of one project can be compared."""
    group: str | None = None
    """trackio group; null = the sweep's name."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("tracker.kind", self.kind, TRACKERS)


@dataclass
class HardwareConfig:
    """The machine's defaults for fields of `trainer` that neither user nor recipe set."""

    label: str = "auto"
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    precision: str | None = None
    micro_batch_size: int | None = None
    gradient_checkpointing: bool | None = None
    optimizer: str | None = None

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("hardware.device", self.device, DEVICES)


@dataclass
class RunConfig:
    """Everything that describes one run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    seed: int = 0
    """Seed of LoRA's initial weights and of the order of the rows."""
    name: str | None = None
    """A name for people; no part of the run's identity."""
    resume: bool = True
    """Continue a half-written run from its last checkpoint; false starts it again beside it."""
    rerun: bool = False
    """Train a finished run again, in a new folder."""
    retry_oom: bool = False
    """Try a run again that ran out of memory; the others that failed are tried again anyway."""
    sweeps: Any = None
    """Taken by the file of `sweeps=NAME`; holds nothing itself."""
    resolved_from: dict[str, str] = field(default_factory=dict)
    """Filled by `load`: where each value came from that was null."""

    def __post_init__(self) -> None:
        """Report every illegal value of every group in one error."""
        groups = (getattr(self, f.name) for f in dataclasses.fields(self))
        found = [
            text for group in groups if hasattr(group, "problems") for text in group.problems()
        ]
        if not 0 <= self.seed < 2**32:
            found.append(f"seed={self.seed}: must be from 0 to {2**32 - 1}")
        if self.sweeps is not None:
            found.append(f"sweeps={self.sweeps}: a sweep file may not put values under `sweeps`")
        if found:
            raise ConfigError("; ".join(found) + ".")
